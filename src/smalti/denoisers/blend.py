"""Blend: a convex combination of denoisers, networks too, with weights by noise level.

D(z, sigma) = sum_d a_d(sigma) D_d(z, sigma),   a_d >= 0,   sum_d a_d = 1
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.schedule import edm_sigmas, nearest_level
from smalti.core.validation import shown
from smalti.denoisers.base import schedule_of
from smalti.denoisers.equivariant import EquivariantLocalScore
from smalti.denoisers.nearest import Nearest
from smalti.denoisers.optimal import Optimal
from smalti.source import Source

__all__ = ["Blend"]

TOLERANCE = 1e-6  # of sums of weights: numbers that were typed or are float32


class Blend(Denoiser):
    """A convex combination of denoisers.

    Args:
        denoisers: at least one, for images of one shape.
        weights: (D,), or (levels, D) with one row for each of `sigmas`; >= 0, each row summing to 1.
        sigmas: the noise levels of the rows; the 18 levels of the EDM schedule by default. The nearest one serves.

    Labels are passed to all of the denoisers, which must all have the same classes to accept any. A denoiser of weight 0 is not run.

    Raises:
        InputError: no denoisers, or of different shapes; weights that do not fit, are negative or do not sum to 1.
    """

    name = "blend"
    paper = "a convex combination of denoisers"
    ambient = True  # each of its denoisers says for itself

    def __init__(
        self,
        denoisers: Sequence[Denoiser],
        weights: Sequence[float] | Sequence[Sequence[float]] | torch.Tensor | np.ndarray,
        sigmas: Sequence[float] | torch.Tensor | None = None,
    ) -> None:
        if not isinstance(denoisers, Iterable):
            raise InputError(f"a blend is of denoisers, a list of them, not of {shown(denoisers)}")
        self.denoisers, self.weights, self.sigmas = list(denoisers), weights, sigmas
        for denoiser in self.denoisers:
            if not callable(denoiser) or not hasattr(denoiser, "shape"):
                raise InputError(f"a blend is of denoisers, not of {type(denoiser).__name__}")
        shapes = {tuple(denoiser.shape) for denoiser in self.denoisers}
        if len(shapes) != 1:
            found = f"denoisers for images of {' and '.join(map(str, sorted(shapes)))}" if shapes else "nothing"
            raise InputError(f"a blend needs denoisers for images of one shape, not {found}")
        self.shape = tuple(self.denoisers[0].shape)  # type: ignore[assignment]
        classes = {getattr(denoiser, "num_classes", None) for denoiser in self.denoisers}
        self.num_classes = classes.pop() if len(classes) == 1 else None
        self._rows, self._levels = _rows(weights, sigmas, len(self.denoisers))

    @property
    def source(self) -> Source | None:
        """The source that all of the denoisers are made on, or None."""
        sources = [getattr(denoiser, "source", None) for denoiser in self.denoisers]
        return sources[0] if all(source is sources[0] for source in sources) else None

    @property
    def opt_outs(self) -> dict[str, str]:  # type: ignore[override]
        """What its denoisers opt out of; and each of them has its own nearest elements, and its own mean where places may move."""
        found: dict[str, str] = {}
        if not all(isinstance(denoiser, (Optimal, Nearest)) for denoiser in self.denoisers):
            found["small_sigma_gives_the_nearest"] = "each of its denoisers has its own nearest elements"
        if any(isinstance(denoiser, EquivariantLocalScore) for denoiser in self.denoisers):
            found["large_sigma_gives_the_mean"] = "places may move, each posterior has a mean of its own"
        for denoiser in self.denoisers:
            for name, reason in getattr(denoiser, "opt_outs", {}).items():
                found.setdefault(name, f"{type(denoiser).__name__}: {reason}")
        return found

    def with_source(self, source: Source) -> Blend:
        """The same blend of the same denoisers on another source."""
        return Blend([denoiser.with_source(source) for denoiser in self.denoisers], self.weights, self.sigmas)

    def weights_at(self, sigma: float) -> torch.Tensor:
        """The weights that serve `sigma`, (D,) float64."""
        return self._rows[nearest_level(self._levels, sigma) if self._levels else 0]

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        weights = torch.stack([self.weights_at(float(s)) for s in sigma])
        z = z if z.dtype in (torch.float32, torch.float64) else z.float()
        total = torch.zeros(z.shape, dtype=torch.float64, device=z.device)
        for denoiser, weight in zip(self.denoisers, weights.T, strict=True):
            rows = weight.nonzero()[:, 0]
            if not len(rows):
                continue
            here, given = rows.to(z.device), {} if labels is None else {"labels": labels[rows]}
            part = denoiser(z[here], sigma[rows], **given)
            total = total.index_add(0, here, part.double() * weight[rows, None, None, None].to(z.device))
        return total


def _rows(
    weights: Sequence[float] | Sequence[Sequence[float]] | torch.Tensor | np.ndarray,
    sigmas: Sequence[float] | torch.Tensor | None,
    count: int,
) -> tuple[torch.Tensor, list[float] | None]:
    """Weights (levels, D) and the levels; None where one row serves all."""
    try:
        rows = torch.as_tensor(weights, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"weights must be numbers, (denoisers,) or (levels, denoisers), not {shown(weights)}"
        ) from error
    if rows.ndim not in (1, 2) or rows.shape[-1] != count or not len(rows):
        raise InputError(
            f"weights have shape {tuple(rows.shape)} for {count} denoisers; give ({count},) or a row a level"
        )
    if not bool((torch.isfinite(rows) & (rows >= 0)).all()):
        raise InputError("weights must be finite and not negative")
    sums = rows.sum(-1, keepdim=True)
    if bool(((sums - 1).abs() > TOLERANCE).any()):
        wrong = float(sums[((sums - 1).abs() > TOLERANCE)][0])
        raise InputError(f"weights must sum to 1, not to {wrong:.6g}; divide them by their sum")
    rows = rows / sums
    if rows.ndim == 2:
        levels = schedule_of(list(rows), sigmas, "rows of weights", edm_sigmas().tolist())
        if not all(0 < sigma < float("inf") for sigma in levels):
            raise InputError("the sigmas of a blend must be finite and greater than 0")
        return rows, levels
    if sigmas is not None:
        raise InputError("sigmas were given with one row of weights; give a row for each of them")
    return rows[None], None
