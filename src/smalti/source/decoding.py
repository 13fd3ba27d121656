"""From the bytes of an image file to pixels: the formats that are read, and the rule that makes them grey or RGB uint8.

Pillow does the decoding; only the formats below are let near it, whatever a file's extension says. What Pillow does not
say of a file's samples (how many bits, which end is white) is read from its own tags; what has no 8-bit scale is refused.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import stat
import struct
import warnings
from typing import TYPE_CHECKING

import numpy as np

from smalti.core.errors import InputError, from_os_error
from smalti.core.text import printable, shortened
from smalti.source.foreign import pointer
from smalti.source.resizing import resize_uint8
from smalti.source.tiff_tags import refusal, with_black_zero

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ["DECODING_RULE", "EXTENSIONS", "decode", "decoder_formats", "picture_pixels", "pixel_count", "read_picture"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
HEAD = 512  # bytes that say what a file is instead of an image
MAX_FILE = 256 << 20  # bytes of an image file
MAX_PIXELS = 64_000_000  # an image; a larger one is taken for a decompression bomb
_TOO_LARGE = f"it has more than {MAX_PIXELS // 10**6} million pixels, so scale it down"

DECODING_RULE = (
    "EXIF orientation applied; first frame of animations; palette to RGB; alpha composited over white; CMYK, YCbCr, "
    "LAB and "
    "HSV to RGB; grey of 9 to 16 bits scaled to 8, round(v 255 / (2^bits - 1)) (16-bit colour: its high byte); colour "
    "profiles not "
    "applied; if every file is grey, one channel, else all become RGB; with a resolution, centre crop to its aspect "
    "ratio, "
    "then area resize (Pillow BOX) where the size differs."
)

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_BAND_PIXELS = 1 << 20  # converted at a time: a whole image in a wide type would be many times its size
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_REMARKS = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")  # chunks that the rule never uses


@functools.cache
def decoder_formats() -> tuple[str, ...]:
    """The formats that this Pillow reads, of those accepted. Call it once before decoding in threads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def pixel_count(data: bytes) -> int:
    """Number of pixels that an image file claims; 0 where it says none."""
    from PIL import Image

    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width * height
    try:
        with Image.open(io.BytesIO(data), formats=decoder_formats()) as image:
            return image.width * image.height
    except Exception:  # `decode` says why
        return 0


def read_picture(
    path: str | os.PathLike[str], resolution: tuple[int, int] | None = None, most: int = MAX_PIXELS
) -> np.ndarray:
    """One image file by DECODING_RULE: the one way in which single pictures are read.

    Args:
        path: the file.
        resolution: see `decode`.
        most: pixels that it may have.

    Returns:
        (C, H, W) uint8, C = 1 (grey) or 3 (RGB).

    Raises:
        InputError: no regular file, no image that can be read, or one of more pixels.
        SmaltiError: the file cannot be opened.
    """
    shown = printable(os.fspath(path))
    try:
        with open(path, "rb", opener=_unblocked) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{shown} is not a regular file; give an image file")
            if status.st_size > MAX_FILE:
                raise InputError(
                    f"{shown} has {status.st_size >> 20} MiB, more than the {MAX_FILE >> 20} of an image file"
                )
            data = file.read()
    except OSError as error:
        raise from_os_error(error, f"read {shown}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown} is not a path ({error}); check it") from error
    claimed = pixel_count(data)
    if claimed > most:
        few = f"{claimed / 1e6:.1f} million pixels, more than {most / 1e6:.1f} million"
        raise InputError(f"{shown} has {few}; make it smaller, 512 x 512 say")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on odd metadata
            return decode(data, resolution)
    except MemoryError:
        raise
    except Exception as error:  # whatever Pillow raises on a damaged file
        reason = shortened(printable(" ".join(str(error).split())), 120)
        raise InputError(f"{shown} is not an image that can be read ({reason})") from error


def _unblocked(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would be waited for


def decode(data: bytes, resolution: tuple[int, int] | None = None) -> np.ndarray:
    """One image by DECODING_RULE.

    Args:
        data: the bytes of an image file.
        resolution: (H, W) to crop and resize to; None keeps the size.

    Returns:
        (C, H, W) uint8, C = 1 (grey) or 3 (RGB).

    Raises:
        Exception: whatever Pillow raises on a damaged file; ValueError for more than 64 million pixels or samples
            (32-bit or signed integers, floats) that have no 8-bit scale.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        try:
            return _decode(data, resolution)
        except ValueError:
            spare = _without_remarks(data)  # which may be longer than Pillow takes
            if spare is None:
                raise
            return _decode(spare, resolution)
    except Image.DecompressionBombError:  # Pillow's own limit is a higher one, but comes before ours
        raise ValueError(_TOO_LARGE) from None
    except UnidentifiedImageError:
        if (turned := with_black_zero(data)) is not None:
            with contextlib.suppress(UnidentifiedImageError):
                return _decode(turned, resolution, white_is_zero=True)
        raise ValueError(
            refusal(data) or pointer(data[:HEAD]) or ("not a readable image" if data else "the file is empty")
        ) from None


def _decode(data: bytes, resolution: tuple[int, int] | None, white_is_zero: bool = False) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=decoder_formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(_TOO_LARGE)
        return picture_pixels(image, resolution, data, white_is_zero)


def picture_pixels(
    image: Picture, resolution: tuple[int, int] | None = None, data: bytes = b"", white_is_zero: bool = False
) -> np.ndarray:
    """An open Pillow image by DECODING_RULE.

    Args:
        image: the image.
        resolution: see `decode`.
        data: the file that it was opened from, where there was one.
        white_is_zero: whether its samples count from white, though it does not say so.

    Returns, raises: see `decode`.
    """
    samples = _Samples.of(image, data)
    samples.white_is_zero |= white_is_zero
    image.load()
    upright = _upright(image)
    pixels: np.ndarray | None = None
    rows = max(_BAND_PIXELS // max(upright.width, 1), 1)
    for top in range(0, upright.height, rows):
        whole = top == 0 and rows >= upright.height
        band = upright if whole else upright.crop((0, top, upright.width, min(top + rows, upright.height)))
        values = samples.to_uint8(band)
        planes = values.transpose(2, 0, 1) if values.ndim == 3 else values[None]
        if whole:
            pixels = np.ascontiguousarray(planes)
            break
        if pixels is None:
            pixels = np.empty((len(planes), upright.height, upright.width), np.uint8)
        pixels[:, top : top + planes.shape[1]] = planes
    if pixels is None:
        raise ValueError("it has no pixels")
    return pixels if resolution is None else resize_uint8(pixels, resolution)


def _upright(image: Picture) -> Picture:
    from PIL import Image

    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # unreadable EXIF says nothing about the pixels
        return image
    turn = Image.Transpose
    flips = (turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM)
    turns = (*flips, turn.TRANSPOSE, turn.ROTATE_270, turn.TRANSVERSE, turn.ROTATE_90)
    if not isinstance(orientation, int) or not 2 <= orientation <= 8:
        return image
    return image.transpose(turns[orientation - 2])


class _Samples:
    """How the samples of one image become 8 bits.

    Args:
        clear: the transparent value of grey or palette, or colour, as Pillow's pixels have it; None for none.
        bits: of a sample, where they are more than 8.
        white_is_zero: whether samples of more than 8 bits count from white.
    """

    def __init__(self, clear: object, bits: int = 16, white_is_zero: bool = False) -> None:
        self.clear, self.bits, self.white_is_zero = clear, bits, white_is_zero

    @classmethod
    def of(cls, image: Picture, data: bytes) -> _Samples:
        """What the file says of them. ValueError for what has no 8-bit scale."""
        clear = image.info.get("transparency")
        if image.mode == "F":
            raise ValueError("32-bit float pixels; save the values as .npy instead")
        if image.format == "TIFF":
            return cls(clear, *_tiff_samples(image))
        if image.format == "PNG" and data.startswith(_PNG) and len(data) > 25:
            return cls(_png_clear(clear, data[24], data[25]))
        if image.mode == "I" and image.format not in ("PNG", "PPM"):
            raise ValueError("32-bit integer pixels, which have no 8-bit scale; save the values as .npy instead")
        return cls(clear)

    def to_uint8(self, image: Picture) -> np.ndarray:
        """(H, W) grey or (H, W, 3) RGB uint8."""
        mode, clear = image.mode, self.clear
        if mode in ("L", "RGB") and clear is None:
            return np.array(image)
        if mode.startswith("I"):
            return self._from_more_bits(np.asarray(image))
        if mode in ("1", "L", "LA", "La"):
            if mode in ("1", "L") and (clear is None or isinstance(clear, int)):
                grey = np.array(image.convert("L"))
                return grey if clear is None else np.where(grey == clear, np.uint8(255), grey)
            return _over_white(np.asarray(image.convert("LA")))[..., 0]
        if mode in ("RGBA", "RGBa", "PA") or clear is not None:
            return _over_white(np.asarray(image.convert("RGBA")))
        return np.array(image.convert("RGB"))

    def _from_more_bits(self, values: np.ndarray) -> np.ndarray:
        values = values.astype(np.int64)
        most = (1 << self.bits) - 1
        if values.min() < 0 or values.max() > most:
            raise ValueError(f"integer pixels outside 0 to {most}; save the values as .npy instead")
        scaled = ((most - values if self.white_is_zero else values) * 255 + most // 2) // most
        grey = scaled.astype(np.uint8)
        return np.where(values == self.clear, np.uint8(255), grey) if isinstance(self.clear, int) else grey


def _tiff_samples(image: Picture) -> tuple[int, bool]:
    """Bits of a sample, and whether 0 is white, where Pillow leaves that to its caller: grey of more than 8 bits."""
    tags = getattr(image, "tag_v2", {})
    bits, kinds = _all(tags.get(258, 1)), _all(tags.get(339, 1))
    if not image.mode.startswith("I"):
        if 2 in kinds:  # which Pillow takes for unsigned
            raise ValueError("signed integer pixels, which have no 8-bit scale; save the values as .npy instead")
        return 16, False
    if len(bits) != 1 or not isinstance(bits[0], int) or not 8 < bits[0] <= 16:
        raise ValueError(f"{bits[0]}-bit integer pixels, which have no 8-bit scale; save the values as .npy instead")
    if kinds[0] != 1:
        raise ValueError("signed integer pixels, which have no 8-bit scale; save the values as .npy instead")
    if tags.get(262, 1) not in (0, 1):
        raise ValueError(f"grey of more than 8 bits with the TIFF colour code {tags.get(262)}; save it as 8 bits")
    return bits[0], tags.get(262, 1) == 0


def _all(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) and value else (value,)


def _png_clear(clear: object, depth: int, kind: int) -> object:
    """The transparent colour in the units of Pillow's pixels: the file has it in its own, of `depth` bits."""
    if clear is None or isinstance(clear, bytes):
        return clear
    if kind == 0 and isinstance(clear, int) and depth < 8:
        return clear * 255 // ((1 << depth) - 1)
    if kind == 2 and depth == 16:
        raise ValueError("a transparent colour of 16 bits a channel; save it with an alpha channel, or 8 bits")
    return clear


def _without_remarks(data: bytes) -> bytes | None:
    """A PNG without its texts and colour profile; None for another file, or one that has none."""
    if not data.startswith(_PNG):
        return None
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] not in _PNG_REMARKS:
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    spare = b"".join(kept)
    return spare if len(spare) < len(data) else None


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """(H, W, K + 1) uint8 with alpha last, over white: (H, W, K)."""
    colour, alpha = pixels[..., :-1].astype(np.uint32), pixels[..., -1:].astype(np.uint32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
