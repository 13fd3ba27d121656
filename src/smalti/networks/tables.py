"""The noise levels of networks that know them by number: t = 0 .. T-1, least noise first.

    x_t = sqrt(abar_t) x + sqrt(1 - abar_t) noise,    abar_t = prod_{s <= t} (1 - beta_s),    sigma_t = sqrt((1 - abar_t)/abar_t)

(Ho et al. 2020). Between two levels t is interpolated linearly in ln sigma, the rule of k-diffusion's `sigma_to_t`:

    t(sigma) = i + (ln sigma - ln sigma_i)/(ln sigma_{i+1} - ln sigma_i)    for sigma_i <= sigma <= sigma_{i+1}

and it stays at the first or last level for sigma outside the table. Levels with abar = 0 (pure noise, sigma = infinity) are never
reached: the last level that t stays at is the last with a finite sigma.

The named schedules are those of diffusers' schedulers, computed in float32 as there, so that the levels are those of the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from smalti.core.errors import InputError, did_you_mean
from smalti.core.validation import check_count

__all__ = ["LONGEST", "SCHEDULES", "DiscreteTable"]

LONGEST = 100_000
ROUNDINGS = ("linear", "nearest")


class DiscreteTable:
    """A table of noise levels.

    Args:
        alphas_cumprod: abar (T,), decreasing, below 1; zeros only at the end.
        rounding: "linear" gives fractional t; "nearest" the nearer level in ln sigma, an integer, for networks that take no other.

    Attributes:
        alphas_cumprod: (T,) float64.
        sigmas: (T,) float64, ascending; infinite where abar is 0.

    Raises:
        InputError: values that are no such table, or an unknown rounding.
    """

    def __init__(self, alphas_cumprod: torch.Tensor | Sequence[float], rounding: str = "linear") -> None:
        if rounding not in ROUNDINGS:
            raise InputError(f"rounding must be linear or nearest, not {rounding!r}")
        abar = _line("alphas_cumprod", alphas_cumprod).to("cpu", torch.float64)
        self.known = int((abar > 0).sum())
        reached = abar[: self.known]
        if not (self.known and reached[0] < 1 and (reached.diff() < 0).all() and (abar[self.known :] == 0).all()):
            raise InputError(
                "alphas_cumprod must decrease from below 1 to above 0 (zeros only at the end); check the betas"
            )
        self.alphas_cumprod, self.rounding = abar, rounding
        self.sigmas = ((1 - abar) / abar).sqrt()
        self._logs = self.sigmas[: self.known].log()

    @classmethod
    def from_betas(
        cls, betas: torch.Tensor | Sequence[float], rescale_zero_snr: bool = False, rounding: str = "linear"
    ) -> DiscreteTable:
        """The table of betas (T,) in (0, 1], multiplied up in their own dtype (numbers count as float64).

        `rescale_zero_snr` first rescales them so that the last level is pure noise (Lin et al. 2024, Algorithm 1).

        Raises:
            InputError: betas that are not in (0, 1].
        """
        values = _line("betas", betas)
        if not bool(((values > 0) & (values <= 1)).all()):
            raise InputError("betas must be greater than 0 and at most 1; check them")
        if rescale_zero_snr:
            values = _rescaled(values)
        return cls(torch.cumprod(1 - values, 0), rounding)

    @classmethod
    def named(
        cls,
        schedule: str = "linear",
        steps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        rescale_zero_snr: bool = False,
        rounding: str = "linear",
    ) -> DiscreteTable:
        """One of `SCHEDULES`, with the names, the defaults and the float32 arithmetic of diffusers.

        Raises:
            InputError: an unknown name, betas outside (0, 1), a number of steps that is not from 1 to 100000.
        """
        if schedule not in SCHEDULES:
            hint = did_you_mean(str(schedule), SCHEDULES)
            raise InputError(f"unknown beta schedule {schedule!r}: choose from {', '.join(SCHEDULES)}{hint}")
        if check_count("the number of levels", steps) > LONGEST:
            raise InputError(f"the number of levels must be at most {LONGEST}, not {steps}")
        for name, value in (("beta_start", beta_start), ("beta_end", beta_end)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
                raise InputError(f"{name} must be a number between 0 and 1, not {value!r}")
        return cls.from_betas(SCHEDULES[schedule](steps, beta_start, beta_end), rescale_zero_snr, rounding)

    def timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        """sigma (B,) > 0 -> t (B,) on the CPU: float64, or int64 under "nearest"."""
        logs, wanted = self._logs, sigma.to("cpu", torch.float64).log()
        if self.known == 1:
            t = torch.zeros_like(wanted)
        else:
            above = torch.searchsorted(logs, wanted).clamp(1, self.known - 1)
            below = above - 1
            t = below + ((wanted - logs[below]) / (logs[above] - logs[below])).clamp(0, 1)
        return t.round().to(torch.int64) if self.rounding == "nearest" else t

    def __len__(self) -> int:
        return len(self.sigmas)

    def __repr__(self) -> str:
        first, last = float(self.sigmas[0]), float(self.sigmas[self.known - 1])
        return f"DiscreteTable({len(self)} levels, sigma {first:.4g} to {last:.4g}, rounding={self.rounding!r})"


def _line(what: str, values: Any) -> torch.Tensor:
    try:
        line = values if isinstance(values, torch.Tensor) else torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{what} must be a sequence of numbers, not {type(values).__name__}") from None
    if line.ndim != 1 or not 1 <= line.numel() <= LONGEST or not line.dtype.is_floating_point:
        raise InputError(
            f"{what} must be 1 to {LONGEST} numbers in a row, not {line.dtype} of shape {tuple(line.shape)}"
        )
    if not bool(torch.isfinite(line).all()):
        raise InputError(f"{what} has NaN or infinite values; check what produced it")
    return line.detach()


def _rescaled(betas: torch.Tensor) -> torch.Tensor:
    """Shift and scale sqrt(abar) so that its last value is 0 and its first stays."""
    if betas.numel() < 2:
        raise InputError("a table of one level cannot be rescaled to end in pure noise; leave rescale_zero_snr out")
    root = torch.cumprod(1 - betas, 0).sqrt()
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    abar = root**2
    return 1 - torch.cat([abar[:1], abar[1:] / abar[:-1]])


def _linear(steps: int, start: float, end: float) -> torch.Tensor:
    return torch.linspace(start, end, steps, dtype=torch.float32)


def _scaled_linear(steps: int, start: float, end: float) -> torch.Tensor:
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2


def _squared_cosine(steps: int, start: float, end: float) -> torch.Tensor:
    def abar(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - abar((i + 1) / steps) / abar(i / steps), 0.999) for i in range(steps)]
    return torch.tensor(betas, dtype=torch.float32)


def _sigmoid(steps: int, start: float, end: float) -> torch.Tensor:
    return torch.sigmoid(torch.linspace(-6, 6, steps, dtype=torch.float32)) * (end - start) + start


# from (steps, beta_start, beta_end) to betas; squaredcos_cap_v2 (Nichol & Dhariwal 2021) has no use for the last two
SCHEDULES: dict[str, Callable[[int, float, float], torch.Tensor]] = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": _squared_cosine,
    "sigmoid": _sigmoid,
}
