"""The decoding rule, in numbers."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from smalti.core.errors import InputError
from smalti.source import Source
from smalti.source.decoding import decode
from smalti.source.resizing import centre_crop, resize_float, resize_uint8


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def test_grey_and_bilevel(encode) -> None:
    grey = np.array([[0, 7], [200, 255]], np.uint8)
    assert (decode(encode(grey)) == grey[None]).all()
    assert decode(saved(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"))).tolist() == [[[0, 255]]]


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_is_exact(rgb: np.ndarray, encode, format: str) -> None:
    assert (decode(encode(rgb[0], format)) == rgb[0].transpose(2, 0, 1)).all()


def test_webp_and_jpeg(rgb: np.ndarray, encode) -> None:
    assert (decode(encode(rgb[0], "WEBP", lossless=True)) == rgb[0].transpose(2, 0, 1)).all()
    flat = np.full((8, 8, 3), (10, 100, 200), np.uint8)
    assert np.abs(decode(encode(flat, "JPEG", quality=95)).astype(int) - flat.transpose(2, 0, 1)).max() <= 3


def test_palette_becomes_rgb() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert decode(saved(image)).tolist() == [[[10, 40]], [[20, 50]], [[30, 60]]]
    assert decode(saved(image, transparency=1)).tolist() == [[[10, 255]], [[20, 255]], [[30, 255]]]
    assert decode(saved(image, transparency=bytes([255, 51])))[:, 0, 1].tolist() == [212, 214, 216]


def test_alpha_is_over_white() -> None:
    pixels = np.array([[[100, 0, 255, 0], [100, 0, 255, 255], [100, 0, 255, 51], [1, 0, 255, 128]]], np.uint8)
    out = decode(saved(Image.fromarray(pixels)))
    assert out[:, 0, 0].tolist() == [255, 255, 255]
    assert out[:, 0, 1].tolist() == [100, 0, 255]
    assert out[:, 0, 2].tolist() == [224, 204, 255]  # 0.2 c + 0.8 * 255
    assert out[:, 0, 3].tolist() == [128, 127, 255]  # 127.502 and 127.0, rounded
    grey = np.array([[[100, 51]]], np.uint8)
    assert decode(saved(Image.fromarray(grey, "LA"))).tolist() == [[[224]]]


def test_a_transparent_colour_is_white(rgb: np.ndarray) -> None:
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    assert decode(saved(Image.fromarray(pixels), transparency=(1, 2, 3)))[:, 0].T.tolist() == [
        [255, 255, 255],
        [4, 5, 6],
    ]
    assert decode(saved(Image.fromarray(np.array([[9, 10]], np.uint8)), transparency=9)).tolist() == [[[255, 10]]]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey(format: str) -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65535, 65406, 65407]], np.uint16)
    expected = [round(int(v) * 255 / 65535) for v in values[0]]
    assert decode(saved(Image.fromarray(values), format))[0, 0].tolist() == expected == [0, 0, 1, 1, 128, 255, 254, 255]


def test_sixteen_bit_pgm() -> None:
    assert decode(b"P5 2 1 65535\n" + bytes([0x80, 0x80, 0xFF, 0xFF])).tolist() == [[[128, 255]]]


def test_cmyk() -> None:
    image = Image.new("CMYK", (2, 2), (0, 255, 255, 0))
    assert decode(saved(image, "TIFF"))[:, 0, 0].tolist() == [255, 0, 0]


def test_floats_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="float pixels"):
        decode(saved(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))
    wide = Image.fromarray(np.array([[70000]], np.int32))
    with pytest.raises(ValueError, match="32-bit integer"):
        decode(saved(wide, "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    from PIL import ImageOps

    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(image, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert (decode(data)[0] == expected).all()
    if orientation == 6:
        assert (expected == np.rot90(pixels, -1)).all()


def test_first_frame(rgb: np.ndarray) -> None:
    frames = [Image.fromarray(np.full((2, 2), value, np.uint8)) for value in (50, 90)]
    for format in ("GIF", "TIFF"):
        out = decode(saved(frames[0], format, save_all=True, append_images=frames[1:]))
        assert out.shape[1:] == (2, 2)
        assert (out == 50).all()


def test_all_grey_is_one_channel_and_one_colour_makes_three(tmp_path, encode, write_folder) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    colour = np.arange(100, 112, dtype=np.uint8).reshape(2, 2, 3)
    members = {f"{k}.png": encode(image) for k, image in enumerate(grey)}
    assert Source.open(write_folder(tmp_path / "x", members)).shape == (1, 2, 2)
    members |= {"2b.png": encode(colour), "9.png": encode(grey[0])}
    source = Source.open(write_folder(tmp_path / "x", members))
    expected = [np.repeat(image[None], 3, 0) for image in (*grey, grey[0])]
    expected.insert(3, colour.transpose(2, 0, 1))
    assert (source.images == np.stack(expected)).all()


@pytest.mark.parametrize(
    ("size", "resolution", "crop"),
    [
        ((6, 10), (3, 3), (0, 6, 2, 8)),
        ((10, 6), (3, 3), (2, 8, 0, 6)),
        ((7, 4), (2, 2), (1, 5, 0, 4)),
        ((8, 8), (2, 4), (2, 6, 0, 8)),
        ((1, 100), (1, 1), (0, 1, 49, 50)),
        ((1, 100), (64, 1), (0, 1, 49, 50)),
    ],
)
def test_centre_crop(size: tuple[int, int], resolution: tuple[int, int], crop: tuple[int, ...]) -> None:
    rows, columns = centre_crop(*size, resolution)
    assert (rows.start, rows.stop, columns.start, columns.stop) == crop


def test_resize_is_the_mean_of_the_cropped_area() -> None:
    image = np.zeros((1, 2, 6), np.uint8)
    image[0, :, :1] = image[0, :, 5:] = 255  # cropped away
    image[0, :, 1:3] = [[10, 20], [30, 40]]
    image[0, :, 3:5] = [[100, 100], [200, 200]]
    assert resize_uint8(image, (1, 2)).tolist() == [[[25, 150]]]
    assert resize_uint8(image, (2, 6)) is image
    floats = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert resize_float(floats, (2, 2)).ravel().tolist() == [2.5, 4.5, 10.5, 12.5]
    with pytest.raises(InputError, match="does not divide evenly"):
        resize_float(floats, (3, 3))


def test_resolution_of_files(tmp_path, encode, write_folder) -> None:
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = np.kron(np.array([[10, 20], [30, 40]]), np.ones((2, 2)))[..., None]
    small = np.full((2, 2, 3), 7, np.uint8)
    path = write_folder(tmp_path / "x", {"a.png": encode(wide), "b.png": encode(small)})
    source = Source.open(path, resolution=2)
    assert source.images[0].tolist() == [[[10, 20], [30, 40]]] * 3
    assert (source.images[1] == 7).all()
    assert Source.open(path, resolution=(1, 2)).shape == (3, 1, 2)


@pytest.mark.parametrize("side", [9_000, 20_000])
def test_too_many_pixels_are_said_in_our_words(side: int, tmp_path, encode, write_folder) -> None:
    """The second is beyond Pillow's own limit, too."""
    data = bytearray(encode(np.zeros((2, 2), np.uint8)))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    write_folder(tmp_path / "big", {"a.png": bytes(data), "b.png": encode(np.zeros((2, 2), np.uint8))})
    said = "a.png cannot be decoded: it has more than 64 million pixels, so scale it down"
    with pytest.raises(InputError, match=said):
        Source.open(tmp_path / "big")
    assert len(Source.open(tmp_path / "big", skip_bad=True)) == 1
