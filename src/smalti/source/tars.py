"""Tar files, packed or not, read as a stream: nothing is unpacked to disk, links are ignored, sizes are believed only so far."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from smalti.core.errors import EnvironmentFailure, InputError, from_os_error
from smalti.core.text import printable

__all__ = ["TAR_ENDINGS", "holds_file", "is_tar_name", "open_tar", "read_members"]

TAR_ENDINGS = (".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")
_FIRST, _FIRST_MEMBERS = 16 << 20, 64  # unpacked bytes and members within which a published set must show itself


def is_tar_name(path: Path) -> bool:
    """Whether a file is called a tar."""
    return path.name.lower().endswith(TAR_ENDINGS)


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than `limit` bytes: tar headers are believed only so far."""

    def __init__(self, file: IO[bytes], limit: int, what: str) -> None:
        self.file, self.limit, self.left, self.what = file, limit, limit, what

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise InputError(f"{self.what} is refused: it unpacks to more than {self.limit} bytes")
        return data


@contextmanager
def open_tar(path: Path, limit: int) -> Iterator[tarfile.TarFile]:
    """A tar as a stream of members, of at most `limit` bytes unpacked.

    Raises:
        InputError: it is none, damaged or larger; also for what fails within the block.
        SmaltiError: it cannot be read.
    """
    try:
        with open(path, "rb") as raw:
            head = raw.read(6)
            raw.seek(0)
            stream: Any = raw
            if head.startswith(b"\x1f\x8b"):
                stream = gzip.GzipFile(fileobj=raw)
            elif head.startswith(b"BZh"):
                stream = bz2.BZ2File(raw)
            elif head.startswith(b"\xfd7zXZ"):
                stream = lzma.LZMAFile(raw)  # noqa: SIM115  # closed with the file below it
            with tarfile.open(fileobj=_Bounded(stream, limit, str(path)), mode="r|") as archive:
                yield archive
    except InputError:
        raise
    except (
        *(tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, ValueError),
        *(OverflowError, MemoryError, RecursionError),
    ) as error:
        reason = printable(" ".join(str(error).split())[:120])
        raise InputError(f"{path} is not a readable tar file ({reason}); fetch it again") from error
    except OSError as error:
        if error.errno is None:  # of a decompressor
            raise InputError(f"{path} is not a readable tar file ({error}); fetch it again") from error
        raise from_os_error(error, f"read {path}") from error


def holds_file(path: Path, folders: Collection[str], names: Collection[str]) -> bool:
    """Whether one of the first files of a tar is called one of `names`, in a folder called one of `folders` ("": at the top).

    The tars of published sets are packed anew by people, with another file (a readme, `._name` of a Mac) before. What is
    damaged or no tar holds nothing.
    """
    try:
        names_there = _first_files(path, (info := path.stat()).st_size, info.st_mtime_ns)
    except OSError:
        return False
    return any(PurePosixPath(n).name in names and PurePosixPath(n).parent.name in folders for n in names_there)


@functools.lru_cache(maxsize=8)  # several readers ask
def _first_files(path: Path, size: int, time: int) -> tuple[str, ...]:
    found: list[str] = []
    with suppress(InputError, EnvironmentFailure), open_tar(path, _FIRST) as archive:
        for number, member in enumerate(archive):
            if number >= _FIRST_MEMBERS:
                break
            if member.isreg():
                found.append(member.name)
    return tuple(found)


def read_members(path: Path, wanted: Callable[[str], str | None], most: int, limit: int) -> dict[str, bytes]:
    """The wanted files of a tar.

    Args:
        path: the tar.
        wanted: the key of a member by its name, or None where it is not wanted.
        most: bytes of a file.
        limit: bytes of the whole tar, unpacked.

    Raises:
        InputError: damaged or oversized.
    """
    files: dict[str, bytes] = {}
    with open_tar(path, limit) as archive:
        for member in archive:
            key = wanted(member.name) if member.isreg() else None
            if key is None:
                continue
            if member.size > most:
                shown = printable(member.name)
                raise InputError(f"{path} is refused: {shown} claims {member.size} bytes, more than {most}")
            content = archive.extractfile(member)
            assert content is not None
            files[key] = content.read()
    return files
