"""A denoiser as one of azula's, with the real package; and the stiff last step of a variance-preserving sampler."""

from __future__ import annotations

import pytest
import torch

import smalti
from smalti.adapters import azula_denoiser

pytest.importorskip("azula", reason="pip install smalti[azula]")

from azula.noise import VESchedule, VPSchedule
from azula.sample import DDIMSampler, HeunSampler


@pytest.fixture(scope="module")
def denoiser(digits):
    return smalti.PSPCSquare(digits)


@pytest.fixture(scope="module")
def digits():
    return smalti.Source.open("digits", limit=100)


def start(n=3):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sampled(sampler, *arguments, **named):
    return sampler(*arguments, silent=True, dtype=torch.float64, **named)(start())


def test_its_mean_is_the_denoisers(denoiser):
    schedule = VPSchedule()
    for t in (torch.tensor(0.4), torch.tensor([0.1, 0.5, 0.9])):
        alpha, sigma = (value.double().reshape(-1, 1, 1, 1) for value in schedule(t.double()))
        expected = denoiser(start() / alpha, (sigma / alpha).flatten())
        torch.testing.assert_close(azula_denoiser(denoiser, schedule)(start(), t).mean, expected)


def test_its_euler_is_ours(denoiser):
    schedule = VESchedule(1e-3, 80.0)
    found = DDIMSampler(azula_denoiser(denoiser, schedule), steps=8, silent=True, dtype=torch.float64)(80 * start())
    sigmas = schedule.sigma(torch.linspace(1, 0, 9, dtype=torch.float64))
    *_, last = smalti.trajectory(denoiser, 80 * start(), [*sigmas.tolist(), 0.0], solver="euler")
    *_, before, _ = smalti.trajectory(denoiser, 80 * start(), [*sigmas.tolist(), 0.0], solver="euler")
    torch.testing.assert_close(found, before.z, atol=1e-6, rtol=0)
    assert float(last.z.abs().max()) <= 1 + 1e-6


def test_heuns_last_step_on_vp_is_stiff_and_what_to_do(denoiser):
    """From sigma 0.32 to 0.001 Heun's corrector divides by 0.001: the images leave their range, unless that step is Euler's."""
    model = azula_denoiser(denoiser, VPSchedule())
    assert float(sampled(HeunSampler, model, steps=12).abs().max()) > 5
    stop = 1 / 12
    before = sampled(HeunSampler, model, steps=11, stop=stop)
    finished = model(before, torch.tensor(stop, dtype=torch.float64)).mean
    assert float(finished.abs().max()) <= 1 + 1e-5
    assert float(sampled(DDIMSampler, model, steps=12).abs().max()) <= 1.01


def test_what_it_refuses(denoiser):
    with pytest.raises(smalti.InputError, match="a noise schedule is needed"):
        azula_denoiser(denoiser, None)
    with pytest.raises(smalti.InputError, match="a denoiser is needed"):
        azula_denoiser(smalti.Optimal, VPSchedule())
    model = azula_denoiser(denoiser, VPSchedule())
    with pytest.raises(smalti.InputError, match="a time is a number"):
        model(torch.zeros(1, *denoiser.shape), "x")
    with pytest.raises(smalti.InputError, match="noisy images are a floating tensor"):
        model(None, torch.tensor(0.5))
