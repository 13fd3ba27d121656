"""What a run is asked to reproduce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from smalti.core.denoiser import Denoiser
from smalti.core.validation import check_count
from smalti.experiments.building import DENOISERS
from smalti.experiments.laboratory import check_names
from smalti.experiments.scale import Scale
from smalti.source import Source

__all__ = ["Request"]

GRADIENTS = 4  # of a fixed n, one z in so many has its gradients taken: each is a call for every output pixel


@dataclass(frozen=True)
class Request:
    """What to reproduce, on what.

    Attributes:
        source: the images that the first network was trained on.
        networks: by name, the reference first; may be empty.
        halves: name -> (network, the images that it was trained on), two of them or none.
        held_out: images that no network saw, or None.
        scale: sizes.
        minutes: the budget; None for no limit. Numbers of z follow from it and from what calls were measured to cost, and are others on
            another machine or in another run.
        n: z at each level, and samples, of every denoiser, instead of a budget: nothing is measured, and the same request gives the same
            report, byte for byte. Gradients are taken at a quarter of them. None for a budget.
        only: keys of exhibits; empty for all.
        seed: of all draws.
        sscd, trust: TorchScript file of the similarity network, and whether it is run though it is not known.
        command: that makes the same report again, for the report.
        notes: what a reader must know of data and networks, one sentence each.

    Raises:
        InputError: a network with the name of something else that is shown (`smalti.experiments.laboratory`); n < 1.
    """

    source: Source
    networks: Mapping[str, Denoiser]
    scale: Scale
    minutes: float | None
    n: int | None = None
    halves: Mapping[str, tuple[Denoiser, Source]] = field(default_factory=dict)
    held_out: Source | None = None
    only: Sequence[str] = ()
    seed: int = 0
    sscd: Path | None = None
    trust: bool = False
    command: str = ""
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_names(self.networks, self.halves, DENOISERS)
        if self.n is not None:
            check_count("n", self.n)

    @property
    def sizes(self) -> Scale:
        """The scale, with n in it where it is given."""
        if self.n is None:
            return self.scale
        return replace(self.scale, z=self.n, sensitivity=-(-self.n // GRADIENTS), samples=self.n)
