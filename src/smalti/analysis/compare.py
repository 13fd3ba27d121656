"""`smalti.compare`: denoisers held against a network, level by level, on the same z.

With a = D_net(z), b = D(z), o = D_opt(z), and means over the z of a level:

    mse        E |a - b|^2 / (C H W)
    cosine     E <a, b> / (|a| |b|)
    r2         1 - E |a - b|^2 / E |a - mean(a)|^2        the share of the variance of the network's outputs over z
    fraction   1 - E |a - b|^2 / E |a - o|^2              the share of the network's deviation from the optimal denoiser

`fraction` is 0 for the optimal denoiser, 1 for the network itself, negative for what is further from the network than the optimal
denoiser is. Where the network deviates by no more than the accuracy of the computation (MSE 1e-9) it is NaN: nothing is to explain.
r2 is `smalti.metrics.r2`, not the squared correlation (`smalti.metrics.pearson_r2`). Intervals are over z; in r2's the mean image
is held fixed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from smalti.analysis.identity import identity_of, pieces_of
from smalti.analysis.intervals import ACCURACY, RESAMPLES, Bootstrap
from smalti.analysis.subjects import Denoisers, check_images, evaluate, named
from smalti.analysis.z_sets import ZSet
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.pieces import Arrays, Batch, Pieces
from smalti.core.progress import progress as show_progress
from smalti.core.table import Table
from smalti.core.validation import check_count
from smalti.denoisers import Optimal
from smalti.metrics import explained
from smalti.source import Source

__all__ = ["STATISTICS", "compare", "pixel_sums", "statistics_of"]

STATISTICS = ("mse", "cosine", "r2", "fraction")
OPTIMAL = "optimal"


def compare(
    network: Denoiser,
    denoisers: Denoisers,
    z_sets: ZSet | Mapping[str, ZSet],
    *,
    optimal: Denoiser | None = None,
    batch_size: int = 64,
    resamples: int = RESAMPLES,
    keep: str | os.PathLike[str] | Pieces | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> Table:
    """Hold denoisers against a network.

    Args:
        network: the reference; any denoiser.
        denoisers: by name, or a list; other networks too. The optimal denoiser is added, first, as "optimal", unless an `Optimal` is
            among them.
        z_sets: one set of z, or several by name (`smalti.forward_z`, `smalti.reverse_z`, `ZSet.load`). Their labels, where they have
            any, condition the network and all denoisers.
        optimal: the optimal denoiser of the images that the network was trained on; None for that of the denoisers' source. A network
            that records other training images is warned of, as are denoisers on another source.
        batch_size: z computed, and kept, together. It changes results only by rounding.
        resamples: of the bootstrap.
        keep: a folder (or Pieces) for what is finished, so that the same call goes on after a kill; None keeps nothing. It takes as
            much room as the z.
        progress: True or False; None shows it where stderr is a terminal; a function is called with numbers of evaluations, one for
            each z, and denoiser or network.

    Returns:
        A row for each set, level and denoiser, with columns set, level (counted from 0), sigma, denoiser, n, and for each of mse,
        cosine, r2 and fraction its value, _low and _high (95 % interval over z) and _standard_error. NaN where it is not defined: all
        intervals, and r2, for n = 1.

    Raises:
        InputError: shapes that differ; no denoiser with a source, and no `optimal`; a folder of another computation.
        SmaltiError: a denoiser returned NaN, infinities or another shape.
    """
    sets = {z_sets.process: z_sets} if isinstance(z_sets, ZSet) else dict(z_sets)
    subjects, base = _subjects(network, denoisers, optimal, sets)
    size = check_count("batch_size", batch_size)
    pieces = pieces_of(keep, __name__, lambda: {
        "compare": identity_of(network), "denoisers": [identity_of(subject) for subject in subjects.values()],
        "z_sets": [z_set.digest() for z_set in sets.values()],
    })  # fmt: skip

    rows = []
    units = sum(len(z_set) * z_set.n for z_set in sets.values()) * (len(subjects) + 1)
    with show_progress("comparing", units, progress) as advance:
        for number, (name, z_set) in enumerate(sets.items()):
            for level, sigma in enumerate(z_set.sigmas.tolist()):
                part = _Level(network, subjects, z_set, level, size, pieces.under(f"{number:02d}-{level:04d}"), advance)
                part.run()
                deviation = part.sums[base]["error"]
                for subject in subjects:
                    found = _statistics(part, subject, deviation, resamples)
                    rows.append(
                        {"set": name, "level": level, "sigma": sigma, "denoiser": subject, "n": z_set.n} | found
                    )
    columns = ["set", "level", "sigma", "denoiser", "n"]
    columns += [f"{s}{end}" for s in STATISTICS for end in ("", "_low", "_high", "_standard_error")]
    return Table(tuple(columns), rows, "against the network's outputs; 95 % bootstrap intervals over z")


def _subjects(
    network: Denoiser, denoisers: Denoisers, optimal: Denoiser | None, sets: Mapping[str, ZSet]
) -> tuple[dict[str, Denoiser], str]:
    """The denoisers, the optimal one among them, and its name."""
    subjects = named(denoisers)
    base = None
    if optimal is None:
        base = next((name for name, subject in subjects.items() if isinstance(subject, Optimal)), None)
        sources = (getattr(subject, "source", None) for subject in (subjects[base],) if base) if base else (
            getattr(subject, "source", None) for subject in subjects.values()
        )  # fmt: skip
        source = next((found for found in sources if isinstance(found, Source)), None)
        if source is None:
            raise InputError("no denoiser has a source to make the optimal one of; give optimal=smalti.Optimal(source)")
        optimal = subjects[base] if base else Optimal(source)
    if base is None:
        if OPTIMAL in subjects:
            raise InputError(f"{OPTIMAL!r} is the name of the optimal denoiser; give the other one another name")
        base, subjects = OPTIMAL, {OPTIMAL: optimal, **subjects}
    for name, z_set in sets.items():
        if z_set.shape != tuple(network.shape):
            raise InputError(f"the z of {name} are {z_set.shape}; the network takes {tuple(network.shape)}")
    images = getattr(optimal, "source", None)
    if isinstance(images, Source):
        check_images({_name(network): network, **subjects}, images)
    return named(subjects), base


def _name(network: Denoiser) -> str:
    return f"the network {getattr(network, 'name', '') or type(network).__name__}"


@dataclass
class _Level:
    """One level of one set: the network's outputs, and the sums over pixels of each z that every statistic is made of."""

    network: Denoiser
    subjects: Mapping[str, Denoiser]
    z_set: ZSet
    level: int
    size: int
    pieces: Pieces
    advance: Callable[[int], None]
    sums: dict[str, dict[str, torch.Tensor]] = field(
        default_factory=dict
    )  # denoiser -> error, dot, norm; each (n,) float64
    norm: torch.Tensor = field(default_factory=lambda: torch.empty(0))  # (n,) |a|^2
    spread: torch.Tensor = field(default_factory=lambda: torch.empty(0))  # (n,) |a - mean(a)|^2

    def run(self) -> None:
        """Compute what is not kept yet."""

        def output(batch: Batch) -> Arrays:
            return {"x0": self._evaluate(_name(self.network), self.network, batch).float().numpy()}

        outputs = torch.cat([torch.from_numpy(arrays["x0"]) for _, arrays in self._batches("network", output)])
        for number, (name, subject) in enumerate(self.subjects.items()):

            def sums(batch: Batch, name: str = name, subject: Denoiser = subject) -> Arrays:
                return pixel_sums(outputs[batch.rows], self._evaluate(name, subject, batch))

            parts = [arrays for _, arrays in self._batches(f"{number:03d}", sums)]
            self.sums[name] = {key: torch.from_numpy(np.concatenate([part[key] for part in parts])) for key in parts[0]}
        batches = outputs.split(self.size)
        mean = sum(a.double().sum(0) for a in batches) / self.z_set.n
        self.norm = torch.cat([a.double().square().flatten(1).sum(1) for a in batches])
        self.spread = torch.cat([(a - mean).square().flatten(1).sum(1) for a in batches])

    def _batches(self, name: str, compute: Callable[[Batch], Arrays]) -> Iterator[tuple[Batch, Arrays]]:
        return self.pieces.batches(name, self.z_set.n, self.size, compute, self.advance)

    def _evaluate(self, name: str, denoiser: Denoiser, batch: Batch) -> torch.Tensor:
        labels = None if self.z_set.labels is None else self.z_set.labels[self.level, batch.rows]
        z = self.z_set.z[self.level, batch.rows]
        return evaluate(name, denoiser, z, float(self.z_set.sigmas[self.level]), labels)


def pixel_sums(a: torch.Tensor, b: torch.Tensor) -> Arrays:
    """What the statistics are made of: {"error": |a - b|^2, "dot": <a, b>, "norm": |b|^2} of each pair, (B,) float64."""
    a, b = a.double().flatten(1), b.double().flatten(1)
    return {
        "error": (a - b).square().sum(1).numpy(),
        "dot": (a * b).sum(1).numpy(),
        "norm": b.square().sum(1).numpy(),
    }


def _statistics(part: _Level, subject: str, deviation: torch.Tensor, resamples: int) -> dict[str, float]:
    """The four statistics of a denoiser with their intervals, for a row of the table."""
    dimension = int(np.prod(part.z_set.shape))
    return statistics_of(part.sums[subject], part.norm, part.spread, deviation, dimension, resamples)


def statistics_of(
    sums: Mapping[str, torch.Tensor],
    norm: torch.Tensor,
    spread: torch.Tensor,
    deviation: torch.Tensor,
    dimension: int,
    resamples: int = RESAMPLES,
) -> dict[str, float]:
    """The four statistics with their intervals, from sums over the pixels of each of n z.

    Args:
        sums: of the network's outputs a and the denoiser's b, as `pixel_sums` gives them, each (n,).
        norm: (n,), |a|^2.
        spread: (n,), |a - mean(a)|^2.
        deviation: (n,), |a - o|^2, o the optimal denoiser's outputs.
        dimension: C H W.
        resamples: of the bootstrap.

    Returns:
        {mse, mse_low, mse_high, mse_standard_error, cosine, ...}, the columns of `compare`.
    """
    cosine = sums["dot"] / (norm * sums["norm"]).sqrt()
    bootstrap = Bootstrap(torch.stack([sums["error"], cosine, spread, deviation], 1), resamples)

    def r2(means: torch.Tensor) -> torch.Tensor:
        return explained(means[..., 0], means[..., 2]) if bootstrap.n > 1 else means[..., 0] * torch.nan

    def fraction(means: torch.Tensor) -> torch.Tensor:
        return torch.where(means[..., 3] > ACCURACY * dimension, 1 - means[..., 0] / means[..., 3], torch.nan)

    found = (
        bootstrap.interval(lambda means: means[..., 0] / dimension),
        bootstrap.mean_interval(1),
        bootstrap.interval(r2),
        bootstrap.interval(fraction),
    )
    return {key: value for name, it in zip(STATISTICS, found, strict=True) for key, value in it.named(name).items()}
