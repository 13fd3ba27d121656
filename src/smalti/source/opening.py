"""From a path or a name to a data set: the table of the readers, and which of them a path belongs to."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smalti.core.errors import InputError, from_os_error
from smalti.core.text import printable, shortened
from smalti.source.checks import check_resolution
from smalti.source.conventions import check_layout_name
from smalti.source.decoding import EXTENSIONS
from smalti.source.foreign import foreign, pointer
from smalti.source.format import HEAD_BYTES, Format, Request, Stored
from smalti.source.formats.cifar import CIFAR
from smalti.source.formats.cifar_binary import CIFAR_BINARY
from smalti.source.formats.digits import DIGITS, open_digits
from smalti.source.formats.idx import IDX
from smalti.source.formats.image_files import FOLDER, ZIP
from smalti.source.formats.matlab import MATLAB
from smalti.source.formats.numpy_arrays import NPY, NPZ
from smalti.source.formats.parquet import PARQUET
from smalti.source.formats.stl10 import STL10
from smalti.source.formats.tar import TAR
from smalti.source.formats.torch_tensors import TORCH
from smalti.source.listing import NoImagesError

__all__ = ["FORMATS", "open_stored"]

# the first that matches reads; tars of published sets come before tars of images, folders with a name before folders of images
FORMATS: tuple[Format, ...] = (*(MATLAB, STL10, PARQUET, IDX, CIFAR_BINARY, CIFAR, TORCH, NPZ, NPY, TAR, ZIP, FOLDER),)
NAMES = (DIGITS,)
MOST_LOOKED_AT = 100  # entries of a folder without images


def accepted() -> str:
    """What is accepted, for messages."""
    return f"{', '.join(reader.accepts for reader in reversed(FORMATS))}, or the name digits"


def open_stored(
    given: Any,
    resolution: int | Sequence[int] | None = None,
    layout: str | None = None,
    split: str | None = None,
    skip_bad: bool = False,
    progress: bool | None = None,
) -> Stored:
    """Open a data set, from the cache where it has been decoded before.

    What exists as a path is a path; only what does not is a name (so a folder called `digits` beside you wins).

    Raises:
        InputError: no such path or name, a format that is not accepted, or what its reader refuses.
        EnvironmentFailure: it cannot be read, or there is no room for it.
    """
    size = check_resolution(resolution)
    check_layout_name(layout)
    if split is not None and not isinstance(split, str):
        raise InputError(f"split must be the name of a part of the data, such as 'train', not {split!r}")
    several = isinstance(given, (list, tuple))
    paths = [_path(item) for item in given] if several else [_path(given)]
    if not paths:
        raise InputError("there is no path to open in an empty list")
    heads: list[bytes | None] = []
    for path in paths:
        try:
            info = path.stat()
            if not stat.S_ISDIR(info.st_mode) and not stat.S_ISREG(info.st_mode):
                raise InputError(f"{_shown(path)} is neither a file nor a folder; give one of those")
            heads.append(_head(path) if stat.S_ISREG(info.st_mode) else None)
        except OSError as error:
            if several or str(given) not in NAMES:
                raise _missing(path, error) from error
            _refuse_options(DIGITS, layout=layout, split=split)
            return open_digits(size)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{_shown(path)} is no path ({error}); check it") from error
    for path, head in zip(paths, heads, strict=True):
        if head is not None and (instead := pointer(head)) is not None:
            raise InputError(f"{_shown(path)} is {instead}")
    found = [_reader(path, head) for path, head in zip(paths, heads, strict=True)]
    for path, head, reader in zip(paths, heads, found, strict=True):
        if reader is None:
            raise InputError(_unread(path, head))
    reader = found[0]
    assert reader is not None
    if len(paths) > 1 and (len(set(found)) > 1 or not reader.shards):
        kinds = ", ".join(dict.fromkeys(other.name for other in found if other is not None))
        joined = ", ".join(other.name for other in FORMATS if other.shards)
        raise InputError(f"several files are one data set only where all are {joined}; these are {kinds}")
    _refuse_options(str(paths[0]), layout=None if reader.layouts else layout, split=None if reader.splits else split)
    try:
        return reader.open(Request(tuple(paths), size, layout, split, bool(skip_bad), progress))
    except NoImagesError as error:
        raise _instead(error, paths[0]) from None


def _reader(path: Path, head: bytes | None) -> Format | None:
    reader = next((reader for reader in FORMATS if reader.matches(path, head)), None)
    return None if reader is FOLDER and foreign(path, None) is not None else reader


def _unread(path: Path, head: bytes | None) -> str:
    """Why a file, or a folder, is not read, and what to give instead."""
    what = _shown(path)
    if head is not None and path.name.lower().endswith(EXTENSIONS):
        return f"{what} is a single image; give the folder it is in. Accepted: {accepted()}"
    whole = path.absolute().parent
    reader = (
        next((f for f in FORMATS if f is not FOLDER and f.matches(whole, None)), None) if head is not None else None
    )
    if reader is not None:
        return f"{what} is one file of a data set; give its folder, {_shown(whole)}"
    known = foreign(path, head)
    return f"{what} is {known}" if known is not None else f"{what} is not a data set: {accepted()}"


def _instead(error: NoImagesError, folder: Path) -> InputError:
    """What a folder without images holds that can be opened, or why it cannot."""
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))[:MOST_LOOKED_AT]
        heads = {path: _head(path) if path.is_file() else None for path in inside if path.is_file() or path.is_dir()}
        others = [f for f in FORMATS if f is not FOLDER]
        sets = [path for path, head in heads.items() if any(f.matches(path, head) for f in others)]
        known = [(path, said) for path, head in heads.items() if (said := foreign(path, head)) is not None]
    except OSError:
        return error
    if sets:
        listed = " or ".join(_shown(path) for path in sets[:3])
        return NoImagesError(error.what, instead=f"did you mean {listed}?")
    if known:
        path, said = known[0]
        return NoImagesError(error.what, instead=f"{printable(path.name)} in it is {said}")
    return error


def _path(given: Any) -> Path:
    if not isinstance(given, (str, os.PathLike)) or not isinstance(os.fspath(given), str):
        raise InputError(f"a source is opened by a path or a name, not {type(given).__name__}")
    if not os.fspath(given) or "\0" in str(given):
        raise InputError("the path of the data set is empty" if not str(given) else "the path has a NUL character")
    return Path(os.path.expanduser(given))


def _shown(path: Path) -> str:
    return shortened(printable(str(path)), 200)


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def _refuse_options(what: str, layout: str | None, split: str | None) -> None:
    """Raise InputError for options that this data set does not take."""
    if layout not in (None, "nchw"):
        raise InputError(f"{what} has no layout to choose: --layout {layout} is for arrays; leave it out")
    if split is not None:
        raise InputError(f"{what} has no parts to choose from; leave --split out")


def _missing(path: Path, error: OSError) -> Exception:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return from_os_error(error, f"read {_shown(path)}")
    try:
        beside = sorted(os.listdir(path.parent))[:10000]
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name[:200], [*NAMES, *beside], 1)
    if not near:
        return InputError(f"there is no {_shown(path)}; accepted: {accepted()}")
    hint = near[0] if near[0] in NAMES else str(path.parent / near[0])
    return InputError(f"there is no {_shown(path)}; did you mean {printable(hint)}?")
