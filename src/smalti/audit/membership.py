"""Does a network tell its training images from others? Its errors on both, level by level, and one statistic over all levels.

For pairs j of a training and a held-out image, with the same noise e_j added to both:

    e(x)      mean over draws of |D(x + sigma noise) - x|^2 / (C H W)
    AUC       the share of pairs (any training image, any held-out image) in which the training image has the smaller error, ties half
    overall   the AUC of the mean over levels of log e(x): fixed beforehand, so that no level is picked

0.5 is no sign of membership, 1 tells them apart always. Intervals of errors are the bootstrap's over pairs. Those of AUCs are Newcombe's
(2006, method 5), which have width where the AUC is 1 too: {t : |AUC - t| <= 1.96 sqrt(V(t))}, with

    V(t) = t (1 - t) (1 + (n - 1) ((1 - t) / (2 - t) + t / (1 + t))) / n^2       (Hanley and McNeil 1982, n images on both sides)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from smalti.analysis.forward import draw_noise
from smalti.analysis.intervals import NORMAL_95, RESAMPLES, Bootstrap, Interval
from smalti.analysis.subjects import evaluate
from smalti.core.errors import InputError
from smalti.core.pieces import Arrays, Batch, Pieces
from smalti.core.table import Table

__all__ = ["Membership", "area_under_curve", "membership"]

SMALLEST = 1e-12  # errors below are this, so that they have a logarithm
STREAM = 1 << 20  # of the noise: apart from those of levels of `forward_z`
FEW = 20  # images on a side: with fewer nothing is concluded


@dataclass(frozen=True)
class Membership:
    """What the errors of n training and n held-out images say.

    Attributes:
        sigmas: (L,) noise levels.
        training, held_out: (L, n) float64, mean squared errors.
        auc: the AUC of every level, with its interval.
        overall: the AUC of the mean logarithm over levels.
    """

    sigmas: tuple[float, ...]
    training: np.ndarray
    held_out: np.ndarray
    auc: tuple[Interval, ...]
    overall: Interval

    @property
    def n(self) -> int:
        """Images on each side."""
        return self.training.shape[1]

    @property
    def telling(self) -> bool:
        """Whether the interval of the overall AUC lies above 0.5, with enough images to say so."""
        return self.n >= FEW and self.overall.low > 0.5

    def table(self) -> Table:
        """A row for each level: the errors, their relative difference, and the AUC, with 95 % intervals."""
        rows: list[dict[str, Any]] = []
        for level, sigma in enumerate(self.sigmas):
            pairs = Bootstrap(np.stack([self.training[level], self.held_out[level]], 1), RESAMPLES)
            ratio = pairs.interval(lambda means: (means[..., 1] - means[..., 0]) / means[..., 1].clamp_min(SMALLEST))
            rows.append(
                {"sigma": sigma, "n": self.n}
                | _named("training_mse", pairs.mean_interval(0))
                | _named("held_out_mse", pairs.mean_interval(1))
                | _named("smaller_by", ratio)
                | _named("auc", self.auc[level])
            )
        return Table(tuple(rows[0]), rows, "smaller_by: how much smaller the mean error on training images is; 95 %")


def membership(
    network: Any,
    training: tuple[torch.Tensor, np.ndarray | None],
    held_out: tuple[torch.Tensor, np.ndarray | None],
    sigmas: Sequence[float],
    draws: int = 1,
    seed: int = 0,
    batch_size: int = 64,
    keep: Pieces | None = None,
    advance: Callable[[int], object] = lambda units: None,
) -> Membership:
    """Errors of a network on pairs of images.

    Args:
        network: any denoiser.
        training, held_out: (n, C, H, W), working scale, and their classes (n,) or None; n pairs.
        sigmas: noise levels > 0.
        draws: of noise for each pair and level.
        seed: of the noise.
        batch_size: images computed together.
        keep: where finished batches are kept.
        advance: called with numbers of evaluations: 2 n L draws in all.

    Raises:
        InputError: none, or other numbers of images.
        SmaltiError: the network returned NaN, infinities or another shape.
    """
    sides = {"training": training, "held-out": held_out}
    n, shape = len(training[0]), tuple(training[0].shape[1:])
    if not n or len(held_out[0]) != n or tuple(held_out[0].shape[1:]) != shape:
        raise InputError("membership needs as many held-out images as training images, at least one, of one shape")
    kept = keep or Pieces()
    errors = {side: np.zeros((len(sigmas), n)) for side in sides}
    for level in range(len(sigmas)):
        for side, (images, classes) in sides.items():

            def compute(
                batch: Batch, images: torch.Tensor = images, classes: np.ndarray | None = classes, level: int = level
            ) -> Arrays:
                x = images[batch.rows].double()
                labels = None if classes is None else torch.from_numpy(np.array(classes[batch.rows], np.int64))
                total = torch.zeros(len(batch), dtype=torch.float64)
                for draw in range(draws):
                    noise = draw_noise(seed, STREAM + level * draws + draw, batch.numbers, shape)
                    out = evaluate("the network", network, (x + sigmas[level] * noise).float(), sigmas[level], labels)
                    total += (out.double() - x).square().flatten(1).mean(1)
                    batch.advance(len(batch))
                return {"error": (total / draws).numpy()}

            for batch, arrays in kept.batches(f"{side}-{level:04d}", n, batch_size, compute, advance, draws):
                errors[side][level, batch.rows] = arrays["error"]
    scores = {side: np.log(np.maximum(values, SMALLEST)).mean(0) for side, values in errors.items()}
    return Membership(
        tuple(map(float, sigmas)),
        errors["training"],
        errors["held-out"],
        tuple(area_under_curve(errors["training"][level], errors["held-out"][level]) for level in range(len(sigmas))),
        area_under_curve(scores["training"], scores["held-out"]),
    )


def area_under_curve(smaller: np.ndarray, larger: np.ndarray) -> Interval:
    """P(a value of `smaller` (n,) is below one of `larger` (m,)), ties half, with its 95 % interval."""
    n, m = len(smaller), len(larger)
    order = np.sort(larger)
    below = len(order) - np.searchsorted(order, smaller, "right")
    equal = np.searchsorted(order, smaller, "right") - np.searchsorted(order, smaller, "left")
    value = float((below + 0.5 * equal).sum() / (n * m))
    if min(n, m) < 2:
        return Interval(value, *(float("nan"),) * 3)

    def deviation(t: float) -> float:
        mean = (n + m) / 2 - 1
        return math.sqrt(t * (1 - t) * (1 + mean * ((1 - t) / (2 - t) + t / (1 + t))) / (n * m))

    def end(far: float) -> float:
        near = value
        for _ in range(60):
            middle = (near + far) / 2
            if abs(value - middle) <= NORMAL_95 * deviation(middle):
                near = middle
            else:
                far = middle
        return near

    return Interval(value, end(0.0), end(1.0), deviation(value))


def _named(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
