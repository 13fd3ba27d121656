"""Every denoiser on the device against float64 on the CPU."""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass

import torch

import smalti
from smalti.core.noise import standard_normal
from smalti.denoisers.registry import REGISTRY
from smalti.source import Source
from stages import Stage

__all__ = ["correctness"]

BAR = 1e-4  # on the output, working scale
# what takes long to compute in float64 gets fewer images; the rest IMAGES
IMAGES = 256
FEWER = {
    "equivariant-local-score": 2,
    "pca-locality": 48,
    "local-score": 96,
    "gaussian-window": 96,
    "heatmap-weighted": 96,
}
FEWER |= {"pspc-flex": 96}
NEEDS_MORE = {"blend"}  # has no constructor of a source alone


@dataclass(frozen=True)
class Case:
    name: str
    arguments: dict[str, object]
    images: int
    levels: list[float]


def cases(quick: bool) -> list[Case]:
    levels = smalti.edm_sigmas().tolist()
    names = ["pspc-square", "optimal", *(n for n in REGISTRY if n not in ("pspc-square", "optimal", *NEEDS_MORE))]
    made = []
    for name in names:
        images = FEWER.get(name, IMAGES)
        some = levels[1::6] if name in FEWER else levels
        variants: list[dict[str, object]] = [{}]
        if name == "equivariant-local-score":
            variants = [{"window": 5}, {"window": 5, "borders": "aware"}]
            some = levels[4::6]
        made += [
            Case(
                name,
                v,
                min(images, 1 if name == "equivariant-local-score" else 2) if quick else images,
                levels[9:10] if quick else some,
            )
            for v in variants
        ]
    return made


def correctness(stage: Stage, source: Source, device: torch.device, quick: bool) -> None:
    """Largest error of each backend, and where it was; flips are counted in."""
    for case in cases(quick):
        if stage.left() <= 0:
            stage.note(f"not reached: {case.name} {case.arguments or ''} and what follows")
            return
        kind = REGISTRY[case.name]
        parameters = inspect.signature(kind.__init__).parameters
        part = source.subset(range(case.images)).with_hflip(case.name not in FEWER)
        given = {name: value for name, value in case.arguments.items() if name in parameters}
        backends = ["triton", "torch"] if "backend" in parameters else [None]
        sigma = torch.tensor(case.levels, dtype=torch.float64)
        clean = part.working(range(len(part))).double()[torch.arange(len(sigma)) % len(part)]
        z = clean + sigma[:, None, None, None] * standard_normal(7, range(len(sigma)), part.shape).double()
        try:
            expected = kind(part, **given, **({"backend": "reference"} if backends[0] else {}))(z, sigma)
        except Exception as error:
            stage.row(denoiser=case.name, backend="reference", images=len(part), verdict=f"failed: {error}")
            continue
        for backend in backends:
            started = time.perf_counter()
            try:
                found = kind(part, **given, **({"backend": backend} if backend else {}))(z.to(device), sigma).cpu()
                off = (found - expected).abs().flatten(1).amax(1)
                verdict = "right" if bool((off < BAR).all()) else "WRONG"
                worst = {"largest error": float(off.max()), "at sigma": float(sigma[int(off.argmax())])}
            except Exception as error:
                verdict, worst = f"failed: {type(error).__name__}: {str(error)[:300]}", {}
            stage.row(
                denoiser=f"{case.name} {given or ''}".strip(), backend=backend or "-", images=len(part), levels=len(sigma),
                **worst, verdict=verdict, seconds=time.perf_counter() - started,
            )  # fmt: skip
