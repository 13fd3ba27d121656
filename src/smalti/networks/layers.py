"""Layers that several networks share: convolutions that may also double or halve the resolution, and noise levels as sines and cosines.

The smoothing filters are those of Song et al. (2021) and Karras et al. (2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["Convolution", "FourierEmbedding", "PositionalEmbedding", "Resampling", "TimestepEmbedding"]


class Convolution(nn.Module):
    """A k x k convolution, k odd, after (or, `filter_last`, before) resampling by 2 with a separable filter.

    Args:
        channels_in, channels_out: numbers of channels.
        kernel: side of the convolution.
        resample: "up", "down" or None.
        taps: the one-dimensional filter, normalised here: (1, 1) averages pairs, (1, 3, 3, 1) is smoother.
        filter_last: convolve first, then filter and halve (for "down").
    """

    resample_filter: torch.Tensor

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        resample: str | None = None,
        taps: Sequence[float] = (1, 1),
        filter_last: bool = False,
    ) -> None:
        super().__init__()
        self.resample, self.filter_last = resample, filter_last
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        nn.init.xavier_uniform_(self.weight)
        if resample is not None:
            line = torch.as_tensor(taps, dtype=torch.float32)
            self.register_buffer("resample_filter", torch.outer(line, line)[None, None] / line.sum() ** 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels_in, H, W) -> (B, channels_out, H', W')."""
        if self.resample is None:
            return self._convolve(x, 0)
        taps = self.resample_filter.to(x.dtype)
        pad = (taps.shape[-1] - 1) // 2
        if self.resample == "up":
            kernels = (4 * taps).expand(x.shape[1], 1, -1, -1)
            return self._convolve(F.conv_transpose2d(x, kernels, stride=2, padding=pad, groups=x.shape[1]), 0)
        if self.filter_last:
            x = self._convolve(x, pad)
            return F.conv2d(x, taps.expand(x.shape[1], 1, -1, -1), stride=2, groups=x.shape[1])
        kernels = taps.expand(x.shape[1], 1, -1, -1)
        return self._convolve(F.conv2d(x, kernels, stride=2, padding=pad, groups=x.shape[1]), 0)

    def _convolve(self, x: torch.Tensor, extra: int) -> torch.Tensor:
        return F.conv2d(x, self.weight.to(x.dtype), self.bias.to(x.dtype), padding=self.weight.shape[-1] // 2 + extra)


class Resampling(nn.Module):
    """Doubling ("up") or halving ("down") with the filter (1, 1) alone: every pixel four times, or means of 2 x 2."""

    resample_filter: torch.Tensor

    def __init__(self, resample: str) -> None:
        super().__init__()
        self.resample = resample
        self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H', W')."""
        taps = self.resample_filter.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        if self.resample == "up":
            return F.conv_transpose2d(x, 4 * taps, stride=2, groups=x.shape[1])
        return F.conv2d(x, taps, stride=2, groups=x.shape[1])


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


class TimestepEmbedding(nn.Module):
    """cos and sin of noise * 10000^(-k/K), k = 0 .. K-1, K = channels/2, cosines first (ADM, U-ViT)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(B,) -> (B, channels)."""
        half = self.channels // 2
        steps = torch.arange(half, dtype=torch.float32, device=noise.device) / half
        angles = torch.outer(noise, (1 / 10000) ** steps.to(noise.dtype))
        return torch.cat([angles.cos(), angles.sin()], 1)
