"""What a backend is: two functions, and a third for derivatives.

    phase 1   log_normalisers    (B, K)        parts of a source merge by log-add-exp
    phase 2   numerator          (B, C, H, W)  given the normalisers of the whole source, parts merge by addition

Blocks, threads, ranks and machines are this one mechanism.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from smalti.core.errors import InputError
from smalti.engine.elements import Selection

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["Backend", "backend_for", "backend_names", "backend_refuses"]


class Backend:
    """Base of backends. Tensors come in with any floating dtype and device; results are float64 (reference, numba: on the CPU;
    torch: on the device of z)."""

    name: ClassVar[str]
    differentiable: ClassVar[bool] = False

    def unsupported(self, collection: PosteriorMeanCollection, device: torch.device) -> str | None:
        """Why this backend cannot run the collection, in a few words, or None if it can."""
        return None

    def log_normalisers(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        """log sum_i pi_k(i) exp(-1/(2 sigma^2) sum_q Q_k(q) (z(q) - x^i(q))^2), natural logs, (B, K) float64."""
        raise NotImplementedError

    def numerator(
        self,
        collection: PosteriorMeanCollection,
        z: torch.Tensor,
        sigma: torch.Tensor,
        log_normalisers: torch.Tensor,
        selection: Selection,
    ) -> torch.Tensor:
        """sum_k R_k * sum_i w_k^i x^i, (B, C, H, W) float64."""
        raise NotImplementedError

    def covariance_product(
        self,
        collection: PosteriorMeanCollection,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        selection: Selection,
        transpose: bool,
    ) -> torch.Tensor:
        """sum_k outer_k * Cov_{w_k}(x, x) (inner_k * direction), (B, C, H, W) float64.

        (inner, outer) = (responses, queries) if `transpose` (for z-gradients of a function of the composite), else (queries, responses).
        """
        raise NotImplementedError

    def both_phases(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        """Phase 1, then phase 2, on one selection: the numerator. A backend may hand hints from one to the other."""
        normalisers = self.log_normalisers(collection, z, sigma, selection)
        return self.numerator(collection, z, sigma, normalisers, selection)


def _backends() -> dict[str, Backend]:
    from smalti.engine.numba_backend import NumbaBackend
    from smalti.engine.reference import ReferenceBackend
    from smalti.engine.torch_backend import TorchBackend
    from smalti.engine.triton_backend import TritonBackend

    every = (NumbaBackend(), TritonBackend(), TorchBackend(), ReferenceBackend())
    return {backend.name: backend for backend in every}


def backend_names() -> tuple[str, ...]:
    """What `backend=` may be."""
    return ("auto", *_backends())


def backend_refuses(collection: PosteriorMeanCollection, name: str, device: str = "cpu") -> str | None:
    """Why the backend called `name` does not cover a collection on a device, or None if it does."""
    return _backends()[name].unsupported(collection, torch.device(device))


def backend_for(name: str, collection: PosteriorMeanCollection, device: torch.device) -> Backend:
    """The backend called `name`; "auto" is numba on the CPU and triton on CUDA where they cover the collection, else torch.

    Raises:
        InputError: an unknown name, or a backend that does not cover this collection or device.
    """
    backends = _backends()
    if name == "auto":
        fast = backends["triton" if device.type == "cuda" else "numba"]
        return backends["torch"] if fast.unsupported(collection, device) else fast
    if name not in backends:
        raise InputError(f"unknown backend {name!r}; choose from {', '.join(backend_names())}")
    reason = backends[name].unsupported(collection, device)
    if reason:
        raise InputError(f"the {name} backend does not cover this: {reason}; use backend='auto'")
    return backends[name]
