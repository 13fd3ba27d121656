"""A denoiser as EDM's `net`: its face, and its published sampler and loss where a clone of the code is at SMALTI_EDM_CODE."""

from __future__ import annotations

import importlib
import os

import pytest
import torch

import smalti
from helpers import random_source
from smalti.adapters import edm_net

SOURCE = random_source(20, (3, 6, 6), labels=True)
CLASSES = SOURCE.num_classes
DENOISER = smalti.LocalScore(SOURCE, window=3)


def noise(n=3):
    return torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def published(monkeypatch):
    """Imports a module of the published code."""
    folder = os.environ.get("SMALTI_EDM_CODE")
    if not folder:
        pytest.skip("SMALTI_EDM_CODE is the folder of a clone of EDM's code")
    monkeypatch.syspath_prepend(folder)

    def module(name):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"EDM's code needs {error.name}")

    return module


def test_its_sampler_gives_our_samples(published):
    found = published("generate").edm_sampler(edm_net(DENOISER).eval(), noise(), num_steps=8)
    result = smalti.sample(DENOISER, init=80 * noise(), steps=8)
    torch.testing.assert_close(found.float(), result.images, atol=1e-5, rtol=0)
    labels = torch.eye(CLASSES)[[0, 1, 1]]
    found = published("generate").edm_sampler(edm_net(DENOISER).eval(), noise(), labels, num_steps=4)
    result = smalti.sample(DENOISER, init=80 * noise(), steps=4, labels=[0, 1, 1])
    torch.testing.assert_close(found.float(), result.images, atol=1e-5, rtol=0)


def test_its_loss_runs(published):
    loss = published("training.loss").EDMLoss()(edm_net(DENOISER), SOURCE.working(slice(0, 4)))
    assert loss.shape == (4, 3, 6, 6)
    assert bool(loss.isfinite().all())


def test_the_face():
    net = edm_net(DENOISER).eval().to("cpu")
    assert (net.img_resolution, net.img_channels, net.label_dim) == (6, 3, SOURCE.num_classes)
    assert (net.sigma_min, net.sigma_max) == (0, float("inf"))
    assert net.round_sigma(0.7) == 0.7
    assert edm_net(smalti.Optimal(random_source(3, (1, 4, 5)))).img_resolution == (4, 5)
    x, sigma = noise(), torch.tensor([0.3, 1.0, 5.0])
    assert torch.equal(net(x, sigma[:, None, None, None], force_fp32=True), DENOISER(x, sigma))
    assert torch.equal(net(x, 0.5, torch.zeros(3, CLASSES)), DENOISER(x, 0.5))
    assert torch.equal(net(x, 0.5, torch.eye(CLASSES)[1:2]), DENOISER(x, 0.5, labels=1))
    x.requires_grad_()
    net(x, 0.5, torch.eye(CLASSES)[[0, 1, 1]]).sum().backward()
    assert bool((x.grad != 0).any())


def test_what_it_refuses():
    net = edm_net(DENOISER)
    for labels in (
        torch.full((3, CLASSES), 1 / 3),
        torch.eye(CLASSES)[[0, 1, 1]] * torch.tensor([[1.0], [1.0], [0.0]]),
        torch.tensor([0, 1, 1]),  # numbers
        torch.eye(2 * CLASSES)[[0, 1, 1]],
        torch.eye(3 * CLASSES)[:1].reshape(3, CLASSES).T,  # of as many entries as the rows would have
        [0, 1, 1],
        "cat",
    ):
        with pytest.raises(smalti.InputError, match="one-hot rows"):
            net(noise(), 0.5, labels)
    with pytest.raises(smalti.InputError, match="augment none"):
        net(noise(), 0.5, augment_labels=torch.ones(3, 9))
    with pytest.raises(smalti.InputError, match="a denoiser is needed"):
        edm_net("optimal")
