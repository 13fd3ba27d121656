"""What a network takes and returns, turned into D(z, sigma), the posterior mean of x given z = x + sigma noise.

Variance exploding: the network sees z and sigma.

    edm           D = F(z, sigma)
    epsilon-ve    D = z - sigma F(z, sigma)                                F predicts the noise
    score-ve      D = z + sigma^2 F(z, sigma)                              F predicts the score (D - z)/sigma^2

Variance preserving: with abar = 1/(1 + sigma^2) the network sees x_t = sqrt(abar) z = sqrt(abar) x + sqrt(1 - abar) noise, and the
(fractional) number t of that noise level in a table, t = t(sigma) (`DiscreteTable`).

    epsilon-vp    D = (x_t - sqrt(1 - abar) F(x_t, t))/sqrt(abar) = z - sigma F(x_t, t)
    v-vp          D = sqrt(abar) x_t - sqrt(1 - abar) F(x_t, t)   = z/(1 + sigma^2) - sigma/sqrt(1 + sigma^2) F(x_t, t)
    sample-vp     D = F(x_t, t)

v is sqrt(abar) noise - sqrt(1 - abar) x (Salimans & Ho 2022). For a sigma outside the table, x_t and the coefficients are those of the true
sigma, while t is the nearest level's. Then D is an extrapolation: the network is told the noise level that it knows, on an input with
the scale of the true one. Below the table, epsilon-vp still tends to z as sigma -> 0, and sample-vp removes the noise of the first
level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from smalti.core.errors import InputError, did_you_mean
from smalti.networks.tables import DiscreteTable

__all__ = ["CONVENTIONS", "DiscreteTable", "as_denoiser"]

Denoise = Callable[[torch.Tensor, torch.Tensor, "torch.Tensor | None"], torch.Tensor]

CONVENTIONS: dict[str, str] = {
    "edm": "module(z, sigma) is the denoised image (EDM, k-diffusion)",
    "epsilon-ve": "module(z, sigma) is the noise in z = x + sigma noise",
    "score-ve": "module(z, sigma) is the score of z = x + sigma noise",
    "epsilon-vp": "module(x_t, t) is the noise in x_t = sqrt(abar) x + sqrt(1 - abar) noise (DDPM)",
    "v-vp": "module(x_t, t) is v = sqrt(abar) noise - sqrt(1 - abar) x",
    "sample-vp": "module(x_t, t) is the denoised image",
}


def as_denoiser(module: Callable[..., Any], convention: str, table: DiscreteTable | None = None) -> Denoise:
    """D(z, sigma, classes) around a network.

    The network gets float32 on z's device, whatever z's dtype: z or x_t (B, C, H, W); sigma (B,) or t (B,), t int64 where the
    table rounds; and `classes` as it is, a third argument only where it is not None. Coefficients are computed in float64. D is
    differentiable in z wherever the network is.

    Args:
        module: the network.
        convention: one of `CONVENTIONS`.
        table: the noise levels by number, for the conventions that end in -vp.

    Returns:
        A function of z (B, C, H, W) floating, sigma (B,) and classes or None; its result (B, C, H, W) is float64 for float64 z,
        else float32.

    Raises:
        InputError: an unknown convention, a table that is missing or too much, and, when called, a network that does not return
            one tensor of z's shape.
    """
    if convention not in CONVENTIONS:
        hint = did_you_mean(str(convention), CONVENTIONS)
        raise InputError(f"unknown convention {convention!r}: choose from {', '.join(CONVENTIONS)}{hint}")
    if not callable(module):
        raise InputError(f"the network must be callable, not {type(module).__name__}")
    preserving = convention.endswith("-vp")
    if preserving and not isinstance(table, DiscreteTable):
        raise InputError(
            f"{convention} needs the network's noise levels: pass table=DiscreteTable.named('linear') or its alphas_cumprod"
        )
    if table is not None and not preserving:
        raise InputError(f"{convention} takes sigma itself and has no table of noise levels; leave table out")

    return _Denoiser(module, convention, table)


@dataclass(frozen=True)
class _Denoiser:
    # a class, not a closure: copies and pickles take the network along
    module: Callable[..., Any]
    convention: str
    table: DiscreteTable | None

    def __call__(self, z: torch.Tensor, sigma: torch.Tensor, classes: torch.Tensor | None = None) -> torch.Tensor:
        levels = sigma.to("cpu", torch.float64).reshape(-1)
        z = z.to(torch.float64 if z.dtype == torch.float64 else torch.float32)
        if self.table is None:
            seen, noise = z, levels
        else:
            seen, noise = z * _per_image((1 + levels**2).rsqrt(), z), self.table.timestep(levels)
        noise = noise.float() if noise.dtype.is_floating_point else noise
        labels = () if classes is None else (classes,)
        output = self.module(seen.float(), noise.expand(z.shape[0]).to(z.device), *labels)
        output = _checked(output, z).to(z.dtype)
        kept, scale = _coefficients(self.convention, levels)
        if kept is None or scale is None:
            return output
        return _per_image(kept, z) * z + _per_image(scale, z) * output


def _per_image(values: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return values.to(z.dtype).to(z.device).reshape(-1, *(1,) * (z.ndim - 1))


def _coefficients(convention: str, sigma: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """a and b of D = a z + b F, (B,) float64; None where D is F itself."""
    one = torch.ones_like(sigma)
    if convention.startswith("epsilon"):
        return one, -sigma
    if convention == "score-ve":
        return one, sigma**2
    if convention == "v-vp":
        return 1 / (1 + sigma**2), -sigma * (1 + sigma**2).rsqrt()
    return None, None


def _checked(output: Any, z: torch.Tensor) -> torch.Tensor:
    if not isinstance(output, torch.Tensor):
        kind = type(output).__name__
        raise InputError(
            f"the network returned a {kind}; wrap it to return one tensor, as in lambda x, t: net(x, t).sample"
        )
    if output.shape != z.shape:
        raise InputError(
            f"the network returned shape {tuple(output.shape)} for z of {tuple(z.shape)}; it must return z's shape"
        )
    return output
