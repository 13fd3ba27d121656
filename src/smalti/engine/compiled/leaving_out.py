"""What programs share that leave out elements of a whole selection (see `smalti.engine.pruning`): how far below, and below what."""

from __future__ import annotations

import numpy as np

from smalti.engine.compiled.program import CHUNK, LOWEST, TRUSTED_GAP, Program

__all__ = ["gaps", "seeds"]

SEEDS = 256  # images


def gaps(program: Program) -> tuple[float, float]:
    """Bits below the largest logit seen: (what may be left out, what is known to be so from float32 distances that may need float64).

    All images and flips of the source count as one, whatever part of it is asked for: phase 2 is given the normaliser Z of the whole,
    and of the M elements of the whole each that is left out has less than 2^-gap of it, so all have less than M 2^-gap Z. Where a
    normaliser lacks a mass A of mean E and its numerator a mass B of mean F, of the same or other elements, the mean is off by
    |A E - B F| / Z: at most M 2^-gap times the range where E and F have different signs, times the larger of |E| and |F| where they
    have the same.
    """
    gap = program.gap(program.flips * len(program.images))
    return gap, min(-LOWEST, gap + TRUSTED_GAP)


def seeds(elements: np.ndarray) -> np.ndarray:
    """A few elements, evenly spaced, whose largest logits all chunks can begin with; none where there is but one chunk.

    Maxima then seldom rise, and what does not matter is known from the start.
    """
    return elements[:: len(elements) // SEEDS] if len(elements) > CHUNK else elements[:0]
