"""Mean, eigenvalues and eigenvectors of a source's covariance; those of large images are kept on disk beside the decoded data.

Decomposing 3072 x 3072 numbers takes half a minute, and Gaussian, PSPCFlex and PCALocality all begin with it. A file is named by a hash of
the images (`Source.fingerprint`), of whether their flips count, of the class, and of the code that computes it (`smalti.core.code`). It is
complete or absent, a .npy with its sha256 behind; one that is damaged is made again. The MOST that were used last are kept, 75 MB each for
images of 3 x 32 x 32.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from smalti.core.cache import cache_root
from smalti.core.code import code_digest
from smalti.core.errors import SmaltiError
from smalti.core.files import atomic_write, read_floats, save_npy
from smalti.core.progress import progress
from smalti.denoisers.base import images_of_class
from smalti.engine.elements import stored
from smalti.source import Source

__all__ = ["Spectrum", "spectrum"]

FORMAT = 2
KEPT = 512  # entries of an image from which on its spectrum is kept; smaller ones take less than a tenth of a second
MOST = 16  # files
BLOCK = 2048  # images


class Spectrum(NamedTuple):
    """S = V diag(lambda) V^T, the population covariance: mean (D,), lambda (D,) largest first, V (D, D); float64."""

    mean: torch.Tensor
    values: torch.Tensor
    vectors: torch.Tensor


def spectrum(source: Source, label: int | None = None) -> Spectrum:
    """The spectrum of all images, or of one class, with their flips where the source has them; D = C H W."""
    dimension = int(np.prod(source.shape))
    path = _path(source, label) if dimension >= KEPT else None
    found = None if path is None else _load(path, dimension)
    if found is None:
        found = _computed(source, label)
        if path is not None:
            _keep(path, found)
    return found


def _computed(source: Source, label: int | None) -> Spectrum:
    mean, covariance = _moments(source, label)
    size = len(mean)
    with progress(f"eigenvectors of {size} x {size} covariances", 1) as advance:
        values, vectors = torch.linalg.eigh(covariance)
        advance(1)
    return Spectrum(mean, values.flip(0).clamp(min=0), vectors.flip(1).contiguous())


def _moments(source: Source, label: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    indices = images_of_class(source, label)
    count = len(indices) * (2 if source.hflip else 1)
    dimension = int(np.prod(source.shape))
    mean = torch.zeros(dimension, dtype=torch.float64)
    covariance = torch.zeros(dimension, dimension, dtype=torch.float64)
    with progress("mean and covariance of the images", 2 * count) as advance:
        for rows in _rows(source, indices):
            mean += rows.sum(0)
            advance(len(rows))
        mean /= count
        for rows in _rows(source, indices):
            centred = rows - mean
            covariance.addmm_(centred.T, centred)
            advance(len(rows))
    return mean, covariance / count


def _rows(source: Source, indices: np.ndarray) -> Iterator[torch.Tensor]:
    """Blocks of images, and of their flips where the source has them, (n, D) float64."""
    for start in range(0, len(indices), BLOCK):
        images = stored(source.images, indices[start : start + BLOCK], torch.float64, torch.device("cpu"))
        yield images.flatten(1)
        if source.hflip:
            yield images.flip(-1).flatten(1)


def _path(source: Source, label: int | None) -> Path | None:
    """Where it is kept; None where nothing can be."""
    root = cache_root()
    if root is None:
        return None
    what = {"format": FORMAT, "images": source.fingerprint(), "hflip": source.hflip, "label": label}
    what["code"] = code_digest(__name__)
    return root / f"spectrum-{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()}.npy"


def _load(path: Path, dimension: int) -> Spectrum | None:
    """What a file holds, (2 + D, D): mean, eigenvalues, eigenvectors; None where there is none or it is damaged."""
    if not path.exists():
        return None
    with contextlib.suppress(SmaltiError):
        rows = read_floats(path, memory_map=True)
        if rows.shape == (2 + dimension, dimension) and rows.dtype == np.float64:
            rows = np.array(rows)
            if _end(path) == _digest(rows):
                with contextlib.suppress(OSError):
                    os.utime(path)
                mean, values, vectors = (torch.from_numpy(part) for part in (rows[0], rows[1], rows[2:]))
                return Spectrum(mean, values, vectors)
    return None


def _digest(rows: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(rows).data).digest()


def _end(path: Path) -> bytes:
    """The last bytes of a file, as many as a digest has."""
    try:
        with path.open("rb") as file:
            file.seek(-hashlib.sha256().digest_size, os.SEEK_END)
            return file.read()
    except OSError:
        return b""


def _keep(path: Path, found: Spectrum) -> None:
    rows = torch.cat([found.mean[None], found.values[None], found.vectors]).numpy()
    try:
        with atomic_write(path) as file:
            save_npy(file, rows)
            file.write(_digest(rows))
        with contextlib.suppress(OSError):
            for old in sorted(path.parent.glob("spectrum-*.npy"), key=lambda kept: kept.stat().st_mtime_ns)[:-MOST]:
                old.unlink()
    except SmaltiError as error:
        warnings.warn(
            f"the eigenvectors of the images are not kept in {path.parent} ({error}); they are computed again next time; "
            "set SMALTI_CACHE to a folder that can be written and has room",
            stacklevel=2,
        )
