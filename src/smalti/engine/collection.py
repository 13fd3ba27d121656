"""A collection of filtered posterior means: the one form that every window-based denoiser has (arXiv 2605.24192).

w_k^i  ∝  pi_k(i) exp( -1/(2 sigma^2) sum_q Q_k(q) (z(q) - x^i(q))^2 ),   sum_i w_k^i = 1
E_k    =  sum_i w_k^i x^i
D      =  sum_k R_k * E_k / sum_k R_k
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.surroundings import undisturbed
from smalti.core.validation import check_count, check_integer, check_labels, check_sigma, check_z
from smalti.engine.autograd import Composite, Pullback
from smalti.engine.backend import Backend
from smalti.engine.backends import backend_for, backend_names
from smalti.engine.decomposition import Attribution, attribution, check_pixels
from smalti.engine.elements import Selection
from smalti.engine.jacobian import Queries, closed_form, one_by_one, plan
from smalti.engine.match import Match, SamePlace
from smalti.engine.posterior import Posterior, inspect_posterior, posterior_means
from smalti.engine.problem import Problem
from smalti.engine.pruning import TOLERANCE, check_tolerance
from smalti.engine.windows import Windows
from smalti.source import Source

__all__ = ["PosteriorMeanCollection"]

Labels = torch.Tensor | Sequence[int] | int | None
Images = slice | np.ndarray | Sequence[int] | None

ROWS_BYTES = 64 << 20  # of Jacobian rows at once


class PosteriorMeanCollection(Denoiser):
    """Queries, responses and a match on a source: a denoiser, and everything about its posteriors.

    What backends read of it is `problem`, a frozen record (`smalti.engine.problem`).

    Args:
        source: the images.
        queries: windows Q_k, what the k-th posterior looks at.
        responses: windows R_k, which pixels of its mean it contributes; as many as queries, the queries themselves by default.
        match: which elements a query may be compared with, and their prior weights; the same place in every image by default.
        backend: "auto", "numba", "triton" (CUDA), "torch" or "reference".
        tolerance: what a pixel of D may be off, in the working scale, for elements that are left out because their weights are
            certified to be small (see `smalti.engine.pruning`); 0 leaves out nothing. Normalisers may lack the same share.

    Raises:
        InputError: windows that do not fit the images, different numbers of queries and responses, a pixel that no response
            covers (named), a query that no element is admitted to, an unknown backend, a tolerance that is no number >= 0.
    """

    name = "collection"

    def __init__(
        self,
        source: Source,
        queries: Windows,
        responses: Windows | None = None,
        match: Match | None = None,
        backend: str = "auto",
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        if not isinstance(source, Source):
            raise InputError(
                f"a source is needed, not {type(source).__name__}; smalti.Source(images) makes one of an array"
            )
        for windows in (queries, *([] if responses is None else [responses])):
            if not isinstance(windows, Windows):
                raise InputError(f"windows are needed, such as smalti.Crops(5), not {windows!r}")
        if match is not None and not isinstance(match, Match):
            raise InputError(f"a match is needed, such as smalti.SamePlace(), not {match!r}")
        tolerance = check_tolerance(tolerance)
        if backend not in backend_names():
            raise InputError(f"unknown backend {backend!r}; choose from {', '.join(backend_names())}")
        self.problem = Problem.of(
            source,
            queries,
            queries if responses is None else responses,
            SamePlace() if match is None else match,
            tolerance,
        )
        self.backend = backend
        self.source, self.queries, self.responses = source, queries, self.problem.responses
        self.match, self.tolerance = self.problem.match, tolerance
        self.shape, self.count, self.num_classes = source.shape, self.problem.count, source.num_classes
        self.shifts, self.admitted, self.coverage = self.problem.shifts, self.problem.admitted, self.problem.coverage

    # ------------------------------------------------------------------------------------------------------ denoising

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        if torch.is_grad_enabled() and z.requires_grad and self.backend_on(z.device).differentiable:
            return self.composite(z, sigma, labels)
        return Composite.apply(z, sigma, labels, self.composite, self.jacobian_product)

    def composite(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """D(z) in float64, on checked input."""
        backend = self.backend_on(z.device)
        parts = [
            (rows, backend.both_phases(self.problem, z[rows], sigma[rows], chosen))
            for rows, chosen in self._groups(labels, len(z))
        ]
        return self.divide(_by_row(parts, len(z)))

    def divide(self, numerator: torch.Tensor) -> torch.Tensor:
        """numerator / sum_k R_k: the last step after merging numerators, (B, C, H, W)."""
        return numerator / self.coverage.to(numerator.device)

    def backend_on(self, device: torch.device) -> Backend:
        """The backend that serves z on `device`."""
        return backend_for(self.backend, self.problem, device)

    def _streaming_backend(self, device: torch.device) -> Backend:
        """The same for what the reference leaves to autograd: torch's, which computes it in float64 too."""
        backend = self.backend_on(device)
        return backend_for("torch", self.problem, device) if backend.differentiable else backend

    # ----------------------------------------------------------------------------------------- the two phases, by parts

    @undisturbed()
    def log_normalisers(
        self, z: torch.Tensor, sigma: float | torch.Tensor, labels: Labels = None, images: Images = None
    ) -> torch.Tensor:
        """Phase 1: log sum_i pi_k(i) exp(-1/(2 sigma^2) sum_q Q_k(q) (z(q) - x^i(q))^2) over a part of the source.

        Args:
            z, sigma, labels: as for a call.
            images: the part: a slice or indices of stored images; all by default.

        Returns:
            (B, K) float64. Parts that do not overlap merge by `torch.logaddexp`. -infinity where a part has no image of the class.
        """
        z, levels, classes = self._checked(z, sigma, labels)
        backend = self.backend_on(z.device)
        empty = z.new_full((len(z), self.count), -torch.inf, dtype=torch.float64)
        parts = [
            (rows, backend.log_normalisers(self.problem, z[rows], levels[rows], chosen))
            for rows, chosen in self._groups(classes, len(z), images)
            if len(chosen)
        ]
        return _by_row(parts, len(z), empty)

    @undisturbed()
    def numerator(
        self,
        z: torch.Tensor,
        sigma: float | torch.Tensor,
        log_normalisers: torch.Tensor,
        labels: Labels = None,
        images: Images = None,
    ) -> torch.Tensor:
        """Phase 2: sum_k R_k * sum_i w_k^i x^i over a part of the source, with the log-normalisers of all of it.

        Returns:
            (B, C, H, W) float64. Parts merge by addition; `divide` makes the composite of the sum.
        """
        z, levels, classes = self._checked(z, sigma, labels)
        if tuple(log_normalisers.shape) != (len(z), self.count) or bool(log_normalisers.isnan().any()):
            raise InputError(
                f"log_normalisers must be ({len(z)}, {self.count}) without NaN: those of all parts, merged"
            )
        backend = self.backend_on(z.device)
        parts = [
            (rows, backend.numerator(self.problem, z[rows], levels[rows], log_normalisers[rows], chosen))
            for rows, chosen in self._groups(classes, len(z), images)
            if len(chosen)
        ]
        return _by_row(parts, len(z), torch.zeros_like(z, dtype=torch.float64))

    # ------------------------------------------------------------------------------------------------ derivatives

    @undisturbed()
    def jacobian_product(
        self,
        z: torch.Tensor,
        sigma: float | torch.Tensor,
        direction: torch.Tensor,
        labels: Labels = None,
        transpose: bool = False,
    ) -> torch.Tensor:
        """The Jacobian dD/dz times a direction (`transpose`: a direction times the Jacobian), exactly.

        Args:
            z, sigma, labels: as for a call.
            direction: (B, C, H, W).
            transpose: False gives the directional derivative of D, True the gradient of <direction, D(z)>.

        Returns:
            (B, C, H, W) float64.
        """
        z, levels, classes = self._checked(z, sigma, labels)
        if tuple(direction.shape) != tuple(z.shape):
            raise InputError(f"the direction has shape {tuple(direction.shape)}; give one of z's, {tuple(z.shape)}")
        coverage = self.coverage.to(z.device)
        direction = direction.detach()
        direction = direction.double() / coverage if transpose else direction.double()
        backend = self.backend_on(z.device)
        if backend.differentiable:  # the reference has no covariance product of its own: autograd is its specification
            return self._jacobian_product_by_autograd(
                z, levels, direction * coverage if transpose else direction, classes, transpose
            )
        parts = [
            (
                rows,
                backend.covariance_product(self.problem, z[rows], levels[rows], direction[rows], chosen, transpose)[0],
            )
            for rows, chosen in self._groups(classes, len(z))
        ]
        product = _by_row(parts, len(z)) / levels.to(z.device)[:, None, None, None] ** 2
        return product if transpose else product / coverage

    @undisturbed()
    @torch.no_grad()
    def pullback(
        self, z: torch.Tensor, sigma: float | torch.Tensor, direction: torch.Tensor, labels: Labels = None
    ) -> Pullback:
        """The gradients of <direction, D(z)>: with respect to z, and to the log prior weight of every stored image.

            d<g, D>/dz = 1/sigma^2 sum_k Q_k * Cov_k(x, x) (R_k * g / sum R)
            d<g, D>/dlog pi_i = sum_k w_k^i <R_k * g / sum R, x^i - E_k>          flips and shifts of an image together

        Args:
            z, sigma, labels: as for a call.
            direction: g, (B, C, H, W).

        Returns:
            `Pullback`: z (B, C, H, W), log_priors (B, N), float64.
        """
        z, levels, classes = self._checked(z, sigma, labels)
        if tuple(direction.shape) != tuple(z.shape):
            raise InputError(f"the direction has shape {tuple(direction.shape)}; give one of z's, {tuple(z.shape)}")
        backend = self._streaming_backend(z.device)
        direction = direction.detach().double() / self.coverage.to(z.device)
        gradient = torch.empty_like(z, dtype=torch.float64)
        log_priors = gradient.new_zeros((len(z), len(self.source)))
        for rows, chosen in self._groups(classes, len(z)):
            here = rows.to(z.device)
            found = backend.pullback(self.problem, z[here], levels[rows], direction[here], chosen)
            gradient[here] = found.product / levels[rows].to(z.device)[:, None, None, None] ** 2
            log_priors[here[:, None], torch.from_numpy(chosen.indices).to(z.device)] = found.by_image
        return Pullback(gradient, log_priors)

    def jacobian_rows(
        self, z: torch.Tensor, sigma: float | torch.Tensor, pixels: torch.Tensor, labels: Labels = None
    ) -> Iterator[torch.Tensor]:
        """The derivatives of chosen output pixels with respect to all of z, exactly (`smalti.engine.jacobian`).

        Args:
            z, sigma, labels: as for a call.
            pixels: (P, 2) int64, (row, column).

        Yields:
            (B, p, C, C, H, W) float64, dD[b, c, pixel]/dz[b, c', i, j], for p pixels after another, P in all.
        """
        z, levels, classes = self._checked(z, sigma, labels)
        size = max(1, ROWS_BYTES // (8 * self.shape[0] * z.numel()))
        for part in pixels.split(size):
            with undisturbed():
                groups = plan(self.problem, part)
            for some, queries in groups:
                if queries is None:
                    transposed = partial(self.jacobian_product, z, levels, labels=classes, transpose=True)
                    yield from (one_by_one(transposed, z, pixel) for pixel in some)
                else:
                    yield self._rows_in_closed_form(z, levels, classes, queries)

    @undisturbed()
    def _rows_in_closed_form(
        self, z: torch.Tensor, sigma: torch.Tensor, classes: torch.Tensor | None, queries: Queries
    ) -> torch.Tensor:
        parts = [
            (rows, closed_form(self.problem, z[rows], sigma[rows], queries, chosen))
            for rows, chosen in self._groups(classes, len(z))
        ]
        return _by_row(parts, len(z))

    def _jacobian_product_by_autograd(
        self,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        labels: torch.Tensor | None,
        transpose: bool,
    ) -> torch.Tensor:
        def function(point: torch.Tensor) -> torch.Tensor:
            return self.composite(point, sigma, labels)

        with torch.enable_grad():
            product = torch.autograd.functional.vjp if transpose else torch.autograd.functional.jvp
            return product(function, z.detach().double(), direction)[1]

    # --------------------------------------------------------------------------------------- looking at the posteriors

    @undisturbed()
    def posterior(
        self, z: torch.Tensor, sigma: float | torch.Tensor, queries: Sequence[int], top: int = 10, labels: Labels = None
    ) -> Posterior:
        """The posteriors of chosen queries: log-normaliser, effective number of images, and the heaviest elements.

        Args:
            z, sigma, labels: as for a call.
            queries: numbers k of queries, in the order of `anchors`.
            top: how many elements to list; no more than there are.

        Returns:
            `Posterior`, with axes (B, len(queries), ...).

        Raises:
            InputError: a query number out of range, top < 1.
        """
        z, levels, classes = self._checked(z, sigma, labels)
        check_count("top", top)
        top = min(top, self.problem.elements)
        return inspect_posterior(
            self.problem, z, levels, self._query_numbers(queries), top, self._groups(classes, len(z))
        )

    @undisturbed()
    @torch.no_grad()
    def attribute(
        self,
        z: torch.Tensor,
        sigma: float | torch.Tensor,
        pixels: Any = None,
        top: int = 10,
        labels: Labels = None,
    ) -> Attribution:
        """Which training images made chosen pixels of D(z), with what shares: they sum to one and rebuild it (`engine.decomposition`).

        Args:
            z, sigma, labels: as for a call.
            pixels: (row, column) pairs, a boolean mask (H, W), or None for all pixels.
            top: how many elements to list; no more than there are.

        Returns:
            `Attribution`.

        Raises:
            InputError: pixels outside the image, top < 1, what a call refuses.
        """
        z, levels, classes = self._checked(z, sigma, labels)
        chosen_pixels = check_pixels(pixels, self.shape)
        top = min(check_count("top", top), self.problem.elements)
        backend = self._streaming_backend(z.device)
        parts = []
        for rows, chosen in self._groups(classes, len(z)):
            some = z[rows.to(z.device)]
            shares = backend.shares(self.problem, some, levels[rows], chosen, chosen_pixels, top)
            denoised = self.composite(some, levels[rows], None if classes is None else classes[rows])
            parts.append((rows, attribution(self.problem, shares, chosen_pixels, denoised)))
        return Attribution.stacked(parts, len(z))

    @undisturbed()
    def means(
        self, z: torch.Tensor, sigma: float | torch.Tensor, queries: Sequence[int], labels: Labels = None
    ) -> torch.Tensor:
        """Posterior means E_k of chosen queries, whole images: (B, len(queries), C, H, W) in the dtype of z."""
        z, levels, classes = self._checked(z, sigma, labels)
        return posterior_means(self.problem, z, levels, self._query_numbers(queries), self._groups(classes, len(z))).to(
            z.dtype
        )

    def collection(self, sigma: float) -> PosteriorMeanCollection:
        """Itself: a collection serves every sigma with the same windows; InputError for one that no call takes."""
        check_sigma(sigma, 1)
        return self

    @property
    def anchors(self) -> torch.Tensor:
        """(K, 2) int64: the pixel (row, column) of each query; for crops their first pixel."""
        return self.queries.anchors(self.shape)

    # ------------------------------------------------------------------------------------------------------- helpers

    def _checked(
        self, z: torch.Tensor, sigma: float | torch.Tensor, labels: Labels
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        check_z(z, self.shape)
        if len(z) == 0:
            raise InputError("z is an empty batch; give at least one image")
        return z.detach(), check_sigma(sigma, len(z)), check_labels(labels, len(z), self.num_classes)

    def _query_numbers(self, queries: Sequence[int]) -> torch.Tensor:
        numbers = torch.tensor([check_integer("a query's number", q) for q in queries], dtype=torch.int64)
        if not len(numbers) or int(numbers.min()) < 0 or int(numbers.max()) >= self.count:
            raise InputError(f"queries are numbered 0 to {self.count - 1}; got {numbers.tolist()}")
        return numbers

    def _groups(
        self, labels: torch.Tensor | None, batch: int, images: Images = None
    ) -> list[tuple[torch.Tensor, Selection]]:
        """Rows of the batch that share a selection of images, with it."""
        if labels is None:
            return [(torch.arange(batch), self._selection(None, images))]
        classes = labels.unique().tolist()
        return [((labels == c).nonzero()[:, 0], self._selection(c, images)) for c in classes]

    def _selection(self, label: int | None, images: Images) -> Selection:
        count = len(self.source)
        indices = np.arange(count) if images is None else self._part(images)
        if label is not None:
            assert self.source.labels is not None
            indices = indices[np.asarray(self.source.labels)[indices] == label]
        log_priors = np.zeros(len(indices))
        if self.match.weights is not None:
            weights = np.asarray(torch.as_tensor(self.match.weights, dtype=torch.float64))
            weights = weights[indices]
            indices, log_priors = indices[weights > 0], np.log(weights[weights > 0])
        if not len(indices) and images is None:
            raise InputError(
                f"the source has no image of class {label} to compare with; check labels, classes and weights"
            )
        return Selection(indices, log_priors)

    def _part(self, images: slice | np.ndarray | Sequence[int]) -> np.ndarray:
        """Stored images that a part names, ascending."""
        try:
            indices = np.sort(np.arange(len(self.source))[images if isinstance(images, slice) else np.asarray(images)])
        except IndexError as error:
            raise InputError(
                f"images= must be a slice or numbers of stored images, 0 to {len(self.source) - 1}: {error}"
            ) from None
        if (np.diff(indices) == 0).any():
            raise InputError("images= names an image twice; the weights of a match count images more than once")
        return indices


def _by_row(
    parts: list[tuple[torch.Tensor, torch.Tensor]], batch: int, empty: torch.Tensor | None = None
) -> torch.Tensor:
    """Results of groups of rows, put back in the order of the batch."""
    if len(parts) == 1 and len(parts[0][0]) == batch:
        return parts[0][1]
    out = empty if empty is not None else parts[0][1].new_empty((batch, *parts[0][1].shape[1:]))
    for rows, values in parts:
        out = out.index_copy(0, rows.to(out.device), values.to(out.device))
    return out
