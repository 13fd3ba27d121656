"""What a backend is: two functions, two for derivatives, and one that keeps shares of images apart.

    phase 1   log_normalisers    (B, K)        parts of a source merge by log-add-exp
    phase 2   numerator          (B, C, H, W)  given the normalisers of the whole source, parts merge by addition

Blocks, threads, ranks and machines are this one mechanism.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch

from smalti.engine.elements import Selection
from smalti.engine.problem import Problem

__all__ = ["Backend", "Covariances", "Shares"]


class Covariances(NamedTuple):
    """Products with the posteriors' covariances, float64.

    Attributes:
        product: (B, C, H, W), sum_k outer_k * Cov_{w_k}(x, x) (inner_k * direction).
        by_image: (B, n), of each selected image, its flips and shifts together: sum_k w_k^i <inner_k * direction, x^i - E_k>. With
            responses inside it is <direction, dN/dlog pi_i>, N the numerator.
    """

    product: torch.Tensor
    by_image: torch.Tensor


class Shares(NamedTuple):
    """Shares of elements in P pixels: sum_k R_k w_k^i / sum_k R_k there.

    Attributes:
        largest: (B, P, top, C or 1) float64, descending by their mean over channels; 0 where there are fewer.
        elements: (B, P, top) int64, (image flips + flip) shifts + number of the shift.
        entropy: (B, P) float64, natural, of the mean shares of images (flips and shifts together).
    """

    largest: torch.Tensor
    elements: torch.Tensor
    entropy: torch.Tensor


class Backend:
    """Base of backends. Tensors come in with any floating dtype and device; results are float64 (reference, numba: on the CPU;
    torch: on the device of z)."""

    name: ClassVar[str]
    differentiable: ClassVar[bool] = False

    def unsupported(self, problem: Problem, device: torch.device) -> str | None:
        """Why this backend cannot run the problem, in a few words, or None if it can."""
        return None

    def log_normalisers(
        self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        """log sum_i pi_k(i) exp(-1/(2 sigma^2) sum_q Q_k(q) (z(q) - x^i(q))^2), natural logs, (B, K) float64."""
        raise NotImplementedError

    def numerator(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        log_normalisers: torch.Tensor,
        selection: Selection,
    ) -> torch.Tensor:
        """sum_k R_k * sum_i w_k^i x^i, (B, C, H, W) float64."""
        raise NotImplementedError

    def covariance_product(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        selection: Selection,
        transpose: bool,
    ) -> Covariances:
        """sum_k outer_k * Cov_{w_k}(x, x) (inner_k * direction), and what each image adds to <direction, N>.

        (inner, outer) = (responses, queries) if `transpose` (for z-gradients of a function of the composite), else (queries, responses).
        """
        raise NotImplementedError

    def pullback(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        selection: Selection,
    ) -> Covariances:
        """`covariance_product`, transposed. A backend may compute it to the precision of a call, where the former is exact."""
        return self.covariance_product(problem, z, sigma, direction, selection, True)

    def shares(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        selection: Selection,
        pixels: torch.Tensor,
        top: int,
    ) -> Shares:
        """The `top` largest shares in pixels (P, 2), and the entropy of all."""
        raise NotImplementedError

    def both_phases(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> torch.Tensor:
        """Phase 1, then phase 2, on one selection: the numerator. A backend may hand hints from one to the other."""
        normalisers = self.log_normalisers(problem, z, sigma, selection)
        return self.numerator(problem, z, sigma, normalisers, selection)
