"""PSPC-Square: patch set posterior composites of every p x p crop (Niedoba et al., workshop paper Eqs. 5-6, Table 1).

    E_C = sum_i w_C^i C x^i,  w_C^i ∝ exp(-|C z - C x^i|^2 / (2 sigma^2));   D_p = (sum_C C^T C)^-1 sum_C C^T E_C

over all crops C inside the image, (H - p + 1)(W - p + 1) of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch

from smalti.core.by_level import ByLevel
from smalti.core.errors import InputError
from smalti.core.schedule import edm_sigmas
from smalti.core.validation import check_integer
from smalti.denoisers.base import WindowDenoiser, check_source, schedule_of, sides_within
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.pruning import TOLERANCE
from smalti.engine.windows import Crops, Full
from smalti.source import Source

__all__ = ["TABLE_1", "PSPCSquare", "table_1_patch_sizes"]

# patch sides along the 18 levels of the EDM schedule, for 32 x 32 images
TABLE_1 = (32, 32, 32, 32, 32, 32, 32, 23, 15, 11, 7, 5, 3, 3, 3, 3, 3, 3)


def table_1_patch_sizes(height: int, width: int) -> list[int | None]:
    """Table 1 for H x W images: None (the whole image) stays so, other sides become clip(round(p m/32), min(3, m), m), m = min(H, W)."""
    side = min(height, width)
    return [None if p == 32 else min(max(round(p * side / 32), min(3, side)), side) for p in TABLE_1]


class PSPCSquare(WindowDenoiser):
    """Patch set posterior composite of square crops: denoises locally, as networks do.

    Args:
        source: the training images.
        patch_size: one side p for every noise level, 1 <= p <= H, W.
        patch_sizes: one side for each of `sigmas`; None, or a side equal to H = W, is the whole image.
        sigmas: the noise levels of `patch_sizes`; the 18 levels of the EDM schedule by default. The nearest one serves.
        backend, tolerance: as for all that the engine computes (`smalti.denoisers.base.EngineDenoiser`).

    By default the paper's Table 1, scaled to the size of the images (`table_1_patch_sizes`).

    Raises:
        InputError: a patch that does not fit the images, both patch_size and patch_sizes, lengths that differ.
    """

    name = "pspc-square"
    paper = "Niedoba et al., Towards a Mechanistic Explanation of Diffusion Model Generalization, Eqs. 5-6, Table 1"
    by_level = ByLevel(
        "patch_sizes", whole=True, full=True, instead=("patch_size",), candidates=lambda shape, others: _sides(shape)
    )

    def __init__(
        self,
        source: Source,
        patch_size: int | None = None,
        patch_sizes: Sequence[int | None] | None = None,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        backend: str = "auto",
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        check_source(source)
        self.patch_size, self.patch_sizes, self.sigmas = patch_size, patch_sizes, sigmas
        self.levels: list[float] | None = None
        self.sides: list[int | None]
        if patch_size is not None:
            if patch_sizes is not None or sigmas is not None:
                raise InputError("give patch_size, or patch_sizes with sigmas, not both")
            self.sides = [check_integer("the patch size", patch_size)]
        elif patch_sizes is not None:
            if isinstance(patch_sizes, str) or not isinstance(patch_sizes, Iterable) or not len(patch_sizes):
                raise InputError(
                    "patch_sizes takes a list with one side for each of sigmas; patch_size takes one side for all"
                )
            self.levels = schedule_of(patch_sizes, sigmas, "patch sizes", edm_sigmas().tolist())
            self.sides = [None if side is None else check_integer("the patch size", side) for side in patch_sizes]
        elif sigmas is not None:
            raise InputError("sigmas were given without patch_sizes; give one patch size for each of them")
        else:
            self.levels, self.sides = edm_sigmas().tolist(), table_1_patch_sizes(*source.shape[1:])
        super().__init__(self.levels, source=source, backend=backend, tolerance=tolerance)
        for side in self.sides:
            self._windows(side).check(self.shape)

    def _says(self) -> list[str]:
        if self.patch_size is not None or self.patch_sizes is not None or self.levels is None:
            return []
        runs = [(side or "full", len(list(equal))) for side, equal in itertools.groupby(self.sides)]
        sides = ", ".join(f"{side}" if count == 1 else f"{side} x {count}" for side, count in runs)
        return [f"patch_sizes=[{sides}] for sigma {self.levels[0]:g} to {self.levels[-1]:g}"]

    def _windows(self, side: int | None) -> Full | Crops:
        whole = side is None or (side, side) == tuple(self.shape[1:])
        return Full() if whole or side is None else Crops(side)

    def collection_at(self, level: int) -> PosteriorMeanCollection:
        return self.posteriors(self._windows(self.sides[level]))


def _sides(shape: tuple[int, int, int]) -> list[int | None]:
    """Sides to choose from: the paper's, and the whole image."""
    side = min(shape[1:])
    return [*sides_within(side), side if shape[1] == shape[2] else None]
