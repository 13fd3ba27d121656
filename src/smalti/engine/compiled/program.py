"""What the programs for boxes and for whole images share: z with its flips, units, scales, chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.engine.compiled.normalisers import LOG2E
from smalti.engine.elements import Selection, units
from smalti.engine.pruning import gap_bits

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["CHUNK", "LOWEST", "Program", "chunks_of", "worth_float64"]

CHUNK = 1024  # images; fixed, so that results do not depend on the number of threads
SAMPLE = 32  # images that the mean square is taken of
LOWEST = -126.0  # bits: weights below are 0
TRUSTED_GAP = (
    40.0  # bits: a float32 error below this cannot turn a weight that underflows (126 bits) into one that matters
)


class Program:
    """What the two kinds share: z with its flips in stored units, scales, chunks.

    Stored units: uint8 images count as u - 127.5 = 127.5 x, float32 ones as they are; both are multiples of the working scale.
    """

    def __init__(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> None:
        self.collection, self.selection = collection, selection
        self.flips = 2 if collection.source.hflip else 1
        self.batch = len(z)
        images = np.asarray(collection.source.images)
        self.unit, self.offset = units(images)
        self.images = images.reshape(len(images), images.shape[1], -1)
        self.images.flags.writeable = False  # one compiled type for arrays in memory and on disk
        self.z = self.with_flips(z.detach().double().numpy() * self.unit)
        self.scales = np.tile(LOG2E / (2 * sigma.numpy() ** 2 * self.unit**2), self.flips)
        self.log_priors = selection.log_priors * LOG2E
        some = self.images[selection.indices[:: max(1, len(selection) // SAMPLE)]].astype(np.float64) - self.offset
        # (flips B,): whether noise is most of the distances, sigma^2 against the images' mean square, in stored units
        self.noisy = LOG2E / (2 * self.scales) >= (some**2).mean()

    def gap(self, elements: int) -> float:
        """How many bits below the best of its query a logit must lie to be left out, `elements` of them at most (see `pruning`)."""
        return min(-LOWEST, gap_bits(elements, self.collection.tolerance, self.collection.source))

    def window_squares(self) -> np.ndarray:
        """(flips B, K), base 2: the windows' sums of |z|^2 as logits, for queries that are separable."""
        factors = self.collection.queries.factors(self.collection.shape)
        assert factors is not None
        rows, columns = (factor.numpy() for factor in factors)
        sums = rows @ (self.z**2).sum(1) @ columns.T
        return sums.reshape(len(sums), -1) * self.scales[:, None]

    def where_relative(self, squares: np.ndarray) -> np.ndarray:
        """What distances less |z|^2 take from every logit: `squares` of the z whose distances are so, else 0."""
        return np.where(self.noisy[:, None], squares, 0)

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


def worth_float64(alive: np.ndarray, largest: float, relative_error: float) -> np.ndarray:
    """Which elements a z needs again in float64: those that weigh anything, or all where float32 cannot tell.

    Args:
        alive: (rows, n), 0 where every weight of the element underflowed in float32.
        largest: magnitude of the largest of the logits that matter, bits.
        relative_error: of float32 sums.
    """
    trusted = largest * relative_error * 4 < TRUSTED_GAP
    return np.flatnonzero(alive.any(0)) if trusted else np.arange(alive.shape[1])
