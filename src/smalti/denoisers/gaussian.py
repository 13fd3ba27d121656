"""The Gaussian (Wiener) denoiser: the posterior mean if the data were Gaussian with the source's mean and covariance.

    D(z, sigma) = mu + S (S + sigma^2 I)^-1 (z - mu) = mu + V diag(lambda / (lambda + sigma^2)) V^T (z - mu),   S = V diag(lambda) V^T

S is the population covariance (of images and their flips where the source has them), in float64. Rank r keeps the r directions of the
largest eigenvalues and discards the rest of z - mu, as in the published PSPC code.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.surroundings import outside
from smalti.core.validation import check_integer
from smalti.denoisers.base import check_source
from smalti.denoisers.spectra import Spectrum, spectrum
from smalti.source import Source

__all__ = ["Gaussian"]

PIXELS = 64  # whose derivatives are given together
EPSILON = 2.0**-52
CONSTANT = 1e-12  # variance, relative to the largest eigenvalue; one grey level in one of 100,000 images of 3 x 32 x 32 has more


class Gaussian(Denoiser):
    """The linear denoiser that is optimal for Gaussian data.

    Args:
        source: the training images.
        rank: number of eigendirections kept, 1 <= rank <= C H W; all by default.

    The moments and eigenvectors are computed on the first call (per class where labels are given) and kept, those of large images on
    disk too (see `smalti.denoisers.spectra`).

    Raises:
        InputError: a rank out of range.
    """

    name = "gaussian"
    paper = "Wiener filter; baseline of Niedoba et al. and of Wang & Vastola, arXiv 2311.10892"
    opt_outs = {
        "stays_in_range": "it extrapolates linearly",
        "small_sigma_gives_the_nearest": "a linear map does not select an image",
    }

    def __init__(self, source: Source, rank: int | None = None) -> None:
        self.source, self.rank = source, rank
        check_source(source)
        self.shape, self.num_classes = source.shape, source.num_classes
        dimension = int(np.prod(self.shape))
        if rank is not None and not 1 <= check_integer("the rank", rank) <= dimension:
            raise InputError(f"the rank must be from 1 to C H W = {dimension}, not {rank}")
        self._spectra: dict[int | None, Spectrum] = {}

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        out = torch.empty(z.shape, dtype=torch.float64, device=z.device)
        for label in [None] if labels is None else labels.unique().tolist():
            rows = torch.arange(len(z)) if label is None else (labels == label).nonzero()[:, 0]  # type: ignore[union-attr]
            here = rows.to(z.device)
            mean, values, vectors = (t.to(z.device) for t in self.spectrum(label))
            shrink = values / (values + sigma[rows, None].to(z.device) ** 2)
            centred = z[here].double().flatten(1) - mean
            out = out.index_copy(0, here, (mean + ((centred @ vectors) * shrink) @ vectors.T).reshape(-1, *self.shape))
        return out

    def jacobian_rows(
        self, z: torch.Tensor, sigma: float, pixels: torch.Tensor, labels: torch.Tensor | None = None
    ) -> Iterator[torch.Tensor]:
        """V diag(lambda / (lambda + sigma^2)) V^T, the same at every z: (1, p, C, C, H, W) float64 for p pixels after another.

        Args:
            z: (B, C, H, W); sigma: > 0; pixels: (P, 2) (row, column); labels: (B,) classes, then B rows instead of one.
        """
        channels, height, width = self.shape
        for some in pixels.split(PIXELS):
            outputs = (some[:, 0] * width + some[:, 1])[:, None] + height * width * torch.arange(channels)
            rows = []
            for label in [None] if labels is None else labels.tolist():
                _, values, vectors = self.spectrum(label)
                product = (vectors[outputs.flatten()] * (values / (values + sigma**2))) @ vectors.T
                rows.append(product.reshape(len(some), channels, *self.shape))
            yield torch.stack(rows)

    def spectrum(self, label: int | None = None) -> Spectrum:
        """Mean (D,), eigenvalues (r,) largest first, eigenvectors (D, r) of the source or one of its classes; float64, D = C H W."""
        if label not in self._spectra:
            self._spectra[label] = outside(self._computed, label)
        return self._spectra[label]

    def _computed(self, label: int | None) -> Spectrum:
        mean, values, vectors = spectrum(self.source, label)
        rank = len(values) if self.rank is None else self.rank
        return Spectrum(mean, values[:rank], vectors[:, :rank].contiguous())

    def filter_factor(self, sigma: float, label: int | None = None) -> torch.Tensor:
        """A with F = S (S + sigma^2 I)^-1 = A A^T, the linear denoiser's own filter: (D, r) float64.

        Rows of entries that never vary are 0, and so are eigenvalues within the rounding of the decomposition: what F has there is
        noise, of the size of the largest eigenvalue's rounding over sigma^2.
        """
        _, values, vectors = self.spectrum(label)
        largest = float(values[0])
        values = torch.where(values > len(vectors) * EPSILON * largest, values, 0)
        varies = vectors.square() @ values > CONSTANT * largest
        return vectors * (values / (values + sigma**2)).sqrt() * varies[:, None]
