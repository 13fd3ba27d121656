"""The backends that there are, and which of them serves a problem."""

from __future__ import annotations

import torch

from smalti.core.errors import InputError
from smalti.engine.backend import Backend
from smalti.engine.numba_backend import NumbaBackend
from smalti.engine.problem import Problem
from smalti.engine.reference import ReferenceBackend
from smalti.engine.torch_backend import TorchBackend
from smalti.engine.triton_backend import TritonBackend

__all__ = ["backend_for", "backend_names", "backend_refuses"]

_EVERY: tuple[Backend, ...] = (NumbaBackend(), TritonBackend(), TorchBackend(), ReferenceBackend())
BACKENDS = {backend.name: backend for backend in _EVERY}
AUTO = {
    "cpu": ("numba", "torch"),
    "cuda": ("triton", "torch"),
}  # by device, the first that covers a problem; the last covers all


def backend_names() -> tuple[str, ...]:
    """What `backend=` may be."""
    return ("auto", *BACKENDS)


def backend_refuses(problem: Problem, name: str, device: str = "cpu") -> str | None:
    """Why the backend called `name` does not cover a problem on a device, or None if it does."""
    return BACKENDS[name].unsupported(problem, torch.device(device))


def backend_for(name: str, problem: Problem, device: torch.device) -> Backend:
    """The backend called `name`; "auto" is numba on the CPU and triton on CUDA where they cover the problem, else torch.

    Raises:
        InputError: an unknown name, or a backend that does not cover this problem or device.
    """
    if name == "auto":
        some = [BACKENDS[one] for one in AUTO.get(device.type, ("torch",))]
        return next(backend for backend in some if backend.unsupported(problem, device) is None)
    if name not in BACKENDS:
        raise InputError(f"unknown backend {name!r}; choose from {', '.join(backend_names())}")
    reason = BACKENDS[name].unsupported(problem, device)
    if reason:
        raise InputError(f"the {name} backend does not cover this: {reason}; use backend='auto'")
    return BACKENDS[name]
