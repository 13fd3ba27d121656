"""Images on disk or in memory: opening, decoding, caching, symmetries, splits."""

from smalti.source.describe import describe
from smalti.source.source import Source
from smalti.source.splitting import Split

__all__ = ["Source", "Split", "describe"]
