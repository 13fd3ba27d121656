"""The decoding rule, in numbers."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smalti.core.errors import InputError
from smalti.source import Source
from smalti.source.decoding import decode, read_picture
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


def tiff(values: np.ndarray, photometric: int = 1, bits: int = 16, kind: int = 1) -> bytes:
    """An uncompressed grey TIFF in the byte order of the values: SampleFormat `kind` (1 unsigned, 2 signed, 3 float)."""
    order, start = (">", b"MM\0*") if values.dtype.byteorder == ">" else ("<", b"II*\0")
    data = values.tobytes()
    height, width = values.shape
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 3, height), (279, 4, len(data)), (339, 3, kind)]
    forms = {3: "HHIH2x", 4: "HHII"}
    entries = b"".join(struct.pack(order + forms[type_], tag, type_, 1, value) for tag, type_, value in tags)
    return (
        start
        + struct.pack(order + "I", 8 + len(data))
        + data
        + struct.pack(order + "H", len(tags))
        + entries
        + bytes(4)
    )


@pytest.mark.parametrize("photometric", [0, 1])
def test_tiff_white_is_zero(photometric: int) -> None:
    """Case 06: with 8 bits Pillow turns it, with more it does not."""
    values = np.arange(64).reshape(8, 8)
    eight = decode(tiff((values * 4).astype("u1"), photometric, 8))
    sixteen = decode(tiff((values * 1024).astype("<u2"), photometric))
    assert (decode(tiff((values * 1024).astype(">u2"), photometric)) == sixteen).all()
    exact = np.round(values * 1024 * 255 / 65535)
    assert (eight[0] == (values * 4 if photometric else 255 - values * 4)).all()
    assert (sixteen[0] == (exact if photometric else 255 - exact)).all()


def test_tiff_of_twelve_bits() -> None:
    values = np.array([[0, 4095, 2048, 1]], np.uint16)
    packed = np.array([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x01], np.uint8)  # two values in three bytes
    data = bytearray(tiff(packed[None], bits=12))
    data[data.index(struct.pack("<HHII", 256, 3, 1, 6)) + 8] = 4  # the width is in pixels
    assert decode(bytes(data))[0, 0].tolist() == [round(v * 255 / 4095) for v in values[0].tolist()]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tiff(np.array([[1, 2]], "<u4"), bits=32), "32-bit integer pixels, which have no 8-bit scale"),
        (tiff(np.array([[1, 2]], "<i2"), kind=2), "signed integer pixels"),
        (tiff(np.array([[1, 2]], "<i4"), bits=32, kind=2), "32-bit integer pixels"),
        (tiff(np.array([[1, -2]], "i1"), bits=8, kind=2), "signed integer pixels"),
        (tiff(np.array([[1, 2]], "<f4"), bits=32, kind=3), "float pixels"),
        (tiff(np.array([[1, 2]], "<f2"), kind=3), "16-bit float pixels.*save the values as .npy"),
        (tiff(np.array([[1, 2]], ">f2"), kind=3), "16-bit float pixels"),
        (tiff(np.array([[1, 2]], "<f8"), bits=64, kind=3), "64-bit float pixels"),
        (tiff(np.array([[1, 2]], ">u4"), bits=32), "32-bit integer pixels"),
        (tiff(np.array([[1, 2]], "<u8"), bits=64), "64-bit integer pixels"),
        (tiff(np.array([[1, 2]], "<c8"), bits=64, kind=5), "64-bit complex pixels"),
        (tiff(np.array([[1, 2]], "u1"), photometric=5, bits=8), "the colour code 5 .*save it as PNG"),
        (b"MM\0*" + bytes(4), "TIFF"),
    ],
)
def test_samples_without_a_scale_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode(data)


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    others = b"".join(chunk(*item) for item in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + others + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("depth", "row", "clear", "expected"),
    [
        (1, b"\x40", 1, [0, 255]),
        (1, b"\x40", 0, [255, 255]),
        (2, b"\x60", 1, [255, 170]),
        (4, b"\x1c", 1, [255, 204]),
        (8, b"\x01\x0c", 1, [255, 12]),
        (16, b"\x01\x01\x0c\x0c", 0x0101, [255, 12]),
    ],
)
def test_transparent_grey_at_every_depth(depth: int, row: bytes, clear: int, expected: list[int]) -> None:
    data = png(2, 1, depth, 0, b"\0" + row, (b"tRNS", struct.pack(">H", clear)))
    assert decode(data)[0, 0].tolist() == expected


def test_a_transparent_colour_of_sixteen_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="transparent colour of 16 bits"):
        decode(png(1, 1, 16, 2, b"\0" + bytes(6), (b"tRNS", bytes(6))))


@pytest.mark.parametrize(
    "remark",
    [
        (b"iCCP", b"icc\0\0" + zlib.compress(bytes(1_500_000))),
        (b"zTXt", b"parameters\0\0" + zlib.compress(b'{"w": 1}' * 200_000)),
        (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(b'{"w": 1}' * 200_000)),
    ],
)
def test_long_metadata_is_no_reason_to_refuse_pixels(remark: tuple[bytes, bytes]) -> None:
    """Case 16."""
    assert decode(png(1, 1, 8, 2, b"\0\x09\x08\x07", remark))[:, 0, 0].tolist() == [9, 8, 7]
    with pytest.raises(ValueError, match="64 million pixels"):
        decode(png(9000, 9000, 8, 2, b"\0\x09\x08\x07", remark))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "CMYK", "P", "I;16", "RGB"])
def test_large_images_are_converted_in_bands(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    shape = {"RGBA": (9, 7, 4), "LA": (9, 7, 2), "CMYK": (9, 7, 4), "RGB": (9, 7, 3)}.get(mode, (9, 7))
    values = rng.integers(0, 65536 if mode == "I;16" else 256, shape).astype("<u2" if mode == "I;16" else np.uint8)
    image = {"P": lambda: Image.fromarray(values).convert("P"), "I;16": lambda: Image.fromarray(values)}.get(
        mode, lambda: Image.fromarray(values, mode)
    )()
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(image, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    whole = decode(data)
    monkeypatch.setattr("smalti.source.decoding._BAND_PIXELS", 20)
    assert (decode(data) == whole).all()
    assert whole.shape[1:] == (7, 9)


def test_a_single_picture(tmp_path: Path, encode, rgb: np.ndarray) -> None:
    """The one way in which commands and functions read a picture."""
    path = tmp_path / "a.png"
    path.write_bytes(encode(rgb[0]))
    assert (read_picture(path) == rgb[0].transpose(2, 0, 1)).all()
    assert read_picture(str(path), (2, 2)).shape == (3, 2, 2)
    data = path.read_bytes()
    bad: dict[str, bytes | None] = {"cut off.png": data[:60], "text.png": b"text", "empty.png": b"", "folder": None}
    says = ["is not an image that can be read", "not a readable image", "the file is empty", "Is a directory"]
    for (name, content), said in zip(bad.items(), says, strict=True):
        there = tmp_path / name
        there.mkdir() if content is None else there.write_bytes(content)
        with pytest.raises(InputError, match=said) as caught:
            read_picture(there)
        assert name in str(caught.value)
        assert len(str(caught.value)) < len(str(there)) + 180
    os.mkfifo(tmp_path / "fifo")
    for odd in (tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(InputError, match="is not a regular file"):
            read_picture(odd)
    with pytest.raises(InputError, match="No such file"):
        read_picture(tmp_path / "nothing.png")
    with pytest.raises(InputError, match="is not a path"):
        read_picture("a\0b")
    with pytest.raises(InputError, match=r"has 0\.0 million pixels, more than 0\.0 million"):
        read_picture(path, most=19)
