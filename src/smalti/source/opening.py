"""From a path or a name to a data set: which reader it belongs to."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from smalti.core.errors import InputError, from_os_error
from smalti.source.checks import check_resolution
from smalti.source.decoding import EXTENSIONS
from smalti.source.formats.arrays import open_npy, open_npz
from smalti.source.formats.cifar import is_cifar_folder, open_cifar
from smalti.source.formats.digits import DIGITS, open_digits
from smalti.source.formats.image_files import open_folder, open_image_zip
from smalti.source.stored import Stored

__all__ = ["ACCEPTED", "open_stored"]

ACCEPTED = (
    "a folder or .zip of images (class folders, or an EDM dataset.json), a .npy or .npz array, the CIFAR-10 python "
    "archive "
    "(cifar-10-python.tar.gz) or its folder, or the name digits"
)
NAMES = (DIGITS,)
TARS = (".tar.gz", ".tgz", ".tar")


def open_stored(
    path_or_name: str | os.PathLike[str],
    resolution: int | Sequence[int] | None = None,
    layout: str = "nchw",
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
    if layout not in ("nchw", "nhwc"):
        raise InputError(f"layout must be nchw or nhwc, not {layout!r}")
    if not isinstance(path_or_name, (str, os.PathLike)):
        raise InputError(f"a source is opened by a path or a name, not {type(path_or_name).__name__}")
    if not os.fspath(path_or_name) or "\0" in str(path_or_name):
        raise InputError(
            "the path of the data set is empty" if not str(path_or_name) else "the path has a NUL character"
        )
    path = Path(os.path.expanduser(path_or_name))
    try:
        path.stat()
    except OSError as error:
        if str(path_or_name) not in NAMES:
            raise _missing(path, error) from error
        _only_arrays_have_a_layout(layout, DIGITS)
        return open_digits(size)
    lower = path.name.lower()
    if path.is_file() and lower.endswith((".npy", ".npz")):
        return (open_npy if lower.endswith(".npy") else open_npz)(path, layout, size, progress)
    _only_arrays_have_a_layout(layout, str(path))
    if path.is_dir():
        return (
            open_cifar(path, size, progress) if is_cifar_folder(path) else open_folder(path, size, skip_bad, progress)
        )
    if path.is_file() and lower.endswith(".zip"):
        return open_image_zip(path, size, skip_bad, progress)
    if path.is_file() and lower.endswith(TARS):
        return open_cifar(path, size, progress)
    one = (
        "is a single image; give the folder it is in. Accepted:" if lower.endswith(EXTENSIONS) else "is not a data set:"
    )
    raise InputError(f"{path} {one} {ACCEPTED}")


def _only_arrays_have_a_layout(layout: str, what: str) -> None:
    if layout != "nchw":
        raise InputError(f"{what} has no layout to choose: --layout nhwc is for .npy and .npz files; leave it out")


def _missing(path: Path, error: OSError) -> Exception:
    if isinstance(error, PermissionError):
        return from_os_error(error, f"read {path}")
    try:
        beside = sorted(os.listdir(path.parent))[:10000]
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, [*NAMES, *beside], 1)
    if not near:
        return InputError(f"there is no {path}; accepted: {ACCEPTED}")
    hint = near[0] if near[0] in NAMES else str(path.parent / near[0])
    return InputError(f"there is no {path}; did you mean {hint}?")
