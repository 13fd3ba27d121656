"""What machine this is, and its two ceilings: memory and matrix products."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable

import torch

from stages import Stage

__all__ = ["environment", "seconds"]


def environment(stage: Stage, device: torch.device, quick: bool) -> None:
    stage.row(what="python", value=platform.python_version())
    for package in ("torch", "triton", "numpy", "numba", "safetensors"):
        try:
            stage.row(what=package, value=importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            stage.row(what=package, value="not installed")
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        stage.row(
            what="card", value=f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {card.multi_processor_count} SMs"
        )
    size = 1 << (20 if quick else 30)
    data = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device)
    other = torch.empty_like(data)
    stage.row(what="copy, TB/s, read and written", value=2 * size / seconds(lambda: other.copy_(data), device) / 1e12)
    n = 256 if quick else 8192
    for kind in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(n, n, device=device, dtype=kind) for _ in range(2))
        rate = 2 * n**3 / seconds(lambda a=a, b=b: a @ b, device) / 1e12
        stage.row(what=f"matrix product {n}, {kind}, TFLOP/s", value=rate)


def seconds(call: Callable[[], object], device: torch.device, least: float = 0.05, most: int = 20) -> float:
    """Median time of a call, after one that is not counted: at least three on a card, and about `least` seconds of them."""
    call()
    times: list[float] = []
    while len(times) < (3 if device.type == "cuda" else 1) or (sum(times) < least and len(times) < most):
        times.append(_once(call, device))
    return sorted(times)[len(times) // 2]


def _once(call: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    call()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000
