"""The noise levels that a sampler visits: `steps` levels of the EDM schedule, then 0; or the caller's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from smalti.core.errors import InputError
from smalti.core.schedule import edm_sigmas
from smalti.core.validation import check_count

__all__ = ["check_sigmas", "sampling_sigmas"]


def sampling_sigmas(
    steps: int = 18, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> torch.Tensor:
    """`steps` levels of the EDM schedule (Karras et al. 2022, Eq. 5), largest first, and a final 0.

    Args:
        steps: number of solver steps, at least 1; one step is [sigma_max, 0].
        sigma_min, sigma_max: smallest and largest level above 0, working scale.
        rho: how far the levels crowd towards sigma_min, above 0.

    Returns:
        (steps + 1,) float64, strictly decreasing.

    Raises:
        InputError: steps < 1; an empty range or one that gives equal levels; rho not above 0.
    """
    count = check_count("steps", steps)
    if not rho > 0:
        raise InputError(f"rho must be greater than 0, not {rho}")
    sigmas = edm_sigmas(count, sigma_min, sigma_max, rho)
    return check_sigmas(torch.cat([sigmas, sigmas.new_zeros(1)]))


def check_sigmas(sigmas: torch.Tensor | Sequence[float]) -> torch.Tensor:
    """`sigmas` as a (steps + 1,) float64 CPU tensor.

    Raises:
        InputError: fewer than two levels; one that is not finite; not strictly decreasing; a last level that is not 0.
    """
    try:
        levels = torch.as_tensor(sigmas).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"sigmas must be a list of numbers, largest first, not {type(sigmas).__name__}") from error
    if levels.ndim != 1 or levels.shape[0] < 2:
        raise InputError(f"sigmas has shape {tuple(levels.shape)}; give (steps + 1,) levels, largest first, the last 0")
    if not bool(torch.isfinite(levels).all()):
        raise InputError("sigmas has NaN or infinite levels; every level must be finite")
    if not bool((levels[1:] < levels[:-1]).all()):
        raise InputError("sigmas must decrease strictly; check sigma_min, sigma_max and the order of the levels")
    if float(levels[-1]) != 0:
        raise InputError(f"the last of sigmas must be 0, not {float(levels[-1])}; append a 0")
    return levels
