"""Arrays in MATLAB's .mat files, as of SVHN: X (H, W, C, N) and y, read by scipy, which executes nothing of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.errors import EnvironmentFailure, InputError
from smalti.core.text import printable
from smalti.source.cache import Built, Store
from smalti.source.checks import check_labels_array
from smalti.source.conventions import check_layout, in_nchw, likely_layout
from smalti.source.conversion import fill, rows_of
from smalti.source.format import Format, Request, Stored, cached
from smalti.source.identity import file_identity
from smalti.source.memory import SHARE, available_memory
from smalti.source.names import choose_arrays

__all__ = ["MATLAB"]

RULE = "the image array of the .mat file; (H, W, C, N) where it looks like that; SVHN's class 10 is the digit 0"
MOST_RATIO = 1100  # of the compression in the file
BYTES = {"uint8": 1, "int8": 1, "double": 8, "single": 4, "int16": 2, "uint16": 2, "logical": 1}
SVHN_ZERO = 10


def open_matlab(request: Request) -> Stored:
    """The images and labels of a .mat file of version 4 to 7.

    Raises:
        InputError: no scipy, damage, no images, sizes that the file cannot hold.
    """
    path = request.path

    def build(store: Store) -> Built:
        return _build(path, request, store)

    options = {"layout": request.layout, "split": request.split, "reader": "matlab"}
    return cached(request, "matlab", request.name(request.path.suffix), RULE, file_identity(path), options, build)


def _build(path: Path, request: Request, store: Store) -> Built:
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise InputError(f"{path} needs scipy to be read; pip install 'smalti[formats]'") from error
    found = _guarded(path, lambda: whosmat(str(path)))
    shapes = {name: shape for name, shape, _ in found}
    kinds = {name: kind for name, _, kind in found}
    for name, shape in shapes.items():
        size = BYTES.get(kinds[name], 8)
        if any(side < 0 or side > 1 << 31 for side in shape):
            raise InputError(f"{path}: {printable(name)} claims a shape that is none; fetch it again")
        if math.prod(shape) * size > min(path.stat().st_size * MOST_RATIO, SHARE * available_memory()):
            raise InputError(f"{path}: {printable(name)} claims {shape}, which the file or this memory cannot hold")
    # MATLAB has no vectors: y is (N, 1), and the images' last axis is their number
    number = {
        name: shape[-1:] + shape[:-1] if len(shape) == 4 and _layout(shape, request) in ("hwcn", "chwn") else shape
        for name, shape in shapes.items()
    }
    choice = choose_arrays(number, request.split, str(path))
    wanted = [choice.images, *([choice.labels] if choice.labels is not None else [])]
    arrays = _guarded(path, lambda: loadmat(str(path), variable_names=wanted))
    array = arrays.get(choice.images)
    what = f"{path}: {choice.images}"
    if not isinstance(array, np.ndarray):
        raise InputError(f"{what} is no array of numbers")
    layout = _layout(array.shape, request)
    check_layout(array.shape, array.dtype, layout, what)
    rows = rows_of(in_nchw(array, layout))
    labels = None
    if choice.labels is not None:
        given = np.asarray(arrays[choice.labels])
        given = given.reshape(-1) if 1 in given.shape else given
        labels = check_labels_array(_whole_numbers(given, f"{path}: {choice.labels}"), rows.shape[0])
        if labels.min() == 1 and labels.max() == SVHN_ZERO:
            labels = labels % SVHN_ZERO
    return Built(fill(rows, store, request.resolution, request.show), labels, None, choice.unused)


def _layout(shape: tuple[int, ...], request: Request) -> str | None:
    return "hwcn" if request.layout is None and likely_layout(shape) == "hwcn" else request.layout


def _whole_numbers(values: np.ndarray, what: str) -> np.ndarray:
    """Labels, which MATLAB keeps as doubles."""
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        if np.abs(values).max(initial=0) > 2**53:
            raise InputError(f"{what} has classes that are no small whole numbers")
        return values.astype(np.int64)
    return values


def _guarded(path: Path, read: Any) -> Any:
    try:
        return read()
    except (InputError, EnvironmentFailure):
        raise
    except NotImplementedError as error:
        raise InputError(f"{path} is a .mat of version 7.3 (HDF5); save it with -v7, or as .npz") from error
    except MemoryError as error:
        raise EnvironmentFailure(f"{path} does not fit in memory") from error
    except Exception as error:  # scipy raises many kinds on damage
        reason = printable(" ".join(str(error).split())[:120])
        raise InputError(f"{path} is not a readable .mat file ({reason}); fetch it again") from error


MATLAB = Format(
    "matlab",
    "SVHN's and other .mat files (scipy)",
    lambda path, head: head is not None and path.suffix.lower() == ".mat",
    open_matlab,
    layouts=True,
    splits=True,
)
