"""How a noise level enters a network: as sines and cosines of it."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["FourierEmbedding", "PositionalEmbedding"]


class PositionalEmbedding(nn.Module):
    """cos and sin of noise * 10000^(-k/(K-1)), k = 0 .. K-1, K = channels/2 (DDPM++), sines first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(B,) -> (B, channels)."""
        half = self.channels // 2
        steps = torch.arange(half, dtype=torch.float32, device=noise.device) / max(half - 1, 1)
        angles = torch.outer(noise, (1 / 10000) ** steps.to(noise.dtype))
        return torch.cat([angles.sin(), angles.cos()], 1)


class FourierEmbedding(nn.Module):
    """cos and sin of 2 pi noise f for fixed random frequencies f ~ N(0, scale^2) (NCSN++), sines first.

    The frequencies are a buffer, `freqs` (channels/2,), so that published ones load.
    """

    freqs: torch.Tensor

    def __init__(self, channels: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2) * scale)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(B,) -> (B, channels)."""
        angles = torch.outer(noise, (2 * math.pi * self.freqs).to(noise.dtype))
        return torch.cat([angles.sin(), angles.cos()], 1)
