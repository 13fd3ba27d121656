"""What a calibration chooses from: values of the parameter that a denoiser has for each noise level, and the denoiser of each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.denoisers.base import SIDES
from smalti.denoisers.flex import PSPCFlex
from smalti.denoisers.named import create
from smalti.denoisers.registry import by_level, find
from smalti.denoisers.schedule_file import SCHEDULE, Schedule
from smalti.source import Source

__all__ = ["FULL", "SIDES", "Candidates", "default_candidates"]

FULL = "full"  # the whole image, as text


def default_candidates(
    name: str, shape: tuple[int, int, int], parameters: Mapping[str, Any] | None = None
) -> list[Any]:
    """What is chosen from where nothing is said: what the denoiser's class says (`Denoiser.by_level`).

    Args:
        name: of the denoiser.
        shape: (C, H, W).
        parameters: others of its constructor.

    Raises:
        InputError: a denoiser without a parameter by noise level, or without candidates of its own.
    """
    kind = by_level(name)
    if kind.candidates is None:
        raise InputError(f"{name} has no candidates of its own for {kind.parameter}; give some")
    return list(kind.candidates(shape, parameters or {}))


class Candidates:
    """A denoiser with each of several values of its parameter.

    Args:
        name: of the denoiser; it has a parameter by noise level.
        source: the training images.
        sigmas: (L,) the noise levels.
        values: of the parameter; None for `default_candidates`. "full" is the whole image.
        parameters: others of the denoiser's constructor, the same for all.

    Attributes:
        name, source: as given.
        parameter: the name of what is chosen.
        values: the values, ascending.
        texts: each as text.

    Raises:
        InputError: an unknown denoiser or one without such a parameter; no value, one twice, or one that does not fit the images;
            `parameters` that say what is to be chosen.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        sigmas: Sequence[float],
        values: Sequence[Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        find(name)
        kind, rest = by_level(name), dict(parameters or {})
        for taken in (kind.parameter, *kind.instead, "sigmas", SCHEDULE):
            if taken in rest:
                raise InputError(f"{taken} is what is chosen for {name}; leave it out of the parameters")
        self.name, self.source, self.parameter, self.parameters = name, source, kind.parameter, rest
        chosen = default_candidates(name, source.shape, rest) if values is None else list(values)
        self.values = self._checked(chosen)
        self.texts = [FULL if value is None else f"{value:g}" for value in self.values]
        self._sigmas = list(sigmas)
        self._base: Denoiser | None = None
        if name == PSPCFlex.name:  # one set of heatmaps for all
            self._base = create(name, source, **rest, sigmas=self._sigmas)
        for number in range(len(self.values)):
            self.at(0, number)

    def __len__(self) -> int:
        return len(self.values)

    def at(self, level: int, number: int) -> Denoiser:
        """The denoiser with a candidate, for z of a level."""
        value = self.values[number]
        if self._base is not None:
            return cast(PSPCFlex, self._base).with_thresholds(value)
        return create(
            self.name, self.source, **self.parameters, **{self.parameter: [value]}, sigmas=[self._sigmas[level]]
        )

    @property
    def has_patches(self) -> bool:
        """Whether it is made of patch posterior means, so that the error of a patch means something."""
        return hasattr(self.at(0, 0), "collection")

    def _checked(self, values: Sequence[Any]) -> list[Any]:
        kind, (height, width) = by_level(self.name), self.source.shape[1:]
        whole = None if height != width else height
        if kind.full:
            values = [whole if value in (None, FULL) else value for value in values]
        if not values:
            raise InputError(f"there is no candidate for {kind.parameter}; give at least one")
        levels = [float(1 + number) for number in range(len(values))]
        found = Schedule(self.name, tuple(levels), tuple(values)).values  # checks their types
        for value in found:
            if found.count(value) > 1:
                raise InputError(f"the candidate {FULL if value is None else value} is given twice; give it once")
        return sorted(found, key=lambda value: float("inf") if value is None else value)
