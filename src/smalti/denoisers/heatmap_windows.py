"""Heatmaps: how much each output pixel depends on each input pixel, at each noise level; and windows made of them.

    G(y, x)_{ij} = E_z sum_c |dD_c(z, sigma)(y, x) / dz_c(i, j)|                    (Niedoba et al., full paper, Eq. 8)

of a network or any denoiser, as an array (levels, H, W, H, W), output pixel before input pixel; or of the linear denoiser, whose
derivative is its filter F = S (S + sigma^2 I)^-1 at every z: "wiener", for which no network is needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.schedule import edm_sigmas, nearest_level
from smalti.core.text import printable, shortened
from smalti.denoisers.base import AdaptedWindowDenoiser, check_source, numbers_of
from smalti.denoisers.gaussian import Gaussian
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.pruning import TOLERANCE
from smalti.engine.windows import Windows
from smalti.source import Source

__all__ = ["WIENER", "HeatmapDenoiser", "Heatmaps", "hard_windows", "soft_windows"]

WIENER = "wiener"
TIED = 1e-6  # relative: heats of the analytic filter that differ by less are equal but for rounding


class HasCells(Protocol):
    """A result of `smalti.sensitivity`: `cells()` are its heatmaps, `sigmas` its noise levels."""

    @property
    def sigmas(self) -> np.ndarray:
        """The noise levels, (levels,)."""

    def cells(self) -> np.ndarray:
        """The heatmaps of all pixels, (levels, H, W, H, W)."""


Heatmaps = str | os.PathLike[str] | torch.Tensor | np.ndarray | HasCells


class HeatmapDenoiser(AdaptedWindowDenoiser):
    """A denoiser whose windows are made of heatmaps, one for each pixel.

    A subclass calls `super().__init__(source, heatmaps, sigmas, backend, tolerance=tolerance)`, which finds the noise levels, and defines
    `windows_of(level, label)` with the help of `heat(level, label)`.
    """

    def __init__(
        self,
        source: Source,
        heatmaps: Heatmaps,
        sigmas: Sequence[float] | torch.Tensor | None,
        backend: str,
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        check_source(source)
        self.sigmas = sigmas
        self.heatmaps = torch.from_numpy(heatmaps) if isinstance(heatmaps, np.ndarray) else heatmaps
        self._linear: Gaussian | None = None
        self._given: np.ndarray | None = None
        if isinstance(heatmaps, str) and heatmaps == WIENER:
            self._linear = Gaussian(source)
            levels = edm_sigmas().tolist() if sigmas is None else numbers_of("sigmas", "a sigma", sigmas)
        else:
            self._given, known = read_heatmaps(self.heatmaps, source.shape)
            levels = _levels(len(self._given), sigmas, known)
        wiener = self._linear is not None
        super().__init__(levels, classwise=wiener, source=source, backend=backend, tolerance=tolerance)

    def windows_of(self, level: int, label: int | None) -> tuple[Windows, Windows]:
        """Queries and responses of a noise level and class."""
        raise NotImplementedError

    def collection_for(self, sigma: float, label: int | None) -> PosteriorMeanCollection:
        assert self.levels is not None
        queries, responses = self.windows_of(nearest_level(self.levels, sigma), label)
        return self.posteriors(queries, responses)

    @property
    def opt_outs(self) -> dict[str, str]:  # type: ignore[override]
        """Asymmetric heatmaps make a denoiser that flips do not commute with."""
        return {} if self._symmetric() else {"flips_commute": "its windows are not symmetric"}

    def heat(self, level: int, label: int | None = None) -> torch.Tensor:
        """The heatmaps of a level: (H W, H W) float64, >= 0, output pixel before input pixel; `label` counts for "wiener" only."""
        if self._given is not None:
            pixels = self.shape[1] * self.shape[2]
            return torch.from_numpy(np.array(self._given[level], np.float64)).reshape(pixels, pixels)
        assert self._linear is not None
        assert self.levels is not None
        factor = self._linear.filter_factor(self.levels[level], label)
        return sum((a @ a.T).abs() for a in factor.chunk(self.shape[0]))  # type: ignore[return-value]

    @property
    def rounded(self) -> bool:
        """Whether heats are computed, so that equal ones may differ by rounding."""
        return self._linear is not None

    def _symmetric(self) -> bool:
        """Whether the windows of all levels are those of the mirrored image, mirrored."""
        if self._given is None:
            return True
        assert self.levels is not None
        _, height, width = self.shape
        for level in range(len(self.levels)):
            for windows in self.windows_of(level, None):
                masks = windows.masks(self.shape)
                if len(masks) == height * width:
                    masks = masks.reshape(height, width, height, width)
                    if not torch.equal(masks, masks.flip(1, 3)):
                        return False
        return True


def _levels(count: int, sigmas: Sequence[float] | torch.Tensor | None, known: np.ndarray | None) -> list[float]:
    """Noise levels of `count` heatmaps: given, else those that the heatmaps come with, else the EDM schedule."""
    default = edm_sigmas().tolist() if known is None else known.tolist()
    levels = default if sigmas is None else numbers_of("sigmas", "a sigma", sigmas)
    if len(levels) != count:
        named = "levels of the default schedule" if sigmas is None else "sigmas"
        raise InputError(f"heatmaps of {count} levels for {len(levels)} {named}; give one sigma a level, sigmas=[...]")
    if known is not None and not np.allclose(levels, known, rtol=1e-3, atol=0):
        raise InputError(
            f"the heatmaps are those of sigma = {_few(known)}, not of {_few(levels)}; leave sigmas out, or compute others"
        )
    return levels


def _few(values: Sequence[float] | np.ndarray) -> str:
    return ", ".join(f"{v:.4g}" for v in list(values)[:3]) + (", ..." if len(values) > 3 else "")


# ---------------------------------------------------------------------------------------------------- windows of heatmaps


def hard_windows(heat: torch.Tensor, share: float, tied: bool = False) -> torch.Tensor:
    """PSPC-Flex's masks: for each output pixel the pixels of most heat that hold a share of it.

    Sorted ascending (stable, in row-major order among equals), the pixels from where the cumulative share of the heat reaches
    1 - share. A pixel whose heatmap is 0 keeps itself, and so does one that no mask covers.

    Args:
        heat: (P, P) float64 >= 0, output pixel before input pixel.
        share: the paper's lambda, 0 < share <= 1.
        tied: keep pixels that are equal but for rounding together, all or none: what the analytic filter of a source with flips needs,
            where both pixels of a mirror pair have the same heat.

    Returns:
        (P, P) bool.
    """
    total = heat.sum(1, keepdim=True)
    order = heat.argsort(dim=1, stable=True)
    ascending = heat.gather(1, order)
    cumulative = (ascending / torch.where(total > 0, total, 1)).cumsum(1)
    kept = cumulative >= 1 - share - (TIED if tied else 0)
    kept[:, -1] = True
    masks = torch.zeros_like(kept).scatter_(1, order, kept)
    if tied:
        least = torch.where(kept, ascending, torch.inf).amin(1, keepdim=True)
        masks |= heat >= least * (1 - TIED)
    return _own_where(masks & (total > 0), masks.new_tensor(True))


def soft_windows(heat: torch.Tensor) -> torch.Tensor:
    """Windows proportional to heatmaps: each divided by its largest value, so that 1 is the weight of a pixel of a hard window.

    A pixel whose heatmap is 0 keeps itself, and so does one that no window covers.

    Args:
        heat: (P, P) float64 >= 0, output pixel before input pixel.

    Returns:
        (P, P) float64, 0 to 1.
    """
    largest = heat.amax(1, keepdim=True)
    return _own_where(heat / torch.where(largest > 0, largest, 1), heat.new_tensor(1.0))


def _own_where(windows: torch.Tensor, one: torch.Tensor) -> torch.Tensor:
    """Add its own pixel to each window that is empty, then to those of pixels that no window covers."""
    for empty in (~windows.any(1), None):
        pixels = (~windows.any(0) if empty is None else empty).nonzero()[:, 0]
        windows[pixels, pixels] = one
    return windows


# ---------------------------------------------------------------------------------------------------- files and arrays


def read_heatmaps(given: Heatmaps, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray | None]:
    """Heatmaps (L, H, W, H, W), and the noise levels (L,) that they come with, or None.

    Args:
        given: a .npy file or a .npz with one such array (the published layout), a file of `smalti sensitivity`, an array or tensor, or
            an object with `cells()` and `sigmas` (`smalti.sensitivity`'s result).
        shape: (C, H, W) of the images.

    Raises:
        InputError: no such file; another shape; values that are not finite or negative; heatmaps of some pixels only.
    """
    sigmas = None
    if isinstance(given, (str, os.PathLike)):
        values, sigmas = _read_file(Path(given))
        what = str(given)
    elif isinstance(given, (np.ndarray, torch.Tensor)):
        values = given.detach().cpu().numpy() if isinstance(given, torch.Tensor) else given
        what = "heatmaps"
    elif callable(getattr(given, "cells", None)):
        values, sigmas, what = np.asarray(given.cells()), np.asarray(given.sigmas, np.float64), "heatmaps"
    else:
        raise InputError(f"heatmaps must be {WIENER!r}, a .npy or .npz file or an array, not {type(given).__name__}")
    wanted = (*shape[1:], *shape[1:])
    if values.ndim != 5 or values.shape[1:] != wanted or not len(values) or values.dtype.kind not in "fiu":
        raise InputError(
            f"{what}: heatmaps must be numbers of shape (levels, {', '.join(map(str, wanted))}), "
            f"output pixel before input pixel, not {values.dtype} of {values.shape}"
        )
    for level, heat in enumerate(values):
        if not (np.isfinite(heat).all() and (heat >= 0).all()):
            raise InputError(f"{what}: level {level} has values that are negative, NaN or infinite; give absolute ones")
    return values, sigmas


def _read_file(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    if not there:
        raise InputError(
            f"there is no file {shortened(printable(str(path)))}; heatmaps are a .npy or .npz file, or {WIENER!r}"
        )
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(stored, np.ndarray):
            return stored, None
        with stored:
            if {"sigmas", "pixels", "heatmaps"} <= set(stored.files):
                return _of_sensitivity(stored, path)
            arrays = [array for array in (stored[name] for name in stored.files) if array.ndim == 5]
    except Exception as error:  # any byte may be wrong: zipfile, zlib and numpy raise some ten kinds of error
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not a readable .npy or .npz file ({' '.join(str(error).split())[:100]})"
        ) from error
    if len(arrays) != 1:
        raise InputError(f"{path} has {len(arrays)} arrays of heatmaps, (levels, H, W, H, W); it must have one")
    return arrays[0], None


def _of_sensitivity(stored: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What `smalti sensitivity` wrote: heatmaps (L, P, H, W) of the pixels (P, 2), at the noise levels sigmas (L,)."""
    sigmas, pixels, heatmaps = (np.asarray(stored[name]) for name in ("sigmas", "pixels", "heatmaps"))
    if heatmaps.ndim != 4 or sigmas.shape != heatmaps.shape[:1] or sigmas.dtype.kind != "f":
        raise InputError(f"{path} is a damaged file of heatmaps; make it again with `smalti sensitivity`")
    height, width = heatmaps.shape[2:]
    if pixels.tolist() != [[y, x] for y in range(height) for x in range(width)]:
        raise InputError(
            f"{path} has heatmaps of {len(pixels)} pixels; those of all {height * width} in order are needed: "
            "`smalti sensitivity --pixels all`"
        )
    return heatmaps.reshape(-1, height, width, height, width), sigmas
