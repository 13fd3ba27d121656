"""The Diffusion Transformer of Peebles & Xie (2023) with adaLN-Zero, on pixels.

An image becomes tokens of patch x patch pixels with fixed sine-cosine positions; in every block the embedding of noise and class gives
shift, scale and gate of attention and of the multilayer perceptron:

    x <- x + gate_a * attention(norm(x) (1 + scale_a) + shift_a),    x <- x + gate_m * mlp(norm(x) (1 + scale_m) + shift_m)

All gates and the last layer start at 0, so that every block starts as the identity. The noise is embedded as in DDPM++: under EDM
preconditioning it is ln(sigma)/4, not a step from 0 to 999.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from smalti.core.errors import InputError
from smalti.networks.layers import PositionalEmbedding

__all__ = ["DiT"]

EPSILON = 1e-6
FREQUENCIES = 256  # length of the noise's embedding before its layers


def _modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=EPSILON) * (1 + scale[:, None]) + shift[:, None]


class TransformerBlock(nn.Module):
    """Attention and a multilayer perceptron, each shifted, scaled and gated by the embedding."""

    def __init__(self, hidden: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv, self.proj = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        wide = int(hidden * mlp_ratio)
        self.mlp0, self.mlp1 = nn.Linear(hidden, wide), nn.Linear(wide, hidden)
        self.modulation = nn.Linear(hidden, 6 * hidden)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """(B, T, hidden), (B, hidden) -> (B, T, hidden)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(embedding).chunk(6, 1)
        x = x + gate_a[:, None] * self._drop(self._attend(_modulate(x, shift_a, scale_a)))
        y = self._drop(F.gelu(self.mlp0(_modulate(x, shift_m, scale_m)), approximate="tanh"))
        return x + gate_m[:, None] * self._drop(self.mlp1(y))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)


class DiT(nn.Module):
    """F(x, noise, classes, augmentation): the network that preconditioning wraps.

    Args:
        resolution: side of the images, a multiple of `patch`.
        channels: of the images.
        patch: side of a token, pixels.
        hidden: width, a multiple of `heads` and of 4.
        blocks, heads: number of blocks, and of heads in each.
        mlp_ratio: width of the perceptrons over `hidden`.
        dropout: after attention and in the perceptrons, while training.
        num_classes: 0 for an unconditional network.
        augmentation: length of the augmentation label, 0 for none.

    Raises:
        InputError: sizes that do not divide.
    """

    positions: torch.Tensor

    def __init__(
        self,
        resolution: int,
        channels: int,
        patch: int = 4,
        hidden: int = 768,
        blocks: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        dropout: float = 0.12,
        num_classes: int = 0,
        augmentation: int = 0,
    ) -> None:
        super().__init__()
        if resolution % patch:
            raise InputError(f"images of {resolution} x {resolution} do not divide into tokens of {patch} x {patch}")
        if hidden % heads or hidden % 4:
            raise InputError(f"the width {hidden} must be a multiple of 4 and of the number of heads, {heads}")
        self.channels, self.patch, self.num_classes = channels, patch, num_classes
        self.register_buffer("positions", _positions(resolution // patch, hidden))
        self.embed_patch = nn.Linear(channels * patch**2, hidden)
        self.map_noise = PositionalEmbedding(FREQUENCIES)
        self.map_layer0, self.map_layer1 = nn.Linear(FREQUENCIES, hidden), nn.Linear(hidden, hidden)
        self.map_label = nn.Linear(num_classes, hidden) if num_classes else None
        self.map_augment = nn.Linear(augmentation, hidden, bias=False) if augmentation else None
        self.blocks = nn.ModuleList(TransformerBlock(hidden, heads, mlp_ratio, dropout) for _ in range(blocks))
        self.last_modulation = nn.Linear(hidden, 2 * hidden)
        self.last = nn.Linear(hidden, channels * patch**2)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer in (self.map_layer0, self.map_layer1):
            nn.init.normal_(layer.weight, std=0.02)
        zero: list[nn.Linear] = [self.last_modulation, self.last]
        zero += [block.modulation for block in self.blocks]  # type: ignore[misc]
        for start in zero:
            nn.init.zeros_(start.weight)
            nn.init.zeros_(start.bias)

    def forward(
        self,
        x: torch.Tensor,
        noise: torch.Tensor,
        classes: torch.Tensor | None = None,
        augmentation: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x (B, C, H, W), noise (B,), classes (B, num_classes) one-hot, augmentation (B, A) -> (B, C, H, W)."""
        embedding = self.map_layer1(F.silu(self.map_layer0(self.map_noise(noise))))
        if self.map_label is not None:
            if classes is None:
                classes = embedding.new_zeros(len(embedding), self.num_classes)
            embedding = embedding + self.map_label(classes * math.sqrt(self.num_classes))
        if self.map_augment is not None and augmentation is not None:
            embedding = embedding + self.map_augment(augmentation)
        embedding = F.silu(embedding)
        rows, columns = x.shape[2] // self.patch, x.shape[3] // self.patch
        tokens = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)
        tokens = self.embed_patch(tokens) + self.positions
        for block in self.blocks:
            tokens = block(tokens, embedding)
        tokens = self.last(_modulate(tokens, *self.last_modulation(embedding).chunk(2, 1)))
        return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), self.patch)


def _positions(side: int, hidden: int) -> torch.Tensor:
    """(side^2, hidden): sines and cosines of the row in one half, of the column in the other."""
    frequencies = 10000.0 ** (-torch.arange(hidden // 4, dtype=torch.float64) / (hidden // 4))
    angles = torch.outer(torch.arange(side, dtype=torch.float64), frequencies)
    line = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], 2).reshape(side**2, hidden).float()
