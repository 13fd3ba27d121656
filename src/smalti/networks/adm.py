"""The U-Net of Dhariwal & Nichol (2021), ADM: EDM's for ImageNet-64, and those of improved-diffusion and guided-diffusion.

As in `smalti.networks.unet` an encoder and a decoder of residual blocks, with these differences: the embedding gives a scale and a shift
of the second normalisation (`scale_shift`), residual sums are not scaled, attention has heads, and the class enters after the layers
of the noise. Modules carry EDM's names for it (`DhariwalUNet`), so that its weights load with `load_state_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from smalti.core.errors import InputError
from smalti.networks.layers import Convolution, Resampling, TimestepEmbedding

__all__ = ["ADM"]

EPSILON = 1e-5


def _group_norm(channels: int, group_size: int) -> nn.GroupNorm:
    groups = max(1, min(32, channels // group_size))
    if channels % groups:
        raise InputError(f"{channels} channels do not divide into {groups} groups; use a multiple of 32 as width")
    return nn.GroupNorm(groups, channels, eps=EPSILON)


class Block(nn.Module):
    """A residual block that may resample, then attention with `heads` heads (0 for none)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding: int,
        heads: int,
        dropout: float,
        group_size: int,
        scale_shift: bool,
        resample: str | None = None,
    ) -> None:
        super().__init__()
        self.dropout, self.heads, self.scale_shift = dropout, heads, scale_shift
        self.norm0 = _group_norm(channels_in, group_size)
        self.conv0 = Convolution(channels_in, channels_out, 3, resample)
        self.affine = nn.Linear(embedding, channels_out * (2 if scale_shift else 1))
        self.norm1 = _group_norm(channels_out, group_size)
        self.conv1 = Convolution(channels_out, channels_out, 3)
        self.skip: nn.Module | None = None
        if channels_in != channels_out:
            self.skip = Convolution(channels_in, channels_out, 1, resample)
        elif resample is not None:
            self.skip = Resampling(resample)
        self.norm2 = _group_norm(channels_out, group_size) if heads else None
        self.qkv = Convolution(channels_out, 3 * channels_out, 1) if heads else None
        self.proj = Convolution(channels_out, channels_out, 1) if heads else None
        for last in (self.conv1, self.proj):
            if last is not None:
                nn.init.zeros_(last.weight)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """(B, channels_in, H, W), (B, E) -> (B, channels_out, H', W')."""
        y = self.conv0(F.silu(self.norm0(x)))
        given = self.affine(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = given.chunk(2, 1)
            y = self.norm1(y) * (scale + 1) + shift
        else:
            y = self.norm1(y + given)
        y = self.conv1(F.dropout(F.silu(y), self.dropout, self.training))
        y = y + (x if self.skip is None else self.skip(x))
        return y + self._attend(y) if self.heads else y

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        assert self.norm2 is not None
        assert self.qkv is not None
        assert self.proj is not None
        size, channels = len(x) * self.heads, x.shape[1] // self.heads
        query, key, value = self.qkv(self.norm2(x)).reshape(size, channels, 3, -1).unbind(2)
        weights = torch.softmax(query.transpose(1, 2) @ (key / math.sqrt(channels)), 2)
        return self.proj((value @ weights.transpose(1, 2)).reshape(x.shape))


class Halving(nn.Conv2d):
    """A 3 x 3 convolution of stride 2: (B, C, H, W) -> (B, C, H/2, W/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, 2, 1)


class Doubling(nn.Conv2d):
    """A 3 x 3 convolution of the image with every pixel four times: (B, C, H, W) -> (B, C, 2 H, 2 W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class ADM(nn.Module):
    """F(x, noise, classes, augmentation): the network that preconditioning wraps.

    Args:
        resolution: side of the images, divisible by 2^(levels - 1).
        channels: of the images.
        model_channels: base width; level l has model_channels * multipliers[l] channels.
        multipliers: one per level.
        blocks: residual blocks per level of the encoder.
        attention: resolutions that attend; the middle always does.
        dropout: inside the blocks, while training.
        num_classes: 0 for an unconditional network.
        augmentation: length of the augmentation label, 0 for none.
        outputs: 1, or 2 for a network that gives a variance too (iDDPM), which is left out here.
        head_channels: channels of a head.
        heads: of every attention, instead of `head_channels`; 0 for these.
        group_size: least channels of a group of the normalisations, which have at most 32 groups: 4 (EDM) or 1 (OpenAI).
        scale_shift: the embedding scales and shifts the second normalisation; False adds it before.
        resampling: "block" (residual blocks halve and double) or "convolution" (improved-diffusion).

    Raises:
        InputError: sizes that do not divide, or an unknown form.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        model_channels: int = 192,
        multipliers: Sequence[int] = (1, 2, 3, 4),
        blocks: int = 3,
        attention: Sequence[int] = (32, 16, 8),
        dropout: float = 0.1,
        num_classes: int = 0,
        augmentation: int = 0,
        outputs: int = 1,
        head_channels: int = 64,
        heads: int = 0,
        group_size: int = 4,
        scale_shift: bool = True,
        resampling: str = "block",
    ) -> None:
        super().__init__()
        if resolution % 2 ** (len(multipliers) - 1):
            raise InputError(
                f"images of {resolution} x {resolution} cannot be halved {len(multipliers) - 1} times; use fewer levels"
            )
        if resampling not in ("block", "convolution"):
            raise InputError(f"resampling must be block or convolution, not {resampling!r}")
        if model_channels % 2:
            raise InputError(f"model_channels must be even, not {model_channels}")
        self.num_classes, self.channels = num_classes, channels
        width = 4 * model_channels
        self.map_noise = TimestepEmbedding(model_channels)
        self.map_augment = nn.Linear(augmentation, model_channels, bias=False) if augmentation else None
        self.map_layer0, self.map_layer1 = nn.Linear(model_channels, width), nn.Linear(width, width)
        self.map_label = nn.Linear(num_classes, width, bias=False) if num_classes else None

        def block(ins: int, outs: int, attends: bool = False, resample: str | None = None) -> Block:
            number = (heads or outs // head_channels) if attends else 0
            if number and outs % number:
                raise InputError(f"{outs} channels do not divide into {number} heads; change heads or head_channels")
            return Block(ins, outs, width, number, dropout, group_size, scale_shift, resample)

        self.enc = nn.ModuleDict()
        here, skips = model_channels * multipliers[0], []
        for level, multiplier in enumerate(multipliers):
            size, wide = resolution >> level, model_channels * multiplier
            name = f"{size}x{size}"
            if level == 0:
                self.enc[f"{name}_conv"] = Convolution(channels, here, 3)
            else:
                self.enc[f"{name}_down"] = (
                    Halving(here) if resampling == "convolution" else block(here, here, resample="down")
                )
            skips.append(here)
            for number in range(blocks):
                self.enc[f"{name}_block{number}"] = block(here, wide, size in attention)
                here = wide
                skips.append(here)
        self.dec = nn.ModuleDict()
        for level, multiplier in reversed(list(enumerate(multipliers))):
            size, wide = resolution >> level, model_channels * multiplier
            name = f"{size}x{size}"
            if level == len(multipliers) - 1:
                self.dec[f"{name}_in0"] = block(here, here, True)
                self.dec[f"{name}_in1"] = block(here, here)
            else:
                self.dec[f"{name}_up"] = (
                    Doubling(here) if resampling == "convolution" else block(here, here, resample="up")
                )
            for number in range(blocks + 1):
                self.dec[f"{name}_block{number}"] = block(here + skips.pop(), wide, size in attention)
                here = wide
        self.out_norm = _group_norm(here, group_size)
        self.out_conv = Convolution(here, outputs * channels, 3)
        nn.init.zeros_(self.out_conv.weight)

    def forward(
        self,
        x: torch.Tensor,
        noise: torch.Tensor,
        classes: torch.Tensor | None = None,
        augmentation: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x (B, C, H, W), noise (B,), classes (B, num_classes) one-hot, augmentation (B, A) -> (B, C, H, W)."""
        embedding = self.map_noise(noise)
        if self.map_augment is not None and augmentation is not None:
            embedding = embedding + self.map_augment(augmentation)
        embedding = self.map_layer1(F.silu(self.map_layer0(embedding)))
        if self.map_label is not None and classes is not None:
            embedding = embedding + self.map_label(classes)
        embedding = F.silu(embedding)
        skips: list[torch.Tensor] = []
        for module in self.enc.values():
            x = module(x, embedding) if isinstance(module, Block) else module(x)
            skips.append(x)
        for name, module in self.dec.items():
            if "_block" in name:
                x = torch.cat([x, skips.pop()], 1)
            x = module(x, embedding) if isinstance(module, Block) else module(x)
        return self.out_conv(F.silu(self.out_norm(x)))[:, : self.channels]
