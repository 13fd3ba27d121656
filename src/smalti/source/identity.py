"""What a file is, for the key of what was decoded from it, without reading all of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from smalti.core.errors import from_os_error

__all__ = ["file_identity", "files_identity"]

END_BYTES = 1 << 16


def file_identity(path: Path) -> dict[str, Any]:
    """Size, times, and a hash of the ends of a file.

    Raises:
        SmaltiError: it cannot be read.
    """
    try:
        info = path.stat()
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read(END_BYTES))
            file.seek(max(info.st_size - END_BYTES, 0))
            digest.update(file.read(END_BYTES))
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    times = [info.st_mtime_ns, info.st_ctime_ns]
    return {"kind": "file", "size": info.st_size, "times": times, "ends": digest.hexdigest()}


def files_identity(paths: dict[str, Path]) -> dict[str, Any]:
    """Those of several files, by what each is in the data set."""
    return {"kind": "files", "files": {name: file_identity(path) for name, path in paths.items()}}
