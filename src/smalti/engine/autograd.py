"""The exact derivative of a composite, on backends that compute outside autograd.

    D = sum_k R_k * E_k / sum_k R_k,   dE_k/dz = Cov_{w_k}(x, x) diag(Q_k) / sigma^2

so the vector-Jacobian product of g is 1/sigma^2 sum_k Q_k * Cov_k(x, x) (R_k * g / sum R), and the Jacobian-vector product of v is
1/(sigma^2 sum R) sum_k R_k * Cov_k(x, x) (Q_k * v): window sums once more. Both support `torch.func` (vjp, jvp, not vmap: batch z).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from smalti.core.errors import InputError
from smalti.core.surroundings import no_vmap, undisturbed

__all__ = ["Composite", "Pullback"]


class Pullback(NamedTuple):
    """Gradients of <g, D(z)>, float64.

    Attributes:
        z: (B, C, H, W), with respect to z.
        log_priors: (B, N), with respect to the log prior weight of every stored image.
    """

    z: torch.Tensor
    log_priors: torch.Tensor


Labels = torch.Tensor | None


class Composite(torch.autograd.Function):
    """D(z), with its exact first derivative.

    `Composite.apply(z, sigma, labels, composite, product)`, with

        composite(z, sigma, labels)                            D(z), (B, C, H, W)
        product(z, sigma, direction, labels, transpose)        the Jacobian times a direction, or a direction times it
    """

    @staticmethod
    def forward(
        z: torch.Tensor,
        sigma: torch.Tensor,
        labels: Labels,
        composite: Callable[[torch.Tensor, torch.Tensor, Labels], torch.Tensor],
        product: Callable[..., torch.Tensor],
    ) -> torch.Tensor:
        return composite(z.detach(), sigma, labels).to(z.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        z, sigma, labels, _, product = inputs
        ctx.save_for_backward(z)
        ctx.save_for_forward(z)
        ctx.sigma, ctx.labels, ctx.product = sigma, labels, product

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (z,) = ctx.saved_tensors
        return _Product.apply(z, grad, ctx.sigma, ctx.labels, ctx.product, True), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, *_: Any) -> torch.Tensor:
        (z,) = ctx.saved_tensors
        return _Product.apply(z, tangent, ctx.sigma, ctx.labels, ctx.product, False)

    vmap = staticmethod(no_vmap)


class _Product(torch.autograd.Function):
    """The Jacobian times a direction, or a direction times it. A function of its own, so that `torch.func` hands it plain tensors."""

    @staticmethod
    def forward(
        z: torch.Tensor,
        direction: torch.Tensor,
        sigma: torch.Tensor,
        labels: Labels,
        product: Callable[..., torch.Tensor],
        transpose: bool,
    ) -> torch.Tensor:
        with undisturbed():  # `backward` may be called anywhere
            return product(z.detach(), sigma, direction, labels, transpose).to(z.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, ...]:
        raise InputError("second derivatives are available from the reference only; use backend='reference'")

    vmap = staticmethod(no_vmap)
