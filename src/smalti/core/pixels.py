"""From the working scale to pixels.

    u8 = clip(round((x + 1) * 127.5), 0, 255)         the inverse of x = u8 / 127.5 - 1, exact for stored images
    noisy images are shown as z / sqrt(1 + sigma^2)    which has about the range of an image at every sigma

One channel is grey, three are RGB; of any other number the first is shown as grey, and the picture's note says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from smalti.core.errors import InputError

__all__ = ["as_array", "channels_note", "shown_noisy", "tile", "tiled", "to_u8"]


def as_array(x: torch.Tensor | np.ndarray) -> np.ndarray:
    """`x` as a numpy array on the CPU, without its graph."""
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def to_u8(x: torch.Tensor | np.ndarray) -> np.ndarray:
    """Working scale to 0 .. 255, any shape; values outside [-1, 1] are clipped, uint8 passes through."""
    values = as_array(x)
    if values.dtype == np.uint8:
        return values
    return np.clip(np.rint((values.astype(np.float64) + 1) * 127.5), 0, 255).astype(np.uint8)


def shown_noisy(z: torch.Tensor | np.ndarray, sigma: float | torch.Tensor | np.ndarray) -> np.ndarray:
    """z / sqrt(1 + sigma^2), float64, shaped as z (..., C, H, W); sigma is a number or has the leading shape of z."""
    level = as_array(torch.as_tensor(sigma)).astype(np.float64)
    if level.ndim:
        level = level.reshape(*level.shape, *[1] * (np.ndim(z) - level.ndim))
    return as_array(z).astype(np.float64) / np.sqrt(1 + level**2)


def tile(x: torch.Tensor | np.ndarray, scale: int) -> np.ndarray:
    """One image (C, H, W), working scale or uint8, as (H scale, W scale, 3) uint8, each pixel repeated."""
    if np.ndim(x) != 3:
        raise InputError(f"an image to show must be (C, H, W), not of shape {tuple(np.shape(x))}")
    pixels = to_u8(x)
    pixels = pixels if pixels.shape[0] == 3 else np.repeat(pixels[:1], 3, axis=0)
    return pixels.transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)


def tiled(
    cells: Sequence[Sequence[torch.Tensor | np.ndarray | None]], shape: tuple[int, int], scale: int, apart: int
) -> np.ndarray:
    """Rows of images as one white picture, (height, width, 3) uint8: one image draws faster than many axes.

    Args:
        cells: rows of images, as `tile` takes them; None stays blank. Rows may differ in length.
        shape: (H, W) of every image.
        scale: of a pixel.
        apart: pixels of the picture between tiles.
    """
    height, width = shape
    down, right = height * scale + apart, width * scale + apart
    across = max(map(len, cells))
    picture = np.full((len(cells) * down - apart, across * right - apart, 3), 255, np.uint8)
    for r, row in enumerate(cells):
        for k, image in enumerate(row):
            if image is not None:
                y, x = r * down, k * right
                picture[y : y + height * scale, x : x + width * scale] = tile(image, scale)
    return picture


def channels_note(channels: int) -> str:
    """What a reader must know about the colours; empty where there is nothing to say."""
    return "" if channels in (1, 3) else f"Shown: the first of {channels} channels, as grey."
