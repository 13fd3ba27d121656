"""To another resolution: a centre crop to its aspect ratio, then area averaging; nothing where the size is right."""

from __future__ import annotations

import numpy as np

from smalti.core.errors import InputError

__all__ = ["centre_crop", "resize_float", "resize_uint8"]


def centre_crop(height: int, width: int, resolution: tuple[int, int]) -> tuple[slice, slice]:
    """The largest centred (rows, columns) of an image with the aspect ratio of `resolution` = (H, W), to the pixel."""
    h, w = resolution
    crop_h, crop_w = height, width
    if width * h > height * w:
        crop_w = max(1, round(height * w / h))
    else:
        crop_h = max(1, round(width * h / w))
    top, left = (height - crop_h) // 2, (width - crop_w) // 2
    return slice(top, top + crop_h), slice(left, left + crop_w)


def resize_uint8(image: np.ndarray, resolution: tuple[int, int]) -> np.ndarray:
    """One (C, H, W) uint8 image at `resolution`: centre crop, then Pillow's BOX filter, channel by channel."""
    from PIL import Image

    if image.shape[1:] == resolution:
        return image
    rows, columns = centre_crop(image.shape[1], image.shape[2], resolution)
    image = image[:, rows, columns]
    size = (resolution[1], resolution[0])
    return np.stack([np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BOX)) for plane in image])


def resize_float(images: np.ndarray, resolution: tuple[int, int]) -> np.ndarray:
    """(n, C, H, W) floats at `resolution`: centre crop, then the mean of equal blocks.

    Raises:
        InputError: the cropped size is not a multiple of `resolution`.
    """
    if images.shape[2:] == resolution:
        return images
    rows, columns = centre_crop(images.shape[2], images.shape[3], resolution)
    images = images[:, :, rows, columns]
    n, c, height, width = images.shape
    h, w = resolution
    if height % h or width % w:
        raise InputError(
            f"float images of {height} x {width} (cropped) cannot be averaged to {h} x {w}: it does not divide evenly; "
            "choose a resolution that does, or resize them before"
        )
    return images.reshape(n, c, h, height // h, w, width // w).mean(axis=(3, 5), dtype=np.float64).astype(np.float32)
