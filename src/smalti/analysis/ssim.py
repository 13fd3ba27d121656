"""Structural similarity of images (Wang, Bovik, Sheikh & Simoncelli 2004), averaged over windows, channels alike.

    ssim = (2 m_a m_b + c1) (2 s_ab + c2) / ((m_a^2 + m_b^2 + c1) (s_a^2 + s_b^2 + c2)),  c1 = (0.01 L)^2, c2 = (0.03 L)^2

with means m, sample variances s^2 and covariance s_ab over uniform square windows that lie inside the image, and L = 2, the range of the
working scale. Small images have small windows: side 7 from 14 pixels on, else the largest odd number up to half the side, at least 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from smalti.core.errors import InputError

__all__ = ["ssim", "ssim_window"]

RANGE = 2.0
C1, C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
LARGEST = 7


def ssim_window(height: int, width: int) -> int:
    """The side of the window for H x W images, odd, 3 to 7."""
    half = min(height, width) // 2
    return max(3, min(LARGEST, half if half % 2 else half - 1))


def ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity of each pair.

    Args:
        a, b: (B, C, H, W), working scale; what lies outside [-1, 1] is clipped. H, W >= 3.

    Returns:
        (B,) float64, -1 to 1; 1 where they are equal.

    Raises:
        InputError: shapes that differ, or images smaller than 3 x 3.
    """
    if a.shape != b.shape or a.ndim != 4 or min(a.shape[2:]) < 3:
        raise InputError(
            f"ssim needs two batches (B, C, H, W) of one shape, H and W at least 3, not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    side = ssim_window(*a.shape[2:])
    a, b = a.double().clamp(-1, 1), b.double().clamp(-1, 1)
    sample = side**2 / (side**2 - 1)

    def mean(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, side, stride=1)

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = (sample * (mean(x * x) - m * m) for x, m in ((a, mean_a), (b, mean_b)))
    covariance = sample * (mean(a * b) - mean_a * mean_b)
    likeness = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (likeness * (2 * covariance + C2) / (variance_a + variance_b + C2)).flatten(1).mean(1)
