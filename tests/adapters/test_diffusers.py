"""A denoiser as a diffusers model, with the real package."""

from __future__ import annotations

import pytest
import torch

import smalti
from helpers import random_source
from smalti.adapters import diffusers_model

diffusers = pytest.importorskip("diffusers", reason="pip install smalti[diffusers]")

SOURCE = random_source(20, (2, 6, 6), labels=True)
DENOISER = smalti.PSPCSquare(SOURCE)


def noise(n=3):
    return torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def test_ddim_is_euler_on_its_levels():
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    model = diffusers_model(DENOISER, scheduler)
    pipe = diffusers.DDIMPipeline(unet=model, scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    found = pipe(batch_size=3, num_inference_steps=10, generator=generator, output_type="pt").images
    scheduler.set_timesteps(10)
    sigmas = smalti.DiscreteTable(scheduler.alphas_cumprod).sigmas[scheduler.timesteps]
    start = noise().double() * (1 + sigmas[0] ** 2) ** 0.5
    result = smalti.sample(DENOISER, init=start, sigmas=[*sigmas.tolist(), 0.0], solver="euler")
    torch.testing.assert_close(found * 2 - 1, result.images.clamp(-1, 1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", ["DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"])
def test_schedulers_get_what_they_expect(name, prediction):
    """Every scheduler that is told a prediction ends where the others end."""
    scheduler = getattr(diffusers, name)(prediction_type=prediction)
    model = diffusers_model(DENOISER, scheduler)
    scheduler.set_timesteps(10)
    x = noise() * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.step(model(scheduler.scale_model_input(x, t), t).sample, t, x).prev_sample
    assert float(x.abs().max()) <= 1 + 1e-5
    other = getattr(diffusers, name)(prediction_type="epsilon")
    model = diffusers_model(DENOISER, other)
    other.set_timesteps(10)
    y = noise() * other.init_noise_sigma
    for t in other.timesteps:
        y = other.step(model(other.scale_model_input(y, t), t).sample, t, y).prev_sample
    torch.testing.assert_close(x, y, atol=2e-3, rtol=0)


def test_what_it_says_at_a_timestep():
    scheduler = diffusers.DDPMScheduler()
    model = diffusers_model(DENOISER, scheduler)
    abar = scheduler.alphas_cumprod.double()[[40, 700]]
    x_t, t = noise(2), torch.tensor([40, 700])
    x0 = DENOISER(x_t.double() / abar.sqrt()[:, None, None, None], ((1 - abar) / abar).sqrt(), labels=[1, 0])
    expected = (x_t - abar.sqrt()[:, None, None, None] * x0) / (1 - abar).sqrt()[:, None, None, None]
    found = model(x_t, t, class_labels=torch.tensor([1, 0])).sample
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=0)
    assert torch.equal(model(x_t, t, torch.tensor([1, 0]), return_dict=False)[0], found)
    assert (model.config.sample_size, model.config.in_channels, model.dtype) == (6, 2, torch.float32)


def test_what_it_refuses():
    with pytest.raises(smalti.InputError, match="has no alphas_cumprod"):
        diffusers_model(DENOISER, diffusers.FlowMatchEulerDiscreteScheduler())
    with pytest.raises(smalti.InputError, match="a denoiser is needed"):
        diffusers_model(None, diffusers.DDIMScheduler())
    model = diffusers_model(DENOISER, diffusers.DDIMScheduler())
    with pytest.raises(smalti.InputError, match="timesteps are 0 to 999"):
        model(noise(), 1000)
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True)
    with pytest.raises(smalti.InputError, match="pure noise"):
        diffusers_model(DENOISER, scheduler)(noise(), 999)
    with pytest.raises(smalti.InputError, match=r"give a scheduler, DDIMScheduler\(\), not its class"):
        diffusers_model(DENOISER, diffusers.DDIMScheduler)
    with pytest.raises(smalti.InputError, match=r"expects a variance of the network .learned_range"):
        diffusers_model(DENOISER, diffusers.DDPMScheduler(variance_type="learned_range"))
    for sample, t, said in (
        (noise(), "x", "a time is a number"),
        (None, 5, "noisy images are a floating tensor"),
        (noise().long(), 5, "noisy images are a floating tensor"),
        (noise(2), torch.tensor([1, 2, 3]), r"\(3,\) times for 2 noisy images"),
    ):
        with pytest.raises(smalti.InputError, match=said):
            model(sample, t)


def test_it_is_not_saved(tmp_path):
    """A folder would be left that nothing can load."""
    model = diffusers_model(DENOISER, diffusers.DDIMScheduler())
    with pytest.raises(smalti.InputError, match="cannot be saved as a diffusers model"):
        model.save_pretrained(tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(smalti.InputError, match="cannot be saved"):
        diffusers.DDIMPipeline(unet=model, scheduler=diffusers.DDIMScheduler()).save_pretrained(tmp_path / "y")
