"""How many z (or samples) each denoiser gets of a time budget that several share: equal time each, or by weights, and what the quick ones
leave over goes to the slower ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["share_out"]


def share_out(
    lab: Laboratory, names: Iterable[str], seconds: float, most: int, weights: Mapping[str, float] | None = None
) -> dict[str, int]:
    """Numbers of z at each of the noise levels.

    Args:
        lab: with the costs of all `names` and the least that each is given.
        names: of denoisers and networks.
        seconds: for all of them together.
        most: at most so many z a level.
        weights: of the time that a denoiser gets, 1 where none is given.

    Returns:
        name -> n in the order of `names`, lab.scale.least <= n <= most; 0 for one whose least alone would take more than `seconds`.
    """
    wanted, counts = list(names), {}
    weight = {name: (weights or {}).get(name, 1.0) for name in wanted}
    cost = {name: lab.costs.of(name) for name in wanted}
    left, remaining = seconds, sum(weight.values())
    for name in sorted(wanted, key=lambda name: cost[name] / weight[name]):
        least = min(lab.scale.least, most)
        if least * cost[name] > seconds:
            counts[name] = 0
        else:
            counts[name] = lab.costs.affordable(name, max(left, 0) * weight[name] / remaining, None, most, least)
        left -= counts[name] * cost[name]
        remaining -= weight[name]
    return {name: counts[name] for name in wanted}
