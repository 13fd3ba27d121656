"""The denoisers that are looked at: their names, the images that they are about, and one checked call."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch

from smalti.analysis.identity import source_identity
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, SmaltiError
from smalti.source import Source

__all__ = ["check_images", "evaluate", "named"]

Denoisers = Mapping[str, Denoiser] | Sequence[Denoiser] | Denoiser


def named(denoisers: Denoisers) -> dict[str, Denoiser]:
    """Denoisers by name: a mapping as it is; of a list, or a single one, by their own names.

    Raises:
        InputError: none; two of one name, images of different shapes, something that is not called like a denoiser.
    """
    if isinstance(denoisers, Mapping):
        found = dict(denoisers)
    else:
        found = {}
        for denoiser in [denoisers] if callable(denoisers) else denoisers:
            name = getattr(denoiser, "name", "") or type(denoiser).__name__
            if name in found:
                raise InputError(f"two denoisers are called {name!r}; give a dict with a name for each")
            found[name] = denoiser
    if not found:
        raise InputError("give at least one denoiser")
    for name, denoiser in found.items():
        if not callable(denoiser) or not hasattr(denoiser, "shape"):
            raise InputError(f"{name} must be a denoiser, not {type(denoiser).__name__}")
    shapes = {tuple(denoiser.shape) for denoiser in found.values()}
    if len(shapes) > 1:
        raise InputError(f"the denoisers are for images of different shapes: {', '.join(map(str, sorted(shapes)))}")
    return found


def check_images(denoisers: Mapping[str, Denoiser], source: Source) -> None:
    """Warn of denoisers that are about other images than `source`: made on others, or networks that were trained on others.

    Raises:
        InputError: images of another shape.
    """
    wanted = source_identity(source)
    for name, denoiser in denoisers.items():
        if tuple(denoiser.shape) != source.shape:
            raise InputError(f"{name} takes images of shape {tuple(denoiser.shape)}, and the source has {source.shape}")
        trained = getattr(denoiser, "training_source", None)
        if callable(trained):
            images, verb = trained(source), "was trained"  # it warns itself where they are other images altogether
        else:
            images, verb = getattr(denoiser, "source", None), "is made"
        if isinstance(images, Source) and source_identity(images) != wanted:
            warnings.warn(
                f"{name} {verb} on {images!r} and is compared on {source!r}: differences between them are not its own",
                stacklevel=3,
            )


@torch.no_grad()
def evaluate(
    name: str, denoiser: Denoiser, z: torch.Tensor, sigma: float, labels: torch.Tensor | None = None
) -> torch.Tensor:
    """denoiser(z, sigma), (B, C, H, W) on the CPU, checked.

    Raises:
        SmaltiError: it returned NaN, infinities or another shape; names it and sigma.
    """
    x0 = denoiser(z, sigma) if labels is None else denoiser(z, sigma, labels)
    if x0.shape != z.shape:
        raise SmaltiError(f"{name} returned shape {tuple(x0.shape)} for {tuple(z.shape)} at sigma = {sigma:.6g}")
    if not bool(torch.isfinite(x0).all()):
        raise SmaltiError(f"{name} returned NaN or infinite values at sigma = {sigma:.6g}")
    return x0.detach().cpu()
