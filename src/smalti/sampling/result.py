"""What a sampling run gives back."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["SampleResult"]


@dataclass(frozen=True, repr=False)
class SampleResult:
    """Samples and, where kept, how they came about. All tensors are on the CPU.

    Attributes:
        images: (n, C, H, W) float32, the final states in the working scale, not clipped.
        sigmas: (steps + 1,) float64, the noise levels, largest first, the last 0.
        states: (steps + 1, n, C, H, W) float32, the state at each level, states[-1] = images; None if not kept.
        denoised: (steps, n, C, H, W) float32, D(states[i], sigmas[i]), the first evaluation of each step; None if
            not kept.
    """

    images: torch.Tensor
    sigmas: torch.Tensor
    states: torch.Tensor | None = None
    denoised: torch.Tensor | None = None

    def __len__(self) -> int:
        return self.images.shape[0]

    def __repr__(self) -> str:
        n, *shape = self.images.shape
        kept = "" if self.states is None else ", states kept"
        return f"SampleResult(n={n}, shape={tuple(shape)}, steps={len(self.sigmas) - 1}{kept})"
