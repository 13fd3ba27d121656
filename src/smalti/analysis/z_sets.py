"""Sets of noisy images: n at each of L noise levels, one array that is made, saved and read as .npy.

    name.npy     (levels, n, C, H, W) float32
    name.json    beside it: the levels' sigmas, the process that they come from, how they were made, the sha256 of name.npy, and a seal,
                 the sha256 of all that it says

The .json is put in place first, so that a writing that is cut off leaves a .json without its .npy, or beside another one, and neither is
read.
`smalti.forward_z` and `smalti.reverse_z` make them; a bare .npy by others is read as well.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.core.errors import InputError, from_os_error
from smalti.core.files import atomic_write, npy_header, read_floats, save_npy
from smalti.core.schedule import edm_sigmas

__all__ = ["ZSet", "check_levels"]

LARGEST = 1 << 28  # bytes of a .json: classes of ten million z
BLOCK = 1 << 20  # bytes that are hashed at a time


@dataclass(frozen=True, eq=False, repr=False)
class ZSet:
    """n noisy images at each of L noise levels.

    Attributes:
        z: (L, n, C, H, W) float32, on the CPU, working scale; memory-mapped where it was loaded so. Other floats are converted.
        sigmas: (L,) float64, each > 0, in any order.
        process: where the z come from: "forward", "reverse", or another name.
        about: how they were made (seed, data, network), plain JSON values.
        labels: (L, n) int64, the class that each z is conditioned on; None for no condition.

    Raises:
        InputError: another shape or dtype; no z; NaN or infinite values; sigmas or labels that do not fit.
    """

    z: torch.Tensor
    sigmas: torch.Tensor
    process: str = "z"
    about: Mapping[str, Any] = field(default_factory=dict)
    labels: torch.Tensor | None = None

    def __post_init__(self) -> None:
        _check_z(self.z, "z")
        levels = self.z.shape[0]
        object.__setattr__(self, "z", self.z.detach().to("cpu", torch.float32))
        object.__setattr__(self, "sigmas", check_levels(self.sigmas))
        if len(self.sigmas) != levels:
            raise InputError(f"z has {levels} levels and there are {len(self.sigmas)} sigmas; give one for each level")
        if self.labels is not None:
            labels = torch.as_tensor(self.labels)
            if labels.dtype.is_floating_point or tuple(labels.shape) != tuple(self.z.shape[:2]):
                raise InputError(f"labels must be integers of shape {tuple(self.z.shape[:2])}, one for each z")
            object.__setattr__(self, "labels", labels.to("cpu", torch.int64))

    @property
    def n(self) -> int:
        """Number of z at a level."""
        return int(self.z.shape[1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        c, h, w = self.z.shape[2:]
        return int(c), int(h), int(w)

    def __len__(self) -> int:
        """Number of levels."""
        return int(self.z.shape[0])

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        low, high = float(self.sigmas.min()), float(self.sigmas.max())
        return f"ZSet({self.process!r}, {len(self)} levels from sigma {high:g} to {low:g}, {self.n} z of {size} each)"

    def digest(self) -> str:
        """Identity of the content: sha256 hex of z, sigmas and labels."""
        digest = hashlib.sha256(str(tuple(self.z.shape)).encode())
        for level in self.z:
            digest.update(np.ascontiguousarray(level.numpy(), "<f4").data)
        digest.update(self.sigmas.numpy().astype("<f8").tobytes())
        if self.labels is not None:
            digest.update(b"labels" + self.labels.numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `path` (.npy) and the .json beside it; half of it is never read as a set.

        Raises:
            InputError: another ending than .npy.
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        path = Path(path)
        if path.suffix != ".npy":
            raise InputError(f"a set of z is saved as .npy, not as {path.name!r}")
        array = np.ascontiguousarray(self.z.numpy())
        digest = hashlib.sha256(npy_header(array))
        digest.update(array.data)
        record = {
            "sha256": digest.hexdigest(),
            "shape": list(self.z.shape),
            "sigmas": self.sigmas.tolist(),
            "process": self.process,
            "labels": None if self.labels is None else self.labels.tolist(),
            "about": dict(self.about),
        }
        record["seal"] = _seal(record)
        with atomic_write(path) as file:
            save_npy(file, array)
            file.flush()
            with atomic_write(path.with_suffix(".json")) as beside:  # in place before the .npy is
                beside.write((json.dumps(record, indent=2) + "\n").encode())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        sigmas: torch.Tensor | Sequence[float] | None = None,
        *,
        memory_map: bool = True,
    ) -> ZSet:
        """Read a .npy of shape (levels, n, C, H, W); nothing in it is executed.

        Args:
            path: the file; the .json beside it, if there is one, says what `save` wrote.
            sigmas: (levels,), largest first as a rule; None takes them from the .json, and where there is none, the EDM schedule
                (sigma 80 to 0.002, rho 7) with as many levels.
            memory_map: leave float32 z on disk until they are used. It is read once, to check it.

        Raises:
            InputError: not such a file; another shape or dtype; NaN or infinities; a .json that is not this file's; sigmas that
                contradict it.
        """
        path = Path(path)
        array = _read(path, memory_map)
        z = torch.from_numpy(array)
        _check_z(z, str(path))
        record = _read_record(path, list(array.shape))
        if sigmas is None:
            levels = record["sigmas"] if record else edm_sigmas(len(array))
        else:
            levels = check_levels(sigmas)
            if record and record["sigmas"] != levels.tolist():
                raise InputError(
                    f"the sigmas given are not those of {path.with_suffix('.json')}; leave them out, or remove that file"
                )
        try:
            if not record:
                return cls(z, levels, path.stem, {"file": path.name})
            return cls(z, levels, record["process"], record["about"], record["labels"])
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def check_levels(sigmas: torch.Tensor | Sequence[float]) -> torch.Tensor:
    """`sigmas` as (L,) float64.

    Raises:
        InputError: no level, or one that is not a finite number > 0.
    """
    try:
        levels = torch.as_tensor(sigmas, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"sigmas must be a list of numbers, not {type(sigmas).__name__}") from error
    if levels.ndim != 1 or not len(levels) or not all(0 < s < math.inf for s in levels.tolist()):
        raise InputError("sigmas must be a list of at least one finite number, each greater than 0")
    return levels


def _check_z(z: Any, what: str) -> None:
    if not isinstance(z, torch.Tensor) or not z.dtype.is_floating_point:
        kind = z.dtype if isinstance(z, torch.Tensor) else type(z).__name__
        raise InputError(f"{what} must be floating numbers in the working scale (images in [-1, 1]), not {kind}")
    if z.ndim != 5 or 0 in z.shape:
        raise InputError(f"{what} must be (levels, n, C, H, W) and not empty, not of shape {tuple(z.shape)}")
    for level, batch in enumerate(z):
        if not bool(torch.isfinite(batch).all()):
            raise InputError(f"{what} has NaN or infinite values at level {level}; check what produced it")


def _read(path: Path, memory_map: bool) -> np.ndarray:
    array = read_floats(path, memory_map)
    if array.dtype == np.float32 and array.flags.c_contiguous:
        return array
    return np.ascontiguousarray(array, np.float32)


def _read_record(z: Path, shape: list[int]) -> dict[str, Any] | None:
    """What the .json beside the set of z says, checked, labels as a tensor; None where there is none."""
    path = z.with_suffix(".json")
    damaged = f"{path} is not what ZSet.save writes; repair or remove it"
    if not path.exists():
        return None
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise InputError(damaged)
        record = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(damaged) from error
    known, later = (
        {"shape", "sigmas", "process", "labels", "about"},
        {"sha256", "seal"},
    )  # files of older versions lack these
    if not isinstance(record, dict) or set(record) - later != known or record["shape"] != shape:
        raise InputError(f"{path} does not belong to the .npy beside it; repair or remove it")
    if "seal" in record and record.pop("seal") != _seal(record):
        raise InputError(f"{path} was changed since it was written, or damaged; make the set again, or remove its seal")
    sigmas, labels, levels = record["sigmas"], record["labels"], shape[0]
    if not _are(sigmas, levels, float) or not isinstance(record["about"], dict):
        raise InputError(damaged)
    if not isinstance(record["process"], str) or not record["process"].isprintable():
        raise InputError(damaged)
    if labels is not None:
        if not isinstance(labels, list) or len(labels) != levels or not all(_are(row, shape[1], int) for row in labels):
            raise InputError(damaged)
        record["labels"] = torch.tensor(labels, dtype=torch.int64)
    if "sha256" in record and record["sha256"] != _sha256(z):
        raise InputError(
            f"{z} is not the file that {path.name} was written for: it was damaged, replaced, or its writing was cut off; make it again"
        )
    return record


def _seal(record: Mapping[str, Any]) -> str:
    """sha256 hex of what a record says."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _are(values: Any, count: int, kind: type) -> bool:
    """Whether `values` is a list of so many finite numbers: floats (or integers), or integers of 64 bits."""
    kinds = (int,) if kind is int else (int, float)
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < 2**63 for value in values)
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
