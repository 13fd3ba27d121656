"""U-ViT (Bao et al. 2023, "All are worth words"): a transformer whose tokens are patches, noise and class, with long skip connections.

    tokens = [class,] noise, patches + positions;  half of the blocks, one in the middle, half of them that first take
    linear(concatenate(x, the output of the block opposite));  then patches to pixels and a 3 x 3 convolution

Modules carry the published names (`in_blocks.0.attn.qkv`, `mid_block`, `out_blocks.0.skip_linear`, ...), so that weights load as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from smalti.core.errors import InputError
from smalti.networks.layers import TimestepEmbedding

__all__ = ["UViT"]


class Attention(nn.Module):
    """Attention over tokens: (B, T, hidden) -> (B, T, hidden)."""

    def __init__(self, hidden: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(hidden, 3 * hidden, bias=qkv_bias), nn.Linear(hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two layers with a GELU between: (B, T, hidden) -> (B, T, hidden)."""

    def __init__(self, hidden: int, wide: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(hidden, wide), nn.Linear(wide, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and a perceptron, each on normalised tokens and added; a block of the second half takes a skip first."""

    def __init__(self, hidden: int, heads: int, mlp_ratio: float, qkv_bias: bool, skip: bool = False) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(hidden), Attention(hidden, heads, qkv_bias)
        self.norm2, self.mlp = nn.LayerNorm(hidden), Perceptron(hidden, int(hidden * mlp_ratio))
        self.skip_linear = nn.Linear(2 * hidden, hidden) if skip else None

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, hidden), and the same for the skip -> (B, T, hidden)."""
        if self.skip_linear is not None and skip is not None:
            x = self.skip_linear(torch.cat([x, skip], 2))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    """Pixels to tokens: (B, C, H, W) -> (B, T, hidden)."""

    def __init__(self, channels: int, patch: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, hidden, patch, patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class UViT(nn.Module):
    """F(x, noise, classes): the network that preconditioning wraps (published ones predict the noise, "vp").

    Args:
        resolution: side of the images, a multiple of `patch`.
        channels: of the images.
        patch: side of a token, pixels.
        hidden: width, even, a multiple of `heads`.
        depth: blocks besides the middle one, even.
        heads: of every attention.
        mlp_ratio: width of the perceptrons over `hidden`.
        qkv_bias: attention's linear maps have biases.
        time_mlp: the noise's embedding passes through two layers.
        convolution: a 3 x 3 convolution at the end.
        num_classes: 0 for an unconditional network.

    Raises:
        InputError: sizes that do not divide.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        patch: int = 2,
        hidden: int = 512,
        depth: int = 12,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        time_mlp: bool = False,
        convolution: bool = True,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        if resolution % patch:
            raise InputError(f"images of {resolution} x {resolution} do not divide into tokens of {patch} x {patch}")
        if hidden % heads or hidden % 2 or depth % 2:
            raise InputError(
                f"the width {hidden} must be even and a multiple of the number of heads, {heads}; depth, {depth}, even"
            )
        self.channels, self.patch, self.num_classes = channels, patch, num_classes
        self.patch_embed = Patches(channels, patch, hidden)
        self.map_noise = TimestepEmbedding(hidden)
        layers = [nn.Linear(hidden, 4 * hidden), nn.SiLU(), nn.Linear(4 * hidden, hidden)] if time_mlp else []
        self.time_embed = nn.Sequential(*layers)
        self.label_emb = nn.Embedding(num_classes, hidden) if num_classes else None
        self.extras = 2 if num_classes else 1
        self.pos_embed = nn.Parameter(torch.zeros(1, self.extras + (resolution // patch) ** 2, hidden))
        self.in_blocks = nn.ModuleList(Block(hidden, heads, mlp_ratio, qkv_bias) for _ in range(depth // 2))
        self.mid_block = Block(hidden, heads, mlp_ratio, qkv_bias)
        self.out_blocks = nn.ModuleList(Block(hidden, heads, mlp_ratio, qkv_bias, skip=True) for _ in range(depth // 2))
        self.norm = nn.LayerNorm(hidden)
        self.decoder_pred = nn.Linear(hidden, channels * patch**2)
        self.final_layer = nn.Conv2d(channels, channels, 3, padding=1) if convolution else nn.Identity()
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        x: torch.Tensor,
        noise: torch.Tensor,
        classes: torch.Tensor | None = None,
        augmentation: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x (B, C, H, W), noise (B,), classes (B, num_classes) one-hot -> (B, C, H, W); there is no augmentation."""
        rows, columns = x.shape[2] // self.patch, x.shape[3] // self.patch
        tokens = torch.cat([self.time_embed(self.map_noise(noise))[:, None], self.patch_embed(x)], 1)
        if self.label_emb is not None:
            if classes is None:
                classes = tokens.new_zeros(len(tokens), self.num_classes)
            tokens = torch.cat([(classes @ self.label_emb.weight)[:, None], tokens], 1)
        tokens = tokens + self.pos_embed
        skips: list[torch.Tensor] = []
        for block in self.in_blocks:
            tokens = block(tokens)
            skips.append(tokens)
        tokens = self.mid_block(tokens)
        for block in self.out_blocks:
            tokens = block(tokens, skips.pop())
        pixels = self.decoder_pred(self.norm(tokens))[:, self.extras :]
        pixels = pixels.unflatten(1, (rows, columns)).unflatten(3, (self.patch, self.patch, self.channels))
        return self.final_layer(pixels.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3))
