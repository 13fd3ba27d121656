"""Masks that PSPC-Flex and PCA-locality are measured with: cut from the Wiener filter of the data, as the denoisers themselves do.

`filter_` is |F|, F = S (S + sigma^2 I)^-1, (D, D) float64, D = C H W.
"""

from __future__ import annotations

import torch

from smalti.denoisers.heatmap_windows import hard_windows

__all__ = ["heat_of", "pca_masks", "share_for"]

STEPS = 12  # of the bisection: shares to a thousandth


def heat_of(filter_: torch.Tensor, channels: int) -> torch.Tensor:
    """|F| summed over channels, as the heatmaps of PSPC-Flex: (H W, H W)."""
    size = len(filter_) // channels
    return sum(filter_[i : i + size, i : i + size] for i in range(0, len(filter_), size))  # type: ignore[return-value]


def share_for(heat: torch.Tensor, wanted: float) -> float:
    """The share of the heat whose masks come nearest to `wanted` pixels on average."""
    low, high = 0.0, 1.0
    found = []
    for _ in range(STEPS):
        share = (low + high) / 2
        mean = float(hard_windows(heat, share).sum(1).double().mean())
        found.append((abs(mean - wanted), share))
        low, high = (share, high) if mean < wanted else (low, share)
    return min(found)[1]


def pca_masks(filter_: torch.Tensor, threshold: float = 0.02, smallest: float = 1e-6) -> torch.Tensor:
    """PCA-locality's: which input entries count for which output entry, |F_nm|/F_nn >= threshold times the largest; (D, D) bool."""
    diagonal = filter_.diagonal()
    scaled = filter_ / torch.where(diagonal < smallest, 1, diagonal)[:, None]
    looks = (scaled >= threshold * scaled.max()) & (scaled > 0)
    alone = (~looks.any(0)).nonzero()[:, 0]
    looks[alone, alone] = True
    return looks
