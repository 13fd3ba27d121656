"""Preconditioning: what turns a network F into a denoiser, D(z, sigma) = c_skip z + c_out F(c_in z, c_noise) (Karras et al. 2022, Table 1).

             c_skip                   c_out                           c_in                    c_noise
    edm      sd^2/(sigma^2 + sd^2)    sigma sd/sqrt(sigma^2 + sd^2)   1/sqrt(sigma^2 + sd^2)  ln(sigma)/4
    vp       1                        -sigma                          1/sqrt(sigma^2 + 1)     999 t(sigma)
    ve       1                        sigma                           1                       ln(sigma/2)
    iddpm    1                        -sigma                          1/sqrt(sigma^2 + 1)     999 - the nearest of 1001 levels
    ddpm     1                        -sigma                          1/sqrt(sigma^2 + 1)     t(sigma) 1000/T, T levels

sd = 0.5. vp is the continuous schedule of Song et al. (2021), t(sigma) = (sqrt(b^2 + 2 d ln(1 + sigma^2)) - b)/d with b = 0.1 and d = 19.9;
iddpm are the levels of Nichol & Dhariwal (2021) as EDM computes them; ddpm is their and Ho et al.'s (2020) discrete training, for which
T is 1000 or, rescaled to that range, another number (`smalti.networks.tables`, which interpolates).
"""

from __future__ import annotations

import math

import torch
from torch import nn

from smalti.networks.tables import SCHEDULES, DiscreteTable

__all__ = [
    "DDPMPreconditioned",
    "EDMPreconditioned",
    "IDDPMPreconditioned",
    "Preconditioned",
    "VEPreconditioned",
    "VPPreconditioned",
]

LEVELS = 1000  # numbers of noise levels that discrete networks were trained with


class Preconditioned(nn.Module):
    """D(z, sigma) around a network that predicts the noise of x_t = z/sqrt(1 + sigma^2).

    Args:
        model: called as model(x, noise, classes, augmentation); kept under this name, as in published state dicts.

    Attributes:
        sigma_data: standard deviation of the data, which weighs the loss of a training.
    """

    sigma_data = 0.5

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def noise(self, sigma: torch.Tensor) -> torch.Tensor:
        """c_noise: (B,) float32 -> (B,)."""
        raise NotImplementedError

    def forward(
        self,
        z: torch.Tensor,
        sigma: torch.Tensor,
        classes: torch.Tensor | None = None,
        augmentation: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """z (B, C, H, W), sigma (B,) > 0, classes (B, num_classes) one-hot -> (B, C, H, W), in float32."""
        z = z.float()
        levels = sigma.to(z.device, torch.float32).reshape(-1)
        level = levels[:, None, None, None]
        noise = self.noise(levels).to(z.device, torch.float32).expand(len(z))
        return z - level * self.model(z / (1 + level**2).sqrt(), noise, classes, augmentation).float()


class EDMPreconditioned(Preconditioned):
    """D(z, sigma) around a network, by EDM.

    Args:
        model: called as model(x, noise, classes, augmentation); kept under this name, as in published state dicts.
        sigma_data: standard deviation of the data, sd.
    """

    def __init__(self, model: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__(model)
        self.sigma_data = sigma_data

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


class VPPreconditioned(Preconditioned):
    """Of Song et al.'s variance-preserving networks, U-ViT among them: the noise level is 999 t."""

    def noise(self, sigma: torch.Tensor) -> torch.Tensor:
        slope, start = 19.9, 0.1
        return (LEVELS - 1) * ((start**2 + 2 * slope * (1 + sigma**2).log()).sqrt() - start) / slope


class VEPreconditioned(Preconditioned):
    """Of Song et al.'s variance-exploding networks: D = z + sigma F(z, ln(sigma/2))."""

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
        noise = (0.5 * level.flatten()).log().expand(len(z))
        return z + level * self.model(z, noise, classes, augmentation).float()


class IDDPMPreconditioned(Preconditioned):
    """Of EDM's re-implementation of improved DDPM: the number of the nearest of 1001 levels u, most noise first (the buffer `u`)."""

    u: torch.Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        numbers = torch.arange(LEVELS + 1, dtype=torch.float64)
        abar = (0.5 * math.pi * numbers / LEVELS / 1.008).sin() ** 2
        ratio = (abar[:-1] / abar[1:]).clamp(min=0.001)
        # u_{j-1}^2 + 1 = (u_j^2 + 1)/ratio_{j-1} from u_M = 0 on
        u = ((1 / ratio).flip(0).cumprod(0).flip(0) - 1).sqrt()
        self.register_buffer("u", torch.cat([u, u.new_zeros(1)]).float())

    def noise(self, sigma: torch.Tensor) -> torch.Tensor:
        nearest = (sigma[:, None] - self.u.to(sigma.device)).abs().argmin(1)
        return (LEVELS - 1 - nearest).float()


class DDPMPreconditioned(Preconditioned):
    """Of networks that know their noise levels by number (Ho et al. 2020; Nichol & Dhariwal 2021).

    Args:
        model: called as model(x, noise, classes, augmentation).
        schedule: "linear" or "squaredcos_cap_v2" (also "cosine").
        steps: number of levels, T; the network is told t 1000/T.
    """

    def __init__(self, model: nn.Module, schedule: str = "linear", steps: int = LEVELS) -> None:
        super().__init__(model)
        scale = LEVELS / steps
        name = {"cosine": "squaredcos_cap_v2"}.get(schedule, schedule)
        with torch.device("cpu"):
            betas = SCHEDULES[name](steps, scale * 0.0001, scale * 0.02).double()
            if name == "linear":  # in float64, as it was trained
                betas = torch.linspace(scale * 0.0001, scale * 0.02, steps, dtype=torch.float64)
            self.table, self.scale = DiscreteTable.from_betas(betas), scale

    def noise(self, sigma: torch.Tensor) -> torch.Tensor:
        return self.scale * self.table.timestep(sigma)
