"""Files that people have and that no reader takes: what they are, told by their first bytes or by their names, and what to do.

pointer    a text that stands for the file (Git LFS), or a page that says why there is none: told before any reader looks
foreign    data of other programs: told where no reader takes them
"""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["foreign", "pointer"]

_FILES = "save its images as files, a folder a class"
_UNPACK = "unpack it and give the folder of images"
_TO_PNG = "save it as PNG"
_PACKED = "unpack it, or name it {} if it is a tar"
_HEADS = {
    b"Rar!": ("a RAR archive", _UNPACK),
    b"7z\xbc\xaf": ("a 7z archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("packed with zstd", _UNPACK),
    b"\x1f\x8b": ("packed with gzip", _PACKED.format(".tar.gz")),
    b"\xfd7zXZ": ("packed with xz", _PACKED.format(".tar.xz")),
    b"BZh": ("packed with bzip2", _PACKED.format(".tar.bz2")),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", "read it with h5py and save its images as .npz under the name images"),
    b"SQLite format 3": ("an SQLite database", _FILES),
    b"%PDF": ("a PDF", "save its images as files"),
    b"\x0a\x23\xd7\xce": ("an MXNet RecordIO file", _FILES),
    b"ARROW1": ("an Arrow (Feather) file", "save it as .parquet"),
    b"\x76\x2f\x31\x01": ("an OpenEXR image", _TO_PNG),
    b"SIMPLE  =": ("a FITS file", "save its images as .npy"),
    b"<svg": ("an SVG drawing", _TO_PNG),
}
_BOXES = {b"heic": "a HEIC image", b"heix": "a HEIC image", b"mif1": "a HEIF image", b"avif": "an AVIF image"}
_NAMES = {
    ".tfrecord": ("a TFRecord file", "read it with TensorFlow and save its images as files, or as .npz"),
    ".tfrecords": ("a TFRecord file", "read it with TensorFlow and save its images as files, or as .npz"),
    ".csv": ("a table of text", "save its images as .npz, or as files"),
    ".beton": ("an FFCV file", _FILES),
    ".nii": ("a NIfTI volume", "save its slices as .npy"),
    ".nii.gz": ("a NIfTI volume", "save its slices as .npy"),
    ".dcm": ("a DICOM image", _TO_PNG),
    ".safetensors": ("weights of a network, not images", "networks are given by --network, or to Network.load"),
    ".ckpt": ("weights of a network, not images", "networks are given by --network, or to Network.load"),
}


def pointer(head: bytes) -> str | None:
    """What a file is instead of what its name says, from its first bytes, with the remedy; None for anything else."""
    start = head.lstrip()[:40].lower()
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself; run git lfs pull in its repository"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page, not the file itself: the download failed; fetch it again"
    return None


def foreign(path: Path, head: bytes | None) -> str | None:
    """What a file (with its first bytes) or a folder (None) is that no reader takes, with the remedy; None where that is unknown."""
    if head is None:
        with contextlib.suppress(OSError):  # a folder that may not be looked into is said by its reader
            if (path / "data.mdb").is_file():
                return f"an LMDB database (LSUN is one); {_FILES}"
            if any((path / name).is_file() for name in (".zarray", ".zgroup", "zarr.json")):
                return "a Zarr array; save its images as .npy"
        return None
    found = next((said for magic, said in _HEADS.items() if head.startswith(magic)), None)
    name = path.name.lower()
    if head[4:8] == b"ftyp":
        found = (_BOXES[head[8:12]], _TO_PNG) if head[8:12] in _BOXES else ("a video", "save its frames as files")
    elif head[16:20] == b"\xde\xc0\xef\xbe":
        found = ("an LMDB database (LSUN is one)", _FILES)
    elif head[128:132] == b"DICM":
        found = _NAMES[".dcm"]
    elif _is_tfrecord(head):
        found = _NAMES[".tfrecord"]
    elif head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        found = ("a Python pickle, which is never loaded", "save its arrays as .npz")
    else:
        found = next((said for ending, said in _NAMES.items() if name.endswith(ending)), found)
    return None if found is None else "; ".join(found)


def _is_tfrecord(head: bytes) -> bool:
    """Whether the first eight bytes are a length with its checksum behind them."""
    if len(head) < 12:
        return False
    crc = _crc32c(head[:8])
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return masked == int.from_bytes(head[8:12], "little")


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
