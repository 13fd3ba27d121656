"""The loss of Karras et al. (2022, Eq. 108 and Table 1).

E over x, ln sigma ~ N(-1.2, 1.2^2), eps ~ N(0, I) of  lambda(sigma) |D(x + sigma eps, sigma) - x|^2 / (C H W),
lambda(sigma) = (sigma^2 + sd^2) / (sigma sd)^2

`Validation` is the loss on held-out images with fixed noise: the same numbers each time, so that values are comparable within and
between runs.
"""

from __future__ import annotations

from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import nn

from smalti.core.noise import standard_normal
from smalti.networks.preconditioning import EDMPreconditioned
from smalti.source import Source
from smalti.training.recipe import Recipe

__all__ = ["MOST", "Validation", "edm_loss", "edm_weight"]


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


MOST, REPEATS, BATCH = 1024, 4, 256
SEED = 20260


class Validation:
    """Held-out images (`MOST` of them are enough), each with four noise levels, which are quantiles of the training distribution.

    Args:
        source: the held-out images.
        recipe: whose noise distribution and classes are used.
    """

    def __init__(self, source: Source, recipe: Recipe) -> None:
        x = source.working()
        self.x = x.repeat(REPEATS, 1, 1, 1)
        total = len(self.x)
        quantiles = [
            NormalDist(recipe.sigma_mean, recipe.sigma_std or 1e-9).inv_cdf((j + 0.5) / total) for j in range(total)
        ]
        order = torch.randperm(total, generator=torch.Generator().manual_seed(SEED))
        self.sigma = torch.tensor(quantiles)[order].exp().float()
        self.noise = standard_normal(SEED, range(total), tuple(x.shape[1:])).float()
        self.classes = None
        if recipe.conditional and source.labels is not None:
            labels = torch.from_numpy(source.labels)
            self.classes = F.one_hot(labels, source.num_classes or -1).float().repeat(REPEATS, 1)

    @torch.no_grad()
    def loss(self, network: nn.Module, sigma_data: float) -> float:
        """Mean of the EDM loss."""
        device = next(network.parameters()).device
        was, total = network.training, 0.0
        network.eval()
        for low in range(0, len(self.x), BATCH):
            part = slice(low, low + BATCH)
            classes = None if self.classes is None else self.classes[part].to(device)
            values = edm_loss(
                network,
                self.x[part].to(device),
                self.sigma[part].to(device),
                self.noise[part].to(device),
                classes,
                None,
                sigma_data,
            )
            total += float(values.double().sum())
        network.train(was)
        return total / len(self.x)
