"""Modes of torch that are on around a call must not change what a denoiser computes, nor what it keeps.

    with torch.autocast(...): denoiser(z, sigma)              float32 z would be multiplied in bfloat16
    with torch.inference_mode(): denoiser(z, sigma)           what is made then has no gradients ever after
    torch.func.vjp(lambda z: denoiser(z, sigma), z)           what is made then is a wrapper of this transform, and dead after it
    torch.set_default_device("cuda")                          what is made then is on the wrong device
    torch.set_float32_matmul_precision("high")                float32 products would have ten bits (TF32)

`undisturbed` is around every call, and `outside` around the making of all that is kept. The default dtype and deterministic algorithms are
settings of the whole process, which a library must not turn for a moment: code names its dtypes instead, and needs no other algorithm.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from smalti.core.errors import InputError

__all__ = ["no_vmap", "outside", "undisturbed"]

T = TypeVar("T")

_there = threading.local()  # whether this thread is outside already
_DEVICES = ("cpu", "cuda", "xpu", "mps")  # that have an autocast of their own


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Within, torch computes as it does by itself: no autocast, no inference mode, tensors on the CPU where no device is named, float32
    products in float32. Whether gradients are recorded stays as it is."""
    with contextlib.ExitStack() as modes:
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        if torch.is_inference_mode_enabled():
            recorded = torch.is_grad_enabled()
            modes.enter_context(torch.inference_mode(False))  # which turns gradients on
            modes.enter_context(torch.set_grad_enabled(recorded))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        if any(precision not in _FULL for precision in _products()):
            modes.enter_context(_FULL_PRODUCTS)
        yield


def outside(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """`function(*arguments, **named)` outside of every mode and of the transforms of `torch.func`: for what is kept."""
    if getattr(_there, "already", False):
        return function(*arguments, **named)
    found: list[T] = []

    def run() -> None:
        _there.already = True
        try:
            found.append(function(*arguments, **named))
        finally:
            _there.already = False

    with undisturbed():
        _Outside.apply(torch.zeros((), dtype=torch.float32), run)
    return found[0]


class _Outside(torch.autograd.Function):
    """Its forward is run below all transforms, on plain tensors."""

    @staticmethod
    def forward(token: torch.Tensor, function: Callable[[], None]) -> torch.Tensor:
        function()
        return token.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        pass


def no_vmap(*_: Any) -> Any:
    """The rule of functions that `torch.vmap` cannot go through: it says what to do instead.

    Raises:
        InputError: always.
    """
    raise InputError(
        "denoisers do not go through torch.vmap (nor jacrev, jacfwd, hessian): give a batch z (B, C, H, W) instead, "
        "and for Jacobians use jacobian_rows or torch.func.vjp and jvp"
    )


# ---------------------------------------------------------------------------------------------- products of float32

_MATMULS: tuple[Any, ...] = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
_BACKENDS = [matmul for matmul in _MATMULS if hasattr(matmul, "fp32_precision")]
_FULL = ("none", "ieee", "highest")


def _products() -> list[str]:
    """How float32 products are computed; torch before 2.9 has one word for all backends."""
    return [backend.fp32_precision for backend in _BACKENDS] or [torch.get_float32_matmul_precision()]


class _FullProducts:
    """Float32 products in float32 while any thread is within. A setting of the process: the first thread sets it, the last one puts
    back what was."""

    def __init__(self) -> None:
        self._lock, self._within, self._before = threading.Lock(), 0, [""]

    def __enter__(self) -> None:
        with self._lock:
            self._within += 1
            if self._within == 1:
                self._before = _products()
                self._set(["ieee"] * len(_BACKENDS) or ["highest"])

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0:
                self._set(self._before)

    @staticmethod
    def _set(words: list[str]) -> None:
        if not _BACKENDS:
            torch.set_float32_matmul_precision(words[0])
        for backend, word in zip(_BACKENDS, words, strict=False):
            backend.fp32_precision = word


_FULL_PRODUCTS = _FullProducts()
