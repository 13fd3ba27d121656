"""A denoiser as one of azula's: x_t and t in, a posterior whose mean is D out.

x_t = alpha_t x + sigma_t noise,   E[x | x_t] = D(x_t / alpha_t, sigma_t / alpha_t)
"""

from __future__ import annotations

from typing import Any

import torch
from azula.denoise import Denoiser as Base
from azula.denoise import DiracPosterior

from smalti.adapters.scale import check_denoiser, clean, times
from smalti.core.errors import InputError
from smalti.core.validation import shown

__all__ = ["AzulaDenoiser"]


class AzulaDenoiser(Base):  # type: ignore[misc]
    """A denoiser on a noise schedule of azula.

    Args:
        denoiser: a denoiser of smalti.
        schedule: t -> (alpha, sigma).

    Raises:
        InputError: no denoiser, or no schedule.
    """

    def __init__(self, denoiser: Any, schedule: Any) -> None:
        super().__init__()
        check_denoiser(denoiser)
        if not callable(schedule):
            raise InputError(f"a noise schedule is needed, such as azula.noise.VPSchedule(), not {shown(schedule)}")
        self.denoiser, self.schedule = denoiser, schedule

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, labels: Any = None) -> DiracPosterior:
        """The posterior of x, known by its mean.

        Args:
            x_t: (B, C, H, W); t: the time, 0-d or (B,).
            labels: classes, as the denoiser takes them.
        """
        alpha, sigma = self.schedule(times(t, torch.float64))
        mean = clean(self.denoiser, x_t, alpha.to("cpu"), sigma.to("cpu"), labels)
        return DiracPosterior(mean=mean.to(x_t.dtype))
