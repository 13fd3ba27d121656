"""From x_t = alpha x + s noise to a denoiser's z = x + sigma noise, and what a model may be asked for instead of x."""

from __future__ import annotations

from typing import Any

import torch

from smalti.core.errors import InputError
from smalti.core.validation import check_count, shown

__all__ = ["check_denoiser", "clean", "spread", "times"]


def check_denoiser(denoiser: Any) -> tuple[int, int, int]:
    """(C, H, W) of the images of a denoiser.

    Raises:
        InputError: it is none.
    """
    shape = getattr(denoiser, "shape", None)
    if not callable(denoiser) or isinstance(denoiser, type) or shape is None or len(shape) != 3:
        raise InputError(
            f"a denoiser is needed, called as denoiser(z, sigma) and with .shape = (C, H, W), not {shown(denoiser)}"
        )
    channels, height, width = (check_count("each of (C, H, W)", side) for side in shape)
    return channels, height, width


def times(value: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Times, or timesteps, as a tensor.

    Raises:
        InputError: they are no numbers.
    """
    try:
        return torch.as_tensor(value, dtype=dtype)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"a time is a number, or one for each noisy image, not {shown(value)}") from None


def clean(denoiser: Any, x_t: torch.Tensor, alpha: torch.Tensor, s: torch.Tensor, labels: Any = None) -> torch.Tensor:
    """What the denoiser makes of x_t = alpha x + s noise: (B, C, H, W) float64, computed at z = x_t / alpha, sigma = s / alpha.

    Args:
        x_t: (B, C, H, W) floating.
        alpha, s: > 0, 0-d or (B,), float64.
        labels: as the denoiser takes them, or None.

    Raises:
        InputError: no noisy images, or another number of times; what the denoiser refuses.
    """
    if not isinstance(x_t, torch.Tensor) or not x_t.dtype.is_floating_point:
        raise InputError(f"noisy images are a floating tensor (B, C, H, W), not {shown(x_t)}")
    if any(level.ndim > 1 or (level.ndim == 1 and len(level) not in (1, len(x_t))) for level in (alpha, s)):
        raise InputError(f"{tuple(s.shape)} times for {len(x_t)} noisy images; give one, or one for each")
    z = x_t.double() / spread(alpha, x_t).double()
    given = {} if labels is None else {"labels": labels}
    return denoiser(z, (s / alpha).to(z.device), **given)


def spread(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One value for all, or one for each of x (B, ...), to be multiplied with x; on its device."""
    values = values.to(x.device)
    return values if values.ndim == 0 else values.reshape(-1, *[1] * (x.ndim - 1))
