"""Small TorchScript files for tests of SSCD."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

__all__ = ["Means", "Squared", "saved"]


class Means(torch.nn.Module):
    """The mean of each channel in each quarter: 12 numbers an image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


class Squared(torch.nn.Module):
    """Not a descriptor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x


def saved(module: torch.nn.Module, path: Path) -> Path:
    """The module as a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), str(path))
    return path
