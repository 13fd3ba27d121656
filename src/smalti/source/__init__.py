"""Images on disk or in memory: opening, decoding, caching, symmetries."""

from smalti.source.describe import describe
from smalti.source.source import Source

__all__ = ["Source", "describe"]
