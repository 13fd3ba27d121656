"""The nearest stored images of an image, exactly: squared L2 distances in the working scale."""

from __future__ import annotations

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.validation import check_integer
from smalti.engine.elements import stored, units
from smalti.engine.threads import in_order
from smalti.source import Source

__all__ = ["nearest", "rough_distances"]

CHUNK = 1024  # images
SLACK = 1e-5  # relative: float32 distances within this of the k-th smallest are computed again in float64


def nearest(
    source: Source, x: torch.Tensor, k: int = 1, indices: np.ndarray | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest stored images of each x; with `source.hflip`, of an image and its mirror image the nearer counts.

    Args:
        source: the images.
        x: (B, C, H, W), working scale.
        k: 1 <= k <= N.
        indices: ascending stored images to search; all by default.

    Returns:
        (B, k) int64 indices, nearest first (of equals the lower index), and (B, k) float64 squared distances.

    Raises:
        InputError: k out of range, or x of another shape.
    """
    indices = np.arange(len(source)) if indices is None else indices
    if not 1 <= check_integer("k", k) <= len(indices):
        raise InputError(f"k must be from 1 to {len(indices)}, not {k}")
    if x.ndim != 4 or tuple(x.shape[1:]) != source.shape:
        raise InputError(f"x has shape {tuple(x.shape)}; the source has images of {source.shape}")
    points = x.detach().to("cpu", torch.float64).flatten(1)
    views = [points]
    if source.hflip:
        views.append(x.detach().to("cpu", torch.float64).flip(-1).flatten(1))
    rough = rough_distances(source, views, indices)
    found, distances = [], []
    for b in range(len(points)):
        limit = np.partition(rough[b], k - 1)[k - 1] * (1 + SLACK) + 1e-12
        close = indices[rough[b] <= limit]
        rows = stored(source.images, close, torch.float64, torch.device("cpu")).flatten(1)
        exact = torch.stack([(rows - view[b]).square().sum(1) for view in views]).amin(0)
        order = exact.argsort(stable=True)[:k]
        found.append(torch.from_numpy(close)[order])
        distances.append(exact[order])
    return torch.stack(found), torch.stack(distances)


def rough_distances(source: Source, views: list[torch.Tensor], indices: np.ndarray) -> np.ndarray:
    """(B, len(indices)) float64, summed in float32 tiles; the smaller over the views."""
    from smalti.engine.compiled import kernels

    images = np.asarray(source.images).reshape(len(source), -1)
    images.flags.writeable = False
    unit, offset = units(images)
    z = [(view.numpy() * unit).astype(np.float32) for view in views]
    absolute = np.zeros(len(views[0]), np.uint8)
    out = np.empty((len(views[0]), len(indices)))

    def work(number: int) -> None:
        here = slice(number * CHUNK, (number + 1) * CHUNK)
        parts = []
        for view in z:
            part = np.empty((len(view), len(indices[here])))
            kernels.full_distances(images, np.float32(offset), indices[here], view, absolute, part)
            parts.append(part)
        out[:, here] = np.minimum.reduce(parts) / unit**2

    for _ in in_order(work, -(-len(indices) // CHUNK)):
        pass
    return out
