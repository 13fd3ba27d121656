"""What all exhibits share: the images, the networks, the denoisers, the noise levels, how large things may be, and what calls cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from smalti.analysis.descriptors import SSCD
from smalti.analysis.identity import identity_of
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.experiments.costs import Costs
from smalti.experiments.scale import Scale
from smalti.source import Source

__all__ = ["Laboratory", "check_names"]

HALF = re.compile(r"(optimal-)?half[0-9]*|optimal-half.*")
OTHERS = ("z", "image", "noisy", "composite", "reference")  # what exhibits call other things than networks


def check_names(networks: Iterable[str], halves: Iterable[str], denoisers: Iterable[str]) -> None:
    """Refuse names that two would have: results are kept, tabled and drawn by them. Capitals make no difference.

    Args:
        networks: names of the networks.
        halves: names of the networks of halves; their optimal denoisers are called "optimal-" and this.
        denoisers: names of the denoisers.

    Raises:
        InputError: a network with the name of a denoiser, of a half ("half1", "optimal-half1"), or of something else that is
            shown ("z"); a half with the name of a denoiser or network.
    """
    networks, halves, known = list(networks), list(halves), {name.lower() for name in denoisers}
    of_halves = {half.lower() for name in halves for half in (name, f"optimal-{name}")}
    for name in networks:
        lower = name.lower()
        if lower in known or lower in of_halves or lower in OTHERS or HALF.fullmatch(lower):
            raise InputError(
                f"a network cannot be called {name!r} here, which is the name of something else; rename its file"
            )
    if len({name.lower() for name in networks}) < len(networks):
        raise InputError(f"networks must differ in more than capitals: {', '.join(networks)}; rename a file")
    for name in halves:
        if name.lower() in known:
            raise InputError(f"the network of a half cannot be called {name!r}, which is the name of a denoiser")


@dataclass(frozen=True)
class Laboratory:
    """The setting of a run.

    Attributes:
        source: the images that the first network was trained on, its flips counted (all images, where there is no network).
        held_out: images that no network saw, or None.
        networks: by name, the reference (DDPM++ where there is one) first; may be empty.
        halves: networks trained on disjoint halves of the images, by name, with the halves: name -> (network, its images); or empty.
        denoisers: by name ("optimal" always first), on `source`. Slow ones (ELS, PCA-locality) are among them.
        limited: names of denoisers that are made on fewer images than `source` -> how many; so labelled wherever they are shown.
        sigmas: (L,) float64, the noise levels of the sampler, highest first (18 levels of the EDM schedule).
        scale: sizes: how many z, samples, resamples.
        costs: seconds per query of every denoiser and network at every level, measured once and kept with the run.
        seconds: what an exhibit's `share` is a share of: the budget of all exhibits over the sum of their shares.
        seed: of everything that is drawn.
        remarks: name of a denoiser -> what its name does not say ("Wiener masks"); so labelled wherever it is shown.
        notes: what a reader of the report must know of the setting, one sentence each.
        sscd: TorchScript file of the similarity network that the article used, or None.
        trust: whether that file is run though its sha256 is not known.

    Raises:
        InputError: a name that two have (`smalti.experiments.laboratory`).
    """

    source: Source
    held_out: Source | None
    networks: Mapping[str, Denoiser]
    halves: Mapping[str, tuple[Denoiser, Source]]
    denoisers: Mapping[str, Denoiser]
    limited: Mapping[str, int]
    sigmas: torch.Tensor
    scale: Scale
    costs: Costs
    seconds: float
    seed: int = 0
    remarks: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sscd: Path | None = None
    trust: bool = False
    _identities: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)
    _loaded: dict[tuple[Path, bool], SSCD] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_names(self.networks, self.halves, self.denoisers)

    @property
    def reference(self) -> str | None:
        """The name of the network that denoisers are held against."""
        return next(iter(self.networks), None)

    @property
    def subjects(self) -> dict[str, Denoiser]:
        """Denoisers, then networks, by name: the order of legends."""
        return {**self.denoisers, **self.networks}

    def seconds_each(self, names: Iterable[str]) -> float:
        """Seconds for one z, at a noise level like those of the run on average, by all of the denoisers and networks called `names`."""
        return sum(self.costs.of(name) for name in names) / len(self.sigmas)

    def share_out(
        self, names: Iterable[str], seconds: float, most: int, weights: Mapping[str, float] | None = None
    ) -> dict[str, int]:
        """How many z (or samples) each denoiser gets of time that several share: equal time each, or by weights, and what the quick ones
        leave over goes to the slower ones.

        Args:
            names: of denoisers and networks.
            seconds: for all of them together.
            most: at most so many z a level.
            weights: of the time that a denoiser gets, 1 where none is given.

        Returns:
            name -> n in the order of `names`, scale.least <= n <= most; 0 for one whose least alone would take more than `seconds`.
        """
        wanted, counts = list(names), {}
        weight = {name: (weights or {}).get(name, 1.0) for name in wanted}
        cost = {name: self.costs.of(name) for name in wanted}
        left, remaining = seconds, sum(weight.values())
        for name in sorted(wanted, key=lambda name: cost[name] / weight[name]):
            least = min(self.scale.least, most)
            if least * cost[name] > seconds:
                counts[name] = 0
            else:
                counts[name] = self.costs.affordable(name, max(left, 0) * weight[name] / remaining, None, most, least)
            left -= counts[name] * cost[name]
            remaining -= weight[name]
        return {name: counts[name] for name in wanted}

    def descriptor(self) -> SSCD | None:
        """The similarity network, loaded once; None where no file is given.

        Raises:
            InputError: a file that is not one, or that is neither known nor trusted.
        """
        if self.sscd is None:
            return None
        key = (self.sscd, self.trust)
        if key not in self._loaded:
            self._loaded[key] = SSCD.load(self.sscd, self.trust)
        return self._loaded[key]

    @property
    def loaded(self) -> SSCD | None:
        """The similarity network where something has asked for it."""
        return None if self.sscd is None else self._loaded.get((self.sscd, self.trust))

    def identity(self, name: str) -> dict[str, Any]:
        """What determines the denoiser or network called `name` (`smalti.analysis.identity`), found once: weights take a while."""
        if name not in self._identities:
            known = {**self.subjects, **{half: network for half, (network, _) in self.halves.items()}}
            self._identities[name] = identity_of(known[name])
        return self._identities[name]
