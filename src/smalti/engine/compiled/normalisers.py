"""Log-normalisers that keep their last bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["LOG2E", "Normalisers"]

LOG2E = 1 / math.log(2)


@dataclass(frozen=True)
class Normalisers:
    """Base-2 log-normalisers in two parts, highest + log2(mass): what a sum of thousands of bits would lose to rounding is kept."""

    highest: np.ndarray
    mass: np.ndarray

    def merged(self, other: Normalisers) -> Normalisers:
        top = np.maximum(self.highest, other.highest)
        return Normalisers(top, self.mass * np.exp2(self.highest - top) + other.mass * np.exp2(other.highest - top))

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Normalisers:
        return Normalisers(function(self.highest), function(self.mass))

    def natural(self) -> np.ndarray:
        return (self.highest + np.log2(self.mass)) / LOG2E

    @classmethod
    def of_natural(cls, values: np.ndarray) -> Normalisers:
        base2 = values * LOG2E
        highest = np.rint(base2)  # exact in float32 wherever that is used, and the mass near 1
        return cls(highest, np.exp2(base2 - highest))
