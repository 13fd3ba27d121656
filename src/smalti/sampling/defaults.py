"""Which denoiser `smalti.generate` uses by default."""

from __future__ import annotations

from typing import Any

from smalti.denoisers.pspc import PSPCSquare
from smalti.source import Source

__all__ = ["default_denoiser", "default_side"]


def default_side(height: int, width: int) -> int:
    """Side of the patches at a scale of H x W."""
    return min(5 if min(height, width) <= 16 else 7, height, width)


def default_denoiser(source: Source) -> Any:
    """The denoiser of one scale of `smalti.generate`."""
    return PSPCSquare(source, patch_size=default_side(*source.shape[1:]))
