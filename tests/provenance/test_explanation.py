"""Shares averaged over draws of noise."""

import torch

import smalti
from smalti.core.noise import standard_normal
from smalti.provenance.explanation import explain_image


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
