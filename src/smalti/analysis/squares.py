"""The side of the square that holds a share of a heatmap (workshop paper, Fig. 4, left).

Squares are of odd side 2 r + 1, centred on the output pixel and clipped at the borders. What they hold depends on the heatmap's sums over
rings alone, ring r being the input pixels at distance max(|i - y|, |j - x|) = r.
"""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["rings", "sides_of"]

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
