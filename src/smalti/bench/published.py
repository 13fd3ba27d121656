"""The published algorithms, written plainly: what `smalti bench` compares with, timed on a slice of the source and scaled.

The official PSPC code computes each posterior mean in one pass over the images in batches of 100, with a running maximum, and visits
every crop position in turn, gathering the patches of all images. These functions do the same, in our own words.
"""

from __future__ import annotations

import torch

__all__ = ["batched_loop", "crop_by_crop"]

BATCH = 100  # images, as published


def batched_loop(z: torch.Tensor, sigma: float, images: torch.Tensor) -> torch.Tensor:
    """Posterior mean over whole images or patches: z (B, D) float32, images (N, D) uint8 -> (B, D) float32."""
    highest = z.new_full((len(z), 1), -torch.inf)
    mass = z.new_zeros((len(z), 1))
    mean = torch.zeros_like(z)
    for start in range(0, len(images), BATCH):
        x = images[start : start + BATCH].float() / 127.5 - 1
        logits = (z[:, None] - x).square().sum(-1) / (-2 * sigma**2)
        new_highest = torch.maximum(highest, logits.amax(1, keepdim=True))
        weights = (logits - new_highest).exp()
        shrink = (highest - new_highest).exp()
        new_mass = mass * shrink + weights.sum(1, keepdim=True)
        mean = (mean * mass * shrink + (x * weights[..., None]).sum(1)) / new_mass
        highest, mass = new_highest, new_mass
    return mean


def crop_by_crop(z: torch.Tensor, sigma: float, images: torch.Tensor, side: int, by_mask: bool = True) -> torch.Tensor:
    """PSPC-Square, one crop position after another: z (B, C, H, W) float32, images (N, C, H, W) uint8 -> (B, C, H, W).

    `by_mask` gathers the patches with a boolean mask, as the published code does for every kind of patch; otherwise by slices, which
    is what a careful author would do for squares. The benchmark gives both.
    """
    composite, count = torch.zeros_like(z), torch.zeros_like(z)
    height, width = z.shape[2:]
    for y in range(height - side + 1):
        for x in range(width - side + 1):
            crop: tuple = (..., slice(y, y + side), slice(x, x + side))
            if by_mask:
                mask = torch.zeros(height, width, dtype=torch.bool)
                mask[y : y + side, x : x + side] = True
                crop = (..., mask)
            mean = batched_loop(z[crop].flatten(1), sigma, images[crop].flatten(1))
            composite[crop] += mean.reshape(z[crop].shape)
            count[crop] += 1
    return composite / count
