"""Configurations from anywhere: presets, checks, and building without memory for what a file only claims."""

from __future__ import annotations

import pytest
import torch

from smalti import InputError
from smalti.networks import build, preset_config
from smalti.networks.architectures import PRESETS, check_config


@pytest.mark.parametrize(("arch", "preset"), [(a, p) for a in PRESETS for p in PRESETS[a] if p in ("tiny", "small")])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (3, 32, 32)])
def test_presets_fit_any_data(arch, preset, shape):
    with torch.device("meta"):
        network = build(preset_config(arch, preset, shape, num_classes=4))
        assert network(torch.empty(2, *shape), torch.ones(2), torch.empty(2, 4)).shape == (2, *shape)


def test_sizes_of_the_published_networks():
    """As many parameters as NVIDIA's code counts for its CIFAR-10 configurations."""
    for arch, count in (("ddpmpp", 55_733_891), ("ncsnpp", 56_397_827)):
        with torch.device("meta"):
            network = build(preset_config(arch, "cifar10", (3, 32, 32), augmentation=9))
        assert sum(p.numel() for p in network.parameters()) == count


def test_state_is_taken_as_it_is():
    config = preset_config("dit", "tiny", (1, 8, 8))
    first = build(config)
    second = build(config, first.state_dict())
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor)
    assert not second.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "transformer"}, "unknown architecture"),
        ({"architecture": ["unet"]}, "unknown architecture"),
        ({"resolution": 10**9}, "resolution must be"),
        ({"blocks": -1}, "blocks must be"),
        ({"blocks": True}, "blocks must be"),
        ({"model_channels": "64"}, "model_channels must be"),
        ({"multipliers": [2] * 1000}, "multipliers must be"),
        ({"multipliers": 2}, "multipliers must be"),
        ({"taps": [float("nan")]}, "taps must be"),
        ({"dropout": 1.5}, "dropout must be"),
        ({"sigma_data": float("inf")}, "sigma_data must be"),
        ({"encoder": 3}, "encoder must be"),
        ({"colour": 3}, "has no argument 'colour'"),
        ({"blocks": 10**6000}, "blocks must be a whole number from 1 to 128, not a larger one"),
        ({"blocks": 128, "multipliers": [1] * 4}, "more than 128 blocks"),
    ],
)
def test_bad_configurations(change, message):
    config = preset_config("ddpmpp", "tiny", (1, 8, 8)) | change
    with pytest.raises(InputError, match=message) as raised:
        check_config(config)
    assert "\n" not in str(raised.value)


def test_misfits_are_named():
    config = preset_config("dit", "tiny", (1, 8, 8))
    state = build(config).state_dict()
    for changed, message in (
        ({k: v for k, v in state.items() if "last.bias" not in k}, "no model.last.bias"),
        (state | {"model.last.bias": torch.zeros(3)}, r"model.last.bias has shape \(3,\)"),
        (state | {"model.extra": torch.zeros(3)}, "model.extra"),
        (state | {"model.last.bias": state["model.last.bias"].long()}, "not floating"),
        (state | {"model.last.bias": state["model.last.bias"] * float("nan")}, "NaN"),
    ):
        with pytest.raises(InputError, match=message):
            build(config, changed)


def test_presets_have_helpful_errors():
    with pytest.raises(InputError, match="did you mean 'ddpmpp'"):
        preset_config("ddpm", "tiny", (1, 8, 8))
    with pytest.raises(InputError, match="did you mean 'tiny'"):
        preset_config("dit", "tinny", (1, 8, 8))
    with pytest.raises(InputError, match="square"):
        preset_config("dit", "tiny", (1, 8, 10))
