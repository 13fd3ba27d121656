"""How near images are to images: batched functions of tensors, computed in float64.

With a the reference (a network's output, say) and b what is held against it, both (B, C, H, W):

    mse         1/(C H W) |a - b|^2                                            one number for each pair
    cosine      <a, b> / (|a| |b|)
    psnr        10 log10(range^2 / mse)                                        in dB, range = 2 for images in [-1, 1]
    r2          1 - sum_j |a_j - b_j|^2 / sum_j |a_j - mean(a)|^2              one number for the batch
    pearson_r2  (sum (a - mean a)(b - mean b))^2 / (sum (a - mean a)^2 sum (b - mean b)^2)

Two quantities are called R2. `r2` is the coefficient of determination: the share of the variance of a *over the batch*, around its
mean image, that b accounts for; it is 0 for the mean image itself and negative for worse. `pearson_r2` is the squared correlation of
the values of one image with those of another: it forgives any gain and offset, and credits b with what all images have in common.
"""

from __future__ import annotations

import torch

from smalti.core.errors import InputError

__all__ = ["cosine", "mse", "pearson_r2", "psnr", "r2"]


def mse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each pair, the mean over C, H, W.

    Args:
        a, b: (B, C, H, W), any floating dtype.

    Returns:
        (B,) float64.

    Raises:
        InputError: shapes that differ, or not (B, ...).
    """
    a, b = _flat(a, b)
    return (a - b).square().mean(1)


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Cosine of the angle between the images of each pair, (B,) float64; NaN where one is all zeros. As `mse`."""
    a, b = _flat(a, b)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def psnr(a: torch.Tensor, b: torch.Tensor, value_range: float = 2.0) -> torch.Tensor:
    """Peak signal-to-noise ratio of each pair in dB, (B,) float64; infinite where they are equal. As `mse`.

    Args:
        a, b: (B, C, H, W).
        value_range: largest less smallest possible value; 2 in the working scale.
    """
    return 10 * torch.log10(value_range**2 / mse(a, b))


def r2(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Coefficient of determination of the reference a by b over the batch.

    Args:
        a: (B, C, H, W), the reference, B >= 2.
        b: (B, C, H, W).

    Returns:
        () float64, at most 1; where a does not vary, 1 if b equals it, else NaN.

    Raises:
        InputError: shapes that differ; a single pair, which has no variance.
    """
    a, b = _flat(a, b)
    if len(a) < 2:
        raise InputError("r2 needs at least two images: it is a share of the variance over the batch")
    return explained((a - b).square().sum(), (a - a.mean(0)).square().sum())


def pearson_r2(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Squared Pearson correlation of the values of each pair, (B,) float64; NaN where an image is constant. As `mse`."""
    a, b = _flat(a, b)
    return cosine(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)).square()


def explained(left: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """1 - left / total, elementwise: the share of `total` that is not left over.

    Where total is 0 it is 1 if nothing is left either, else NaN: there was nothing to explain.
    """
    share = torch.where(total == 0, torch.nan, 1 - left / total)
    return torch.where((left == 0) & (total == 0), torch.ones_like(left), share)


def _flat(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if a.shape != b.shape or a.ndim < 2:
        raise InputError(f"images of one shape (B, C, H, W) are needed, not {tuple(a.shape)} and {tuple(b.shape)}")
    return a.double().flatten(1), b.double().flatten(1)
