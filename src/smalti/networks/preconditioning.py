"""EDM preconditioning (Karras et al. 2022, Table 1): a network F becomes a denoiser.

D(z, sigma) = c_skip z + c_out F(c_in z, c_noise),   sd = 0.5
c_skip = sd^2/(sigma^2 + sd^2),  c_out = sigma sd/sqrt(sigma^2 + sd^2),  c_in = 1/sqrt(sigma^2 + sd^2),  c_noise = ln(sigma)/4
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["EDMPreconditioned"]


class EDMPreconditioned(nn.Module):
    """D(z, sigma) around a network.

    Args:
        model: called as model(x, noise, classes, augmentation); kept under this name, as in published state dicts.
        sigma_data: standard deviation of the data, sd.
    """

    def __init__(self, model: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        self.model, self.sigma_data = model, sigma_data

    def forward(
        self,
        z: torch.Tensor,
        sigma: torch.Tensor,
        classes: torch.Tensor | None = None,
        augmentation: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """z (B, C, H, W), sigma (B,) > 0, classes (B, num_classes) one-hot -> (B, C, H, W), in float32."""
        z = z.float()
        level = sigma.to(z.device, torch.float32).reshape(-1, 1, 1, 1)
        total = level**2 + self.sigma_data**2
        noise = level.flatten().log() / 4
        output = self.model(z / total.sqrt(), noise, classes, augmentation)
        return self.sigma_data**2 / total * z + level * self.sigma_data / total.sqrt() * output.float()
