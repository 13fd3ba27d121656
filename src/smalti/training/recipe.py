"""Everything that determines a training besides the images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from smalti.core.errors import InputError
from smalti.core.noise import check_seed
from smalti.core.validation import check_count, check_integer
from smalti.networks.architectures import build, check_config, find_preset, preset_config
from smalti.source import Split
from smalti.training.augmentation import LABELS

__all__ = ["Recipe"]

FOLLOWS_FROM_THE_DATA = {"resolution", "channels", "num_classes", "augmentation"}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are EDM's for CIFAR-10 (Karras et al. 2022, Table 7), but for a laptop's batch and steps.

    Args:
        arch, preset: see `smalti.networks.architectures.find_preset`.
        changes: arguments of the architecture to replace, such as {"model_channels": 32}.
        steps: optimiser steps.
        batch_size: images per step.
        learning_rate: of Adam, with betas (0.9, 0.999) and epsilon 1e-8.
        warmup: steps over which the learning rate rises linearly from 0.
        decay: "constant" (EDM) or "cosine", to 0 at the last step.
        ema: half-life of the averaged weights, in images; in the beginning at most a twentieth of the images seen (EDM).
        dropout: None for the preset's.
        augment: probability of EDM's geometric augmentations (flips, scale, rotation, anisotropy, translation), 0 for none.
        conditional: train on the classes.
        label_dropout: probability with which a class is left out, so that the network works without labels too.
        sigma_mean, sigma_std: ln sigma ~ N(sigma_mean, sigma_std^2).
        split: images held out for validation, and the part trained on.
        seed: of everything random.
        validate_every: steps between validation losses, 0 for none; the last step is always validated.

    Raises:
        InputError: a value out of range.
    """

    arch: str = "ddpmpp"
    preset: str = "small"
    changes: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 10_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: int = 200
    decay: str = "constant"
    ema: float = 500_000
    dropout: float | None = None
    augment: float = 0.0
    conditional: bool = False
    label_dropout: float = 0.1
    sigma_mean: float = -1.2
    sigma_std: float = 1.2
    split: Split = field(default_factory=Split)
    seed: int = 0
    validate_every: int = 500

    def __post_init__(self) -> None:
        find_preset(self.arch, self.preset)
        check_count("steps", self.steps)
        check_count("batch_size", self.batch_size)
        for name, low, high in (
            ("learning_rate", 1e-12, 1e3),
            ("ema", 1.0, math.inf),
            ("augment", 0.0, 1.0),
            ("label_dropout", 0.0, 1.0),
            ("sigma_mean", -20.0, 20.0),
            ("sigma_std", 0.0, 20.0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                upper = f"from {low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
                raise InputError(f"{name} must be {upper}, not {value}")
        for name in ("warmup", "validate_every", "seed"):
            if check_integer(name, getattr(self, name)) < 0:
                raise InputError(f"{name} must be at least 0, not {getattr(self, name)}")
        check_seed(self.seed)
        fixed = sorted(set(self.changes) & FOLLOWS_FROM_THE_DATA)
        if fixed:
            raise InputError(f"{fixed[0]} follows from the data and the recipe; leave it out")
        if self.dropout is not None and "dropout" in self.changes:
            raise InputError("dropout is given twice, once among the architecture's arguments; give it once")
        if self.decay not in ("constant", "cosine"):
            raise InputError(f"decay must be constant or cosine, not {self.decay!r}")

    def config(
        self, shape: tuple[int, int, int], num_classes: int | None, begun: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The architecture for images of `shape` = (C, H, W).

        Args:
            shape: of the images.
            num_classes: of the data set.
            begun: the architecture of the network that is trained on, {} where smalti does not know it; None for a new one.

        Raises:
            InputError: it does not fit them; conditional without classes.
        """
        if self.conditional and not num_classes:
            raise InputError(
                "a conditional network needs classes, which this data set has not; leave --conditional out"
            )
        if begun is not None:
            return self._begun(shape, num_classes, begun)
        changes = dict(self.changes) | ({} if self.dropout is None else {"dropout": self.dropout})
        classes = num_classes if self.conditional and num_classes else 0
        config = preset_config(self.arch, self.preset, shape, classes, LABELS if self.augment else 0, **changes)
        with torch.device("meta"):
            build(config)  # sizes that do not fit the images are said here, before anything is made
        return config

    def _begun(self, shape: tuple[int, int, int], num_classes: int | None, begun: Mapping[str, Any]) -> dict[str, Any]:
        if not begun:
            raise InputError("the network to begin with is not of smalti's architectures, so it cannot be trained on")
        if (self.arch, self.preset, self.changes) != (Recipe.arch, Recipe.preset, {}):
            raise InputError("the network to begin with has its architecture; leave arch, preset and its arguments out")
        config = dict(begun)
        seen = (config["channels"], config["resolution"], config["resolution"])
        if seen != tuple(shape):
            raise InputError(f"the network to begin with is for images of {seen}, and the data set has {tuple(shape)}")
        classes = num_classes if self.conditional and num_classes else 0
        if config.get("num_classes", 0) != classes:
            has = config.get("num_classes", 0) or "no"
            raise InputError(f"the network to begin with has {has} classes, and the training {classes or 'none'}")
        if self.augment and config.get("augmentation", 0) != LABELS:
            raise InputError("the network to begin with takes no augmentation labels; leave augment out")
        return check_config(config if self.dropout is None else {**config, "dropout": self.dropout})

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step 0 .. steps - 1."""
        rise = min((step + 1) / self.warmup, 1.0) if self.warmup else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.decay == "cosine" else 1.0
        return self.learning_rate * rise * fall

    def ema_decay_at(self, step: int) -> float:
        """The weight that the average keeps in step 0 .. steps - 1."""
        half_life = min(self.ema, 0.05 * (step + 1) * self.batch_size)
        return 0.5 ** (self.batch_size / half_life) if half_life > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "changes": dict(self.changes), "split": asdict(self.split)}
