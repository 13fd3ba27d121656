"""Running posteriors: sums relative to the largest logit that was seen, so that nothing overflows and no last bit is lost.

    m = max_i l_i,    S = sum_i b^(l_i - m) v_i                                       b = 2 in compiled programs, e elsewhere
    (m, S) and (m', S') together:    M = max(m, m'),    S b^(m - M) + S' b^(m' - M)

With v_i = 1 the sum is a normaliser, b^m S; with v_i an entry of image i, S over that is its posterior mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

__all__ = ["LOG2E", "Normalisers", "Running", "merged", "merged_all", "merged_sums"]

LOG2E = 1 / math.log(2)
TOGETHER = 64  # running posteriors that are merged at a time

# (rows, 2 + M, K) float64: maximum of the logits, sum of 2^(logit - maximum), sums of that times M entries
Running = np.ndarray

Values = TypeVar("Values", np.ndarray, torch.Tensor)


def merged_sums(highest: Values, sums: Values, other: Values, other_sums: Values) -> tuple[Values, Values]:
    """The maximum and the sums of two parts together; numpy: base 2, torch: base e.

    Args:
        highest, other: the largest logits, -infinity where a part has none; not both parts may then have none, or their sums are 0.
        sums, other_sums: sums relative to these; axes before those of the logits may be more.
    """
    if isinstance(highest, torch.Tensor):
        top = torch.maximum(highest, other)
        anchor = top.masked_fill(top == -torch.inf, 0)
        factor, other_factor = (highest - anchor).exp(), (other - anchor).exp()
    else:
        top = np.maximum(highest, other)
        factor, other_factor = np.exp2(highest - top), np.exp2(other - top)
    return top, sums * factor + other_sums * other_factor


def merged(a: Running, b: Running) -> Running:
    """Two running posteriors as one."""
    return np.concatenate(merged_sums(a[:, :1], a[:, 1:], b[:, :1], b[:, 1:]), 1)


def merged_all(parts: Iterable[Running]) -> Running:
    """Many, float32 or float64, as one in float64; several at a time, so that few are held and the sum is one product."""
    waiting: list[Running] = []
    for part in parts:
        waiting.append(part)
        if len(waiting) == TOGETHER:
            waiting = [_merged_at_once(waiting)]
    return _merged_at_once(waiting)


def _merged_at_once(parts: list[Running]) -> Running:
    together = np.stack(parts)
    highest = together[:, :, 0].max(0)
    factors = np.exp2(together[:, :, 0] - highest)
    sums = np.einsum("nbk,nbmk->bmk", factors, together[:, :, 1:], dtype=np.float64)
    return np.concatenate([highest[:, None], sums], 1)


@dataclass(frozen=True)
class Normalisers:
    """Base-2 log-normalisers in two parts, highest + log2(mass): what a sum of thousands of bits would lose to rounding is kept."""

    highest: np.ndarray
    mass: np.ndarray

    def merged(self, other: Normalisers) -> Normalisers:
        return Normalisers(*merged_sums(self.highest, self.mass, other.highest, other.mass))

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Normalisers:
        return Normalisers(function(self.highest), function(self.mass))

    def natural(self) -> np.ndarray:
        return (self.highest + np.log2(self.mass)) / LOG2E

    @classmethod
    def of_natural(cls, values: np.ndarray) -> Normalisers:
        base2 = values * LOG2E
        highest = np.rint(base2)  # exact in float32 wherever that is used, and the mass near 1
        return cls(highest, np.exp2(base2 - highest))
