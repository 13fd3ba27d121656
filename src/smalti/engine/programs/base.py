"""What programs share: z with its flips, units, scales, chunks; what may be left out; which z are computed again in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from smalti.engine.compiled.records import Chunk
from smalti.engine.elements import Selection, units
from smalti.engine.precision import double
from smalti.engine.problem import Problem
from smalti.engine.pruning import gap_bits
from smalti.engine.running import LOG2E

__all__ = ["CHUNK", "LOWEST", "Program", "begun_and_rest", "chunks_of", "lowest_known", "parts_of", "seeds"]

CHUNK = 1024  # images; fixed, so that results do not depend on the number of threads
PARTS = 8
SAMPLE = 32  # images that the mean square is taken of
SEEDS = 256  # images
LOWEST = -126.0  # bits: weights below are 0
TRUSTED_GAP = (
    40.0  # bits: a float32 error below this cannot turn a weight that underflows (126 bits) into one that matters
)


class Program:
    """One call of the numba backend: a problem, z, their levels, and a selection of images.

    A subclass defines the two phases. Stored units: uint8 images count as u - 127.5 = 127.5 x, float32 ones as they are; both are
    multiples of the working scale.
    """

    relative_error: float  # of its float32 distances, see `smalti.engine.precision`

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        self.problem, self.selection = problem, selection
        self.flips = problem.flips
        self.batch = len(z)
        images = np.asarray(problem.source.images)
        self.unit, self.offset = units(images)
        self.images = images.reshape(len(images), images.shape[1], -1)
        self.images.flags.writeable = False  # one compiled type for arrays in memory and on disk
        self.z = self.with_flips(z.detach().double().numpy() * self.unit)
        self.scales = np.tile(LOG2E / (2 * sigma.numpy() ** 2 * self.unit**2), self.flips)
        self.log_priors = selection.log_priors * LOG2E
        some = self.images[selection.indices[:: max(1, len(selection) // SAMPLE)]].astype(np.float64) - self.offset
        # (flips B,): whether noise is most of the distances, sigma^2 against the images' mean square, in stored units
        self.noisy = LOG2E / (2 * self.scales) >= (some**2).mean()

    def chunk(self, chosen: np.ndarray, real: type, images: np.ndarray | None = None) -> Chunk:
        """The images numbered `chosen` of the selection, for a kernel that works in `real`, from `images` (N, ...), as (N, C, H W)."""
        indices, log_priors = self.selection.indices[chosen], self.log_priors[chosen].astype(real)
        return Chunk(self.images if images is None else images, real(self.offset), indices, log_priors)

    def normalisers(self) -> np.ndarray:
        """Phase 1: (B, K) natural log-normalisers."""
        raise NotImplementedError

    def numerator(self, log_normalisers: np.ndarray) -> np.ndarray:
        """Phase 2: (B, C, H, W) in the working scale, from (B, K) natural log-normalisers."""
        raise NotImplementedError

    def both_phases(self) -> np.ndarray:
        """Phase 2 with the normalisers of phase 1, as they are in base 2."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------- what may be left out

    def gap(self, elements: int) -> float:
        """How many bits below the best of its query a logit must lie to be left out, `elements` of them at most (see `pruning`)."""
        return min(-LOWEST, gap_bits(elements, self.problem.tolerance, self.problem.source))

    def gaps(self) -> tuple[float, float]:
        """Bits below the largest logit seen: (what may be left out, what is known to be so from float32 distances that may need float64).

        All images and flips of the source count as one, whatever part of it is asked for: phase 2 is given the normaliser Z of the whole,
        and of the M elements of the whole each that is left out has less than 2^-gap of it, so all have less than M 2^-gap Z. Where a
        normaliser lacks a mass A of mean E and its numerator a mass B of mean F, of the same or other elements, the mean is off by
        |A E - B F| / Z: at most M 2^-gap times the range where E and F have different signs, times the larger of |E| and |F| where they
        have the same.
        """
        gap = self.gap(self.flips * len(self.images))
        return gap, min(-LOWEST, gap + TRUSTED_GAP)

    # --------------------------------------------------------------------------------------------------- precision

    def exact(self, highest: np.ndarray) -> np.ndarray:
        """(B,) bool: which z need float64, from the largest logits of their queries (B, K), bits."""
        return double(np.abs(highest).max(1) / LOG2E, self.relative_error)

    def again_in_float64(
        self, highest: np.ndarray, alive: np.ndarray, again: Callable[[np.ndarray, np.ndarray], None]
    ) -> None:
        """`again(rows, elements)` for every z whose float32 distances would not do, by itself, so that it cannot depend on the batch.

        Whole images and shifts have ways of their own. Of whole images there is a logit each, not sums, so that those near the largest
        are computed again and no others; over all shifts float32 says which elements matter, and they alone are looked at in float64, in
        the same pass.

        Args:
            highest: (B, K) largest logits, bits.
            alive: (flips B, n), 0 where every weight of the element underflowed in float32.
            again: computes the rows of (flips B,) that belong to one z over the elements that weigh anything, or all where float32
                cannot tell, in float64.
        """
        largest = np.abs(highest).max(1)
        for b in np.flatnonzero(self.exact(highest)):
            rows = self.both_flips(np.array([b]))
            trusted = largest[b] * self.relative_error * 4 < TRUSTED_GAP
            elements = np.flatnonzero(alive[rows].any(0)) if trusted else np.arange(alive.shape[1])
            again(rows, elements)

    def window_squares(self) -> np.ndarray:
        """(flips B, K), base 2: the windows' sums of |z|^2 as logits, for queries that are separable."""
        factors = self.problem.queries.factors(self.problem.shape)
        assert factors is not None
        rows, columns = (factor.numpy() for factor in factors)
        sums = rows @ (self.z**2).sum(1) @ columns.T
        return sums.reshape(len(sums), -1) * self.scales[:, None]

    def where_relative(self, squares: np.ndarray) -> np.ndarray:
        """What distances less |z|^2 take from every logit: `squares` of the z whose distances are so, else 0."""
        return np.where(self.noisy[:, None], squares, 0)

    # ------------------------------------------------------------------------------------------------------- flips

    def with_flips(self, images: np.ndarray) -> np.ndarray:
        """(B, C, H, W) -> (flips B, C, H, W): the images, then their mirror images."""
        return np.concatenate([images, images[..., ::-1]]) if self.flips == 2 else images

    def fold(self, images: np.ndarray) -> np.ndarray:
        """The transpose of `with_flips`: (flips B, C, H, W) -> (B, C, H, W), mirrored back and added."""
        return images[: self.batch] + images[self.batch :, ..., ::-1] if self.flips == 2 else images

    def both_flips(self, b: np.ndarray) -> np.ndarray:
        """Numbers of some z and, with flips, of their mirror images."""
        return np.concatenate([b, b + self.batch]) if self.flips == 2 else b


def chunks_of(elements: np.ndarray) -> list[np.ndarray]:
    """Pieces of at most `CHUNK` elements: the unit of work and of merging."""
    return [elements[i : i + CHUNK] for i in range(0, len(elements), CHUNK)]


def parts_of(elements: np.ndarray) -> list[np.ndarray]:
    """A few pieces, for what is costly to merge; as many whatever the number of threads."""
    return np.array_split(elements, max(1, min(PARTS, -(-len(elements) // CHUNK))))


def begun_and_rest(elements: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """As `parts_of`, in two goes: what is found in the first, an eighth of all, spares the second, and merging, most of what is small."""
    first = -(-len(elements) // PARTS)
    if len(elements) <= CHUNK:
        return [elements], []
    return np.array_split(elements[:first], 2), parts_of(elements[first:])


def lowest_known(kept: np.ndarray) -> np.ndarray:
    """(B, P) just below the last of the largest shares (B, top, P) float32 that are known: no smaller one can be among them."""
    return np.nextafter(kept[:, -1], np.float32(0))


def seeds(elements: np.ndarray) -> np.ndarray:
    """A few elements, evenly spaced, whose largest logits all chunks can begin with; none where there is but one chunk.

    Maxima then seldom rise, and what does not matter is known from the start.
    """
    return elements[:: max(1, len(elements) // SEEDS)] if len(elements) > CHUNK else elements[:0]
