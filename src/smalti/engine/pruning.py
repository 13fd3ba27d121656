"""Which elements of a posterior may be left out, and what that can cost.

Let a query compare M elements, with logits l_j in bits (log2 of prior times likelihood), and leave out those with l_j <= m - G for some
m that is at most the largest logit. Their mass is at most M 2^(m - G), and the whole mass at least 2^m, so their share is

    delta <= M 2^-G.

Without them, and with the others' weights made to sum to one, the posterior mean E moves to E', and with the mean F of what was left out

    E = (1 - delta) E' + delta F,    |E - E'| = delta |F - E'| <= delta * range

in every pixel, where range is that of the source's pixels, max - min. Hence G = log2(M range / tolerance) keeps every E_k, and the
composite, which is a convex combination of them, within `tolerance`. Three remarks:

- m may be any logit that was seen, so a running maximum serves: what it refuses, the final one would.
- Parts of a source (chunks, threads, machines) may each use their own maximum and their own M: a part discards at most delta of its own
  mass, and so all parts at most delta of the whole. Nothing is exchanged, and parts merge as ever. Where a part measures against the
  maximum or the normaliser of the whole, M is that of the whole too.
- l_j need not be known: an upper bound of it is enough, and a lower bound of the distance, from part of the window, gives one.

Where numerators are divided by a normaliser that counts everything, the error is at most delta |F|.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from smalti.core.errors import InputError
from smalti.core.validation import shown

if TYPE_CHECKING:
    from smalti.source import Source

__all__ = ["TOLERANCE", "check_tolerance", "extent", "gap_bits"]

TOLERANCE = 1e-5  # on the output, in the working scale [-1, 1]


def check_tolerance(tolerance: Any) -> float:
    """`tolerance` as a float.

    Raises:
        InputError: it is no number, negative, NaN or infinite.
    """
    number = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if not number or not 0 <= tolerance <= sys.float_info.max:
        raise InputError(
            f"tolerance must be a finite number >= 0 (0 leaves nothing out, {TOLERANCE:g} is the default), not {shown(tolerance)}"
        )
    return float(tolerance)


def gap_bits(elements: int, tolerance: float, source: Source) -> float:
    """G: how far below the best logit, in bits, `elements` weights may be left out; infinite where the tolerance is 0.

    Args:
        elements: how many elements a query compares.
        tolerance: on the output, working scale.
        source: for the range of its pixels.
    """
    if tolerance == 0:
        return math.inf
    return max(0.0, math.log2(max(elements, 1) * max(extent(source), tolerance) / tolerance))


def extent(source: Source) -> float:
    """max(|F - E'|, |F|) for any two means of the source's pixels, working scale."""
    if source.images.dtype == np.uint8:
        return 2.0
    low, high = (float(bound) for bound in (source.stored_range()[0].min(), source.stored_range()[1].max()))
    return max(high - low, abs(low), abs(high))
