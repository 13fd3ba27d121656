"""The images of each step: epoch after epoch, each in an order of its own.

Random numbers depend on (seed, purpose, number) alone, so that a resumed training draws what an uninterrupted one draws.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.nn.functional as F

from smalti.source import Source
from smalti.training.augmentation import augment
from smalti.training.recipe import Recipe

__all__ = ["Batch", "Batches", "generator", "seed_of"]


def seed_of(seed: int, purpose: str, number: int) -> int:
    """63 bits of sha256."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{purpose}:{number}".encode()).digest()[:8], "little") >> 1


def generator(seed: int, purpose: str, number: int) -> torch.Generator:
    """A CPU generator of its own."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, number))


class Batch:
    """x and noise (B, C, H, W), sigma (B,), classes (B, num_classes) or None, augmentation (B, 9) or None; float32."""

    def __init__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor,
        noise: torch.Tensor,
        classes: torch.Tensor | None,
        augmentation: torch.Tensor | None,
    ) -> None:
        self.x, self.sigma, self.noise, self.classes, self.augmentation = x, sigma, noise, classes, augmentation

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        moved = (None if t is None else t.to(device, non_blocking=True) for t in vars(self).values())
        return Batch(*moved)  # type: ignore[arg-type]


class Batches:
    """Batch number s is a function of (source, recipe, s) alone."""

    def __init__(self, source: Source, recipe: Recipe) -> None:
        self.source, self.recipe = source, recipe
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, step: int) -> Batch:
        recipe, count = self.recipe, len(self.source)
        first = step * recipe.batch_size
        positions = range(first, first + recipe.batch_size)
        chosen = np.array([self._shuffled(p // count)[p % count] for p in positions])
        random = generator(recipe.seed, "step", step)
        x = self.source.working(chosen)
        size = len(x)
        if self.source.hflip:
            flipped = torch.rand(size, generator=random) < 0.5
            x = torch.where(flipped[:, None, None, None], x.flip(-1), x)
        labels = None
        if recipe.augment:
            x, labels = augment(x, recipe.augment, random)
        sigma = (recipe.sigma_mean + recipe.sigma_std * torch.randn(size, generator=random)).exp()
        noise = torch.randn(x.shape, generator=random)
        classes = None
        if recipe.conditional:
            classes = F.one_hot(torch.from_numpy(self.source.labels[chosen]), self.source.num_classes or -1).float()  # type: ignore[index]
            classes = classes * (torch.rand(size, generator=random) >= recipe.label_dropout)[:, None]
        return Batch(x, sigma, noise, classes, labels)

    def _shuffled(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            order = torch.randperm(len(self.source), generator=generator(self.recipe.seed, "epoch", epoch))
            self._epoch, self._order = epoch, order.numpy()
        return self._order
