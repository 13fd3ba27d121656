"""Which images a network is trained on, and which are held out: a rule that a checkpoint can carry, instead of a list.

Images are put in a pseudo-random order that depends on (seed, number) alone; the first `held_out` of it are for validation, the others
are dealt into `parts` disjoint parts in turn. Both keep the order of the source.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from smalti.core.errors import InputError
from smalti.core.validation import check_integer
from smalti.source.source import Source

__all__ = ["Split"]


@dataclass(frozen=True)
class Split:
    """A rule that divides any source.

    Args:
        held_out: number of images for validation, 0 for none.
        part: which part is trained on, 1 <= part <= parts.
        parts: number of disjoint parts.
        seed: of the order.

    Raises:
        InputError: a number out of range.
    """

    held_out: int = 0
    part: int = 1
    parts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("held_out", "part", "parts", "seed"):
            check_integer(name, getattr(self, name))
        if self.held_out < 0 or self.parts < 1 or not 1 <= self.part <= self.parts:
            raise InputError(
                f"part {self.part} of {self.parts} with {self.held_out} held out is no split of a data set"
            )

    def training(self, source: Source) -> Source:
        """The images of this part; the source itself where nothing is held out or divided.

        Raises:
            InputError: no image is left.
        """
        if self.held_out == 0 and self.parts == 1:
            return source
        if self.parts > len(source) - self.held_out:  # some part would have none
            raise InputError(
                f"{len(source)} images leave none for part {self.part} of {self.parts} with {self.held_out} held out"
                if not len(self.training_numbers(len(source)))
                else f"{len(source)} images with {self.held_out} held out do not fill {self.parts} parts; use fewer"
            )
        return source.subset(self.training_numbers(len(source)))

    def training_numbers(self, count: int) -> np.ndarray:
        """Numbers of the images of this part, of `count` images, increasing; may be none."""
        return np.sort(self._order(count)[self.held_out :][self.part - 1 :: self.parts])

    def validation_numbers(self, count: int) -> np.ndarray:
        """Numbers of the images that are held out, of `count` images, increasing; may be none."""
        return np.sort(self._order(count)[: self.held_out])

    def validation(self, source: Source, most: int | None = None) -> Source | None:
        """The images that are held out, at most `most` of them (a pseudo-random choice), or None."""
        if not self.held_out:
            return None
        count = self.held_out if most is None else min(self.held_out, most)
        return source.subset(np.sort(self._order(len(source))[:count]))

    def _order(self, count: int) -> np.ndarray:
        keys = [hashlib.sha256(f"{self.seed}:{i}".encode()).digest() for i in range(count)]
        return np.array(sorted(range(count), key=keys.__getitem__))
