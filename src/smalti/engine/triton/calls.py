"""What the calls of all kernels have in common: elements on the device, forms of a distance, and merging of parts.

Stored units: uint8 images count as u - 127.5, exact in float32, and z as 127.5 z; floats count as they are. Logits are in bits (base 2).

    form       S(z, x)              where
    direct     sum Q (z - x)^2      noise below the images' mean square: small where it matters, no cancellation
    relative   sum Q x (x - 2 z)    noise above it: the direct form less sum Q z^2, which is the same for all elements

A program of the first phase takes one z and one part of the elements. The number of parts depends on the number of elements alone,
each part is read in order, and the parts are merged in float64 in order: a z has the same bits in every batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["LOG2E", "LOWEST", "Elements", "Parts", "merged", "next_power", "references"]

LOG2E = 1.4426950408889634
LOWEST = -1e30  # bits: of what does not take part
PARTS = 512  # at most: about four programs for each multiprocessor of an H100 for a single z
SMALLEST_PART = 32  # elements


@dataclass(frozen=True)
class Elements:
    """Stored images that take part, with what is done to them; all tensors on one device.

    Attributes:
        images: (N, C, H, W) uint8 or float32, contiguous, the whole store.
        indices: (n,) int64, those that take part.
        log_priors: (n,) float64, bits.
        kinds: (T, 3) int32, (flip, sy, sx): an element is x(q + s) of the image, flipped left to right first where flip is 1.
        admitted: (T, K) uint8, which queries may be compared with each kind, or None for all.
    """

    images: torch.Tensor
    indices: torch.Tensor
    log_priors: torch.Tensor
    kinds: torch.Tensor
    admitted: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def unit(self) -> float:
        """A stored value less `offset` is `unit` times the working value."""
        return 127.5 if self.images.dtype == torch.uint8 else 1.0

    @property
    def offset(self) -> float:
        return 127.5 if self.images.dtype == torch.uint8 else 0.0

    @property
    def moved(self) -> bool:
        """Whether any element is flipped or shifted."""
        return bool((self.kinds != 0).any())


@dataclass(frozen=True)
class Parts:
    """How n elements are cut: `count` parts of `size` each, the last shorter."""

    count: int
    size: int

    @classmethod
    def of(cls, elements: int) -> Parts:
        size = max(SMALLEST_PART, -(-elements // PARTS))
        return cls(max(1, -(-elements // size)), size)

    def times(self, kinds: int) -> Parts:
        """How T kinds are cut, so that these parts times those are as many as wanted: few images with many shifts are many programs too."""
        size = -(-kinds // max(1, PARTS // self.count))
        return Parts(-(-kinds // size), size)


def next_power(value: int, least: int = 16) -> int:
    """The next power of two, at least what a matrix product of Triton needs."""
    return max(least, 1 << (value - 1).bit_length())


def merged(highest: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
    """Parts of log-normalisers, highest and mass (parts, B, K) with sum = mass 2^highest -> (B, K) float64 bits; -infinity where no
    element took part."""
    highest = highest.double()
    top = highest.amax(0)
    total = (mass.double() * torch.exp2(highest - top)).sum(0)
    return torch.where(top > LOWEST / 2, top + total.log2(), -torch.inf)


def references(log_normalisers: torch.Tensor, real: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, K) float64 bits -> what kernels subtract, in `real`, and the float32 factor that makes good its rounding; +infinity, so that
    every weight is 0, where a query has no element."""
    known = torch.where(log_normalisers > -torch.inf, log_normalisers, torch.inf)
    reference = known.to(real)
    correction = torch.where(known < torch.inf, torch.exp2(reference.double() - known), 1)
    return reference.contiguous(), correction.float().contiguous()
