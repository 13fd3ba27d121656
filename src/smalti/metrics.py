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

How near images are to a training set, with d_1 <= d_2 <= ... the L2 distances of an image to the training images (with flips, to the
nearer of each image and its mirror image), and what posterior weights w, sum_i w_i = 1, rest on:

    distance_ratio       d_1 / d_k, k = 2                      Yoon et al. 2023 (SPIGM): memorised below 1/3
    adaptive_distance    d_1 / (alpha mean(d_1 .. d_n))        Carlini et al. 2023 (arXiv 2301.13188), n = 50, alpha = 1/2
    effective_number     exp(-sum_i w_i ln w_i)                Hill number of order 1, the perplexity
    participation        1 / sum_i w_i^2                       Hill number of order 2, Kish's effective sample size

Structural similarity of images (Wang, Bovik, Sheikh & Simoncelli 2004), averaged over windows, channels alike.

    ssim = (2 m_a m_b + c1) (2 s_ab + c2) / ((m_a^2 + m_b^2 + c1) (s_a^2 + s_b^2 + c2)),  c1 = (0.01 L)^2, c2 = (0.03 L)^2

with means m, sample variances s^2 and covariance s_ab over uniform square windows that lie inside the image, and L = 2, the range of the
working scale. Small images have small windows: side 7 from 14 pixels on, else the largest odd number up to half the side, at least 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from smalti.core.errors import InputError
from smalti.core.validation import check_integer
from smalti.engine.neighbours import nearest
from smalti.source import Source

__all__ = [
    "adaptive_distance",
    "cosine",
    "distance_ratio",
    "effective_number",
    "mse",
    "participation",
    "pearson_r2",
    "psnr",
    "r2",
    "ssim",
    "ssim_window",
]


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


def distance_ratio(x: torch.Tensor, source: Source, k: int = 2) -> torch.Tensor:
    """How much nearer the nearest training image is than the k-th nearest: d_1 / d_k, from 0 (a copy) to 1.

    Distances are L2, not squared, and exact. Yoon et al. call a sample memorised where the ratio is below 1/3 with k = 2; where the
    data set has duplicates, a copy of one has two nearest images, and a larger k is needed.

    Args:
        x: (B, C, H, W), working scale.
        source: the training images.
        k: 2 <= k <= N.

    Returns:
        (B,) float64; NaN where d_k is 0.

    Raises:
        InputError: k out of range, or x of another shape.
    """
    if check_integer("k", k) < 2:
        raise InputError(f"the nearest image is held against the k-th nearest, k at least 2, not {k}")
    distances = nearest(source, x, k)[1].sqrt()
    return distances[:, 0] / distances[:, -1]


def adaptive_distance(x: torch.Tensor, source: Source, neighbours: int = 50, alpha: float = 0.5) -> torch.Tensor:
    """The distance to the nearest training image in units of the mean distance to the `neighbours` nearest ones times alpha.

    Carlini et al.: below 1, the sample is much nearer to one training image than to the others like it. The nearest one counts among
    the neighbours.

    Args:
        x: (B, C, H, W), working scale.
        source: the training images.
        neighbours: 1 to N.
        alpha: > 0.

    Returns:
        (B,) float64, at most 1/alpha; NaN where all these distances are 0.

    Raises:
        InputError: neighbours or alpha out of range, or x of another shape.
    """
    if not 0 < alpha < float("inf"):
        raise InputError(f"alpha must be finite and greater than 0, not {alpha}")
    distances = nearest(source, x, neighbours)[1].sqrt()
    return distances[:, 0] / (alpha * distances.mean(1))


def effective_number(weights: torch.Tensor) -> torch.Tensor:
    """The number of equal weights that has the same entropy: exp(-sum_i w_i ln w_i).

    Args:
        weights: (..., N), finite and >= 0, not all 0 in a row; they are divided by their sum. Those of the elements of a posterior,
            say; `Posterior.effective_number` is this of images.

    Returns:
        (...) float64, 1 to N.

    Raises:
        InputError: weights that are negative, not finite, or all 0.
    """
    shares = _shares(weights)
    return torch.special.entr(shares).sum(-1).exp()


def participation(weights: torch.Tensor) -> torch.Tensor:
    """The number of equal weights that has the same sum of squares: 1 / sum_i w_i^2, at most `effective_number`; as that."""
    return 1 / _shares(weights).square().sum(-1)


def _shares(weights: torch.Tensor) -> torch.Tensor:
    if not isinstance(weights, torch.Tensor) or weights.ndim < 1 or weights.shape[-1] < 1 or weights.dtype.is_complex:
        raise InputError("weights must be a real tensor of shape (..., N), N at least 1")
    values = weights.double()
    total = values.sum(-1, keepdim=True)
    if not bool((torch.isfinite(total) & (total > 0)).all()) or bool((values < 0).any()):
        raise InputError("weights must be finite, not negative, and not all 0")
    return values / total


def _flat(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if a.shape != b.shape or a.ndim < 2:
        raise InputError(f"images of one shape (B, C, H, W) are needed, not {tuple(a.shape)} and {tuple(b.shape)}")
    return a.double().flatten(1), b.double().flatten(1)


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
