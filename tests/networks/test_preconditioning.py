"""Preconditionings against their formulas, around a network that says what it was given."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from smalti.networks.preconditioning import (
    DDPMPreconditioned,
    EDMPreconditioned,
    IDDPMPreconditioned,
    VEPreconditioned,
    VPPreconditioned,
)

SIGMA = torch.tensor([0.02, 0.3, 1.0, 7.0, 60.0])


class Told(nn.Module):
    """F = 0.1 x + 1, and a record of what it saw."""

    def forward(self, x, noise, classes=None, augmentation=None):
        self.x, self.noise, self.classes = x, noise, classes
        return 0.1 * x + 1


def test_what_each_gives_and_takes():
    z, level = torch.randn(5, 1, 2, 2), SIGMA[:, None, None, None]
    t = ((0.1**2 + 2 * 19.9 * (1 + SIGMA**2).log()).sqrt() - 0.1) / 19.9
    torch.testing.assert_close((0.5 * 19.9 * t**2 + 0.1 * t).exp(), 1 + SIGMA**2)  # the integral of the schedule
    preserving = (1 / (1 + level**2).sqrt(), -level)
    for kind, scale, out, noise in (
        (VPPreconditioned, *preserving, 999 * t),
        (VEPreconditioned, torch.ones_like(level), level, (SIGMA / 2).log()),
        (DDPMPreconditioned, *preserving, None),
        (IDDPMPreconditioned, *preserving, None),
    ):
        told = Told()
        result = kind(told)(z, SIGMA, "classes")
        torch.testing.assert_close(told.x, scale * z)
        torch.testing.assert_close(result, z + out * (0.1 * scale * z + 1))
        assert told.classes == "classes"
        if noise is not None:
            torch.testing.assert_close(told.noise, noise)
    told = Told()
    EDMPreconditioned(told)(z, SIGMA)
    torch.testing.assert_close(told.noise, SIGMA.log() / 4)


def test_the_levels_of_iddpm():
    """u by the recursion of Karras et al. (2022), Appendix B.4, from u_1000 = 0."""
    around = IDDPMPreconditioned(Told())
    abar = [math.sin(0.5 * math.pi * j / 1000 / 1.008) ** 2 for j in range(1001)]
    u = [0.0]
    for j in range(1000, 0, -1):
        u.append(math.sqrt((u[-1] ** 2 + 1) / max(abar[j - 1] / abar[j], 0.001) - 1))
    torch.testing.assert_close(around.u, torch.tensor(u[::-1]), rtol=1e-5, atol=1e-6)
    numbers = torch.tensor([0, 1, 499, 998, 999])
    around(torch.zeros(5, 1, 1, 1), around.u[numbers] * torch.tensor([0.999, 1.001, 1, 1, 1]))
    assert around.model.noise.tolist() == (999 - numbers).tolist()


@pytest.mark.parametrize(
    ("schedule", "steps"), [("linear", 1000), ("cosine", 1000), ("cosine", 4000), ("linear", 4000)]
)
def test_the_levels_of_ddpm(schedule, steps):
    """At its own levels a network is told their numbers, in the range of 1000."""
    if schedule == "linear":
        betas = torch.linspace(0.1 / steps, 20 / steps, steps, dtype=torch.float64)
    else:
        at = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        betas = torch.tensor([min(1 - at[i + 1] / at[i], 0.999) for i in range(steps)], dtype=torch.float64)
    abar = (1 - betas).cumprod(0)
    numbers = torch.tensor([0, 7, steps // 2, steps - 30])
    sigma = ((1 - abar) / abar).sqrt()[numbers]
    around = DDPMPreconditioned(Told(), schedule, steps)
    around(torch.zeros(4, 1, 1, 1), sigma)
    torch.testing.assert_close(around.model.noise, numbers * 1000 / steps, rtol=1e-4, atol=2e-3, check_dtype=False)
