"""What named denoisers share: where the engine computes them, and a collection for each noise level.

A new denoiser is a class that says which windows it uses at which sigma:

    class Columns(WindowDenoiser):
        name = "columns"
        by_level = ByLevel("width", whole=True, candidates=lambda shape, others: range(1, shape[2] + 1, 2))

        def __init__(self, source, width=3, sigmas=None, backend="auto"):
            self.width, self.sigmas = width, sigmas
            self.widths, levels = per_level(width, sigmas, "widths")
            super().__init__(levels, source=source, backend=backend)

        def collection_at(self, level):
            return self.posteriors(Crops((self.shape[1], self.widths[level])))

`by_level` is for those whose windows change with the noise level: schedules and `smalti.calibrate` read it, once `register` has made the
name known.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.schedule import edm_sigmas, nearest_level
from smalti.core.surroundings import outside, undisturbed
from smalti.core.validation import check_labels, check_number, check_sigma, check_z, shown
from smalti.engine.autograd import Pullback
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.decomposition import Attribution
from smalti.engine.match import Match
from smalti.engine.pruning import TOLERANCE, check_tolerance
from smalti.engine.scheduled import Scheduled
from smalti.engine.windows import Windows
from smalti.source import Source

__all__ = [
    "SIDES",
    "AdaptedWindowDenoiser",
    "CollectionDenoiser",
    "EngineDenoiser",
    "WindowDenoiser",
    "check_level",
    "check_levels",
    "check_number",
    "check_source",
    "images_of_class",
    "numbers_of",
    "per_level",
    "schedule_of",
    "sides_within",
]

SIDES = (
    3,
    5,
    7,
    9,
    11,
    15,
    19,
    23,
    27,
    32,
)  # of patches that the paper chooses from, for 32 x 32 images (full paper, Fig. 4)


class EngineDenoiser(Denoiser):
    """A denoiser that the engine computes on a source. Every one of them has these two parameters, and they mean the same:

    Args:
        source: the training images.
        backend: where it is computed: "auto" (the fastest that can), "numba", "torch" or "reference" (float64, by definition).
        tolerance: what a pixel may be off, in the working scale, for images left out because they certainly weigh little
            (`smalti.engine.pruning`); 0 leaves out none.

    What is not given here is what the subclass has set under these names before, else the default.

    Raises:
        InputError: no source, or a tolerance that is no number >= 0.
    """

    source: Source
    backend: str
    tolerance: float

    def __init__(
        self, source: Source | None = None, backend: str | None = None, tolerance: float | None = None
    ) -> None:
        if source is not None:
            self.source = source
        check_source(getattr(self, "source", None))
        self.backend = getattr(self, "backend", "auto") if backend is None else backend
        self.tolerance = check_tolerance(getattr(self, "tolerance", TOLERANCE) if tolerance is None else tolerance)
        self.shape, self.num_classes = self.source.shape, self.source.num_classes

    def posteriors(
        self, queries: Windows, responses: Windows | None = None, match: Match | None = None
    ) -> PosteriorMeanCollection:
        """The collection of these windows on the source, with the denoiser's backend and tolerance."""
        return PosteriorMeanCollection(
            self.source, queries, responses, match, backend=self.backend, tolerance=self.tolerance
        )


class CollectionDenoiser(EngineDenoiser):
    """A denoiser made of posterior-mean collections: its answers are shares of training images, which can be looked at."""

    def groups(
        self, sigma: torch.Tensor, labels: torch.Tensor | None
    ) -> list[tuple[PosteriorMeanCollection, torch.Tensor]]:
        """The collections that serve noise levels (B,) and classes (B,) or None, each with the rows that it serves."""
        raise NotImplementedError

    def _served(
        self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None
    ) -> Iterator[tuple[torch.Tensor, PosteriorMeanCollection, torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        """For each of the groups: its rows, on z's device, its collection, and z, sigma and labels of the rows."""
        for collection, rows in self.groups(sigma, labels):
            here = rows.to(z.device)
            yield here, collection, z[here], sigma[rows], None if labels is None else labels[rows]

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        served = list(self._served(z, sigma, labels))
        if len(served) == 1:
            return served[0][1].denoise(z, sigma, labels)
        out = torch.empty_like(z)
        for here, collection, some, level, chosen in served:
            out = out.index_copy(0, here, collection.denoise(some, level, chosen).to(z.dtype))
        return out

    def jacobian_rows(
        self, z: torch.Tensor, sigma: float, pixels: torch.Tensor, labels: torch.Tensor | None = None
    ) -> Iterator[torch.Tensor]:
        """The derivatives of chosen output pixels, in closed form; see `PosteriorMeanCollection.jacobian_rows`."""
        served = list(self._served(z, torch.full((len(z),), float(sigma), dtype=torch.float64), labels))
        if len(served) == 1:
            yield from served[0][1].jacobian_rows(z, sigma, pixels, labels)
            return
        for pixel in pixels.split(1):
            out = torch.empty(len(z), 1, self.shape[0], *self.shape, dtype=torch.float64, device=z.device)
            for here, collection, some, _, classes in served:
                (part,) = collection.jacobian_rows(some, sigma, pixel, classes)
                out[here] = part.to(z.device)
            yield out

    @undisturbed()
    @torch.no_grad()
    def attribute(
        self,
        z: torch.Tensor,
        sigma: float | torch.Tensor,
        pixels: Any = None,
        top: int = 10,
        labels: torch.Tensor | Sequence[int] | int | None = None,
    ) -> Attribution:
        """Which training images made chosen pixels of D(z), with what shares: they sum to one and rebuild the pixel.

        Args:
            z, sigma, labels: as for a call.
            pixels: (row, column) pairs, a boolean mask (H, W), or None for all pixels, row by row.
            top: how many elements (an image, mirrored or not, at one place) to list for each pixel.

        Returns:
            `smalti.Attribution`: images, shares, values and places (B, P, top), what is left, the effective number of images.

        Raises:
            InputError: pixels outside the image, top < 1, what a call refuses.
        """
        levels, classes = self._checked(z, sigma, labels)
        parts = [
            (here.cpu(), collection.attribute(some, level, pixels, top, chosen))
            for here, collection, some, level, chosen in self._served(z, levels, classes)
        ]
        return Attribution.stacked(parts, len(z))

    @undisturbed()
    @torch.no_grad()
    def pullback(
        self,
        z: torch.Tensor,
        sigma: float | torch.Tensor,
        direction: torch.Tensor,
        labels: torch.Tensor | Sequence[int] | int | None = None,
    ) -> Pullback:
        """The gradients of <direction, D(z)> with respect to z and to the log prior weights of the stored images, windows held as they are.

        Args:
            z, sigma, labels: as for a call.
            direction: (B, C, H, W).

        Returns:
            `Pullback`: z (B, C, H, W), log_priors (B, N), float64. See `PosteriorMeanCollection.pullback`.
        """
        levels, classes = self._checked(z, sigma, labels)
        gradient = torch.empty_like(z, dtype=torch.float64)
        log_priors = gradient.new_zeros((len(z), len(self.source)))
        for here, collection, some, level, chosen in self._served(z, levels, classes):
            gradient[here], log_priors[here] = collection.pullback(some, level, direction[here], chosen)
        return Pullback(gradient, log_priors)

    def _checked(self, z: torch.Tensor, sigma: Any, labels: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        check_z(z, self.shape)
        if len(z) == 0:
            raise InputError("z is an empty batch; give at least one image")
        return check_sigma(sigma, len(z)), check_labels(labels, len(z), self.num_classes)


class WindowDenoiser(CollectionDenoiser):
    """A denoiser made of one `PosteriorMeanCollection` per noise level.

    A subclass calls `super().__init__(levels, source=..., backend=..., tolerance=...)` and defines `collection_at(level)`.

    Args:
        levels: its noise levels; None where the windows do not depend on sigma. The nearest one serves.
        source, backend, tolerance: see `EngineDenoiser`.
    """

    def __init__(
        self,
        levels: Sequence[float] | None = None,
        *,
        source: Source | None = None,
        backend: str | None = None,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(source, backend, tolerance)
        self._scheduled = Scheduled([1.0] if levels is None else levels, self._made_at)

    def collection_at(self, level: int) -> PosteriorMeanCollection:
        """The collection of the level with this number."""
        raise NotImplementedError

    def _made_at(self, level: int) -> PosteriorMeanCollection:
        return outside(self.collection_at, level)

    def collection(self, sigma: float) -> PosteriorMeanCollection:
        """The collection that serves `sigma`: its weights, posteriors and posterior means.

        Raises:
            InputError: a sigma that no call takes.
        """
        return self._scheduled.collection(check_level(sigma))

    def groups(
        self, sigma: torch.Tensor, labels: torch.Tensor | None
    ) -> list[tuple[PosteriorMeanCollection, torch.Tensor]]:
        levels = [nearest_level(self._scheduled.sigmas, float(s)) for s in sigma]
        rows = {level: [i for i, found in enumerate(levels) if found == level] for level in sorted(set(levels))}
        return [(self.collection(float(sigma[some[0]])), torch.tensor(some)) for some in rows.values()]


class AdaptedWindowDenoiser(CollectionDenoiser):
    """A denoiser whose windows come from the statistics of the source, or depend on sigma itself: one collection for each noise
    level and class, made when it is first used. The latest `kept` are kept.

    A subclass calls `super().__init__(levels, classwise, source=..., backend=..., tolerance=...)` and defines
    `collection_for(sigma, label)`.

    Args:
        levels: noise levels that sigma is rounded to, in |sigma - sigma_i|; None where every sigma has windows of its own.
        classwise: whether the windows of z with labels are those of their classes.
        source, backend, tolerance: see `EngineDenoiser`.
    """

    kept: ClassVar[int] = 64

    def __init__(
        self,
        levels: Sequence[float] | None = None,
        classwise: bool = False,
        *,
        source: Source | None = None,
        backend: str | None = None,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(source, backend, tolerance)
        self.levels, self._classwise = None if levels is None else check_levels(levels), classwise
        self._made: OrderedDict[tuple[float, int | None], PosteriorMeanCollection] = OrderedDict()

    def collection_for(self, sigma: float, label: int | None) -> PosteriorMeanCollection:
        """The collection of a noise level (one of `levels` where there are any) and class (None: of all images)."""
        raise NotImplementedError

    def collection(self, sigma: float, label: int | None = None) -> PosteriorMeanCollection:
        """The collection that serves `sigma` and z of this class: its weights, posteriors and posterior means.

        It is one on the whole source: `labels` of its own calls choose the images.
        """
        return self._collection(self._key(check_level(sigma), label))

    def _key(self, sigma: float, label: int | None) -> tuple[float, int | None]:
        level = sigma if self.levels is None else self.levels[nearest_level(self.levels, sigma)]
        return float(level), label if self._classwise else None

    def _collection(self, key: tuple[float, int | None]) -> PosteriorMeanCollection:
        if key not in self._made:
            self._made[key] = outside(self.collection_for, *key)
        self._made.move_to_end(key)
        if len(self._made) > self.kept:
            self._made.popitem(last=False)
        return self._made[key]

    def groups(
        self, sigma: torch.Tensor, labels: torch.Tensor | None
    ) -> list[tuple[PosteriorMeanCollection, torch.Tensor]]:
        classes = [None] * len(sigma) if labels is None else labels.tolist()
        found: dict[tuple[float, int | None], list[int]] = {}
        for row, (level, label) in enumerate(zip(sigma.tolist(), classes, strict=True)):
            found.setdefault(self._key(level, label), []).append(row)
        return [(self._collection(key), torch.tensor(rows)) for key, rows in found.items()]


def check_source(source: Any) -> None:
    """Raise InputError unless `source` is a Source."""
    if not isinstance(source, Source):
        raise InputError(
            f"a source is needed, not {type(source).__name__}; smalti.Source(images) makes one of an array"
        )


def check_level(sigma: float) -> float:
    """`sigma` as a float, or InputError unless it is a noise level that a call takes."""
    return float(check_sigma(sigma, 1)[0])


def check_levels(sigmas: Sequence[float]) -> list[float]:
    """`sigmas` as floats, or InputError unless there is at least one, each finite and greater than 0."""
    levels = numbers_of("sigmas", "a sigma", sigmas)
    if not levels or not all(0 < sigma < float("inf") for sigma in levels):
        raise InputError("a schedule needs at least one sigma, each finite and greater than 0")
    return levels


def numbers_of(what: str, one: str, values: Any) -> list[float]:
    """A list, array or tensor of numbers (called `what`, each `one`, in messages) as floats, or InputError."""
    if isinstance(values, (torch.Tensor, np.ndarray)):
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{what} must be a list of numbers, not {shown(values)}")
    return [check_number(one, value) for value in values]


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
    levels = list(default) if sigmas is None else numbers_of("sigmas", "a sigma", sigmas)
    if len(levels) != len(values):
        named = "sigmas" if sigmas is not None else "levels of the default schedule"
        raise InputError(f"{len(values)} {what} for {len(levels)} {named}; give one for each, with sigmas=[...]")
    return levels


def per_level(value: Any, sigmas: Sequence[float] | torch.Tensor | None, what: str) -> tuple[list, list[float] | None]:
    """A parameter that is one value, or a list with one for each noise level: its values, and the levels (None: one for all).

    Args:
        value: a number, or a list of them.
        sigmas: the levels of the list; the 18 levels of the EDM schedule by default.
        what: its plural, for messages.

    Raises:
        InputError: an empty list, lengths that differ, or sigmas without a list.
    """
    if isinstance(value, (torch.Tensor, np.ndarray)):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        if sigmas is not None:
            raise InputError(f"sigmas were given with one value; give a list of {what}, one for each of them")
        return [value], None
    if not value:
        raise InputError(f"the list of {what} is empty; give one for each noise level")
    return list(value), schedule_of(value, sigmas, what, edm_sigmas().tolist())


def sides_within(side: int) -> list[int]:
    """Sides of patches to choose from for images whose shorter side is `side`, all of them smaller.

    The paper's (`SIDES`) as far as they are smaller; of larger images, the paper's times side/32, made odd, go on from there.
    """
    sides = [p for p in SIDES[:-1] if p < side]
    return sides + [odd for p in SIDES[:-1] if (odd := p * side // 32 // 2 * 2 + 1) > SIDES[-2] and odd < side]
