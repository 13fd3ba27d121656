"""Which pixels of z an output pixel depends on, over the noise level (workshop paper, Fig. 4; full paper, Eq. 8).

Table w4-sides: subject, sigma, share, n, side with its interval, pixels, even, groups: the side of the smallest odd square, centred on the
output pixel and clipped at the borders, that holds the share of the mean absolute gradient, on average over `pixels` output pixels; `even`
is what it would be if all pixels of the image counted alike. Intervals: bootstrap over `groups` groups of the z (at most ten).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from smalti.analysis.heatmaps import NOTHING, SHARES, Sensitivity, rings, sides_of
from smalti.analysis.identity import source_identity
from smalti.analysis.intervals import TELLING, Bootstrap
from smalti.analysis.pixels import centre_and_edge, choose_pixels
from smalti.analysis.sensitivity import sensitivity
from smalti.core.denoiser import Denoiser
from smalti.core.schedule import nearest_level
from smalti.core.table import Table
from smalti.experiments.captions import level, listed, significant, with_interval
from smalti.experiments.costs import count_within
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.steps import Arrays, Results, Step, Work
from smalti.report.sensitivity_plots import heatmap_grid, sides_figure

__all__ = ["SensitiveArea", "reference_step"]

SHOWN = (0.03, 0.3, 3.0, 30.0)  # sigmas of the heatmaps: the first, third and fourth are the papers'
SMALL = 64  # pixels of images whose pixels may all be looked at
GRIDS = (8, 4)  # the finest grid of output pixels is taken that the time allows for all z
BACKWARD = 0.7  # calls of a network that one of its gradients takes; 0.4 to 0.9 were measured
ENTRY = (
    2.5e-10  # seconds: a covariance of the images, for each output value, image and pixel value; 2.2e-10 were measured
)
CLOSED_FORM = {
    "gaussian": 0.0,
    "optimal": 1.0,
    "pspc-square": 10.0,
}  # denoisers -> times of that; the first needs one z
NETWORKS = 0.7  # of the time, for the networks; the rest is shared by the denoisers


class SensitiveArea(Exhibit):
    """Sides of squares that hold 50, 75 and 95 % of the gradient, and heatmaps of a central and an edge pixel."""

    key = "w4"
    title = "How far around a pixel denoisers look"
    origin = "Workshop Fig. 4"
    share = 1.0

    def missing(self, lab: Laboratory) -> str | None:
        return None if lab.networks else "needs a network; give one with --network"

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        return tuple(_step(lab, *planned) for planned in _plan(lab, self.share * lab.seconds))

    def show(self, lab: Laboratory, results: Results) -> Shown:
        chosen = [name for name, *_ in _plan(lab, self.share * lab.seconds)]
        found = {name: _sensitivity(lab, name, results[_name(name)]) for name in chosen}
        table = _table(found, _averaged(lab, next(iter(found.values())).pixels), lab.scale.resamples)
        pictures = [_sides_picture(lab, table)]
        places = zip(("centre", "edge"), centre_and_edge(*lab.source.shape[1:]), strict=False)
        pictures += [_heatmaps_picture(lab, found, place, pixel) for place, pixel in places]
        left_out = [name for name in CLOSED_FORM if name in lab.denoisers and name not in chosen]
        notes = [f"Gradients of {listed(left_out)} did not fit into the time budget."] if left_out else []
        return Shown(pictures, {"w4-sides": table}, notes)


def reference_step(lab: Laboratory) -> Step | None:
    """The step of the reference network's heatmaps where it looks at all pixels, which PSPC-Flex's masks can be cut from: {"heatmaps"
    (L, H W, H, W), "n", ...}; None where there is no network, or there is time for some pixels only."""
    if not lab.networks:
        return None
    name, network, pixels, n, seconds = _plan(lab, SensitiveArea.share * lab.seconds)[0]
    every = choose_pixels(None, *lab.source.shape[1:])
    return _step(lab, name, network, pixels, n, seconds) if torch.equal(pixels, every) else None


def _name(subject: str) -> str:
    return f"w4/{subject}"


def _averaged(lab: Laboratory, pixels: np.ndarray | torch.Tensor) -> slice:
    """Of the pixels that were done, those that sides are averaged over: not the two that are shown only."""
    side = math.isqrt(len(pixels))
    return slice(0, len(pixels) if math.prod(lab.source.shape[1:]) == len(pixels) else side**2)


def _pixels(lab: Laboratory, grid: int | None) -> torch.Tensor:
    """All pixels, or a grid of them and behind it the central and the edge pixel where it lacks them."""
    height, width = lab.source.shape[1:]
    if grid is None:
        return choose_pixels(None, height, width)
    chosen = [tuple(pixel) for pixel in choose_pixels(min(grid, height, width), height, width).tolist()]
    return torch.tensor(chosen + [pixel for pixel in centre_and_edge(height, width) if pixel not in chosen])


def _plan(lab: Laboratory, seconds: float) -> list[tuple[str, Denoiser, torch.Tensor, int, float]]:
    """What is looked at: name, denoiser, output pixels, number of z, seconds."""
    channels, height, width = lab.source.shape
    most = lab.scale.sensitivity
    share = NETWORKS * seconds / len(lab.networks)
    slowest = max(BACKWARD * channels * lab.costs.of(name) for name in lab.networks)  # for one pixel of one z
    small = height * width <= SMALL or min(height, width) <= GRIDS[-1]
    grids = [None] * small + [grid for grid in GRIDS if grid < min(height, width)]
    fitting = [grid for grid in grids if slowest * len(_pixels(lab, grid)) * most <= share]
    pixels = _pixels(lab, (fitting or grids[-1:])[0])
    plan = []
    for name, network in lab.networks.items():
        each = BACKWARD * channels * len(pixels) * lab.costs.of(name)
        n = count_within(share, each, most, min(lab.scale.least, most))
        plan.append((name, network, pixels, n, n * each))
    images = len(lab.source) * (2 if lab.source.hflip else 1)
    covariance = ENTRY * len(lab.sigmas) * images * math.prod(lab.source.shape) * channels * len(pixels)
    present = [name for name in CLOSED_FORM if name in lab.denoisers and name not in lab.limited]
    share = (1 - NETWORKS) * seconds / max(1, sum(CLOSED_FORM[name] > 0 for name in present))
    for name in present:
        each = CLOSED_FORM[name] * covariance
        n = count_within(share, each, most, 0) if each else most
        if n >= min(lab.scale.least, most):
            plan.append((name, lab.denoisers[name], pixels, n, n * each or lab.seconds_each(["optimal"])))
    return plan


def _step(lab: Laboratory, name: str, subject: Denoiser, pixels: torch.Tensor, n: int, seconds: float) -> Step:
    total = n * len(lab.sigmas) * len(pixels)

    def compute(work: Work) -> Arrays:
        found = sensitivity(
            subject, lab.source, lab.sigmas, n, pixels.numpy(), seed=lab.seed, batch_size=16, keep=work.pieces,
            progress=lambda count: work.advance(count / total),
        )  # fmt: skip
        arrays = ("heatmaps", "standard_errors", "ring_sums", "sigmas", "pixels")
        return {**{array: getattr(found, array) for array in arrays}, "n": np.array(n)}

    parameters = {
        "subject": lab.identity(name), "data": source_identity(lab.source), "sigmas": lab.sigmas.tolist(),
        "pixels": pixels.tolist(), "n": n, "seed": lab.seed,
    }  # fmt: skip
    return Step(_name(name), compute, parameters, seconds=seconds, about=f"{name} n = {n}")


def _sensitivity(lab: Laboratory, name: str, arrays: Arrays) -> Sensitivity:
    numbers: dict[str, Any] = {key: array for key, array in arrays.items() if key != "n"}
    return Sensitivity(name, shape=lab.source.shape, n=int(arrays["n"]), seed=lab.seed, **numbers)


def _table(found: dict[str, Sensitivity], averaged: slice, resamples: int) -> Table:
    rows = []
    for name, result in found.items():
        result = dataclasses.replace(result, **_only(result, averaged))
        depends = torch.from_numpy(result.depends())
        even = rings(
            torch.ones(len(result.pixels), *result.shape[1:], dtype=torch.float64), torch.from_numpy(result.pixels)
        )
        for number_of_level, sigma in enumerate(result.sigmas.tolist()):
            sums = torch.from_numpy(result.ring_sums[number_of_level])  # (G, P, R)
            bootstrap = Bootstrap(sums.flatten(1), resamples)
            for share in SHARES:

                def side(means: torch.Tensor, share=share, sums=sums, known=depends[number_of_level]) -> torch.Tensor:  # type: ignore[no-untyped-def]
                    sides = sides_of(means.unflatten(-1, tuple(sums.shape[1:])).numpy(), share)
                    return torch.from_numpy(sides)[..., known].mean(-1)

                head = {"subject": name, "sigma": sigma, "share": share, "n": result.n}
                tail = {"pixels": len(result.pixels), "even": float(sides_of(even.numpy(), share).mean())}
                tail |= {"groups": len(sums)}
                rows.append(head | bootstrap.interval(side).named("side") | tail)
    columns = (
        "subject",
        "sigma",
        "share",
        "n",
        "side",
        "side_low",
        "side_high",
        "side_standard_error",
        "pixels",
        "even",
        "groups",
    )
    return Table(columns, rows, "mean over output pixels; 95 % bootstrap intervals over groups of z")


def _only(result: Sensitivity, averaged: slice) -> dict[str, Any]:
    return {
        "pixels": result.pixels[averaged],
        "heatmaps": result.heatmaps[:, averaged],
        "standard_errors": result.standard_errors[:, averaged],
        "ring_sums": result.ring_sums[:, :, averaged],
    }


def _sides_picture(lab: Laboratory, table: Table) -> Picture:
    reference = str(lab.reference)
    said = []
    for share in SHARES:
        rows = [row for row in table.where(subject=reference, share=share) if math.isfinite(row["side"])]
        rows.sort(key=lambda row: row["sigma"])
        texts = [f"{with_interval(row, 'side')} at {level(row['sigma'])}" for row in (rows[0], rows[-1])]
        widest = max(rows, key=lambda row: row["side"])
        said.append(
            f"{100 * share:g} %: {' and '.join(texts)}, at most {with_interval(widest, 'side')} at {level(widest['sigma'])} "
            f"(even spread: {significant(widest['even'])})"
        )
    first = table.rows[0]
    counts = {row["subject"]: (row["n"], row["groups"]) for row in table}
    n = ", ".join(f"{name} {count} z in {groups}" for name, (count, groups) in counts.items())
    caption = (
        "Side of the square around an output pixel that holds 50, 75 and 95 % of the absolute gradient with respect to z, averaged over "
        f"{first['pixels']} output pixels; the dotted line is what it would be if all pixels counted alike. Bands are 95 % bootstrap "
        f"intervals over groups of z ({n} groups; none for n < {TELLING}). {reference}, {'; '.join(said)}."
    )
    alternative = f"Three panels of sides over sigma, a line for each denoiser. {reference}, {'; '.join(said)}."
    return Picture("w4-sides", sides_figure(table), alternative, caption)


def _heatmaps_picture(lab: Laboratory, found: dict[str, Sensitivity], place: str, pixel: tuple[int, int]) -> Picture:
    sigmas = lab.sigmas.tolist()
    levels = sorted({nearest_level(sigmas, sigma) for sigma in SHOWN}, key=lambda index: sigmas[index])
    figure = heatmap_grid(found, pixel, levels)
    reference = found[str(lab.reference)]
    own = []
    index = int(np.abs(reference.pixels - pixel).max(1).argmin())
    for shown in levels:
        heatmap = reference.heatmaps[shown, index]
        known = heatmap.sum() >= NOTHING / sigmas[shown] ** 2
        own.append(
            f"{significant(100 * heatmap[pixel] / heatmap.sum()) if known else 'undefined'} % at {level(sigmas[shown])}"
        )
    what = f"{'a central' if place == 'centre' else 'an edge'} output pixel (row {pixel[0]}, column {pixel[1]}; red)"
    caption = (
        f"Mean absolute gradient of {what} with respect to each pixel of z, each map scaled by its largest value. The pixel itself "
        f"holds this much of {lab.reference}'s gradient: {listed(own)}."
    )
    alternative = f"Heatmaps of the gradient of {what}: rows {', '.join(found)}. The pixel's own share: {listed(own)}."
    return Picture(f"w4-{place}", figure, alternative, caption)
