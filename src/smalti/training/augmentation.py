"""EDM's geometric augmentations (Karras et al. 2022, Appendix F.2), each with probability p, told to the network as labels.

    x flip, y flip     with probability 1/2, p/2                        label: 1 where flipped
    scale              2^(0.2 n), n ~ N(0, 1)                            n
    rotation           by r, uniform over the circle                     cos r - 1, sin r
    anisotropy         2^(0.2 n) along an angle a, 2^(-0.2 n) across     n cos a, n sin a
    translation        0.125 n of the side                               n_x, n_y

The x flip is always on, as in EDM's recipe. The images are resampled once, by bicubic interpolation with reflection at the borders; EDM
filters with wavelets at twice the resolution, which aliases less.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

__all__ = ["LABELS", "augment"]

LABELS = 9  # length of the label
SCALE, ANISOTROPY, TRANSLATION = 0.2, 0.2, 0.125


def augment(images: torch.Tensor, probability: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Augmented copies and what was done to them.

    Args:
        images: (B, C, H, W); what comes back stays within their range.
        probability: p, 0 to 1.
        generator: on the CPU.

    Returns:
        (B, C, H, W) and labels (B, 9), on the images' device.
    """
    count = len(images)

    def happens(p: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator) < p).float()

    def normal() -> torch.Tensor:
        return torch.randn(count, generator=generator)

    def angle() -> torch.Tensor:
        return math.pi * (2 * torch.rand(count, generator=generator) - 1)

    flip_x, flip_y = happens(0.5), happens(probability / 2)
    scale = normal() * happens(probability)
    rotation = angle() * happens(probability)
    along = angle()
    stretch = normal() * happens(probability)
    moves = happens(probability)
    move_x, move_y = normal() * moves, normal() * moves
    labels = [flip_x, flip_y, scale, rotation.cos() - 1, rotation.sin()]
    labels += [stretch * along.cos(), stretch * along.sin(), move_x, move_y]

    # where each output pixel comes from: the inverse of translate . rotate . stretch along an angle . scale . flip
    flips = torch.diag_embed(torch.stack([1 - 2 * flip_x, 1 - 2 * flip_y], 1))
    sizes = torch.diag_embed((2 ** (-SCALE * scale))[:, None].expand(-1, 2))
    stretched = (
        _turn(along)
        @ torch.diag_embed(torch.stack([2 ** (-ANISOTROPY * stretch), 2 ** (ANISOTROPY * stretch)], 1))
        @ _turn(-along)
    )
    inverse = flips @ sizes @ stretched @ _turn(-rotation)
    shift = (
        -inverse @ (2 * TRANSLATION * torch.stack([move_x, move_y], 1))[:, :, None]
    )  # affine_grid's coordinates span 2
    grid = F.affine_grid(torch.cat([inverse, shift], 2).to(images.device), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    within = moved.clamp(float(images.min()), float(images.max()))  # bicubic overshoots
    return within, torch.stack(labels, 1).to(images.device)


def _turn(angle: torch.Tensor) -> torch.Tensor:
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(-1, 2, 2)
