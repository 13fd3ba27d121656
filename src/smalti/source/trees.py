"""Files by relative path, wherever they are: in a folder or inside a zip. Nothing is ever extracted."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.core.errors import InputError, SmaltiError, from_os_error
from smalti.core.text import printable

__all__ = [
    "Tree",
    "central_directory_hash",
    "check_member",
    "folder_tree",
    "is_hidden",
    "open_zip",
    "zip_errors",
    "zip_identity",
    "zip_tree",
]

MAX_MEMBER = 256 << 20  # bytes of one image file, or dataset.json
MAX_RATIO = 200  # of compression, for files of more than a mebibyte: images do not compress like that, bombs do
MAX_DEPTH = 100
_BROKEN = {
    errno.ENOENT: "a broken link",
    errno.ENOTDIR: "a broken link",
    errno.ELOOP: "a link to itself",
    errno.ENAMETOOLONG: "a broken link",
}


@dataclass(frozen=True)
class Tree:
    """Files of a data set.

    Attributes:
        files: relative paths ("cat/1.png"), sorted; hidden files and __MACOSX left out.
        read: bytes of a file, by relative path; may be called from several threads.
        size: how many those are (are claimed to be), by relative path.
        ignored: (path, reason) of what is there but is no regular file.
    """

    files: tuple[str, ...]
    read: Callable[[str], bytes]
    size: Callable[[str], int]
    ignored: tuple[tuple[str, str], ...] = ()


def is_hidden(path: str) -> bool:
    """Whether a path is one that nobody means to be looked at: its name, or a folder's, starts with a dot."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def folder_tree(folder: Path, wanted: Callable[[str], bool]) -> tuple[Tree, dict[str, Any]]:
    """The files below `folder`, links followed, and the identity of the wanted ones: paths, sizes, times.

    Raises:
        SmaltiError: the folder cannot be read.
    """
    found: list[tuple[str, os.stat_result]] = []
    ignored: list[tuple[str, str]] = []
    try:
        _walk(folder, "", (), found, ignored)
    except OSError as error:
        raise from_os_error(error, f"read {printable(os.fsdecode(error.filename or folder))}") from error
    found.sort(key=lambda item: item[0])
    digest = hashlib.sha256()
    for path, info in found:
        if not wanted(path):
            continue
        # The change time too: archives restore modification times, so another data set can have the same ones.
        digest.update(os.fsencode(path) + struct.pack("<xqqq", info.st_size, info.st_mtime_ns, info.st_ctime_ns))
    identity = {"kind": "folder", "digest": digest.hexdigest()}
    sizes = {path: info.st_size for path, info in found}

    def read(path: str) -> bytes:
        if sizes[path] > MAX_MEMBER:
            raise ValueError(f"{sizes[path]} bytes are more than the limit of {MAX_MEMBER}")
        return (folder / path).read_bytes()

    return Tree(tuple(sizes), read, sizes.__getitem__, tuple(sorted(ignored))), identity


def _walk(
    folder: Path,
    prefix: str,
    above: tuple[tuple[int, int], ...],
    found: list[tuple[str, os.stat_result]],
    ignored: list[tuple[str, str]],
) -> None:
    here = os.stat(folder)
    if (here.st_dev, here.st_ino) in above:
        ignored.append((prefix, "a link to a folder above it"))
        return
    if len(above) >= MAX_DEPTH:
        ignored.append((prefix, f"more than {MAX_DEPTH} folders deep"))
        return
    above = (*above, (here.st_dev, here.st_ino))
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if is_hidden(entry.name):
                continue
            try:
                info = entry.stat()
            except OSError as error:
                if error.errno not in _BROKEN or not entry.is_symlink():
                    raise
                ignored.append((path, _BROKEN[error.errno]))
                continue
            if stat.S_ISDIR(info.st_mode):
                _walk(folder / entry.name, path + "/", above, found, ignored)
            elif stat.S_ISREG(info.st_mode):
                found.append((path, info))
            else:
                ignored.append((path, "not a regular file"))


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip for reading.

    Raises:
        InputError: not a zip, a damaged one, or one whose members overlap.
        SmaltiError: it cannot be read.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115  # a file of our own is not closed under another thread's feet
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError, OSError) as error:
            raise InputError(f"{path} is not a zip file, or a damaged one ({error}); fetch it again") from error
        with archive:
            if sum(info.compress_size for info in archive.infolist()) > path.stat().st_size:
                raise InputError(f"{path} is refused: its members overlap (a zip bomb)")
            yield archive


def check_member(info: zipfile.ZipInfo, archive: Path, limit: int | None = MAX_MEMBER) -> None:
    """Raise InputError for a member that is encrypted, oddly compressed, larger than `limit` or a bomb."""
    name = printable(info.filename)
    if info.flag_bits & 1:
        raise InputError(f"{archive} is encrypted ({name}); decrypt it first")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{archive}: {name} is neither stored nor deflated; pack the zip again with plain deflate")
    if limit is not None and info.file_size > limit:
        raise InputError(f"{archive} is refused: {name} claims {info.file_size} bytes, more than the limit of {limit}")
    if info.file_size > 1 << 20 and info.file_size > MAX_RATIO * info.compress_size:
        raise InputError(
            f"{archive} is refused: {name} claims {info.file_size} bytes "
            f"from {info.compress_size} (a decompression bomb)"
        )


def zip_tree(archive: zipfile.ZipFile, path: Path, wanted: Callable[[str], bool]) -> Tree:
    """The files of a zip.

    Args:
        archive: open; it must stay open while the tree is read.
        path: where it is, for messages.
        wanted: whether a relative path will be read: only these are checked for size.

    Raises:
        InputError: a path that leaves the archive (absolute, "..", a drive letter); a member that `check_member`
            refuses.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    ignored: list[tuple[str, str]] = []
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
            raise InputError(f"{path} is refused: the member {printable(info.filename)!r} leaves the archive")
        name = posixpath.normpath(name)
        if info.is_dir() or is_hidden(name):
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            ignored.append((name, "a link" if kind == stat.S_IFLNK else "not a regular file"))
            continue
        if wanted(name):
            check_member(info, path)
        if name in members:
            ignored.append((name, "another member has the same name; the last one counts"))
        members[name] = info
    return Tree(
        tuple(sorted(members)),
        lambda name: archive.read(members[name]),
        lambda name: members[name].file_size,
        tuple(ignored),
    )


@contextmanager
def zip_errors(path: Path) -> Iterator[None]:
    """What reading a member of a damaged or odd zip raises, as one InputError."""
    try:
        yield
    except InputError:
        raise
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError),
        *(OverflowError, UnicodeError),
    ) as error:
        if isinstance(error, SmaltiError):
            raise
        raise InputError(f"{path} is damaged ({' '.join(str(error).split())[:120]}); fetch or save it again") from error


def zip_identity(path: Path) -> dict[str, Any]:
    """What a zip is, for the key of what was decoded from it: its size, time and directory.

    Raises:
        SmaltiError: it cannot be read, or is no zip.
    """
    try:
        info = path.stat()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    directory = central_directory_hash(path)
    return {"kind": "zip", "size": info.st_size, "time": info.st_mtime_ns, "directory": directory}


def central_directory_hash(path: Path) -> str:
    """sha256 of the raw central directory at the end of a zip (every name, size and CRC), without parsing it.

    Raises:
        InputError: there is none.
        SmaltiError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            tail_at = file.seek(max(size - 65557, 0))
            tail = file.read()
            at = tail.rfind(b"PK\5\6")
            if at < 0 or len(tail) - at < 22:
                raise InputError(f"{path} is not a zip file, or it is cut off; fetch it again")
            length = struct.unpack_from("<I", tail, at + 12)[0]
            end = tail_at + at
            locator = tail[at - 20 : at] if at >= 20 else b""
            if locator.startswith(b"PK\6\7"):  # zip64: its end record lies between the directory and the locator
                for record_at in (end - 20 - 56, struct.unpack_from("<Q", locator, 8)[0]):
                    file.seek(min(max(record_at, 0), size))
                    record = file.read(56)
                    if record.startswith(b"PK\6\6") and len(record) == 56:
                        length, end = struct.unpack_from("<Q", record, 40)[0], record_at
                        break
            digest = hashlib.sha256(tail[at:])
            left = min(length, end)
            file.seek(end - left)
            while left > 0 and (block := file.read(min(left, 1 << 20))):
                digest.update(block)
                left -= len(block)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    return digest.hexdigest()
