"""From the bytes of an image file to pixels: the formats that are read, and the rule that makes them grey or RGB uint8.

Pillow does the decoding; only the formats below are let near it, whatever a file's extension says.
"""

from __future__ import annotations

import functools
import io

import numpy as np

from smalti.source.resizing import resize_uint8

__all__ = ["DECODING_RULE", "EXTENSIONS", "decode", "decoder_formats"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MAX_PIXELS = 64_000_000  # an image; a larger one is taken for a decompression bomb
_TOO_LARGE = f"it has more than {MAX_PIXELS // 10**6} million pixels, so scale it down"

DECODING_RULE = (
    "EXIF orientation applied; first frame of animations; palette to RGB; alpha composited over white; CMYK, YCbCr, "
    "LAB and "
    "HSV to RGB; 16-bit grey scaled to 8 bits, round(v 255/65535) (16-bit colour: its high byte); colour profiles not "
    "applied; if every file is grey, one channel, else all become RGB; with a resolution, centre crop to its aspect "
    "ratio, "
    "then area resize (Pillow BOX) where the size differs."
)

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")


@functools.cache
def decoder_formats() -> tuple[str, ...]:
    """The formats that this Pillow reads, of those accepted. Call it once before decoding in threads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def decode(data: bytes, resolution: tuple[int, int] | None = None) -> np.ndarray:
    """One image by DECODING_RULE.

    Args:
        data: the bytes of an image file.
        resolution: (H, W) to crop and resize to; None keeps the size.

    Returns:
        (C, H, W) uint8, C = 1 (grey) or 3 (RGB).

    Raises:
        Exception: whatever Pillow raises on a damaged file; ValueError for more than 64 million pixels or a mode
            (32-bit integer or float) that has no 8-bit scale.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=decoder_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(_TOO_LARGE)
            image.load()
            pixels = _pixels(_upright(image))
    except Image.DecompressionBombError:  # Pillow's own limit is a higher one, but comes before ours
        raise ValueError(_TOO_LARGE) from None
    except UnidentifiedImageError:
        raise ValueError("not a readable image" if data else "the file is empty") from None
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if pixels.ndim == 3 else pixels[None]
    return planes if resolution is None else resize_uint8(planes, resolution)


def _upright(image):  # type: ignore[no-untyped-def]  # PIL is imported lazily
    from PIL import Image

    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # unreadable EXIF says nothing about the pixels
        return image
    turn = Image.Transpose
    turns = (turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM)
    turns = (*turns, turn.TRANSPOSE, turn.ROTATE_270, turn.TRANSVERSE, turn.ROTATE_90)
    if not isinstance(orientation, int) or not 2 <= orientation <= 8:
        return image
    return image.transpose(turns[orientation - 2])


def _pixels(image) -> np.ndarray:  # type: ignore[no-untyped-def]
    """(H, W) grey or (H, W, 3) RGB uint8."""
    mode, clear = image.mode, image.info.get("transparency")
    if mode in ("L", "RGB") and clear is None:
        return np.array(image)
    if mode == "F":
        raise ValueError("32-bit float pixels; save the values as .npy instead")
    if mode.startswith("I"):
        return _from_sixteen_bits(np.asarray(image), clear)
    if mode in ("1", "L", "LA", "La"):
        if clear is None and mode in ("1", "L"):
            return np.array(image.convert("L"))
        return _over_white(np.asarray((image.convert("L") if mode == "1" else image).convert("LA")))[..., 0]
    if mode in ("RGBA", "RGBa", "PA") or clear is not None:
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _from_sixteen_bits(values: np.ndarray, clear: object) -> np.ndarray:
    values = values.astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit integer pixels outside 0 to 65535; save the values as .npy instead")
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    return np.where(values == clear, np.uint8(255), grey) if isinstance(clear, int) else grey


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """(H, W, K + 1) uint8 with alpha last, over white: (H, W, K)."""
    colour, alpha = pixels[..., :-1].astype(np.uint32), pixels[..., -1:].astype(np.uint32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
