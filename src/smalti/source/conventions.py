"""The one rule of how arrays of images are laid out and scaled, for arrays in memory and in files alike.

Layout: (N, C, H, W), unless another is named. What looks like another one is refused with that name, since the numbers of
the axes would fit and the images would be noise. Scale: uint8 from 0 to 255, floats in [-1, 1]; latents may be larger. What
looks like another scale is warned of, since it is legal.
"""

from __future__ import annotations

import numpy as np

from smalti.core.errors import InputError
from smalti.source.checks import BLOCK_BYTES, check_dtype, check_images_shape

__all__ = ["LAYOUTS", "check_layout", "check_layout_name", "in_nchw", "likely_layout", "scale_doubt"]

LAYOUTS: dict[str, tuple[int | None, ...]] = {
    "nchw": (0, 1, 2, 3),
    "nhwc": (0, 3, 1, 2),
    "hwcn": (3, 2, 0, 1),
    "chwn": (3, 0, 1, 2),
    "nhw": (0, None, 1, 2),
}
MOST_CHANNELS = 4  # of what are pictures
BEYOND, SHARE = 2.0, 0.75  # latents may be larger than 1: most values must be far outside
DARK, BRIGHT_SHARE, DARK_BYTES = 16, 0.001, 1 << 20  # of 255: 12 bits in 16 reach 16


def check_layout_name(layout: str | None) -> None:
    """Raise InputError for a layout that does not exist."""
    if layout is not None and layout not in LAYOUTS:
        raise InputError(f"layout must be {', '.join(LAYOUTS)} or None, not {layout!r}")


def check_layout(shape: tuple[int, ...], dtype: np.dtype, layout: str | None, what: str) -> None:
    """Raise InputError unless these are the shape and dtype of images in `layout`.

    Without a layout (N, C, H, W) is assumed, and what looks like another one is refused. `what` names the array.
    """
    try:
        check_layout_name(layout)
        if layout is None and (likely := likely_layout(shape)) is not None:
            axes = ", ".join(likely.upper())
            kind = "grey images (N, H, W)" if likely == "nhw" else f"({axes})"
            raise InputError(
                f"{what} has shape {tuple(shape)}, which looks like {kind}; "
                f"pass layout={likely!r} (--layout {likely}), or 'nchw' if it is not"
            )
        check_images_shape(shape, layout or "nchw")
        check_dtype(dtype)
        if layout == "nhwc" and shape[1] <= MOST_CHANNELS < min(shape[2], shape[3]):
            raise InputError(f"{what} has shape {tuple(shape)}, which looks like (N, C, H, W); leave the layout out")
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith((what, "layout")) else f"{what}: {text}") from error


def likely_layout(shape: tuple[int, ...]) -> str | None:
    """The layout that `shape` looks like, where that is not (N, C, H, W)."""
    if len(shape) == 3 and min(shape) > MOST_CHANNELS:
        return "nhw"
    if len(shape) != 4:
        return None
    a, b, c, d = shape
    if d <= MOST_CHANNELS < min(b, c):
        return "nhwc"
    if a == b > MOST_CHANNELS and c in (1, 3) and d > MOST_CHANNELS:
        return "hwcn"
    if a in (1, 3) and d != b == c > MOST_CHANNELS < d:
        return "chwn"
    return None


def in_nchw(images: np.ndarray, layout: str | None) -> np.ndarray:
    """A view of `images` with the axes (N, C, H, W)."""
    order = LAYOUTS[layout or "nchw"]
    images = images[..., None] if None in order else images
    return images.transpose([images.ndim - 1 if axis is None else axis for axis in order])


def scale_doubt(images: np.ndarray) -> str | None:
    """What is odd about the scale of images (N, C, H, W), with the remedy; None where nothing is.

    A sample is read, of images evenly spaced: about 16 MiB of floats, 1 MiB of bytes. Zeros do not count: a background is
    0 in every scale.
    """
    most = DARK_BYTES if images.dtype == np.uint8 else BLOCK_BYTES
    sample = images[:: max(-(-images.nbytes // most), 1)]
    if images.dtype == np.uint8:
        if int((sample > DARK).sum()) > BRIGHT_SHARE * sample.size:
            return None
        return (
            f"almost black: pixels are at most {int(sample.max())} of 255; "
            "if they were saved with fewer bits than the file has, scale them to its full range first"
        )
    size = np.abs(sample)
    nonzero = int((size > 0).sum())
    low, high = float(sample.min()), float(sample.max())
    if nonzero and low >= 0 and high <= 1:
        return (
            f"values from {low:.6g} to {high:.6g}; the working scale is [-1, 1]: "
            "if they are pixels from 0 to 1 (ToTensor), multiply by 2 and subtract 1, or save uint8"
        )
    if int((size > BEYOND).sum()) <= SHARE * nonzero:
        return None
    remedy = "save uint8, or divide by 127.5 and subtract 1" if low >= 0 and high <= 255 else "bring them to that scale"
    return f"values from {low:.6g} to {high:.6g}; the working scale is [-1, 1]: {remedy}"
