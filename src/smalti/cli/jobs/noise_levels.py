"""Noise levels as typed: a list, or how many of a range."""

from __future__ import annotations

import torch

from smalti.analysis.z_sets import check_levels
from smalti.core.errors import InputError
from smalti.core.validation import LARGEST, SMALLEST_SIGMA, check_sigma

__all__ = ["parse_sigmas"]


def parse_sigmas(text: str) -> torch.Tensor:
    """ "0.03,0.3,3" as (3,) float64.

    Raises:
        InputError: not numbers > 0 separated by commas.
    """
    try:
        levels = check_levels([float(word) for word in text.split(",")])
        return check_sigma(levels, len(levels))
    except ValueError:  # InputError too
        raise InputError(
            f"--sigmas must be numbers from {SMALLEST_SIGMA:g} to {LARGEST:g} separated by commas, such as 0.03,0.3,3,30, not {text!r}"
        ) from None
