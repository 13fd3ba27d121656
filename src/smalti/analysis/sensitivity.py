"""`smalti.sensitivity`: which pixels of z a denoiser's output depends on (full paper, Eq. 8; workshop paper, Fig. 4).

    G(y, x)_{ij} = E_z sum_c |dD_c(z, sigma)(y, x) / dz_c(i, j)|,   z = x + sigma eps, x uniform over the source

the same channel in and out, the absolute value before the sum. From these heatmaps PSPC-Flex is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from smalti.analysis.forward import forward_batch
from smalti.analysis.gradients import find_reduction, jacobian_rows
from smalti.analysis.heatmaps import Sensitivity, rings
from smalti.analysis.identity import identity_of, pieces_of, source_identity
from smalti.analysis.pixels import Pixels, choose_pixels
from smalti.analysis.z_sets import check_levels
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, SmaltiError
from smalti.core.noise import check_seed
from smalti.core.pieces import Pieces
from smalti.core.progress import progress as show_progress
from smalti.core.validation import check_count, check_integer
from smalti.source import Source

__all__ = ["finished_z", "sensitivity"]

GROUPS = 10  # of z, for the standard errors of sides


def sensitivity(
    denoiser: Denoiser,
    source: Source,
    sigmas: torch.Tensor | Sequence[float],
    n: int = 1000,
    pixels: Pixels = None,
    *,
    reduction: str = "same-channel",
    seed: int = 0,
    labelled: bool = False,
    batch_size: int = 64,
    keep: str | os.PathLike[str] | Pieces | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> Sensitivity:
    """Heatmaps of a denoiser: how much each pixel of its output changes with each pixel of z.

    Derivatives are exact: for analytic denoisers in closed form, for networks by one vector-Jacobian product for each output pixel
    and channel, of a whole batch of z. The z are the same for every denoiser.

    Args:
        denoiser: any.
        source: where the z come from; flips are drawn too where it has them.
        sigmas: (L,) noise levels > 0.
        n: forward z at each level; the papers use 1,000 and 10,000.
        pixels: output pixels: None for all, "centre-edge", a number g for a g x g grid, or pairs (row, column); see
            `smalti.analysis.pixels.choose_pixels`, which says where those lie.
        reduction: "same-channel" (Eq. 8), "all-channels", "l2" or "signed"; see `smalti.analysis.gradients`.
        seed: 0 to 2^64 - 1; z j of a level depends on (seed, level, j) and the source alone.
        labelled: condition each z on the class of its image.
        batch_size: z computed together, whose networks' activations must fit in memory together; finished batches are kept. It
            changes results only by rounding.
        keep: a folder (or Pieces) for what is finished, so that the same call goes on after a kill; None keeps nothing.
        progress: True or False; None shows it where stderr is a terminal; a function is called with the number of z whose pixel is
            done (n L P in all, less what was kept).

    Returns:
        `Sensitivity`, with standard errors.

    Raises:
        InputError: bad sigmas, n, pixels, reduction, seed or batch_size; a source of another shape, or without classes where
            `labelled`; a denoiser without gradients; a folder that keeps another computation.
        SmaltiError: derivatives that are NaN or infinite.
    """
    shape = tuple(denoiser.shape)
    if shape != source.shape:
        raise InputError(f"the denoiser takes images of shape {shape}, and the source has {source.shape}")
    if labelled and source.labels is None:
        raise InputError("labelled=True needs a source with classes; open the data with classes or leave it out")
    levels, n, size = check_levels(sigmas), check_count("n", n), check_count("batch_size", batch_size)
    chosen = choose_pixels(pixels, *shape[1:])
    find_reduction(reduction)
    seed = check_seed(check_integer("the seed", seed))
    run = _Run(denoiser, source, n, chosen, reduction, seed, labelled, size)
    pieces = pieces_of(keep, __name__, lambda: run.identity(levels))
    name = getattr(denoiser, "name", "") or type(denoiser).__name__

    states = [_State.kept(pieces, level, run) for level in range(len(levels))]
    left = (n * len(levels) - sum(state.count for state in states)) * len(chosen)
    with show_progress(f"sensitivity of {name}", left, progress) as advance:
        for level, sigma in enumerate(levels.tolist()):
            for low in range(states[level].count, n, size):
                run.add(states[level], level, sigma, range(low, min(low + size, n)), advance)
                states[level].keep(pieces, level)
    return Sensitivity(
        name=name,
        sigmas=levels.numpy(),
        pixels=chosen.numpy(),
        shape=denoiser.shape,
        heatmaps=np.stack([state.mean.numpy() for state in states]),
        standard_errors=np.stack([state.standard_errors().numpy() for state in states]),
        n=n,
        reduction=reduction,
        seed=seed,
        ring_sums=None if reduction == "signed" else np.stack([state.ring_sums.numpy() for state in states]),  # type: ignore[arg-type]
    )


def finished_z(pieces: Pieces, levels: int) -> int:
    """How many z, over all levels, the pieces that an unfinished `sensitivity` was given hold."""
    pieces = pieces_of(pieces, __name__, dict)
    stored = (pieces.get(_name(level)) for level in range(levels))
    return sum(int(arrays["count"]) for arrays in stored if arrays is not None)


@dataclass
class _State:
    """What is known of a level after `count` z: the mean of what they gave, (P, H, W), the sum of squared deviations from it, and
    the sums over rings of each group of z, (G, P, max(H, W))."""

    count: int
    mean: torch.Tensor
    deviations: torch.Tensor
    ring_sums: torch.Tensor

    @classmethod
    def kept(cls, pieces: Pieces, level: int, run: _Run) -> _State:
        """The kept state of a level, a fresh one where there is none."""
        zeros = torch.zeros(len(run.pixels), *run.source.shape[1:], dtype=torch.float64)
        ring_sums = torch.zeros(min(GROUPS, run.n), len(zeros), max(zeros.shape[1:]), dtype=torch.float64)
        stored = pieces.get(_name(level))
        if stored is None or stored["mean"].shape != zeros.shape:
            return cls(0, zeros, zeros.clone(), ring_sums)
        arrays = (torch.from_numpy(stored[name]) for name in ("mean", "deviations", "ring_sums"))
        return cls(int(stored["count"]), *arrays)

    def keep(self, pieces: Pieces, level: int) -> None:
        arrays = {name: getattr(self, name).numpy() for name in ("mean", "deviations", "ring_sums")}
        pieces.put(_name(level), {"count": np.array(self.count), **arrays})

    def standard_errors(self) -> torch.Tensor:
        if self.count == 1:
            return torch.full_like(self.mean, float("nan"))
        return (self.deviations / ((self.count - 1) * self.count)).sqrt()


@dataclass(frozen=True)
class _Run:
    """What one call computes, apart from the levels."""

    denoiser: Denoiser
    source: Source
    n: int
    pixels: torch.Tensor
    reduction: str
    seed: int
    labelled: bool
    batch_size: int

    def identity(self, levels: torch.Tensor) -> dict[str, object]:
        return {
            "sensitivity": identity_of(self.denoiser),
            "source": source_identity(self.source),
            "sigmas": levels.tolist(),
            "pixels": self.pixels.tolist(),
            **{name: getattr(self, name) for name in ("n", "reduction", "seed", "labelled", "batch_size")},
        }

    def add(self, state: _State, level: int, sigma: float, numbers: range, advance: Callable[[int], None]) -> None:
        """Add the z with these numbers to a level, all pixels of them or, after an interruption, none."""
        drawn = forward_batch(self.source, sigma, self.seed, level, numbers)
        labels = drawn.labels if self.labelled else None
        reduce, size = find_reduction(self.reduction), len(numbers)
        group = torch.tensor(numbers) % len(state.ring_sums)
        belongs = torch.nn.functional.one_hot(group, len(state.ring_sums)).double()  # (B, G)
        mean, deviations = torch.empty_like(state.mean), torch.empty_like(state.mean)
        ring_sums = torch.empty_like(state.ring_sums)
        done = 0
        for rows in jacobian_rows(self.denoiser, drawn.z.double(), sigma, self.pixels, labels):
            values = reduce(rows)  # (B or 1, p, H, W)
            if not bool(torch.isfinite(values).all()):
                raise SmaltiError(
                    f"the derivatives at sigma = {sigma:.6g} have NaN or infinite values; check the denoiser"
                )
            here = slice(done, done + values.shape[1])
            done = here.stop
            mean[here] = values.mean(0)
            deviations[here] = (values - mean[here]).square().sum(0)
            each = rings(values, self.pixels[here]).expand(size, -1, -1)
            ring_sums[:, here] = torch.einsum("bg,bpr->gpr", belongs, each)
            advance(size * values.shape[1])
        state.ring_sums += ring_sums
        _merge(state, size, mean, deviations)


def _merge(state: _State, size: int, mean: torch.Tensor, deviations: torch.Tensor) -> None:
    """Add `size` z with this mean and sum of squared deviations (Chan et al.'s update)."""
    total = state.count + size
    apart = mean - state.mean if state.count else torch.zeros_like(mean)
    state.deviations += deviations + apart.square() * (state.count * size / total)
    state.mean = state.mean + apart * (size / total) if state.count else mean
    state.count = total


def _name(level: int) -> str:
    return f"level-{level:04d}"
