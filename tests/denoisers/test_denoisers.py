"""The other named denoisers, and finding them by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import exact, noisy, random_source
from smalti import Gaussian, InputError, LocalScore, Nearest, Optimal, edm_sigmas
from smalti.cli.parameters import parse_parameters
from smalti.denoisers import REGISTRY, create, parameters_of


def test_optimal_by_hand():
    source = random_source(7, (3, 4, 5), hflip=True)
    images = torch.cat([exact(source), exact(source).flip(-1)])
    for sigma in edm_sigmas().tolist():
        z = noisy(source, sigma)
        weights = torch.softmax(-(z[:, None] - images).square().flatten(2).sum(2) / (2 * sigma**2), 1)
        torch.testing.assert_close(
            Optimal(source)(z, sigma), torch.einsum("bi,ichw->bchw", weights, images), atol=1e-5, rtol=0
        )


def test_local_score_takes_the_pixel_from_its_window():
    source = random_source(6, (2, 5, 6))
    sigma, window = 0.4, 3
    z = noisy(source, sigma, 1)
    out = LocalScore(source, window=window)(z, sigma)[0]
    images = exact(source)
    for y in range(5):
        for x in range(6):
            crop = (..., slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2))
            weights = torch.softmax(-(z[crop] - images[crop]).square().sum((1, 2, 3)) / (2 * sigma**2), 0)
            torch.testing.assert_close(out[:, y, x], weights @ images[:, :, y, x], atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [0, 2, 20, 2.5, "3", None])
def test_local_score_windows(window):
    with pytest.raises(InputError):
        LocalScore(random_source(3, (1, 6, 6)), window=window)


@pytest.mark.parametrize("hflip", [False, True])
def test_gaussian_by_hand(hflip):
    source = random_source(30, (2, 3, 4), hflip=hflip)
    images = torch.cat([exact(source), exact(source).flip(-1)]) if hflip else exact(source)
    rows = images.flatten(1)
    mean, covariance = rows.mean(0), torch.cov(rows.T, correction=0)
    z = noisy(source, 0.5)
    for sigma in (0.002, 0.3, 10.0):
        inner = torch.linalg.solve(covariance + sigma**2 * torch.eye(24, dtype=torch.float64), (z.flatten(1) - mean).T)
        torch.testing.assert_close(
            Gaussian(source)(z, sigma).flatten(1), mean + (covariance @ inner).T, atol=1e-9, rtol=0
        )


def test_gaussian_rank_keeps_the_largest_directions():
    source = random_source(40, (1, 3, 3))
    z = noisy(source, 0.5)
    full, low = Gaussian(source), Gaussian(source, rank=2)
    mean, values, vectors = full.spectrum()
    kept = low(z, 0.1).flatten(1) - mean
    torch.testing.assert_close(kept @ vectors[:, 2:], torch.zeros(2, 7, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(kept @ vectors[:, :2], (full(z, 0.1).flatten(1) - mean) @ vectors[:, :2])
    assert (values.diff() <= 0).all()
    for rank in (0, 10, 2.5):
        with pytest.raises(InputError, match="rank"):
            Gaussian(source, rank=rank)


def test_nearest_gives_stored_images():
    source = random_source(9, (1, 4, 4), hflip=True)
    images = source.working()
    out = Nearest(source)(torch.cat([images[4:5].flip(-1), images[7:8]]) + 0.01, 3.0)
    assert torch.equal(out, torch.cat([images[4:5].flip(-1), images[7:8]]))


def test_nearest_has_a_zero_gradient():
    source = random_source(4, (1, 3, 3))
    z = noisy(source, 0.3).requires_grad_()
    Nearest(source)(z, 1.0).sum().backward()
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_by_name():
    source = random_source(3, (1, 7, 7))
    assert list(REGISTRY) == [
        *("optimal", "pspc-square", "pspc-flex", "local-score", "equivariant-local-score", "pca-locality"),
        *("gaussian-window", "heatmap-weighted", "gaussian", "closed-form-diffusion", "nearest"),
    ]
    for name, kind in REGISTRY.items():
        assert isinstance(create(name, source), kind)
        assert kind.paper
        assert (kind.__doc__ or "").strip()
    assert create("local-score", source, window=3).window == 3
    assert list(parameters_of(REGISTRY["gaussian"])) == ["rank"]
    with pytest.raises(InputError, match="did you mean 'pspc-square'"):
        create("pspc-sqare", source)
    with pytest.raises(InputError, match="did you mean 'window'"):
        create("local-score", source, windw=3)
    with pytest.raises(InputError, match="it has: none"):
        create("nearest", source, patch_size=3)


def test_local_score_windows_by_level():
    source = random_source(5, (1, 6, 6))
    z = noisy(source, 0.5)
    two = LocalScore(source, [5, 3], sigmas=[2.0, 0.1])
    assert torch.equal(two(z, 1.5), LocalScore(source, 5)(z, 1.5))
    assert torch.equal(two(z, 0.3), LocalScore(source, 3)(z, 0.3))
    assert LocalScore(source, [3] * 18).collection(0.1).queries.size == 3
    for window, sigmas, message in (
        ([3, 5], None, "2 windows for 18 levels"),
        ([3, 4], [1.0, 2.0], "odd"),
        (3, [1.0], "a list of windows"),
        ([], [], "empty"),
        ([3], [0.0], "greater than 0"),
    ):
        with pytest.raises(InputError, match=message):
            LocalScore(source, window, sigmas=sigmas)


@pytest.mark.parametrize(
    ("name", "pairs", "expected"),
    [
        ("pspc-flex", ["heatmaps=maps.npz", "thresholds=0.5"], {"heatmaps": "maps.npz", "thresholds": 0.5}),
        ("pspc-flex", ["heatmaps=wiener", "thresholds=1,0.3", "sigmas=2,1"], None),
        ("local-score", ["window=5,3", "sigmas=2,0.1"], {"window": [5, 3], "sigmas": [2.0, 0.1]}),
        ("equivariant-local-score", ["window=3", "borders=aware"], {"window": 3, "borders": "aware"}),
        ("pca-locality", ["threshold=0.1", "temperature=2", "masks=none"], None),
        ("gaussian-window", ["width=1.5", "response=window"], {"width": 1.5, "response": "window"}),
        ("gaussian-window", ["width=3,1", "sigmas=2,1"], {"width": [3.0, 1.0], "sigmas": [2.0, 1.0]}),
        ("heatmap-weighted", ["heatmaps=wiener", "response=pixel"], None),
        ("closed-form-diffusion", ["coordinates=studio", "samples=4", "seed=3", "smoothing=0.2"], None),
    ],
)
def test_the_command_line_can_type_their_parameters(name, pairs, expected):
    parsed = parse_parameters(REGISTRY[name], pairs)
    assert expected is None or parsed == expected
    if "heatmaps=maps.npz" not in pairs:
        create(name, random_source(3, (1, 7, 7)), **parsed)


def test_repr_and_with_source():
    source = random_source(5, (1, 6, 6))
    other = source.subset(np.array([0, 1]))
    denoiser = LocalScore(source, window=5, backend="torch")
    assert repr(denoiser) == f"LocalScore({source!r}, window=5, backend='torch')"
    again = denoiser.with_source(other)
    assert (again.window, again.backend, again.source) == (5, "torch", other)


@pytest.mark.parametrize("name", [name for name in REGISTRY if "tolerance" in parameters_of(REGISTRY[name])])
def test_tolerance_reaches_the_collections(name):
    source = random_source(9, (1, 7, 7))
    denoiser = create(name, source, **parse_parameters(REGISTRY[name], ["tolerance=0"]))
    assert "tolerance=0" in repr(denoiser)
    assert denoiser.with_source(source.subset(np.arange(4))).tolerance == 0
    collection = denoiser._optimal.collection(1.0) if name == "closed-form-diffusion" else denoiser.collection(1.0)
    assert collection.tolerance == 0
    assert "tolerance" not in repr(create(name, source))
    with pytest.raises(InputError, match="tolerance must be a finite number >= 0"):
        create(name, source, tolerance=-1e-5)


def test_who_has_a_tolerance():
    assert [name for name in REGISTRY if "tolerance" not in parameters_of(REGISTRY[name])] == ["gaussian", "nearest"]


@pytest.mark.parametrize("name", REGISTRY)
def test_an_array_is_not_a_source(name):
    with pytest.raises(InputError, match="a source is needed, not ndarray"):
        create(name, np.zeros((3, 1, 4, 4), np.uint8))
