"""What named denoisers share: a collection for each noise level.

A new denoiser is a class that says which windows it uses at which sigma:

    class Columns(WindowDenoiser):
        def __init__(self, source, backend="auto"):
            self.source, self.backend = source, backend
            super().__init__()

        def collection_at(self, level):
            return PosteriorMeanCollection(self.source, Crops((self.shape[1], 3)), backend=self.backend)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.scheduled import Scheduled
from smalti.source import Source

__all__ = ["WindowDenoiser", "check_source", "images_of_class", "schedule_of"]


class WindowDenoiser(Denoiser):
    """A denoiser made of one `PosteriorMeanCollection` per noise level.

    A subclass sets `source` and `backend`, calls `super().__init__(levels)` with its noise levels (none where the windows do not
    depend on sigma) and defines `collection_at(level)`.
    """

    source: Source
    backend: str

    def __init__(self, levels: Sequence[float] | None = None) -> None:
        check_source(self.source)
        self.shape = self.source.shape
        self.num_classes = self.source.num_classes
        self._scheduled = Scheduled([1.0] if levels is None else levels, self.collection_at)

    def collection_at(self, level: int) -> PosteriorMeanCollection:
        """The collection of the level with this number."""
        raise NotImplementedError

    def collection(self, sigma: float) -> PosteriorMeanCollection:
        """The collection that serves `sigma`: its weights, posteriors and posterior means."""
        return self._scheduled.collection(sigma)

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return self._scheduled.denoise(z, sigma, labels)


def check_source(source: Source) -> None:
    """Raise InputError unless `source` is a Source."""
    if not isinstance(source, Source):
        raise InputError(
            f"a source is needed, not {type(source).__name__}; smalti.Source(images) makes one of an array"
        )


def images_of_class(source: Source, label: int | None) -> np.ndarray:
    """Ascending numbers of the stored images of a class, of all images where `label` is None.

    Raises:
        InputError: there is none.
    """
    if label is None:
        return np.arange(len(source))
    indices = np.flatnonzero(np.asarray(source.labels) == label)
    if not len(indices):
        raise InputError(f"the source has no image of class {label}; check labels and classes")
    return indices


def schedule_of(
    values: Sequence, sigmas: Sequence[float] | torch.Tensor | None, what: str, default: Sequence[float]
) -> list[float]:
    """Noise levels for a per-level list `values` (called `what` in messages): `sigmas`, else `default` if the lengths agree.

    Raises:
        InputError: lengths that differ.
    """
    levels = [float(s) for s in (default if sigmas is None else sigmas)]
    if len(levels) != len(values):
        named = "sigmas" if sigmas is not None else "levels of the default schedule"
        raise InputError(f"{len(values)} {what} for {len(levels)} {named}; give one for each, with sigmas=[...]")
    return levels
