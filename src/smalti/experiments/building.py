"""Making a laboratory: the denoisers on the source, what they cost, and which of them must do with fewer images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from smalti import denoisers
from smalti.core.denoiser import Denoiser
from smalti.core.schedule import edm_sigmas
from smalti.denoisers import PSPCFlex
from smalti.experiments.costs import Costs, cost_step
from smalti.experiments.exhibits.sensitivity import reference_step
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.scale import QUICK, Scale
from smalti.experiments.steps import Store, run
from smalti.source import Source

__all__ = ["DENOISERS", "build_laboratory", "fitting_window", "short_names"]

DENOISERS = (
    "optimal",
    "pspc-square",
    "pspc-flex",
    "local-score",
    "equivariant-local-score",
    "pca-locality",
    "gaussian",
    "closed-form-diffusion",
)
FLEX = "pspc-flex"
WINDOWED = ("local-score", "equivariant-local-score")
WINDOW = 7  # of theirs at 32 x 32
MEASURING = 0.02  # of the budget, that measuring one denoiser may take
SLOW = 0.04  # of the budget, that the fewest z of one denoiser, of both processes at all levels, may take
FEWEST = 100  # images that a limited denoiser is made on at least
ARCHITECTURES = ("ddpmpp", "ncsnpp", "dit")


def build_laboratory(
    source: Source,
    networks: Mapping[str, Denoiser],
    store: Store,
    *,
    held_out: Source | None = None,
    halves: Mapping[str, tuple[Denoiser, Source]] | None = None,
    scale: Scale = QUICK,
    budget: float = math.inf,
    shares: float = 1.0,
    measure: bool = True,
    seed: int = 0,
    sscd: Path | None = None,
    trust: bool = False,
    sigmas: torch.Tensor | None = None,
    notes: Sequence[str] = (),
    log: Callable[[str], None] = lambda line: None,
    show: bool | None = None,
) -> Laboratory:
    """Make the denoisers and measure what everything costs (steps that are kept in `store`, so that a run that goes on has the same n).

    Args:
        source: the images that the first network was trained on.
        networks: by name, the reference first.
        store: where costs are kept.
        held_out: images that no network saw.
        halves: networks of disjoint halves.
        scale: sizes.
        budget: seconds for all exhibits; infinity for no limit.
        shares: what the exhibits' shares are shares of.
        measure: whether costs are measured; without, every denoiser is on all images and gets the scale's own numbers of z.
        seed: of all draws.
        sscd, trust: for the similarity of samples.
        sigmas: (L,) levels, highest first; None for the 18 of the EDM schedule.
        notes: what a reader must know of data and networks.
        log: is told what was measured.
        show: whether progress is shown.
    """
    window = fitting_window(source.shape)
    given = {name: {"window": window} for name in WINDOWED}
    made = {name: denoisers.create(name, source, **given.get(name, {})) for name in DENOISERS}
    levels = edm_sigmas() if sigmas is None else sigmas
    lab = Laboratory(
        source=source,
        held_out=held_out,
        networks=dict(networks),
        halves=dict(halves or {}),
        denoisers=made,
        limited={},
        sigmas=levels,
        scale=scale,
        costs=Costs(),
        seconds=budget / shares,
        seed=seed,
        notes=[*notes, f"{' and '.join(WINDOWED)} have windows of {window} x {window} at every noise level."],
        sscd=sscd,
        trust=trust,
    )
    if not measure:
        return _with_network_masks(lab, store, log, show)
    half_networks = {name: network for name, (network, _) in lab.halves.items()}
    steps = {
        name: cost_step(name, subject, lab.identity(name), levels, MEASURING * min(budget, 3600.0))
        for name, subject in {**lab.subjects, **half_networks}.items()
    }
    results = run(list(steps.values()), store, log, "measuring", show)
    costs = Costs({name: tuple(results[step.name]["seconds"].tolist()) for name, step in steps.items()})
    return _limited(_with_network_masks(replace(lab, costs=costs), store, log, show), budget)


def _with_network_masks(
    lab: Laboratory, store: Store, log: Callable[[str], None], show: bool | None = None
) -> Laboratory:
    """PSPC-Flex with masks cut from the reference network's heatmaps, as the paper's is; where these are not of all pixels, or there is no
    network, its masks are those of the Wiener filter, and it is so labelled."""
    step = reference_step(lab)
    if step is None:
        why = (
            "heatmaps of all pixels of the network do not fit into the time" if lab.networks else "there is no network"
        )
        notes = [*lab.notes, f"{FLEX} has masks of the Wiener filter and not of a network's gradients, since {why}."]
        return replace(lab, notes=notes, remarks={**lab.remarks, FLEX: "Wiener masks"})
    found = run([step], store, log, f"heatmaps of {lab.reference}", show)[step.name]
    _, height, width = lab.source.shape
    heatmaps = torch.from_numpy(found["heatmaps"]).unflatten(1, (height, width))
    flex = PSPCFlex(lab.source, heatmaps=heatmaps, sigmas=lab.sigmas.tolist())
    notes = [
        *lab.notes,
        f"{FLEX} has masks cut from the gradients of {lab.reference} (means over {int(found['n'])} noisy images a level), with the "
        "paper's shares of the heat.",
    ]
    return replace(lab, denoisers={**lab.denoisers, FLEX: flex}, notes=notes, _identities={})


def _limited(lab: Laboratory, budget: float) -> Laboratory:
    """Put denoisers on fewer images where even the fewest z would not fit into the budget."""
    count, limited, costs = len(lab.source), dict(lab.limited), lab.costs
    made = dict(lab.denoisers)
    for name in lab.denoisers:
        least = 2 * lab.scale.least * costs.of(name)
        if least <= SLOW * budget or name == "optimal":
            continue
        images = max(min(FEWEST, count), _round(int(count * SLOW * budget / least)))
        if images < count:
            limited[name] = images
            made[name] = lab.denoisers[name].with_source(lab.source.subset(_spread(images, count)))
            costs = costs.scaled(name, images / count)
    if not limited:
        return lab
    said = ", ".join(f"{name} on {images:,}" for name, images in limited.items())
    notes = [*lab.notes, f"Too slow for the time budget on all {count:,} images, and so made on fewer: {said}."]
    return replace(lab, denoisers=made, limited=limited, costs=costs, notes=notes, _identities={})


def fitting_window(shape: tuple[int, int, int]) -> int:
    """The odd side nearest to that of `WINDOW` at 32 x 32, at least 3.

    >>> fitting_window((3, 32, 32)), fitting_window((3, 16, 16)), fitting_window((1, 8, 8))
    (7, 3, 3)
    """
    return max(3, 2 * int(WINDOW * min(shape[1:]) / 32 / 2) + 1)


def _spread(images: int, count: int) -> list[int]:
    return [i * count // images for i in range(images)]


def _round(number: int) -> int:
    """Down to two digits: 1234 to 1200."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def short_names(names: list[str]) -> list[str]:
    """Networks as figures call them: without the name of the data that follows a known architecture, where they stay different.

    >>> short_names(["ddpmpp-digits", "dit-digits"])
    ['ddpmpp', 'dit']
    """
    short = [name.partition("-")[0] if name.partition("-")[0] in ARCHITECTURES else name for name in names]
    return short if len(set(short)) == len(names) else list(names)
