"""Schedules: one value of a denoiser's parameter for each noise level, as a JSON file that denoisers and the command line take.

    {"format": 1, "denoiser": "pspc-square", "parameter": "patch_sizes",
     "sigmas": [80.0, ..., 0.002], "values": [8, ..., 3],
     "chosen_by": {...}, "data": {...}, "network": {...}}            the last three: how `smalti calibrate` chose them

    smalti.PSPCSquare(source, **smalti.Schedule.load("schedule.json").parameters("pspc-square"))
    smalti denoise --param schedule=schedule.json          smalti compare --denoiser pspc-square:schedule=schedule.json

Which denoisers have such a parameter they say themselves: `Denoiser.by_level`.
"""

from __future__ import annotations

import errno
import json
import math
import numbers
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smalti.core.by_level import ByLevel
from smalti.core.errors import InputError, did_you_mean, from_os_error
from smalti.core.files import atomic_write
from smalti.core.text import printable, shortened
from smalti.core.validation import shown
from smalti.denoisers.registry import by_level

__all__ = ["SCHEDULE", "Schedule", "expanded"]

SCHEDULE = "schedule"  # what `create` and the command line call the argument
FORMAT = 1
LARGEST_FILE = 1 << 20
MOST_LEVELS = 10_000
REQUIRED, OPTIONAL = ("format", "denoiser", "sigmas", "values"), ("parameter", "chosen_by", "data", "network")


@dataclass(frozen=True)
class Schedule:
    """One value of a denoiser's parameter for each noise level.

    Attributes:
        denoiser: its registered name.
        sigmas: noise levels, each finite, > 0, and different from the others.
        values: as many: numbers, or for pspc-square None for the whole image.
        chosen_by: how they were chosen, plain JSON values.
        data, network: what for, plain JSON values; None where unknown or none.

    Whether the values fit certain images is checked by the denoiser that is made of them.

    Raises:
        InputError: a denoiser without such a parameter; no level, or numbers that do not fit.
    """

    denoiser: str
    sigmas: tuple[float, ...]
    values: tuple[Any, ...]
    chosen_by: Mapping[str, Any] | None = field(default=None, compare=False)
    data: Mapping[str, Any] | None = field(default=None, compare=False)
    network: Mapping[str, Any] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        kind = by_level(self.denoiser)
        sigmas, values = (getattr(given, "tolist", lambda given=given: given)() for given in (self.sigmas, self.values))
        for given in (sigmas, values):
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise InputError(
                    f"a schedule's sigmas and values are lists, one value for each sigma, not {_short(given)}"
                )
        object.__setattr__(self, "sigmas", tuple(_sigma(sigma) for sigma in sigmas))
        object.__setattr__(self, "values", tuple(_value(value, kind) for value in values))
        if not 1 <= len(self.sigmas) <= MOST_LEVELS or len(self.sigmas) != len(self.values):
            raise InputError(
                f"a schedule needs one value for each of 1 to {MOST_LEVELS} sigmas, "
                f"not {len(self.values)} for {len(self.sigmas)}"
            )
        if len(set(self.sigmas)) != len(self.sigmas):
            twice = next(sigma for sigma in self.sigmas if self.sigmas.count(sigma) > 1)
            raise InputError(f"a schedule has one value for each sigma, and sigma {twice:g} is there twice")

    @property
    def parameter(self) -> str:
        """The name of the constructor's argument that takes the values."""
        return by_level(self.denoiser).parameter

    def parameters(self, name: str | None = None) -> dict[str, list[Any]]:
        """The constructor's arguments, such as {"patch_sizes": [...], "sigmas": [...]}.

        Args:
            name: the denoiser that they are for; None for that of the schedule.

        Raises:
            InputError: the schedule is another denoiser's.
        """
        if name not in (None, self.denoiser):
            raise InputError(f"the schedule is one of {self.denoiser}, not of {name}; calibrate {name} for its own")
        return {self.parameter: list(self.values), "sigmas": list(self.sigmas)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, whole or not at all.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        record = {
            "format": FORMAT,
            "denoiser": self.denoiser,
            "parameter": self.parameter,
            "sigmas": list(self.sigmas),
            "values": list(self.values),
            **{name: getattr(self, name) for name in ("chosen_by", "data", "network")},
        }
        with atomic_write(path) as file:
            file.write((json.dumps(record, indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Schedule:
        """Read what `save` wrote, or what was typed: format, denoiser, sigmas and values are required.

        Raises:
            InputError: no such file; not a schedule; says what is wrong with it.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise InputError(f"a path is needed, such as 'schedule.json', not {_short(path)}")
        record = _read(Path(path))
        try:
            return cls._of(record)
        except InputError as error:
            raise InputError(f"{path} is not a schedule: {error}") from None

    @classmethod
    def _of(cls, record: Any) -> Schedule:
        if not isinstance(record, dict):
            raise InputError(
                'it must be a JSON object, {"format": 1, "denoiser": ..., "sigmas": [...], "values": [...]}'
            )
        for name in REQUIRED:
            if name not in record:
                raise InputError(f"it has no {name!r}; `smalti calibrate` writes schedules")
        for name in record:
            if name not in REQUIRED + OPTIONAL:
                raise InputError(f"it has a {_short(name)}{did_you_mean(name, REQUIRED + OPTIONAL)}; leave that out")
        if record["format"] is True or record["format"] != FORMAT:
            raise InputError(f"its format is {_short(record['format'])}; this smalti reads format {FORMAT}")
        if not isinstance(record["denoiser"], str):
            raise InputError(f"its denoiser must be a name, not {_short(record['denoiser'])}")
        kind = by_level(record["denoiser"][:80])
        if record.get("parameter", kind.parameter) != kind.parameter:
            raise InputError(
                f"{record['denoiser']} has a schedule of {kind.parameter}, not of {_short(record['parameter'])}"
            )
        for name in ("sigmas", "values"):
            if not isinstance(record[name], list):
                raise InputError(f"its {name} must be a list, not {_short(record[name])}")
        for name in ("chosen_by", "data", "network"):
            if not isinstance(record.get(name), (dict, type(None))):
                raise InputError(f"its {name!r} must be an object or null, not {_short(record[name])}")
        about = {name: record.get(name) for name in ("chosen_by", "data", "network")}
        return cls(record["denoiser"], tuple(record["sigmas"]), tuple(record["values"]), **about)


def expanded(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`parameters` with a schedule (a `Schedule` or its file) put in as the values and sigmas that it holds.

    Raises:
        InputError: a bad file; a schedule of another denoiser; one beside what it says already.
    """
    rest = {key: value for key, value in parameters.items() if key != SCHEDULE}
    if SCHEDULE not in parameters:
        return rest
    given, kind = parameters[SCHEDULE], by_level(name)
    if not isinstance(given, (Schedule, str, os.PathLike)):
        raise InputError(f"a schedule is a file or a smalti.Schedule, not {type(given).__name__}")
    found = (given if isinstance(given, Schedule) else Schedule.load(given)).parameters(name)
    for key in (*found, *kind.instead):
        if key in rest:
            raise InputError(f"the schedule says {kind.parameter} and sigmas; leave {key} or the schedule out")
    return {**rest, **found}


def _read(path: Path) -> Any:
    named = shortened(printable(str(path)))
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{named} is not a schedule: it is no regular file; check the path")
        if path.is_file() and path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{named} is not a schedule: it has more than {LARGEST_FILE >> 20} MB")
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"cannot read the schedule {named}: no file has such a long name; check the path"
            ) from None
        raise from_os_error(error, f"read the schedule {named}") from error
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(
            f"{path} is not a schedule: it is not JSON ({reason}); `smalti calibrate` writes one"
        ) from None


def _sigma(value: Any) -> float:
    if not _is_number(value) or not value > 0:
        raise InputError(f"sigmas must be finite numbers greater than 0, not {_short(value)}")
    return float(value)


def _value(value: Any, kind: ByLevel) -> Any:
    if value is None and kind.full:
        return None
    if not _is_number(value) or (kind.whole and value != int(value)):
        wanted = "whole numbers" if kind.whole else "finite numbers"
        raise InputError(
            f"{kind.parameter} must be {wanted}{' or null (the whole image)' * kind.full}, not {_short(value)}"
        )
    return int(value) if kind.whole else float(value)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int that no float holds
        return False


def _short(value: Any) -> str:
    return shortened(shown(value), 40)
