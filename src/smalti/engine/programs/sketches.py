"""Sketches of windows: a few numbers of each from which a lower bound of the distance of any two follows.

A window of n = C p^2 numbers is a vector x. With orthonormal directions e_1 ... e_F, its sketch is

    s(x) = (e_1 . x, ..., e_F . x, r(x)),    r(x)^2 = |x|^2 - sum_f (e_f . x)^2,

the last number being the norm of what the directions do not see. By Pythagoras and the triangle inequality

    |x - z|^2 = sum_f (e_f . x - e_f . z)^2 + |rest of x - rest of z|^2 >= |s(x) - s(z)|^2.

The rest of a noisy window is mostly noise, long, and that of a clean one short: r tells them apart where directions cannot. (Lower bounds
from projections: Agrawal, Faloutsos, Swami 1993; the norm of the rest is one more coordinate.)

Directions are products of an axis of the channels (the eigenvectors of the images' channel covariance) and of two cosines, one down and
one along the window, so that sums over windows are two short filters; of all those with low frequencies the ones that vary most among
the images' windows come first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Sketches"]

FREQUENCIES = 5  # cosines that directions are made of, at most


class Sketches(NamedTuple):
    """Directions, the ones that tell most first.

    Attributes:
        side: p.
        filters, axes, passes, directions: see `smalti.engine.compiled.records.Directions`.
    """

    side: int
    filters: np.ndarray
    axes: np.ndarray
    passes: np.ndarray
    directions: np.ndarray

    @staticmethod
    def of(images: np.ndarray, side: int, count: int) -> Sketches:
        """At most `count` directions for the side x side windows of (n, C, H, W) images, which have their margins."""
        channels = images.shape[1]
        place = (np.arange(side) + 0.5) * np.pi / side
        filters = np.cos(np.arange(min(side, FREQUENCIES))[:, None] * place)
        filters /= np.linalg.norm(filters, axis=1, keepdims=True)
        flat = images.transpose(1, 0, 2, 3).reshape(channels, -1)
        axes = np.linalg.eigh(np.cov(flat, bias=True).reshape(channels, channels))[1].T[::-1].copy()
        size = len(filters)
        passes = np.stack(np.divmod(np.arange(channels * size), size), 1)
        directions = np.stack(np.divmod(np.arange(len(passes) * size), size), 1)
        every = Sketches(side, filters, axes, passes, directions)
        found = np.concatenate([every.coordinates(image) for image in images], 1)
        best = np.argsort(-found.var(1), kind="stable")[:count]
        return Sketches(side, filters, axes, passes, directions[best]).first(len(best))

    def first(self, count: int) -> Sketches:
        """With no more than the first `count` directions."""
        kept = self.directions[:count]
        used, number = np.unique(kept[:, 0], return_inverse=True)
        return self._replace(passes=self.passes[used], directions=np.stack([number.reshape(-1), kept[:, 1]], 1))

    def coordinates(self, image: np.ndarray) -> np.ndarray:
        """(F, windows) float64 of one image (C, H, W), windows inside it in row-major order."""
        mixed = np.tensordot(self.axes, image, 1)
        across = np.lib.stride_tricks.sliding_window_view(mixed, self.side, 2)
        along = [across[axis] @ self.filters[b] for axis, b in self.passes]
        down = [np.lib.stride_tricks.sliding_window_view(part, self.side, 0) for part in along]
        return np.stack([(down[number] @ self.filters[a]).reshape(-1) for number, a in self.directions])

    def squares(self, image: np.ndarray) -> np.ndarray:
        """(windows,) float64: the windows' |x|^2."""
        windows = np.lib.stride_tricks.sliding_window_view((image**2).sum(0), (self.side, self.side))
        return windows.sum((2, 3)).reshape(-1)

    def rounding(self) -> float:
        """How far a coordinate-wise computed sketch may lie from the exact one, relative to the window's norm.

        Coordinates are sums in float64 of at most 2 p + C terms whose magnitudes sum to at most the norm (Cauchy and Schwarz); so r^2 is
        off by at most the square of what is below, relative to |x|^2, and r by that itself. Then all are rounded to float32.
        """
        terms = 2 * self.side + len(self.axes) + len(self.directions) + 4
        return 2.0**-23 + float(np.sqrt(2 * (1 + 2 * len(self.directions) ** 0.5) * terms * 2.0**-53))
