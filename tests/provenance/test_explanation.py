"""Shares averaged over draws of noise, and of images that are made coarse to fine."""

import numpy as np
import torch

import smalti
from smalti.core.noise import standard_normal
from smalti.provenance.explanation import explain_generated, explain_image, explain_sample, sample_units
from smalti.sampling.coarse_to_fine import coarse_to_fine_steps
from smalti.sampling.generation import scale_denoisers


def test_shares_of_an_image_from_elsewhere_are_means_over_draws_of_noise() -> None:
    source = smalti.Source.open("digits", limit=30).with_hflip(True)
    denoiser = smalti.PSPCSquare(source)
    image = source.working([4])[0]
    found = explain_image(denoiser, image, [1.0, 0.3], draws=3, seed=5, top=4)
    noise = standard_normal(5, range(3), source.shape)
    for level, sigma in enumerate((1.0, 0.3)):
        a = denoiser.attribute(image.double() + sigma * noise, sigma, top=60)  # all of them
        for pixel in (0, 27, 63):
            expected: dict[tuple, list[float]] = {}
            for draw in range(3):
                for t in range(60):
                    share = float(a.shares[draw, pixel, t])
                    key = (int(a.images[draw, pixel, t]), *a.places[draw, pixel, t].tolist())
                    if share > 0:
                        expected.setdefault(key, [0.0] * 3)[draw] = share
            means = sorted((sum(v) / 3 for v in expected.values()), reverse=True)[:4]
            assert torch.allclose(
                found.shares[level, pixel], torch.tensor(means, dtype=torch.float64), atol=found.unlisted + 1e-9
            )
            for t in range(4):
                key = (int(found.images[level, pixel, t]), *found.places[level, pixel, t].tolist())
                draws = torch.tensor(expected[key], dtype=torch.float64)
                assert abs(float(found.shares[level, pixel, t]) - float(draws.mean())) <= found.unlisted + 1e-9
                assert found.errors is not None
    assert torch.allclose(found.shares.sum(-1) + found.rest, torch.ones(2, 64, dtype=torch.float64))


def test_a_generated_image_is_taken_apart_scale_by_scale() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), np.uint8)
    source, told = smalti.Source(images, labels=np.arange(20) % 2), []
    found = explain_generated(source, 3, seed=5, steps=3, top=20, labels=1, progress=told.append)
    assert sum(told) == 4
    assert found.sizes == ((8, 8), (8, 8), (16, 16), (16, 16))
    assert found.shares.shape == (4, 256, 20)
    assert torch.allclose(found.shares.sum(-1) + found.rest, torch.ones(4, 256, dtype=torch.float64), atol=1e-5)
    assert (found.images[found.shares > 0] % 2 == 1).all()  # of the class
    denoisers = scale_denoisers(source)
    answers = []
    for step in coarse_to_fine_steps(denoisers, [3], 5, steps=3, labels=torch.tensor([1])):
        if not step.finished and step.step:
            raw = denoisers[step.scale](step.x * (1 + step.sigma), step.sigma, labels=[1])[0]
            answers.append(raw.repeat_interleave(16 // raw.shape[1], 1).repeat_interleave(16 // raw.shape[2], 2))
    assert (found.denoised - torch.stack(answers)).abs().max() <= 1e-5
    # at the finest scale the last answer is the generated image
    made = smalti.generate(source, n=4, seed=5, steps=3, labels=1).images[3]
    assert (found.denoised[-1] - made).abs().max() <= 1e-5


def test_every_step_of_a_sample_and_of_its_influence_is_told_of() -> None:
    denoiser, told = smalti.PSPCSquare(smalti.Source.open("digits", limit=20)), []
    explain_sample(denoiser, steps=5, stop=2.0, counterfactuals=2, progress=told.append)
    assert sum(told) == sample_units(5, 2.0, 2, 20)
    assert max(told) == 1
