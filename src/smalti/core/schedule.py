"""Noise levels: the EDM schedule (Karras et al. 2022, Eq. 5), counted from 0 at the largest sigma.

sigma_i = (sigma_max^(1/rho) + i/(n-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho,   i = 0 .. n-1
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from smalti.core.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["LEVELS", "RHO", "SIGMA_MAX", "SIGMA_MIN", "edm_sigmas", "nearest_level"]

# EDM's own, which every default in smalti comes from; torch is imported when it is needed, so that they can be read without it
LEVELS, SIGMA_MIN, SIGMA_MAX, RHO = 18, 0.002, 80.0, 7.0
MOST_LEVELS = 1_000_000


def edm_sigmas(
    n: int = LEVELS, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO
) -> torch.Tensor:
    """The EDM noise levels, largest first, without the final 0.

    Args:
        n: number of levels, at least 1; one level is [sigma_max].
        sigma_min, sigma_max: the range, 0 < sigma_min <= sigma_max, in the working scale (images in [-1, 1]).
        rho: how far the levels crowd towards sigma_min.

    Returns:
        (n,) float64. Level 9 of the default 18 is sigma = 1.92.

    Raises:
        InputError: n that is no whole number from 1 to a million; a range that is not 0 < sigma_min <= sigma_max < infinity; rho <= 0, or
            so small that no float holds the powers.
    """
    import torch

    from smalti.core.validation import check_count, check_number, shown

    n = check_count("the number of noise levels", n)
    sigma_min, sigma_max = check_number("sigma_min", sigma_min), check_number("sigma_max", sigma_max)
    if n > MOST_LEVELS:
        raise InputError(f"there are at most {MOST_LEVELS:,} noise levels, not {shown(n)}")
    if not check_number("rho", rho) > 0:
        raise InputError(f"rho must be greater than 0, not {rho}")
    if not (0 < sigma_min <= sigma_max < math.inf):
        raise InputError(f"need 0 < sigma_min <= sigma_max < infinity, not {sigma_min} and {sigma_max}")
    if n == 1:
        return torch.tensor([sigma_max], dtype=torch.float64)
    ramp = torch.arange(n, dtype=torch.float64) / (n - 1)
    try:
        low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    except (OverflowError, ZeroDivisionError):
        low, high = 0.0, math.inf
    if not (low > 0 and high < math.inf):
        raise InputError(f"rho is too small for sigma from {sigma_min:g} to {sigma_max:g}: {rho:g}; EDM's is {RHO:g}")
    sigmas = (high + ramp * (low - high)) ** rho
    sigmas[0], sigmas[-1] = sigma_max, sigma_min
    return sigmas


def nearest_level(sigmas: Sequence[float], sigma: float) -> int:
    """Index of the level nearest to sigma in |sigma - sigma_i| (linear, as published); the first of equals."""
    return min(range(len(sigmas)), key=lambda i: abs(float(sigmas[i]) - sigma))
