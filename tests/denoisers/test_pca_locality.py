"""PCALocality: its masks and its output by their definitions, whatever the blocks; with flips and classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import smalti
from helpers import by_class, composite, noisy, random_source, with_flips
from smalti import InputError, Optimal, Source
from smalti.denoisers import PCALocality
from smalti.engine import torch_backend

SHAPE = (2, 4, 5)
ONES = torch.eye(40, dtype=torch.float64).unflatten(1, SHAPE)


def masks_by_hand(images, sigma, threshold):
    """(C H W, C, H, W): output entry, input entry."""
    covariance = torch.cov(images.flatten(1).T, correction=0)
    f = (covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(len(covariance), dtype=torch.float64))).abs()
    ratios = torch.stack([f[n] / (f[n, n] if f[n, n] >= 1e-6 else 1) for n in range(len(f))])
    masks = (ratios >= threshold * ratios.max()).T.clone()
    for m in range(len(masks)):
        if not masks[m].any():
            masks[m, m] = True
    return masks.unflatten(1, tuple(images.shape[1:]))


@pytest.mark.parametrize("hflip", [False, True])
def test_by_hand(hflip):
    source = random_source(60, SHAPE, labels=True, hflip=hflip)
    denoiser = PCALocality(source, threshold=0.05, temperature=2)
    for sigma in (0.05, 0.4, 0.401, 6.0):  # every sigma has its own masks
        z = noisy(source, sigma)
        for labels, chosen in ((None, source), ([1, 1], by_class(source, 1))):
            images = with_flips(chosen)
            masks = masks_by_hand(images, sigma, 0.05)
            assert torch.equal(denoiser.masks_at(sigma, None if labels is None else 1), masks)
            expected = composite(images, masks / 2, ONES, z, sigma)
            torch.testing.assert_close(denoiser(z, sigma, labels=labels), expected, atol=1e-5, rtol=0)


def test_exact_whatever_the_block_size(monkeypatch):
    source = random_source(50, SHAPE)
    denoiser, z = PCALocality(source), noisy(source, 0.3)
    whole = denoiser(z, 0.3)
    monkeypatch.setitem(torch_backend.BLOCK_BYTES, "cpu", 1)
    torch.testing.assert_close(PCALocality(source, backend="torch")(z, 0.3), whole, atol=1e-6, rtol=0)


def test_a_threshold_of_0_gives_optimal():
    source = random_source(9, SHAPE)
    z = noisy(source, 0.3)
    torch.testing.assert_close(PCALocality(source, threshold=0)(z, 0.3), Optimal(source)(z, 0.3), atol=1e-5, rtol=0)


def test_entries_that_never_vary_keep_themselves():
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 3, 3), np.uint8)
    images[:, 0, 1, 1] = 7
    masks = PCALocality(Source(images)).masks_at(0.3)
    assert masks[4].int().flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert not masks[:4, 0, 1, 1].any()
    assert torch.equal(PCALocality(Source(images[:1])).masks_at(0.3).flatten(1), torch.eye(9, dtype=torch.bool))


def test_masks_given():
    source = random_source(7, SHAPE)
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(2, 40, *SHAPE, generator=generator) < 0.4
    z = noisy(source, 0.5)
    two = PCALocality(source, masks=masks, sigmas=[2.0, 0.2])
    for sigma, level in ((1.5, 0), (0.5, 1)):
        expected = composite(with_flips(source), masks[level], ONES, z, sigma)
        torch.testing.assert_close(two(z, sigma), expected, atol=1e-5, rtol=0)
        one = PCALocality(source, masks=masks[level].numpy())
        torch.testing.assert_close(one(z, sigma), expected, atol=1e-5, rtol=0)
    assert "flips_commute" in two.opt_outs
    smalti.check_denoiser(PCALocality(random_source(40, SHAPE), masks=masks[0]))


def test_the_latest_masks_are_kept(monkeypatch):
    monkeypatch.setattr(PCALocality, "kept", 2)
    denoiser = PCALocality(random_source(7, SHAPE))
    first = denoiser.collection(1.0)
    assert denoiser.collection(1.0) is first
    denoiser.collection(2.0)
    denoiser.collection(3.0)
    assert len(denoiser._made) == 2
    assert denoiser.collection(1.0) is not first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.5}, "from 0 to 1"),
        ({"threshold": "low"}, "must be a number"),
        ({"threshold": float("nan")}, "not NaN"),
        ({"temperature": 0}, "greater than 0"),
        ({"sigmas": [1.0]}, "without masks"),
        ({"masks": torch.ones(40, 4, 5)}, "masks must be"),
        ({"masks": torch.ones(40, *SHAPE) / 2}, "0 or 1"),
        ({"masks": torch.ones(40, *SHAPE), "sigmas": [1.0]}, "masks for one level"),
        ({"masks": torch.ones(2, 40, *SHAPE)}, "2 masks for 18 levels"),
        ({"masks": [1, 0]}, "not list"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        PCALocality(random_source(3, SHAPE), **arguments)
