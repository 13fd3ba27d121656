"""`Sensitivity`: heatmaps of what the pixels of a denoiser's output depend on, and the squares that hold shares of them.

Squares (workshop paper, Fig. 4, left) are of odd side 2 r + 1, centred on the output pixel and clipped at the borders. What they hold
depends on the heatmap's sums over rings alone, ring r being the input pixels at distance max(|i - y|, |j - x|) = r.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.analysis.gradients import find_reduction
from smalti.core.errors import InputError
from smalti.core.files import load_npz, save_npz
from smalti.core.table import Table

__all__ = ["SHARES", "Sensitivity", "rings", "sides_of"]

ROUNDING = 1e-12  # relative: sums that differ by less are equal


def rings(heatmaps: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Sums over rings around the output pixels: (..., P, H, W), pixels (P, 2) -> (..., P, max(H, W))."""
    height, width = heatmaps.shape[-2:]
    rows = (torch.arange(height) - pixels[:, :1]).abs()  # (P, H)
    columns = (torch.arange(width) - pixels[:, 1:]).abs()  # (P, W)
    distance = torch.maximum(rows[:, :, None], columns[:, None, :]).flatten(1)  # (P, H W)
    sums = heatmaps.new_zeros(*heatmaps.shape[:-2], max(height, width))
    return sums.scatter_add_(-1, distance.expand(*heatmaps.shape[:-2], -1), heatmaps.flatten(-2))


def sides_of(ring_sums: np.ndarray, share: float) -> np.ndarray:
    """The smallest odd side whose square holds `share` of the total: (..., R) -> (...), NaN where the total is 0."""
    held = ring_sums.cumsum(-1)
    total = held[..., -1:]
    enough = held >= share * total * (1 - ROUNDING)
    return np.where(total[..., 0] > 0, 2 * enough.argmax(-1) + 1.0, np.nan)


SHARES = (0.5, 0.75, 0.95)
NOTHING = 1e-11  # rounding of the sum of a row of covariances of images in [-1, 1]
_ARRAYS = ("sigmas", "pixels", "heatmaps", "standard_errors", "ring_sums")


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity:
    """Heatmaps G(y, x)_{ij} of P output pixels (y, x) at L noise levels (full paper, Eq. 8, with the default reduction).

    Attributes:
        name: of the denoiser.
        sigmas: (L,) float64.
        pixels: (P, 2) int64, output pixels (row, column).
        shape: (C, H, W) of the images.
        heatmaps: (L, P, H, W) float64, means over n forward z; axes (i, j) are input pixels.
        standard_errors: the same shape, of those means; NaN where n = 1.
        n: number of z at each level.
        reduction: how derivatives became one number for each input pixel (`smalti.analysis.gradients`).
        seed: of the z.
        ring_sums: (L, G, P, max(H, W)) float64, sums of the heatmaps of G groups of z over the rings around the output pixel, for the
            standard errors of sides; by default one group, of the heatmaps themselves.

    Raises:
        InputError: shapes that do not fit together; an unknown reduction.
    """

    name: str
    sigmas: np.ndarray
    pixels: np.ndarray
    shape: tuple[int, int, int]
    heatmaps: np.ndarray
    standard_errors: np.ndarray
    n: int
    reduction: str = "same-channel"
    seed: int = 0
    ring_sums: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        find_reduction(self.reduction)
        wanted = (len(self.sigmas), len(self.pixels), *self.shape[1:])
        if self.heatmaps.shape != wanted or self.standard_errors.shape != wanted or self.pixels.shape[1:] != (2,):
            raise InputError(
                f"heatmaps of {wanted[0]} levels and {wanted[1]} pixels must have shape {wanted}, "
                f"not {self.heatmaps.shape} with standard errors of {self.standard_errors.shape}"
            )
        if self.ring_sums is None:
            found = rings(torch.from_numpy(np.abs(self.heatmaps)), torch.from_numpy(self.pixels))
            object.__setattr__(self, "ring_sums", found.numpy()[:, None])
        if self.ring_sums.ndim != 4 or self.ring_sums[:, 0].shape != (*wanted[:2], max(wanted[2:])):
            raise InputError(
                f"ring sums must have shape (levels, groups, pixels, max(H, W)), not {self.ring_sums.shape}"
            )

    def __repr__(self) -> str:
        size, (levels, pixels) = "x".join(map(str, self.shape)), self.heatmaps.shape[:2]
        return (
            f"Sensitivity({self.name!r}, {levels} levels, {pixels} pixels of {size}, {self.n} z each, {self.reduction})"
        )

    def sides(self, shares: Sequence[float] = SHARES) -> np.ndarray:
        """The side of the square that holds a share of the heatmap, on average over output pixels (workshop paper, Fig. 4, left).

        The square is the smallest of odd side that is centred on the output pixel (clipped at the borders) and holds the share of
        the total; of absolute values where the reduction is signed. Output pixels that depend on nothing (`depends`) are left out.

        Args:
            shares: each above 0, at most 1.

        Returns:
            (L, len(shares)) float64, pixels; NaN at a level where no output depends on anything.

        Raises:
            InputError: a share out of range.
        """
        return _average(self.sides_of_pixels(shares))

    def sides_of_pixels(self, shares: Sequence[float] = SHARES) -> np.ndarray:
        """The sides for each output pixel, (L, P, len(shares)); NaN where it depends on nothing."""
        return self._sides(self.ring_sums.sum(1), shares)

    def depends(self) -> np.ndarray:
        """(L, P) bool: whether the output pixel depends on z at all, rounding apart: its heatmap sums to 1e-11 / sigma^2 or more.

        Where every posterior is one single image, an analytic denoiser's derivatives, Cov(x, x) / sigma^2, are 0 up to rounding.
        """
        return np.abs(self.heatmaps).sum((2, 3)) >= NOTHING / self.sigmas[:, None] ** 2

    def _sides(self, ring_sums: np.ndarray, shares: Sequence[float]) -> np.ndarray:
        for share in shares:
            if not 0 < share <= 1:
                raise InputError(f"shares must be above 0 and at most 1 (0.95 for 95 %), not {share}")
        sides = np.stack([sides_of(ring_sums, share) for share in shares], -1)
        return np.where(self.depends()[..., None], sides, np.nan)

    def sides_standard_errors(self, shares: Sequence[float] = SHARES) -> np.ndarray:
        """Standard errors of `sides` that come from the number of z: (L, len(shares)).

        By the jackknife that leaves out one group of z at a time. How sides differ between output pixels is not in them. NaN where
        there is one group (n = 1; a signed reduction, whose groups do not add up).
        """
        groups = self.ring_sums.shape[1]
        if groups == 1:
            return np.full((len(self.sigmas), len(shares)), np.nan)
        total = self.ring_sums.sum(1)
        without = np.stack([_average(self._sides(total - self.ring_sums[:, g], shares)) for g in range(groups)])
        return np.sqrt((groups - 1) * ((without - without.mean(0)) ** 2).mean(0))

    def table(self, shares: Sequence[float] = SHARES) -> Table:
        """Sides and their standard errors, a row for each level and share: denoiser, sigma, share, side, standard_error, n."""
        sides, errors = self.sides(shares), self.sides_standard_errors(shares)
        columns = ("denoiser", "sigma", "share", "side", "standard_error", "n")
        rows = [
            (self.name, float(sigma), float(share), float(sides[level, s]), float(errors[level, s]), self.n)
            for level, sigma in enumerate(self.sigmas)
            for s, share in enumerate(shares)
        ]
        note = f"side of the square that holds a share of the gradient, mean over {len(self.pixels)} output pixels"
        return Table(columns, [dict(zip(columns, row, strict=True)) for row in rows], note)

    def cells(self) -> np.ndarray:
        """The heatmaps of all pixels as (L, H, W, H, W), output pixel before input pixel: the published files' layout.

        Raises:
            InputError: not all pixels were done.
        """
        height, width = self.shape[1:]
        everything = [[y, x] for y in range(height) for x in range(width)]
        if self.pixels.tolist() != everything:
            raise InputError(
                f"heatmaps of all {height * width} output pixels are needed and there are {len(self.pixels)}; "
                "compute them with pixels=None"
            )
        return self.heatmaps.reshape(-1, height, width, height, width)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .npz, whole or not at all.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        about = {"name": self.name, "n": self.n, "reduction": self.reduction, "seed": self.seed, "shape": self.shape}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        save_npz(path, {**arrays, "about": np.array(json.dumps(about))})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sensitivity:
        """What `save` wrote; nothing in it is executed.

        Raises:
            InputError: no such file, or not one of these.
        """
        if not Path(path).exists():
            raise InputError(f"there is no file {path}; check the path")
        arrays = load_npz(path)
        if arrays is None or set(arrays) != {*_ARRAYS, "about"}:
            raise InputError(f"{path} is not a file of heatmaps; `smalti sensitivity` and Sensitivity.save write them")
        try:
            about: dict[str, Any] = json.loads(str(arrays.pop("about")))
            return cls(**arrays, **{**about, "shape": tuple(about["shape"])})  # type: ignore[arg-type]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise InputError(f"{path} is a damaged file of heatmaps ({error}); make it again") from error


def _average(sides: np.ndarray) -> np.ndarray:
    """Means over pixels, (L, P, S) -> (L, S), without those that are NaN."""
    known = ~np.isnan(sides)
    with np.errstate(invalid="ignore"):
        return np.where(known, sides, 0).sum(1) / known.sum(1)
