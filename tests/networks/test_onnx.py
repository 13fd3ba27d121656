"""ONNX files: computed by ONNX Runtime as the same network in torch, and everything else in one line."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smalti import InputError, Network
from smalti.networks import DiscreteTable

VP = {"convention": "epsilon-vp", "schedule": "linear", "steps": 1000}


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


KERNEL = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))


def exported(onnx, path, batch="B", side=5, labels=False):
    """F = conv(x) + noise/1000 [+ labels], with 2 further channels as of a learned variance."""
    helper, kinds = onnx.helper, onnx.TensorProto
    constants = [("kernel", KERNEL.numpy()), ("where", np.array([1, 2, 3])), ("thousandth", np.float32(1e-3))]
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["t", "thousandth"], ["small"]),
        helper.make_node("Unsqueeze", ["small", "where"], ["wide"]),
        helper.make_node("Add", ["convolved", "wide"], ["told" if labels else "out"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", kinds.FLOAT, [batch, 2, side, side]),
        helper.make_tensor_value_info("t", kinds.FLOAT, [batch]),
    ]
    if labels:
        inputs.append(helper.make_tensor_value_info("y", kinds.INT64, [batch]))
        nodes += [
            helper.make_node("Cast", ["y"], ["number"], to=kinds.FLOAT),
            helper.make_node("Unsqueeze", ["number", "where"], ["numbers"]),
            helper.make_node("Add", ["told", "numbers"], ["out"]),
        ]
    output = helper.make_tensor_value_info("out", kinds.FLOAT, None)
    graph = helper.make_graph(nodes, "g", inputs, [output], [onnx.numpy_helper.from_array(v, n) for n, v in constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def same_in_torch(x, t, y=None):
    told = t.float()[:, None, None, None] / 1000 + (0 if y is None else y.float()[:, None, None, None])
    return F.conv2d(x, KERNEL, padding=1)[:, :2] + told


@pytest.mark.parametrize("batch", ["B", 1])
@pytest.mark.parametrize("labels", [False, True])
def test_as_in_torch(batch, labels, onnx, tmp_path):
    network = Network.load(
        exported(onnx, tmp_path / "n.onnx", batch, labels=labels), config={**VP, "num_classes": 4} if labels else VP
    )
    table = DiscreteTable.named("linear", 1000)
    wanted = Network(same_in_torch, "epsilon-vp", (2, 5, 5), table=table, num_classes=4 if labels else None)
    z, sigma = torch.randn(3, 2, 5, 5), torch.tensor([0.02, 1.0, 50.0])
    classes = [3, 0, 2] if labels else None
    torch.testing.assert_close(network(z, sigma, labels=classes), wanted(z, sigma, labels=classes))
    assert network.name == "n"
    assert network.shape == (2, 5, 5)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copied(z, sigma, labels=classes), network(z, sigma, labels=classes))
        assert copied.digest() == network.digest()
    assert (
        Network.load(exported(onnx, tmp_path / "m.onnx", batch, labels=not labels), config=VP).digest()
        != network.digest()
    )


def test_what_is_said_in_a_line(onnx, tmp_path):
    path = exported(onnx, tmp_path / "n.onnx")
    for config, said in (
        (None, "does not say what its output means"),
        ({"schedule": "linear"}, "does not say what its output means"),
        ({"convention": "epsilon-pv"}, "unknown convention"),
        ({**VP, "schedule": "sine"}, "unknown beta schedule"),
        ({**VP, "colour": 1}, "no 'colour'"),
        ({**VP, "shape": [2, 5]}, "add 'shape'"),
    ):
        with pytest.raises(InputError, match=said):
            Network.load(path, config=config)
    with pytest.raises(InputError, match="add 'shape'"):
        Network.load(exported(onnx, tmp_path / "o.onnx", side="S"), config=VP)
    assert Network.load(tmp_path / "o.onnx", config={**VP, "shape": [2, 6, 6]}).shape == (2, 6, 6)
    network = Network.load(path, config=VP)
    with pytest.raises(InputError, match="no gradients"):
        network(torch.randn(1, 2, 5, 5, requires_grad=True), 1.0)
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], b"\x08\x08", b"not at all", whole + b"\n\x08location"):
        path.write_bytes(damage)
        with pytest.raises(InputError, match=r"not a readable ONNX file|further files|takes ") as caught:
            Network.load(path, config=VP)
        assert "\n" not in str(caught.value)


def test_it_is_asked_for(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "n.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"pip install 'smalti\[onnx\]'"):
        Network.load(tmp_path / "n.onnx", config=VP)
