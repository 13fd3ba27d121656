"""Files of torch.save, zip and legacy: read as they were written, and only what smalti knows the architecture of."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn

from networks import edm_format as edm
from smalti import InputError
from smalti.networks.network import Network
from smalti.networks.torch_files import read_torch_file

CONFIG = {
    "architecture": "unet",
    "resolution": 4,
    "channels": 1,
    "model_channels": 4,
    "multipliers": [1, 1],
    "blocks": 1,
    "attention": [],
}


@pytest.fixture(params=[False, True], ids=["zip", "legacy"])
def save(request, tmp_path):
    def write(content):
        path = tmp_path / "x.pt"
        path.write_bytes(edm.torch_bytes(content, legacy=request.param))
        return path

    return write


def state() -> dict[str, torch.Tensor]:
    return edm.unet({}).state_dict()


@pytest.mark.parametrize("key", ["state", "state_dict", "model"])
def test_a_network_with_its_configuration(save, key):
    path = save({"config": CONFIG, key: state(), "about": {"data": ["digits", 1.5, None]}})
    checkpoint = read_torch_file(path)
    assert checkpoint.config == CONFIG
    assert all(torch.equal(checkpoint.state[name], value) for name, value in state().items())
    assert checkpoint.about == {
        "data": ["digits", 1.5, None],
        "format": "torch.save",
        "tensors": len(state()),
        "parameters": sum(tensor.numel() for tensor in state().values()),
    }
    z = torch.randn(2, 1, 4, 4)
    with torch.no_grad():
        assert torch.equal(Network.load(path)(z, 0.7), edm.unet({})(z, torch.tensor([0.7, 0.7])))


def test_a_bare_state_dict_needs_a_configuration(save):
    path = save(state())
    with pytest.raises(InputError, match="pass config="):
        Network.load(path)
    network = Network.load(path, config=CONFIG)
    assert network.shape == (1, 4, 4)
    with pytest.raises(InputError, match="leave config out"):
        read_torch_file(save({"config": CONFIG, "state": state()}), CONFIG)


def test_tensors_as_they_come(save):
    """Parameters, other dtypes, views, shared storages, scalars, a dict with attributes."""
    base = torch.arange(12.0)
    tensors = OrderedDict(
        parameter=nn.Parameter(torch.randn(2, 3)),
        half=torch.randn(3).half(),
        bfloat=torch.randn(3).bfloat16(),
        double=torch.randn(3).double(),
        transposed=torch.randn(3, 5).t(),
        first=base[:6],
        rest=base[6:].reshape(2, 3),
        scalar=torch.tensor(3.5),
        none=torch.empty(0, 3),
        whole=torch.arange(3),
    )
    tensors._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    read = read_torch_file(save(tensors), {"architecture": "x"}).state
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor.data)
        assert read[name].dtype == tensor.dtype
        assert not read[name].requires_grad


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "holds no state dict"),
        ([torch.ones(1)], "holds no state dict"),
        (torch.ones(1), "holds no state dict"),
        ({"config": CONFIG}, "holds no state dict"),
        ({"config": CONFIG, "model": {}, "state": {}}, "more than one state dict"),
        ({"state": {"w": torch.ones(1)}}, "pass config="),
        ({"w": torch.ones(1), "epoch": 3}, "entry epoch of the state dict"),
        ({"config": CONFIG, "state": {"w": torch.ones(1), 3: torch.ones(1)}}, "entry int of the state dict"),
        ({"config": [1], "state": {"w": torch.ones(1)}}, "a configuration that is not a dict"),
        ({"config": {1: 2}, "state": {"w": torch.ones(1)}}, "keys that are not text"),
        ({"config": {"a": torch.ones(1)}, "state": {"w": torch.ones(1)}}, "not a plain value"),
        ({"config": {"a": 10**5000}, "state": {"w": torch.ones(1)}}, "absurdly long"),
        ({"config": {**CONFIG, "architecture": "vae"}, "state": {"w": torch.ones(1)}}, "unknown architecture"),
        ({"config": {**CONFIG, "resolution": 10**12}, "state": {"w": torch.ones(1)}}, "resolution must be"),
        ({"config": CONFIG, "state": {"w": torch.ones(1)}}, "the checkpoint has no model"),
        (nn.Linear(2, 2), "refused: it names torch.nn.modules.linear|persistent id that is not a storage"),
    ],
)
def test_what_is_not_a_network(save, content, said):
    with pytest.raises(InputError, match=said) as caught:
        Network.load(save(content))
    assert "\n" not in str(caught.value)


def test_other_files(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(InputError, match=r"not a file of torch\.save"):
        read_torch_file(path)
