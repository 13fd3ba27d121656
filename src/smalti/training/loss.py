"""The loss of Karras et al. (2022, Eq. 108 and Table 1).

E over x, ln sigma ~ N(-1.2, 1.2^2), eps ~ N(0, I) of  lambda(sigma) |D(x + sigma eps, sigma) - x|^2 / (C H W),
lambda(sigma) = (sigma^2 + sd^2) / (sigma sd)^2
"""

from __future__ import annotations

import torch

from smalti.networks.preconditioning import EDMPreconditioned

__all__ = ["edm_loss", "edm_weight"]


def edm_weight(sigma: torch.Tensor, sigma_data: float) -> torch.Tensor:
    """lambda(sigma), of the shape of sigma."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def edm_loss(
    network: torch.nn.Module | EDMPreconditioned,
    x: torch.Tensor,
    sigma: torch.Tensor,
    noise: torch.Tensor,
    classes: torch.Tensor | None = None,
    augmentation: torch.Tensor | None = None,
    sigma_data: float = 0.5,
) -> torch.Tensor:
    """Weighted squared error of each image.

    Args:
        network: called as network(z, sigma, classes, augmentation).
        x, noise: (B, C, H, W).
        sigma: (B,).
        classes: (B, num_classes) one-hot, zero rows where the class is left out; or None.
        augmentation: (B, A), or None.
        sigma_data: standard deviation of the data.

    Returns:
        (B,).
    """
    level = sigma[:, None, None, None]
    error = network(x + level * noise, sigma, classes, augmentation) - x
    return edm_weight(sigma, sigma_data) * error.square().flatten(1).mean(1)
