"""The U-Net of Song et al. (2021) in the two forms that EDM configures for CIFAR-10 (Karras et al. 2022, Table 7).

    DDPM++   positional noise embedding, filter (1, 1), plain encoder
    NCSN++   Fourier noise embedding, filter (1, 3, 3, 1), encoder with a residual side path of the downsampled input

Each resolution has residual blocks, with single-head self-attention at the listed ones; the decoder has one block more than the encoder,
and every encoder output is concatenated to the input of a decoder block. Residual sums are scaled by sqrt(1/2). Modules carry the
published names (`enc.16x16_block0`, `dec.8x8_in0`, ...), so that published weights load with `load_state_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from smalti.core.errors import InputError
from smalti.networks.layers import Convolution, FourierEmbedding, PositionalEmbedding

__all__ = ["UNet"]

HALF = math.sqrt(0.5)
EPSILON = 1e-6


def _group_norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups of at least 4 channels, as published; fewer where that number does not divide the channels."""
    groups = next(g for g in range(max(1, min(32, channels // 4)), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=EPSILON)


class Block(nn.Module):
    """A residual block: two normalised 3 x 3 convolutions with the embedding added between them, then attention if asked for."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding: int,
        attention: bool,
        dropout: float,
        resample: str | None = None,
        taps: Sequence[float] = (1, 1),
    ) -> None:
        super().__init__()
        self.channels_in, self.dropout = channels_in, dropout
        self.norm0 = _group_norm(channels_in)
        self.conv0 = Convolution(channels_in, channels_out, 3, resample, taps)
        self.affine = nn.Linear(embedding, channels_out)
        self.norm1 = _group_norm(channels_out)
        self.conv1 = Convolution(channels_out, channels_out, 3)
        self.skip = (
            Convolution(channels_in, channels_out, 1, resample, taps)
            if resample or channels_in != channels_out
            else None
        )
        self.norm2 = _group_norm(channels_out) if attention else None
        self.qkv = Convolution(channels_out, 3 * channels_out, 1) if attention else None
        self.proj = Convolution(channels_out, channels_out, 1) if attention else None
        nn.init.normal_(self.conv1.weight, std=1e-5)
        if self.proj is not None:
            nn.init.normal_(self.proj.weight, std=1e-5)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """(B, channels_in, H, W), (B, E) -> (B, channels_out, H', W')."""
        y = self.conv0(F.silu(self.norm0(x))) + self.affine(embedding)[:, :, None, None]
        y = self.conv1(F.dropout(F.silu(self.norm1(y)), self.dropout, self.training))
        y = HALF * (y + (x if self.skip is None else self.skip(x)))
        return y if self.qkv is None else HALF * (y + self._attend(y))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        assert self.norm2 is not None
        assert self.qkv is not None
        assert self.proj is not None
        query, key, value = self.qkv(self.norm2(x)).flatten(2).unflatten(1, (x.shape[1], 3)).unbind(2)
        weights = torch.softmax(query.transpose(1, 2) @ key / math.sqrt(x.shape[1]), 2)
        return self.proj((value @ weights.transpose(1, 2)).reshape(x.shape))


class UNet(nn.Module):
    """F(x, noise, labels): the network that preconditioning wraps.

    Args:
        resolution: side of the images, divisible by 2^(levels - 1).
        channels: of the images.
        model_channels: base width; level l has model_channels * multipliers[l] channels.
        multipliers: one per level.
        blocks: residual blocks per level of the encoder.
        attention: resolutions that attend.
        dropout: inside the blocks, while training.
        num_classes: 0 for an unconditional network.
        augmentation: length of the augmentation label, 0 for none.
        noise_embedding: "positional" (DDPM++) or "fourier" (NCSN++).
        noise_multiplier: width of the noise embedding over model_channels: 1 (DDPM++) or 2 (NCSN++).
        encoder: "standard" (DDPM++) or "residual" (NCSN++).
        taps: resampling filter.

    Raises:
        InputError: a resolution that does not halve often enough, or an unknown form.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        model_channels: int = 128,
        multipliers: Sequence[int] = (2, 2, 2),
        blocks: int = 4,
        attention: Sequence[int] = (16,),
        dropout: float = 0.13,
        num_classes: int = 0,
        augmentation: int = 0,
        noise_embedding: str = "positional",
        noise_multiplier: int = 1,
        encoder: str = "standard",
        taps: Sequence[float] = (1, 1),
    ) -> None:
        super().__init__()
        if resolution % 2 ** (len(multipliers) - 1):
            raise InputError(
                f"images of {resolution} x {resolution} cannot be halved {len(multipliers) - 1} times; use fewer levels"
            )
        if noise_embedding not in ("positional", "fourier") or encoder not in ("standard", "residual"):
            raise InputError(f"unknown form of U-Net: noise embedding {noise_embedding!r}, encoder {encoder!r}")
        if model_channels * noise_multiplier % 2:  # half of the noise's embedding is sines, half cosines
            raise InputError(f"model_channels must be even, not {model_channels}")
        self.num_classes = num_classes
        width = 4 * model_channels
        noise = noise_multiplier * model_channels
        embeddings = {"positional": PositionalEmbedding, "fourier": FourierEmbedding}
        self.map_noise = embeddings[noise_embedding](noise)
        self.map_label = nn.Linear(num_classes, noise) if num_classes else None
        self.map_augment = nn.Linear(augmentation, noise, bias=False) if augmentation else None
        self.map_layer0, self.map_layer1 = nn.Linear(noise, width), nn.Linear(width, width)

        def block(ins: int, outs: int, attends: bool, resample: str | None = None) -> Block:
            return Block(ins, outs, width, attends, dropout, resample, taps)

        self.enc = nn.ModuleDict()
        here, side, skips = channels, channels, []
        for level, multiplier in enumerate(multipliers):
            size, wide = resolution >> level, model_channels * multiplier
            name = f"{size}x{size}"
            if level == 0:
                self.enc[f"{name}_conv"] = Convolution(channels, model_channels, 3)
                here = model_channels
            else:
                self.enc[f"{name}_down"] = block(here, here, False, "down")
                if encoder == "residual":
                    self.enc[f"{name}_aux_residual"] = Convolution(side, here, 3, "down", taps, filter_last=True)
                    side = here
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
                self.dec[f"{name}_in1"] = block(here, here, False)
            else:
                self.dec[f"{name}_up"] = block(here, here, False, "up")
            for number in range(blocks + 1):
                attends = number == blocks and size in attention
                self.dec[f"{name}_block{number}"] = block(here + skips.pop(), wide, attends)
                here = wide
        self.dec[f"{resolution}x{resolution}_aux_norm"] = _group_norm(here)
        last = Convolution(here, channels, 3)
        nn.init.normal_(last.weight, std=1e-5)
        self.dec[f"{resolution}x{resolution}_aux_conv"] = last

    def forward(
        self,
        x: torch.Tensor,
        noise: torch.Tensor,
        classes: torch.Tensor | None = None,
        augmentation: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x (B, C, H, W), noise (B,), classes (B, num_classes) one-hot, augmentation (B, A) -> (B, C, H, W)."""
        embedding = self._embed(noise, classes, augmentation)
        skips: list[torch.Tensor] = []
        side = x
        for name, module in self.enc.items():
            if name.endswith("aux_residual"):
                x = side = skips[-1] = HALF * (x + module(side))
                continue
            x = module(x, embedding) if isinstance(module, Block) else module(x)
            skips.append(x)
        for name, module in self.dec.items():
            if name.endswith("aux_norm"):
                x = F.silu(module(x))
            elif name.endswith("aux_conv"):
                x = module(x)
            else:
                x = module(torch.cat([x, skips.pop()], 1) if x.shape[1] != module.channels_in else x, embedding)
        return x

    def _embed(
        self, noise: torch.Tensor, classes: torch.Tensor | None, augmentation: torch.Tensor | None
    ) -> torch.Tensor:
        embedding = self.map_noise(noise)
        if self.map_label is not None:
            if classes is None:
                classes = embedding.new_zeros(len(embedding), self.num_classes)
            embedding = embedding + self.map_label(classes * math.sqrt(self.num_classes))
        if self.map_augment is not None and augmentation is not None:
            embedding = embedding + self.map_augment(augmentation)
        return F.silu(self.map_layer1(F.silu(self.map_layer0(embedding))))
