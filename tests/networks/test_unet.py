"""The published U-Nets, reproduced with their own weights (../shared/oracles)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from smalti import Denoiser, InputError, sample
from smalti.networks import EDMPreconditioned, UNet


def network(data) -> EDMPreconditioned:
    config = json.loads(str(data["config"]))
    model = UNet(
        config["img_resolution"],
        config["img_channels"],
        config["model_channels"],
        config["channel_mult"],
        config["num_blocks"],
        config["attn_resolutions"],
        config["dropout"],
        config["label_dim"],
        config["augment_dim"],
        config["embedding_type"],
        config["channel_mult_noise"],
        config["encoder_type"],
        config["resample_filter"],
    )
    wrapped = EDMPreconditioned(model, config["sigma_data"])
    weights = {
        name.removeprefix("weight/"): torch.from_numpy(v) for name, v in data.items() if name.startswith("weight/")
    }
    wrapped.load_state_dict(weights)  # strict: the names are the published ones
    return wrapped.eval()


class AsDenoiser(Denoiser):
    def __init__(self, wrapped, shape, classes):
        self.wrapped, self.shape, self.classes = wrapped, shape, classes

    def denoise(self, z, sigma, labels):
        with torch.no_grad():
            return self.wrapped(z, sigma, self.classes)


@pytest.mark.parametrize("name", ["edm_ddpmpp", "edm_ncsnpp", "edm_ddpmpp_cond"])
def test_published_outputs(oracle, name):
    data = oracle(name)
    wrapped = network(data)
    labels = torch.from_numpy(data["labels"])
    classes = labels if labels.shape[1] else None
    with torch.no_grad():
        x0 = wrapped(torch.from_numpy(data["z"]), torch.from_numpy(data["sigma"]), classes)
    assert float((x0 - torch.from_numpy(data["x0"])).abs().max()) < 1e-4
    denoiser = AsDenoiser(wrapped, tuple(data["z"].shape[1:]), None if classes is None else classes[:2])
    found = sample(denoiser, steps=int(data["heun_steps"]), init=80.0 * torch.from_numpy(data["heun_latents"]).double())
    assert np.abs(found.images.numpy() - data["heun_sample"]).max() < 1e-3


@pytest.mark.parametrize(("encoder", "embedding"), [("standard", "positional"), ("residual", "fourier")])
@pytest.mark.parametrize(("resolution", "channels"), [(8, 1), (16, 3), (28, 1)])
def test_any_resolution_and_channels(resolution, channels, encoder, embedding):
    model = UNet(resolution, channels, 8, (1, 2), 1, (resolution // 2,), 0.0, 4, 0, embedding, 1, encoder, (1, 3, 3, 1))
    x = torch.randn(2, channels, resolution, resolution)
    out = EDMPreconditioned(model)(x, torch.tensor([0.5, 3.0]), torch.eye(4)[:2])
    assert out.shape == x.shape
    out.sum().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert unused == []


def test_an_untrained_network_returns_the_skip():
    """c_out F starts near 0, so D starts near c_skip z."""
    z = torch.randn(2, 3, 8, 8)
    sigma = torch.tensor([0.5, 2.0])
    out = EDMPreconditioned(UNet(8, 3, 8, (1, 1), 1, (4,)).eval())(z, sigma)
    torch.testing.assert_close(out, z * (0.25 / (sigma**2 + 0.25))[:, None, None, None], atol=1e-2, rtol=0)


def test_bad_forms():
    with pytest.raises(InputError, match="cannot be halved"):
        UNet(9, 1, multipliers=(1, 1))
    with pytest.raises(InputError, match="unknown form"):
        UNet(8, 1, encoder="skip")
