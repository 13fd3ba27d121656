"""A denoiser as what EDM's code calls `net` (Karras et al. 2022): its samplers and its losses run on it unchanged.

net(x, sigma, class_labels=None) -> D(x; sigma),   class_labels one-hot, all zero for none
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from smalti.adapters.scale import check_denoiser
from smalti.core.errors import InputError
from smalti.core.validation import shown

__all__ = ["EDMNet"]


class EDMNet(nn.Module):
    """A denoiser with the face of EDM's preconditioned networks.

    Args:
        denoiser: a denoiser of smalti.

    Attributes:
        img_resolution: H, or (H, W) where they differ; img_channels: C.
        label_dim: the number of classes; 0 for none.
        sigma_min, sigma_max: 0 and infinity, as EDM's own say: every level is served.

    Raises:
        InputError: no denoiser.
    """

    sigma_min, sigma_max = 0.0, math.inf

    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.img_channels, height, width = check_denoiser(denoiser)
        self.img_resolution = height if height == width else (height, width)
        self.label_dim = getattr(denoiser, "num_classes", None) or 0
        self.denoiser = denoiser

    def forward(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        class_labels: torch.Tensor | None = None,
        force_fp32: bool = False,
        augment_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """D(x; sigma) in the dtype of x.

        Args:
            x: (B, C, H, W), noisy images.
            sigma: a number, 0-d, (B,) or (B, 1, 1, 1).
            class_labels: (B, label_dim) one-hot rows, or all rows zero; None for no condition.
            force_fp32: taken and not needed: there is no half precision here.
            augment_labels: only None or zeros: these are no augmented images.

        Raises:
            InputError: labels that are not one-hot, or that mix classes with none; augmentations.
        """
        if augment_labels is not None and bool((augment_labels != 0).any()):
            raise InputError("augment_labels were given; a denoiser knows the images as they are, so augment none")
        classes = self._classes(class_labels, len(x))
        given = {} if classes is None else {"labels": classes}
        return self.denoiser(x, sigma, **given)

    def round_sigma(self, sigma: torch.Tensor | float) -> torch.Tensor:
        """`sigma` itself, as a tensor: every level is served."""
        return torch.as_tensor(sigma)

    def _classes(self, one_hot: torch.Tensor | None, batch: int) -> torch.Tensor | None:
        if one_hot is None or not self.label_dim:
            return None
        words = f"class_labels must be one-hot rows (B, {self.label_dim}), or all rows zero for no condition"
        if not isinstance(one_hot, torch.Tensor) or one_hot.shape[-1:] != (self.label_dim,) or one_hot.ndim > 2:
            raise InputError(
                f"{words}, not {shown(one_hot) if not isinstance(one_hot, torch.Tensor) else tuple(one_hot.shape)}"
            )
        rows = one_hot.reshape(-1, self.label_dim).to("cpu", torch.float64)
        rows = rows.expand(batch, -1) if len(rows) == 1 else rows
        given = rows.sum(1)
        if bool((rows == 0).all()):
            return None
        if not bool((((rows == 0) | (rows == 1)).all(1) & (given == 1)).all()):
            raise InputError(words)
        return rows.argmax(1)
