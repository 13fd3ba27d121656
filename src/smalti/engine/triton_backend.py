"""The `triton` backend: the two phases on a CUDA GPU, compiled by Triton.

    windows                                             program
    the image itself (Optimal)                          `triton.whole`: two matrix products and a softmax
    boxes and Gaussians (PSPC-Square, LocalScore, ELS)  `triton.separable`: window sums as products of small factors, in registers
    masks of any form (PSPC-Flex, PCA-locality)         `triton.masks`: products with the matrix of masks

Every match is served: flips, shifts, classes and weights are kinds and lists of elements. The source is on the device once, as it is
stored; what a call moves is z and the answer.

Precision: distances are float32; on a card their sums are products of operands split in two tf32 numbers each, which keep 22 bits
("tf32x3"; plain tf32 is never used for anything that is not exact in it). At high noise they are taken less |z|^2. Where the largest logit
that matters says that this does not do, boxes and whole images are computed in float64, and other windows by the torch backend, which
decides likewise. Each z is decided by itself and has the same bits in every batch. Autocast, TF32 settings and default types of the caller
change nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.engine.backend import Backend, Covariances, Shares
from smalti.engine.elements import Selection
from smalti.engine.precision import FULL_ERROR, PRODUCT_ERROR, double
from smalti.engine.problem import Problem
from smalti.engine.torch_backend import TorchBackend
from smalti.engine.windows import Entries

if TYPE_CHECKING:
    from smalti.engine.triton.calls import Elements

__all__ = ["TritonBackend"]

LARGEST_SIDE = (
    64  # of images whose windows are separable: a tile is a whole image, and larger ones outgrow the shared memory
)
SPLIT_ERROR = 2.0**-21  # relative, of float32 sums as products of operands split in two
SAMPLE = 32  # images that the mean square is taken of
PARTIAL_BYTES = 256 << 20  # of the partial results of one launch
RELATIVE, DIRECT, WIDE = 0, 1, 2  # forms: see `smalti.engine.triton.calls`; WIDE is direct in float64


class TritonBackend(Backend):
    """Leaves nothing out: a problem's tolerance holds as it is."""

    name = "triton"

    def unsupported(self, problem: Problem, device: torch.device) -> str | None:
        if importlib.util.find_spec("triton") is None:
            return "the package triton is not installed"
        if device.type != "cuda" and not _interpreted():
            return f"it computes on a CUDA GPU, and z is on {device} (TRITON_INTERPRET=1 lets Triton's interpreter do it, slowly)"
        separable = all(w.factors(problem.shape) is not None for w in (problem.queries, problem.responses))
        if separable and max(problem.shape[1:]) > LARGEST_SIDE:
            return f"images of more than {LARGEST_SIDE} pixels a side do not fit a tile"
        if problem.source.images.dtype not in (np.uint8, np.float32):
            return f"images are stored as {problem.source.images.dtype}, not uint8 or float32"
        from smalti.engine.triton.resident import fits

        if not fits(problem.source, device):
            return f"the images ({problem.source.images.nbytes / 1e9:.1f} GB) do not fit the device's memory"
        return None

    def log_normalisers(
        self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        with _undisturbed(z):
            return _Run(problem, z, sigma, selection).log_normalisers()[0]

    def numerator(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        log_normalisers: torch.Tensor,
        selection: Selection,
    ) -> torch.Tensor:
        with _undisturbed(z):
            run = _Run(problem, z, sigma, selection)
            known = log_normalisers.to(z.device, torch.float64)
            return run.numerator(known, run.settled(known, run.forms))

    def both_phases(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> torch.Tensor:
        with _undisturbed(z):
            run = _Run(problem, z, sigma, selection)
            return run.numerator(*run.log_normalisers())

    def covariance_product(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        selection: Selection,
        transpose: bool,
    ) -> Covariances:
        """By torch's products, in float64."""
        with _undisturbed(z):
            return TorchBackend().covariance_product(problem, z, sigma, direction, selection, transpose)

    def shares(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        selection: Selection,
        pixels: torch.Tensor,
        top: int,
    ) -> Shares:
        """By torch's products, in float64."""
        with _undisturbed(z):
            return TorchBackend().shares(problem, z, sigma, selection, pixels, top)


class _Run:
    """One batch: z (B, C, H, W), sigma (B,)."""

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        from smalti.engine.triton.calls import LOG2E

        self.problem, self.selection, self.sigma = problem, selection, sigma
        self.given = z
        self.windows = _windows(problem, z.device)
        self.elements = _elements(problem, selection, z.device)
        unit = self.elements.unit
        self.z = z.double() * unit
        self.bits = LOG2E
        self.scales = (LOG2E / (2 * (sigma.double() * unit) ** 2)).to(z.device)
        sample = self.elements.indices[:: max(1, len(selection) // SAMPLE)]
        some = self.elements.images[sample].double() - self.elements.offset
        # whether noise is most of the distances: sigma^2 against the images' mean square
        noisy = ((sigma.double() * unit) ** 2).to(z.device) >= some.square().mean()
        self.forms = torch.where(noisy, RELATIVE, DIRECT)
        self.own = self.windows.squares(self.z) * self.scales[:, None]  # what the relative form leaves out, bits

    def log_normalisers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Phase 1: natural (B, K) float64, and the form (B,) that each z is computed in."""
        out = self._phase_one(self.forms, self.z.new_empty(len(self.z), len(self.windows)))
        forms = self.settled(out, self.forms)
        if bool((forms == WIDE).any()):
            self._phase_one(torch.where(forms == WIDE, WIDE, -1), out)
        return out, forms

    def settled(self, log_normalisers: torch.Tensor, forms: torch.Tensor) -> torch.Tensor:
        """Forms, WIDE where the largest logit that matters is too large for float32."""
        values = log_normalisers + torch.where(forms[:, None] == RELATIVE, self.own / self.bits, 0)
        largest = torch.where(values.isfinite(), values.abs(), 0).amax(1)
        return torch.where(double(largest, self.windows.error), WIDE, forms)

    def _phase_one(self, forms: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        for form, rows in self._rows(forms):
            if form == WIDE and not self.windows.wide:
                z, sigma = self.given[rows], self.sigma[rows.cpu()]
                out[rows] = TorchBackend().log_normalisers(self.problem, z, sigma, self.selection).to(out.device)
                continue
            values = self.windows.normalisers(self.elements, self.z[rows], self.scales[rows], form)
            out[rows] = (values - (self.own[rows] if form == RELATIVE else 0)) / self.bits
        return out

    def numerator(self, log_normalisers: torch.Tensor, forms: torch.Tensor) -> torch.Tensor:
        """Phase 2, (B, C, H, W) float64."""
        out = torch.empty_like(self.z)
        for form, rows in self._rows(forms):
            known = log_normalisers[rows]
            if form == WIDE and not self.windows.wide:
                z, sigma = self.given[rows], self.sigma[rows.cpu()]
                out[rows] = TorchBackend().numerator(self.problem, z, sigma, known, self.selection).to(out.device)
                continue
            known = known * self.bits + (self.own[rows] if form == RELATIVE else 0)
            out[rows] = self.windows.numerator(self.elements, self.z[rows], self.scales[rows], known, form)
        return out

    def _rows(self, forms: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Rows of the batch that are computed in one form, as many at once as partial results have room for."""
        size = self.windows.together(self.elements)
        for form in (RELATIVE, DIRECT, WIDE):
            rows = (forms == form).nonzero()[:, 0]
            for low in range(0, len(rows), size):
                yield form, rows[low : low + size]


class _Windows:
    """Queries and responses on a device, and the program for them."""

    wide = True  # whether the program has a float64 form
    error: float  # relative, of float32 sums

    def __init__(self, device: torch.device) -> None:
        self.precision = "tf32x3" if device.type == "cuda" and not _interpreted() else "ieee"
        self.error = SPLIT_ERROR if self.precision == "tf32x3" else PRODUCT_ERROR

    def __len__(self) -> int:
        """K."""
        raise NotImplementedError

    def squares(self, z: torch.Tensor) -> torch.Tensor:
        """Window sums of z^2, (B, K) float64."""
        raise NotImplementedError

    def normalisers(self, elements: Elements, z: torch.Tensor, scales: torch.Tensor, form: int) -> torch.Tensor:
        """(B, K) float64, bits; relative in the relative form."""
        raise NotImplementedError

    def numerator(
        self, elements: Elements, z: torch.Tensor, scales: torch.Tensor, log_normalisers: torch.Tensor, form: int
    ) -> torch.Tensor:
        """(B, C, H, W) float64."""
        raise NotImplementedError

    def together(self, elements: Elements) -> int:
        """How many z at once."""
        from smalti.engine.triton.calls import PARTS

        return max(1, PARTIAL_BYTES // (8 * PARTS * max(len(self), elements.images[0].numel())))


class _Whole(_Windows):
    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.error = FULL_ERROR

    def __len__(self) -> int:
        return 1

    def squares(self, z: torch.Tensor) -> torch.Tensor:
        return z.square().flatten(1).sum(1, keepdim=True)

    def _logits(self, elements: Elements, z: torch.Tensor, scales: torch.Tensor, form: int) -> torch.Tensor:
        from smalti.engine.triton import whole

        real = torch.float64 if form == WIDE else torch.float32
        return whole.logits(elements, z, scales, form == RELATIVE, real, self.precision)

    def normalisers(self, elements: Elements, z: torch.Tensor, scales: torch.Tensor, form: int) -> torch.Tensor:
        from smalti.engine.triton import whole

        return whole.log_normalisers(self._logits(elements, z, scales, form))

    def numerator(
        self, elements: Elements, z: torch.Tensor, scales: torch.Tensor, log_normalisers: torch.Tensor, form: int
    ) -> torch.Tensor:
        from smalti.engine.triton import whole

        return whole.numerator(elements, self._logits(elements, z, scales, form), log_normalisers, self.precision)

    def together(self, elements: Elements) -> int:
        kept = len(elements) * len(elements.kinds)
        return max(1, min(super().together(elements), PARTIAL_BYTES // (8 * kept)))


class _Separable(_Windows):
    def __init__(self, problem: Problem, device: torch.device) -> None:
        from smalti.engine.triton.separable import Separable

        super().__init__(device)
        queries, responses = (w.factors(problem.shape) for w in (problem.queries, problem.responses))
        assert queries is not None
        assert responses is not None
        self.windows = Separable(queries, responses, device)
        self.wide = self.windows.boxes

    def __len__(self) -> int:
        return len(self.windows)

    def squares(self, z: torch.Tensor) -> torch.Tensor:
        return self.windows.sums(z.square().sum(1))

    def normalisers(self, elements: Elements, z: torch.Tensor, scales: torch.Tensor, form: int) -> torch.Tensor:
        from smalti.engine.triton import separable

        real = torch.float64 if form == WIDE else torch.float32
        return separable.normalisers(self.windows, elements, z, scales, form == RELATIVE, real, self.precision)

    def numerator(
        self, elements: Elements, z: torch.Tensor, scales: torch.Tensor, log_normalisers: torch.Tensor, form: int
    ) -> torch.Tensor:
        from smalti.engine.triton import separable

        real = torch.float64 if form == WIDE else torch.float32
        arguments = self.windows, elements, z, scales, log_normalisers
        return separable.numerator(*arguments, form == RELATIVE, real, self.precision)


class _Masked(_Windows):
    wide = False

    def __init__(self, problem: Problem, device: torch.device) -> None:
        from smalti.engine.triton.masks import Masked

        super().__init__(device)
        shape, responses = problem.shape, problem.responses
        factors = responses.factors(shape)
        own: str | torch.Tensor
        if isinstance(responses, Entries):
            own = "entries"
        elif factors is not None and all(torch.equal(f, torch.eye(f.shape[1], dtype=f.dtype)) for f in factors):
            own = "pixels"
        else:
            own = responses.masks(shape)
        self.windows = Masked(problem.queries.masks(shape), own, device)

    def __len__(self) -> int:
        return len(self.windows)

    def squares(self, z: torch.Tensor) -> torch.Tensor:
        return self.windows.sums(z.square())

    def normalisers(self, elements: Elements, z: torch.Tensor, scales: torch.Tensor, form: int) -> torch.Tensor:
        from smalti.engine.triton import masks

        return masks.normalisers(self.windows, elements, z, scales, form == RELATIVE, self.precision)

    def numerator(
        self, elements: Elements, z: torch.Tensor, scales: torch.Tensor, log_normalisers: torch.Tensor, form: int
    ) -> torch.Tensor:
        from smalti.engine.triton import masks

        arguments = self.windows, elements, z, scales, log_normalisers
        return masks.numerator(*arguments, form == RELATIVE, self.precision)


def _interpreted() -> bool:
    """Whether Triton runs kernels in its interpreter."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes")


@contextlib.contextmanager
def _undisturbed(z: torch.Tensor) -> Iterator[None]:
    """Without the caller's autocast, on the device of z: Triton launches on the current one."""
    current = torch.cuda.device(z.device) if z.device.type == "cuda" else contextlib.nullcontext()
    with torch.autocast(z.device.type, enabled=False), current:
        yield


def _windows(problem: Problem, device: torch.device) -> _Windows:
    """The program for a problem's windows, made once for each device."""
    kept = problem.planned(_by_device)
    if device not in kept:
        kept[device] = _prepare(problem, device)
    return kept[device]


def _by_device(_: Problem) -> dict[torch.device, _Windows]:
    return {}


def _prepare(problem: Problem, device: torch.device) -> _Windows:
    factors = [windows.factors(problem.shape) for windows in (problem.queries, problem.responses)]
    if any(pair is None for pair in factors):
        return _Masked(problem, device)
    if problem.count == 1 and all(bool((f == 1).all()) for pair in factors if pair is not None for f in pair):
        return _Whole(device)
    return _Separable(problem, device)


def _elements(problem: Problem, selection: Selection, device: torch.device) -> Elements:
    from smalti.engine.triton.calls import LOG2E, Elements
    from smalti.engine.triton.resident import resident

    admitted = problem.admitted
    shifts = range(len(problem.shifts))
    if admitted is not None:
        shifts = [s for s in shifts if bool(admitted[:, s].any())]  # type: ignore[assignment]
    flips = (0, 1) if problem.source.hflip else (0,)
    kinds = [(flip, *problem.shifts[s]) for flip in flips for s in shifts]
    table = None
    if admitted is not None:
        table = admitted[:, list(shifts)].T.to(torch.uint8).repeat(len(flips), 1).contiguous().to(device)
    return Elements(
        resident(problem.source, device),
        torch.from_numpy(np.asarray(selection.indices, np.int64)).to(device),
        torch.from_numpy(selection.log_priors * LOG2E).to(device),
        torch.tensor(kinds, dtype=torch.int32, device=device),
        table,
    )
