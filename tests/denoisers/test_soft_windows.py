"""Soft windows by their definitions, with flips and classes."""

from __future__ import annotations

import pytest
import torch

import smalti
from helpers import by_class, composite, noisy, random_source, with_flips
from smalti import Gaussian, InputError, Optimal
from smalti.denoisers import GaussianWindow, HeatmapWeighted

SHAPE = (2, 4, 5)
PIXELS = torch.eye(20, dtype=torch.float64).unflatten(1, (1, 4, 5))


def gaussian_windows(width):
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    at = torch.stack([y.flatten(), x.flatten()], 1).double()
    return torch.exp(-(at[:, None] - at).square().sum(2) / (2 * width**2)).unflatten(1, (1, 4, 5))


@pytest.mark.parametrize("response", ["pixel", "window"])
@pytest.mark.parametrize("hflip", [False, True])
def test_gaussian_window_by_hand(response, hflip):
    source = random_source(8, SHAPE, labels=True, hflip=hflip)
    denoiser = GaussianWindow(source, [2.5, 0.8], response, sigmas=[2.0, 0.2])
    for sigma, width in ((1.5, 2.5), (0.3, 0.8)):
        queries, z = gaussian_windows(width), noisy(source, sigma)
        responses = queries if response == "window" else PIXELS
        for labels, chosen in ((None, source), ([1, 1], by_class(source, 1))):
            expected = composite(with_flips(chosen), queries, responses, z, sigma)
            torch.testing.assert_close(denoiser(z, sigma, labels=labels), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("response", ["pixel", "window"])
@pytest.mark.parametrize("hflip", [False, True])
def test_heatmap_weighted_by_hand(response, hflip):
    source = random_source(20, SHAPE, labels=True, hflip=hflip)
    given = torch.rand(2, 4, 5, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma, z = 0.5, noisy(source, 0.5)
    for heatmaps in (given, "wiener"):
        denoiser = HeatmapWeighted(source, heatmaps, response, sigmas=[2.0, sigma])
        for labels, chosen in ((None, source), ([1, 1], by_class(source, 1))):
            if isinstance(heatmaps, str):
                _, values, vectors = Gaussian(chosen).spectrum()
                f = ((vectors * (values / (values + sigma**2))) @ vectors.T).abs()
                heat = f[:20, :20] + f[20:, 20:]
            else:
                heat = given[1].reshape(20, 20)
            queries = (heat / heat.amax(1, keepdim=True)).unflatten(1, (1, 4, 5))
            responses = queries if response == "window" else PIXELS
            expected = composite(with_flips(chosen), queries, responses, z, sigma)
            torch.testing.assert_close(denoiser(z, sigma, labels=labels), expected, atol=1e-5, rtol=0)


def test_a_wide_window_gives_optimal():
    source = random_source(8, SHAPE)
    z = noisy(source, 0.5)
    torch.testing.assert_close(GaussianWindow(source, 1e6)(z, 0.5), Optimal(source)(z, 0.5), atol=1e-5, rtol=0)


def test_asymmetric_heatmaps_opt_out_of_flips():
    source = random_source(40, (1, 5, 5))
    given = torch.rand(18, 5, 5, 5, 5, generator=torch.Generator().manual_seed(0))
    assert "flips_commute" in HeatmapWeighted(source, given).opt_outs
    smalti.check_denoiser(HeatmapWeighted(source, given))
    assert not HeatmapWeighted(source, given + given.flip(2, 4)).opt_outs


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (GaussianWindow, {"width": 0}, "greater than 0"),
        (GaussianWindow, {"width": "2"}, "must be a number"),
        (GaussianWindow, {"width": [1.0, float("inf")], "sigmas": [2, 1]}, "greater than 0"),
        (GaussianWindow, {"width": [1.0]}, "1 widths for 18 levels"),
        (GaussianWindow, {"width": 1.0, "sigmas": [1.0]}, "a list of widths"),
        (GaussianWindow, {"response": "all"}, "'pixel' or 'window'"),
        (HeatmapWeighted, {"response": "all"}, "'pixel' or 'window'"),
        (HeatmapWeighted, {"heatmaps": "nowhere"}, "there is no file nowhere"),
    ],
)
def test_bad_arguments(kind, arguments, message):
    with pytest.raises(InputError, match=message):
        kind(random_source(3, SHAPE), **arguments)
