"""Coarse to fine: images from denoisers of several sizes, one a scale, each refining what the scale before it finished.

In the variance-preserving form of the levels, x_t = a x + s e with s = 1 - a, a from 0 up to 1 - 1e-3 in T steps; a denoiser is asked at

    z = x_t / a,   sigma = s / a                         (a = 0: sigma is infinite, and D the mean)

and one step from (a, s) to (a', s') is

    D  = denoiser(z, sigma)
    e  = (x_t - a D) / s
    D <- up(coarser) + D - up(down(D))                   unless this is the coarsest scale or the last step
    x' = a' D + s' (sqrt(1 - eta^2) e + eta fresh)

The last step of a scale gives D. Up and down are `smalti.sampling.resampling`'s: down(D) is then the coarser image exactly. The levels and
the blending follow "Efficient and Training-Free Single-Image Diffusion Models" (CVPR 2026), which uses them for the patches of one image;
here they run over any denoisers.

`coarse_to_fine_steps` is a generator over all steps of all scales; `smalti.generate` runs it. The noise of sample j is a function of
(seed, j, scale, step) alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from smalti.core.errors import InputError, SmaltiError
from smalti.core.noise import standard_normal
from smalti.core.validation import check_count
from smalti.sampling.resampling import replace_low

__all__ = ["MEAN_SIGMA", "ScaleStep", "check_eta", "coarse_to_fine_steps", "linear_levels", "mean_of"]

LARGEST_A = 1 - 1e-3
MEAN_SIGMA = 1e6  # logits of images in [-1, 1] differ by at most 2 C H W / 1e12 there


@dataclass(frozen=True)
class ScaleStep:
    """One step of one scale.

    Attributes:
        scale: 0 at the coarsest.
        step: 0 at the noisiest level; the number of steps at the end of the scale.
        sigma: noise level of `x`: infinite at step 0, 0.0 at the end.
        x: (B, C, h, w) float64, the state x_t; the finished image at the end.
        denoised: D after the blend with the coarser scale, as `x`; None at the end.
    """

    scale: int
    step: int
    sigma: float
    x: torch.Tensor
    denoised: torch.Tensor | None

    @property
    def finished(self) -> bool:
        """Whether `x` is the finished image of its scale."""
        return self.denoised is None


def linear_levels(steps: int) -> list[float]:
    """a of each step, from 0 to 1 - 1e-3 linearly.

    Raises:
        InputError: fewer than two steps: the first gives the mean.
    """
    if check_count("steps", steps) < 2:
        raise InputError("steps must be at least 2: the first is at infinite noise, where every sample is the mean")
    return [LARGEST_A * step / (steps - 1) for step in range(steps)]


def check_eta(eta: float) -> float:
    """`eta` as a float from 0 to 1, or InputError."""
    if isinstance(eta, bool) or not isinstance(eta, (int, float)) or not 0 <= eta <= 1:
        raise InputError(f"eta must be from 0 (the noise that was found stays) to 1 (all of it is fresh), not {eta!r}")
    return float(eta)


def mean_of(denoiser: Callable[..., torch.Tensor], z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """D at infinite noise, where z has no say: D(0, 1e6), for a batch like z (B, C, H, W)."""
    if labels is not None:
        return denoiser(torch.zeros_like(z), MEAN_SIGMA, labels=labels).to(z)
    return denoiser(torch.zeros_like(z[:1]), MEAN_SIGMA).to(z).expand_as(z)


def coarse_to_fine_steps(
    denoisers: Sequence[Any],
    indices: Sequence[int],
    seed: int = 0,
    *,
    steps: int | Sequence[int] = 10,
    eta: float = 0.0,
    labels: torch.Tensor | None = None,
    shapes: Sequence[tuple[int, int, int]] | None = None,
    coarsest: torch.Tensor | None = None,
    adjust: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
    draw: Callable[[tuple[int, int, int], tuple[int, int]], torch.Tensor] | None = None,
    wrap: bool = False,
) -> Iterator[ScaleStep]:
    """Run the sampler; yields every step of every scale, the finished image of each among them.

    Args:
        denoisers: one a scale, coarse to fine, each called as denoiser(z, sigma), with labels=labels where they are given.
        indices: numbers of the samples, >= 0.
        seed: 0 to 2^64 - 1.
        steps: steps at each scale, at least 2; one number or one a scale.
        eta: share of fresh noise in each step, 0 to 1.
        labels: (len(indices),) classes or None.
        shapes: (C, h, w) of each scale; the denoisers' `shape` by default.
        coarsest: (B, C, h, w) an image that the first scale takes its low frequencies from, as if it were finished before;
            its size at most that of the first scale, or None.
        adjust: called with the scale and every D after the blend, the last included (pixels that must stay, symmetries).
        draw: unit noise (len(indices), C, h, w) float64 of a shape and a draw (scale, step), step 0 the first state; by
            default that of `smalti.core.noise.standard_normal`.
        wrap: whether images wrap around, for up.

    Yields:
        steps + 1 `ScaleStep`s a scale.

    Raises:
        InputError: no denoiser, sizes that do not grow, steps < 2, eta out of range.
        SmaltiError: a denoiser returned NaN, infinities or another shape; names the scale and step.
    """
    if not len(denoisers):
        raise InputError("coarse_to_fine_steps needs at least one denoiser, one a scale, coarse to fine")
    counts = [steps] * len(denoisers) if isinstance(steps, int) else list(steps)
    if len(counts) != len(denoisers):
        raise InputError(f"{len(counts)} numbers of steps for {len(denoisers)} scales; give one number or one a scale")
    ladders = [linear_levels(count) for count in counts]
    eta = check_eta(eta)
    sizes = [tuple(denoiser.shape) for denoiser in denoisers] if shapes is None else [tuple(shape) for shape in shapes]
    for small, large in itertools.pairwise(sizes):
        if small[0] != large[0] or small[1] > large[1] or small[2] > large[2]:
            raise InputError(f"a scale of {small} cannot be followed by one of {large}; order them coarse to fine")
    coarser = coarsest

    def noise_of(shape: tuple[int, int, int], number: tuple[int, int]) -> torch.Tensor:
        return standard_normal(seed, indices, shape, number) if draw is None else draw(shape, number)

    for scale, (denoiser, shape, levels) in enumerate(zip(denoisers, sizes, ladders, strict=True)):
        x = noise_of(shape, (scale, 0))
        for step, a in enumerate(levels):
            s = 1 - a
            raw = _ask(denoiser, x, a, labels, f"at scale {scale} ({shape[1]} x {shape[2]}), step {step}")
            last = step == len(levels) - 1
            denoised = raw if coarser is None or last else replace_low(raw, coarser.to(raw), wrap)
            denoised = denoised if adjust is None else adjust(scale, denoised)
            yield ScaleStep(scale, step, s / a if a else math.inf, x, denoised)
            if last:
                x = denoised
                break
            noise = (x - a * raw) / s
            if eta:
                fresh = noise_of(shape, (scale, step + 1))
                noise = math.sqrt(1 - eta**2) * noise + eta * fresh
            a = levels[step + 1]
            x = a * denoised + (1 - a) * noise
        yield ScaleStep(scale, len(levels), 0.0, x, None)
        coarser = x


def _ask(denoiser: Any, x: torch.Tensor, a: float, labels: torch.Tensor | None, where: str) -> torch.Tensor:
    """D for the state x at a."""
    if a == 0:
        raw = mean_of(denoiser, x, labels)
    else:
        condition = {} if labels is None else {"labels": labels}
        raw = denoiser(x / a, (1 - a) / a, **condition)
    if raw.shape != x.shape:
        raise SmaltiError(f"the denoiser returned shape {tuple(raw.shape)} for {tuple(x.shape)} {where}")
    if not bool(torch.isfinite(raw).all()):
        raise SmaltiError(f"the denoiser returned NaN or infinite values {where}")
    return raw.to(x)
