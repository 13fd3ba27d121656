"""smalti's denoisers under k-diffusion's call convention, restated here in a few lines.

Its samplers are functions of (model, x, sigmas, extra_args): they call `model(x, sigma * s_in, **extra_args)` with
s_in = ones (B,) in the dtype of x, and use the answer as the denoised image (checked against k_diffusion/sampling.py:
sample_euler and sample_heun without churn).
"""

import itertools

import pytest
import torch

from smalti import LocalScore, Optimal, PSPCSquare, Source
from smalti.core.denoiser import Denoiser
from smalti.sampling import initial_noise, sample, sampling_sigmas

SHAPE = (1, 4, 5)


class Mixture(Denoiser):
    """Optimal over four images, written out."""

    shape = SHAPE
    num_classes = 2

    def __init__(self):
        self.data = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
        self.classes = torch.tensor([0, 1, 0, 1])

    def denoise(self, z, sigma, labels):
        logits = -((z[:, None].double() - self.data) ** 2).flatten(2).sum(2) / (2 * sigma[:, None] ** 2)
        if labels is not None:
            logits = logits.masked_fill(self.classes != labels[:, None], -torch.inf)
        return torch.einsum("bi,ichw->bchw", torch.softmax(logits, 1), self.data)


def k_sampler(model, x, sigmas, order, extra_args):
    ones = x.new_ones([x.shape[0]])

    def slope(x, sigma):
        return (x - model(x, sigma * ones, **extra_args)) / (sigma * ones)[:, None, None, None]

    for sigma, target in itertools.pairwise(sigmas):
        first = slope(x, sigma)
        ahead = x + first * (target - sigma)
        x = ahead if order == 1 or target == 0 else x + (first + slope(ahead, target)) / 2 * (target - sigma)
    return x


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
@pytest.mark.parametrize("extra_args", [{}, {"labels": torch.tensor([0, 1, 1])}])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
def test_a_denoiser_drops_in_unchanged(solver, order, extra_args, dtype, tolerance):
    d = Mixture()
    x = initial_noise(0, range(3), SHAPE)
    theirs = k_sampler(d, x.to(dtype), sampling_sigmas().to(dtype), order, extra_args)
    ours = sample(d, n=3, solver=solver, labels=extra_args.get("labels"))
    assert theirs.dtype == dtype
    torch.testing.assert_close(theirs.float(), ours.images, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", [Optimal, PSPCSquare, LocalScore])
def test_ours_drop_in_unchanged(kind):
    d = kind(Source.open("digits", limit=50))
    x = initial_noise(0, range(2), d.shape)
    theirs = k_sampler(d, x, sampling_sigmas(), 2, {})
    torch.testing.assert_close(theirs.float(), sample(d, n=2).images, rtol=0, atol=1e-5)
