"""How far denoisers are from the optimal denoiser, over sigma (workshop paper, Fig. 2), and whether they err alike.

    error       MSE_k(sigma) = E_z |D_k(z) - D_opt(z)|^2 / (C H W),   z ~ p(z | x), x uniform over the images
    agreement   cos_kl(sigma) = E_z <d_k, d_l> / sqrt(E_z |d_k|^2 E_z |d_l|^2),   d_k = D_k(z) - D_opt(z)

Networks that "vary from the empirical denoiser in the same way" have a cosine near 1. All that is kept of a z is the matrix of the
products <d_k, d_l>, from which both, and their intervals, follow.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from smalti.analysis.forward import forward_batch
from smalti.analysis.identity import identity_of, pieces_of, source_identity
from smalti.analysis.intervals import ACCURACY, RESAMPLES, Bootstrap
from smalti.analysis.subjects import Denoisers, check_images, evaluate, named
from smalti.analysis.z_sets import check_levels
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.pieces import Arrays, Batch, Pieces
from smalti.core.progress import progress as show_progress
from smalti.core.table import Table
from smalti.core.validation import check_count
from smalti.denoisers import Optimal
from smalti.source import Source

__all__ = ["Deviations", "deviations", "error_sigmas", "error_to_optimal", "example_outputs"]


def error_sigmas(count: int = 150, low: float = 0.01, high: float = 100.0) -> torch.Tensor:
    """`count` levels evenly spaced in log sigma from `low` to `high`, (count,) float64: the paper's 150 in [0.01, 100].

    Raises:
        InputError: count < 1, or not 0 < low <= high.
    """
    count = check_count("the number of sigmas", count)
    if not 0 < low <= high < float("inf"):
        raise InputError(f"need 0 < low <= high < infinity, not {low} and {high}")
    return torch.logspace(np.log10(low), np.log10(high), count, dtype=torch.float64)


def error_to_optimal(
    denoisers: Denoisers,
    source: Source,
    sigmas: torch.Tensor | Sequence[float] | None = None,
    n: int = 1000,
    seed: int = 0,
    *,
    labelled: bool = False,
    batch_size: int = 64,
    keep: str | os.PathLike[str] | Pieces | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> Table:
    """Mean squared error against the optimal denoiser, with intervals: `deviations(...).errors()`, with its arguments."""
    return deviations(
        denoisers, source, sigmas, n, seed, labelled=labelled, batch_size=batch_size, keep=keep, progress=progress
    ).errors()


@dataclass(frozen=True)
class Deviations:
    """Products of the deviations of K denoisers from the optimal one.

    Attributes:
        names: of the denoisers.
        sigmas: (L,) float64.
        products: (L, n, K, K) float64, <D_k(z) - D_opt(z), D_l(z) - D_opt(z)> of each z.
        dimension: C H W.
    """

    names: tuple[str, ...]
    sigmas: torch.Tensor
    products: torch.Tensor
    dimension: int

    def errors(self, resamples: int = RESAMPLES) -> Table:
        """Columns sigma, denoiser, mse, low, high, standard_error, n; low and high are the 95 % interval over z."""
        rows = []
        for sigma, bootstrap in self._bootstraps(resamples):
            for k, name in enumerate(self.names):
                mse = bootstrap.interval(functools.partial(self._mse, k=k))
                rows.append({"sigma": sigma, "denoiser": name, "mse": mse.value, "low": mse.low, "high": mse.high}
                            | {"standard_error": mse.standard_error, "n": bootstrap.n})  # fmt: skip
        columns = ("sigma", "denoiser", "mse", "low", "high", "standard_error", "n")
        return Table(columns, rows, f"MSE to the optimal denoiser; {self._note()}")

    def agreement(self, resamples: int = RESAMPLES) -> Table:
        """Columns sigma, first, second, cosine, low, high, standard_error, n, one row for each pair of denoisers.

        NaN where one of them deviates by no more than the accuracy of the computation (MSE 1e-9): its direction means nothing.
        """
        rows = []
        pairs = [(k, m) for k in range(len(self.names)) for m in range(k + 1, len(self.names))]
        for sigma, bootstrap in self._bootstraps(resamples):
            for k, m in pairs:
                cosine = bootstrap.interval(functools.partial(self._cosine, k=k, m=m))
                rows.append({"sigma": sigma, "first": self.names[k], "second": self.names[m]}
                            | {"cosine": cosine.value, "low": cosine.low, "high": cosine.high}
                            | {"standard_error": cosine.standard_error, "n": bootstrap.n})  # fmt: skip
        columns = ("sigma", "first", "second", "cosine", "low", "high", "standard_error", "n")
        return Table(columns, rows, f"cosine of the deviations from the optimal denoiser; {self._note()}")

    def _bootstraps(self, resamples: int) -> list[tuple[float, Bootstrap]]:
        products = self.products.flatten(2)
        return [(s, Bootstrap(p, resamples)) for s, p in zip(self.sigmas.tolist(), products, strict=True)]

    def _at(self, k: int, m: int) -> int:
        return k * len(self.names) + m

    def _mse(self, means: torch.Tensor, k: int) -> torch.Tensor:
        return means[..., self._at(k, k)] / self.dimension

    def _cosine(self, means: torch.Tensor, k: int, m: int) -> torch.Tensor:
        first, second = means[..., self._at(k, k)], means[..., self._at(m, m)]
        defined = torch.minimum(first, second) > ACCURACY * self.dimension
        return torch.where(defined, means[..., self._at(k, m)] / (first * second).sqrt(), torch.nan)

    def _note(self) -> str:
        n = self.products.shape[1]
        return f"{n} forward z at each sigma, 95 % bootstrap intervals over z"


def deviations(
    denoisers: Denoisers,
    source: Source,
    sigmas: torch.Tensor | Sequence[float] | None = None,
    n: int = 1000,
    seed: int = 0,
    *,
    optimal: Denoiser | None = None,
    labelled: bool = False,
    batch_size: int = 64,
    keep: str | os.PathLike[str] | Pieces | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> Deviations:
    """Hold denoisers against the optimal one of `source`, on the same forward z.

    Args:
        denoisers: by name, or a list; networks too.
        source: the images of the optimal denoiser and of the z: those that the networks were trained on. A denoiser that is about
            other images is warned of.
        sigmas: (L,) noise levels > 0; None for the paper's 150 from 0.01 to 100.
        n: z at each sigma; the paper takes 10,000. z number j at level l depends on (seed, l, j) alone.
        seed: 0 to 2^64 - 1.
        optimal: the optimal denoiser; None for `Optimal(source)`.
        labelled: condition every z, and the optimal denoiser, on the class of its image.
        batch_size: z computed, and kept, together. It changes results only by rounding.
        keep: a folder (or Pieces) for finished batches, so that the same call goes on after a kill; None keeps nothing.
        progress: True or False; None shows it where stderr is a terminal; a function is called with numbers of finished z, L n in
            all.

    Raises:
        InputError: bad sigmas, n or seed; shapes that differ; labelled without classes; a folder of another computation.
        SmaltiError: a denoiser returned NaN, infinities or another shape.
    """
    subjects = named(denoisers)
    check_images(subjects, source)
    levels = error_sigmas() if sigmas is None else check_levels(sigmas)
    n, size = check_count("n", n), check_count("batch_size", batch_size)
    if labelled and source.labels is None:
        raise InputError("labelled=True needs a source with classes; open the data with classes or leave it out")
    reference = Optimal(source) if optimal is None else optimal
    pieces = pieces_of(keep, __name__, lambda: {
        "deviations": [identity_of(denoiser) for denoiser in subjects.values()],
        "optimal": identity_of(reference), "data": source_identity(source),
        "sigmas": levels.tolist(), "seed": seed, "labelled": labelled,
    })  # fmt: skip

    products = torch.empty((len(levels), n, len(subjects), len(subjects)), dtype=torch.float64)
    with show_progress("error to optimal", len(levels) * n, progress) as advance:
        for level, sigma in enumerate(levels.tolist()):

            def compute(batch: Batch, level: int = level, sigma: float = sigma) -> Arrays:
                drawn = forward_batch(source, sigma, seed, level, batch.numbers)
                labels = drawn.labels if labelled else None
                return {"products": _products(subjects, reference, drawn.z, sigma, labels).numpy()}

            for batch, arrays in pieces.batches(f"products-{level:04d}", n, size, compute, advance):
                products[level, batch.rows] = torch.from_numpy(arrays["products"])
    return Deviations(tuple(subjects), levels, products, int(np.prod(source.shape)))


def _products(
    subjects: dict[str, Denoiser], optimal: Denoiser, z: torch.Tensor, sigma: float, labels: torch.Tensor | None
) -> torch.Tensor:
    """(B, K, K) float64."""
    base = evaluate("optimal", optimal, z, sigma, labels).double()
    away = [evaluate(name, subject, z, sigma, labels).double() - base for name, subject in subjects.items()]
    d = torch.stack(away, 1).flatten(2)
    return d @ d.transpose(1, 2)


def example_outputs(
    denoisers: Denoisers,
    source: Source,
    sigmas: Sequence[float] = (0.1, 3.0, 30.0),
    seed: int = 0,
    *,
    labelled: bool = False,
) -> dict[str, torch.Tensor]:
    """What the denoisers make of one image at a few sigmas, with the same noise (workshop paper, Fig. 2, right).

    Args:
        denoisers: by name, or a list.
        source: the images.
        sigmas: (S,) noise levels, low to high.
        seed: chooses the image and the noise.
        labelled: condition on the class of the image.

    Returns:
        "z", "optimal" and each denoiser -> (S, C, H, W) float32.
    """
    levels = check_levels(sigmas).tolist()
    drawn = [forward_batch(source, sigma, seed, 0, [0]) for sigma in levels]
    found = {"z": torch.cat([it.z for it in drawn])}
    for name, subject in {"optimal": Optimal(source), **named(denoisers)}.items():
        found[name] = torch.cat([
            evaluate(name, subject, it.z, sigma, it.labels if labelled else None)
            for it, sigma in zip(drawn, levels, strict=True)
        ])  # fmt: skip
    return found
