"""Milliseconds of a query at a level: ours, the plain torch backend, what people would write, and the published way."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

import smalti
from machine import seconds
from smalti.bench.published import batched_loop, crop_by_crop
from smalti.core.noise import standard_normal
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.windows import Centred, Crops, Full, GaussianWindows, Masks, Windows
from smalti.source import Source
from stages import Stage

__all__ = ["speed"]

GOAL = 0.33  # ms a query-level at N = 50,000


def speed(stage: Stage, source: Source, device: torch.device, quick: bool) -> None:
    batch = 1 if quick else 32
    levels = smalti.edm_sigmas().tolist()
    stage.note(f"N = {len(source)}, images {source.shape}, {batch} z at once; ms for one z at one level")
    _schedule(stage, source, device, levels[8:9] if quick else levels, batch)
    for sigma in (1.0,) if quick else (3.26, 0.3, 0.06):
        _optimal(stage, source, device, sigma, batch)
    _windows(stage, source, device, 0.5, batch, quick)
    _small_patches(stage, source, device, 3, 0.1, 1 if quick else 4, quick)
    _published(stage, source, device, 1.0, quick)


def _z(source: Source, sigma: float, batch: int, device: torch.device) -> torch.Tensor:
    clean = source.working(range(min(batch, len(source)))).double()[torch.arange(batch) % len(source)]
    return (clean + sigma * standard_normal(3, range(batch), source.shape).double()).float().to(device)


def _time(
    stage: Stage, what: str, how: str, sigma: float, batch: int, device: torch.device, call: Callable, scale: float = 1
) -> float:
    """One row; a call that fails is a row too."""
    if stage.left() <= 0:
        stage.note(f"not reached: {what}, {how}, sigma {sigma:.3g}")
        return float("nan")
    try:
        taken = seconds(call, device) * scale * 1000 / batch
    except Exception as error:
        stage.row(what=what, how=how, sigma=sigma, ms=f"failed: {type(error).__name__}: {str(error)[:200]}")
        return float("nan")
    stage.row(what=what, how=how, sigma=sigma, ms=taken)
    return taken


def _pair(source: Source, queries: Windows, responses: Windows | None = None) -> dict[str, PosteriorMeanCollection]:
    return {name: PosteriorMeanCollection(source, queries, responses, backend=name) for name in ("triton", "torch")}


def _schedule(stage: Stage, source: Source, device: torch.device, levels: list[float], batch: int) -> None:
    """PSPC-Square at all levels, with the patch sizes of Table 1."""
    total = 0.0
    for sigma in levels:
        z = _z(source, sigma, batch, device)
        denoiser = smalti.PSPCSquare(source, backend="triton")
        total += _time(stage, "pspc-square", "triton", sigma, batch, device, lambda d=denoiser, z=z, s=sigma: d(z, s))
    stage.note(
        f"pspc-square, triton: {total:.3f} ms for {len(levels)} levels; 10,000 z x 18 levels take {total * 10:.1f} s; goal 60 s"
    )
    for sigma in levels[len(levels) // 2 :][:1]:
        z = _z(source, sigma, min(2, batch), device)
        plain = smalti.PSPCSquare(source, backend="torch")
        _time(stage, "pspc-square", "torch", sigma, len(z), device, lambda d=plain, z=z, s=sigma: d(z, s))


def _optimal(stage: Stage, source: Source, device: torch.device, sigma: float, batch: int) -> None:
    z = _z(source, sigma, batch, device)
    for how, collection in _pair(source, Full()).items():
        some = z if how == "triton" else z[:2]
        _time(stage, "optimal", how, sigma, len(some), device, lambda c=collection, z=some: c(z, sigma))
    x = (
        torch.from_numpy(source.images.copy()).to(device).flatten(1).float() / 127.5 - 1
        if source.images.dtype == "uint8"
        else None
    )
    if x is None:
        return
    squares = x.square().sum(1)
    flat = z.flatten(1)

    def products() -> torch.Tensor:
        return torch.softmax((2 * flat @ x.T - squares) / (2 * sigma**2), 1) @ x

    def attention() -> torch.Tensor:
        query = F.pad(flat / sigma**2, (0, 1), value=1.0)[None, None]
        return F.scaled_dot_product_attention(query, keys, x[None, None], scale=1.0)

    _time(stage, "optimal", "two float32 products and a softmax", sigma, batch, device, products)
    keys = torch.cat([x, -squares[:, None] / (2 * sigma**2)], 1)[None, None]
    _time(stage, "optimal", "SDPA", sigma, batch, device, attention)


def _windows(stage: Stage, source: Source, device: torch.device, sigma: float, batch: int, quick: bool) -> None:
    height, width = source.shape[1:]
    generator = torch.Generator().manual_seed(0)
    discs = (
        torch.cdist(*(2 * [torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()])) < 3.5
    ).float()
    soft = discs * torch.rand(discs.shape, generator=generator)
    for what, queries, responses in (
        ("local-score 7", Centred(7 if min(height, width) >= 7 else 3), Centred(1)),
        ("gaussian-window 1.5", GaussianWindows(1.5), None),
        ("masks of 37 pixels, one pixel each", Masks(soft.unflatten(1, (1, height, width))), Centred(1)),
        ("masks of 37 pixels, composite", Masks(soft.unflatten(1, (1, height, width))), None),
    ):
        z = _z(source, sigma, 1 if quick else batch, device)
        for how, collection in _pair(source, queries, responses).items():
            some = z if how == "triton" else z[:1]
            _time(stage, what, how, sigma, len(some), device, lambda c=collection, z=some: c(z, sigma))


def _small_patches(
    stage: Stage, source: Source, device: torch.device, side: int, sigma: float, batch: int, quick: bool
) -> None:
    """PSPC-Square of small patches as attention: every place is a head, a patch a key and a value."""
    z = _z(source, sigma, batch, device)
    height, width = source.shape[1:]
    for how, collection in _pair(source, Crops(side)).items():
        _time(stage, f"crops {side}", how, sigma, batch, device, lambda c=collection: c(z, sigma))
    if source.images.dtype != "uint8":
        return
    count = min(len(source), 5000)  # keys and values of all places are 27 times the images in float32
    x = torch.from_numpy(source.images[:count].copy()).to(device).float() / 127.5 - 1
    values = F.unfold(x, side).permute(2, 0, 1)[None].contiguous()  # (1, places, n, C p p)
    keys = torch.cat([values, -values.square().sum(-1, keepdim=True) / (2 * sigma**2)], -1)
    coverage = F.fold(torch.ones(1, values.shape[-1], values.shape[1], device=device), (height, width), side)

    def attention() -> torch.Tensor:
        query = F.pad(F.unfold(z, side).permute(2, 0, 1)[None] / sigma**2, (0, 1), value=1.0)
        means = F.scaled_dot_product_attention(query, keys, values, scale=1.0)
        return F.fold(means[0].permute(1, 2, 0), (height, width), side) / coverage

    _time(
        stage, f"crops {side}", f"SDPA ({count} images, scaled)", sigma, batch, device, attention, len(source) / count
    )


def _published(stage: Stage, source: Source, device: torch.device, sigma: float, quick: bool) -> None:
    count = min(len(source), 20 if quick else 5000)
    images = torch.from_numpy(source.images[:count].copy()).to(device)
    z = _z(source, sigma, 1, device)
    scale = len(source) / count
    side = max(1, source.shape[1] * 11 // 32)
    _time(stage, "optimal", f"published way ({count} images, scaled)", sigma, 1, device,
          lambda: batched_loop(z.flatten(1), sigma, images.flatten(1)), scale)  # fmt: skip
    for by_mask in (True, False):
        how = f"published way, {'masks' if by_mask else 'slices'} ({count} images, scaled)"
        _time(
            stage,
            f"pspc-square {side}",
            how,
            sigma,
            1,
            device,
            lambda m=by_mask: crop_by_crop(z, sigma, images, side, m),
            scale,
        )


def memory(stage: Stage, source: Source, device: torch.device, quick: bool) -> None:
    """Peak of device memory beyond what the source takes."""
    if device.type != "cuda":
        stage.note("measured on CUDA only")
        return
    batch = 2 if quick else 256
    z = _z(source, 1.0, batch, device)
    for name, queries in (("optimal", Full()), ("pspc-square 11", Crops(max(1, source.shape[1] * 11 // 32)))):
        collection = PosteriorMeanCollection(source, queries, backend="triton")
        collection(z[:1], 1.0)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        collection(z, 1.0)
        peak = torch.cuda.max_memory_allocated()
        stage.row(what=name, z=batch, held_MB=before / 1e6, peak_MB=(peak - before) / 1e6)
