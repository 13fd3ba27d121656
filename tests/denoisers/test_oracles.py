"""The published implementations' outputs (../shared/oracles), reproduced by every backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smalti import Gaussian, LocalScore, Optimal, PSPCSquare, Source
from smalti.denoisers import EquivariantLocalScore, PCALocality, PSPCFlex
from smalti.denoisers.pspc import TABLE_1

TOLERANCE = 5e-5
ALL = ["numba", "torch", "reference"]


def errors(data, make):
    """Largest difference at each level."""
    source = Source(data["images"])
    out = []
    for i, sigma in enumerate(data["sigma"]):
        x0 = make(source, i)(torch.from_numpy(data["z"][i]), float(sigma))
        out.append(float((x0 - torch.from_numpy(data["x0"][i])).abs().max()))
    return np.array(out)


@pytest.mark.parametrize("backend", ALL)
def test_optimal(oracle, backend):
    data = oracle("optimal_cifar32")
    assert errors(data, lambda source, i: Optimal(source, backend=backend)).max() < TOLERANCE


@pytest.mark.parametrize("backend", ["numba", "torch", pytest.param("reference", marks=pytest.mark.slow)])
def test_pspc_square(oracle, backend):
    data = oracle("pspc_square_cifar32")
    assert tuple(data["patch_size"]) == TABLE_1
    assert errors(data, lambda source, i: PSPCSquare(source, backend=backend)).max() < TOLERANCE


@pytest.mark.parametrize("backend", ALL)
def test_local_score(oracle, backend):
    data = oracle("local_score_cifar16")
    assert errors(data, lambda s, i: LocalScore(s, window=int(data["window"][i]), backend=backend)).max() < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize(("borders", "file"), [("circular", "circular"), ("aware", "borders")])
def test_equivariant_local_score(oracle, borders, file, backend):
    data = oracle(f"equivariant_local_score_{file}_cifar16")

    def make(source, i):
        return EquivariantLocalScore(source, int(data["window"][i]), borders, backend)

    assert errors(data, make).max() < TOLERANCE


@pytest.mark.parametrize("backend", ALL)
def test_pspc_flex(oracle, backend):
    data = oracle("pspc_flex_cifar16")
    heatmaps = data["heatmap_levels"][data["heatmap_level_of_step"]]
    denoiser = PSPCFlex(Source(data["images"]), heatmaps, data["threshold"], data["schedule"], backend)
    assert errors(data, lambda source, i: denoiser).max() < TOLERANCE


def masks_of_oracle(data):
    """[m, n]: output entry m looks at input entry n."""
    entries = data["images"][0].size
    bits = np.unpackbits(data["mask_packbits"], axis=1).reshape(-1, entries, entries)
    return torch.from_numpy(bits.swapaxes(1, 2).copy()).unflatten(2, data["images"].shape[1:])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ALL)
def test_pca_locality(oracle, backend):
    data = oracle("pca_locality_cifar16")
    masks, temperature = masks_of_oracle(data), float(data["temperature"])
    denoiser = PCALocality(
        Source(data["images"]), masks=masks, temperature=temperature, sigmas=data["sigma"], backend=backend
    )
    assert errors(data, lambda source, i: denoiser).max() < TOLERANCE


def test_pca_locality_masks(oracle):
    """The file's masks come from a float32 filter. Ours differ only where the filter is within 1 % of the threshold; but at the lowest
    level, where float32's rounding of the largest eigenvalue over sigma^2 is as large as the threshold."""
    data = oracle("pca_locality_cifar16")
    source = Source(data["images"])
    threshold = float(data["mask_threshold"])
    denoiser = PCALocality(source, threshold)
    rows = data["images"].reshape(len(source), -1).astype(np.float64) / 127.5 - 1
    covariance = np.cov(rows.T, bias=True)
    for sigma, published in list(zip(data["sigma"], masks_of_oracle(data), strict=True))[:-1]:
        f = np.abs(covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(len(covariance))))
        f /= np.where(f.diagonal() < 1e-6, 1, f.diagonal())[:, None]
        sure = torch.from_numpy(np.abs(f / (threshold * f.max()) - 1) > 0.01).T.reshape(published.shape)
        found = denoiser.masks_at(float(sigma))
        assert torch.equal(found[sure], published.bool()[sure])
        assert sure.double().mean() > 0.99


@pytest.mark.parametrize(("name", "rank"), [("gaussian_cifar16", None), ("gaussian_rank64_cifar16", 64)])
def test_gaussian(oracle, name, rank):
    """The published float32 SVD is off by up to 3.3e-3 where sigma is small; we must be exact, and no further from it than it is off."""
    data = oracle(name)
    images = data["images"].astype(np.float64).reshape(len(data["images"]), -1) / 127.5 - 1
    mean = images.mean(0)
    covariance = (images - mean).T @ (images - mean) / len(images)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    denoiser = Gaussian(Source(data["images"]), rank=rank)
    for i, sigma in enumerate(data["sigma"]):
        z = data["z"][i].reshape(len(data["z"][i]), -1).astype(np.float64)
        exact = mean + ((z - mean) @ vectors * (values / (values + sigma**2))) @ vectors.T
        ours = denoiser(torch.from_numpy(data["z"][i]), float(sigma)).numpy().reshape(exact.shape)
        published = data["x0"][i].reshape(exact.shape)
        assert np.abs(ours - exact).max() < 1e-6
        own_error = np.abs(published - exact).max()
        assert own_error < 4e-3
        assert np.abs(ours - published).max() < own_error + 1e-6
