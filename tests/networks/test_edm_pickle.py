"""EDM pickles: the network in them is the one that smalti builds directly; what is not built is named; nothing in them runs."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch

from networks import edm_format as edm
from smalti import InputError
from smalti.networks.architectures import build
from smalti.networks.edm_pickle import ARGUMENTS, read_edm_pickle
from smalti.networks.network import Network

FORMS = {
    "ddpmpp": {},
    "ncsnpp": {
        "embedding_type": "fourier",
        "channel_mult_noise": 2,
        "encoder_type": "residual",
        "resample_filter": [1, 3, 3, 1],
    },
    "conditional": {"label_dim": 3, "attn_resolutions": [2], "augment_dim": 5, "dropout": 0.0, "channel_mult": (1, 2)},
}


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("form", FORMS)
def test_the_network_is_the_one_that_was_written(tmp_path, form, protocol):
    arguments = FORMS[form]
    checkpoint = read_edm_pickle(written(tmp_path / "x.pkl", edm.snapshot(arguments, protocol)))
    direct = edm.unet(arguments)
    expected = direct.state_dict()
    assert checkpoint.state.keys() == expected.keys()
    assert all(torch.equal(checkpoint.state[name], value) for name, value in expected.items())
    z, sigma = torch.randn(2, 1, 4, 4), torch.tensor([0.3, 7.0])
    classes = torch.eye(3)[:2] if "label_dim" in arguments else None
    with torch.no_grad():
        assert torch.equal(build(checkpoint.config, checkpoint.state)(z, sigma, classes), direct(z, sigma, classes))


def test_it_says_what_it_read(tmp_path):
    path = written(tmp_path / "edm.pkl", edm.snapshot(FORMS["conditional"]))
    about = read_edm_pickle(path).about
    assert json.loads(json.dumps(about)) == about
    assert about["entry"] == "ema"
    assert (about["preconditioning"], about["model"]) == ("EDMPrecond", "SongUNet")
    assert about["classes"]["UNetBlock"] == 10
    assert about["label_dim"] == 3
    assert about["ignored"] == ["loss_fn", "augment_pipe", "dataset_kwargs"]
    assert about["source_text"].startswith("43 characters")
    expected = edm.unet(FORMS["conditional"]).state_dict()
    assert about["tensors"] == len(expected)
    assert about["parameters"] == sum(tensor.numel() for tensor in expected.values())
    network = Network.load(path)
    assert network.shape == (1, 4, 4)
    assert network.num_classes == 3


def test_where_the_network_may_stand(tmp_path):
    network = edm.unet({})
    module = edm.edm_object(network, {}, positional=3)
    for number, (content, entry) in enumerate(
        [
            (module, None),
            ({"net": module}, "net"),
            ({"net": module, "ema": module}, "ema"),
            ({"ema": None, "net": module}, "net"),
        ]
    ):
        checkpoint = read_edm_pickle(written(tmp_path / f"{number}.pkl", edm.edm_bytes(content)))
        assert checkpoint.about["entry"] == entry
        assert checkpoint.config["resolution"] == 4
    dump = written(
        tmp_path / "training-state.pt",
        edm.torch_bytes({"net": module, "optimizer_state": {"state": {0: {"step": 1.0}}}}),
    )
    for checkpoint in (read_edm_pickle(dump), Network.load(dump)):
        assert checkpoint.about["entry"] == "net"


def test_defaults_are_those_of_edm(tmp_path):
    state = {"_init_args": (4, 1, 1), "_init_kwargs": {"model_channels": 4, "channel_mult": [1], "num_blocks": 1}}
    network = edm.unet({"channel_mult": [1]})
    module = edm.record(network, {edm.UNet: state}, "")
    checkpoint = read_edm_pickle(written(tmp_path / "x.pkl", edm.edm_bytes(module)))
    assert checkpoint.about["arguments"] == {
        **ARGUMENTS["SongUNet"],
        **{
            "img_resolution": 4,
            "in_channels": 1,
            "out_channels": 1,
            "model_channels": 4,
            "channel_mult": [1],
            "num_blocks": 1,
        },
    }
    assert checkpoint.config["attention"] == [16]
    assert checkpoint.config["sigma_data"] == 0.5


def test_half_precision_flags_and_sigma_data(tmp_path):
    module = edm.edm_object(edm.unet({}), {}, preconditioning={"use_fp16": True, "sigma_data": 0.25})
    checkpoint = read_edm_pickle(written(tmp_path / "x.pkl", edm.edm_bytes({"ema": module})))
    assert checkpoint.about["ignored"] == ["use_fp16"]
    assert checkpoint.config["sigma_data"] == 0.25


def renamed(outer: str | None = None, inner: str | None = None) -> edm.Persistent:
    module = edm.edm_object(edm.unet({}), {})
    if outer is not None:
        module.meta["class_name"] = outer
    if inner is not None:
        module.meta["state"]["_modules"]["model"].meta["class_name"] = inner
    return module


@pytest.mark.parametrize(("outer", "kind"), [("VPPrecond", "vp"), ("VEPrecond", "ve")])
def test_other_preconditionings(tmp_path, outer, kind):
    """The same network, read under another class, denoises by another formula."""
    path = written(tmp_path / "x.pkl", edm.edm_bytes({"ema": renamed(outer)}))
    network, direct = Network.load(path), edm.unet({})
    assert network.config["preconditioning"] == kind
    assert "sigma_data" not in network.config
    z, sigma = torch.randn(2, 1, 4, 4), torch.tensor([0.3, 7.0])
    level = sigma[:, None, None, None]
    with torch.no_grad():
        if kind == "ve":
            wanted = z + level * direct.model(z, (sigma / 2).log())
        else:
            t = ((0.01 + 39.8 * (1 + sigma**2).log()).sqrt() - 0.1) / 19.9
            wanted = z - level * direct.model(z / (1 + level**2).sqrt(), 999 * t)
    torch.testing.assert_close(network(z, sigma), wanted, rtol=1e-5, atol=1e-5)
    for constant in ("beta_d", "M"):
        module = renamed("VPPrecond")
        module.meta["state"][constant] = 20
        with pytest.raises(InputError, match=f"another {constant} than"):
            read_edm_pickle(written(tmp_path / "x.pkl", edm.edm_bytes({"ema": module})))


@pytest.mark.parametrize(
    ("outer", "inner", "said"),
    [
        (None, "MyUNet", "EDMPrecond around MyUNet, which smalti does not know"),
        ("Generator", None, "Generator around SongUNet, a class that smalti does not know"),
        ("SongUNet", None, "a bare SongUNet without its preconditioning"),
        ("\x1b[31mEvil\nTwo", None, r"\?\[31mEvil\?Two around"),
    ],
)
def test_classes_that_are_not_built_are_named(tmp_path, outer, inner, said):
    with pytest.raises(InputError, match=said):
        read_edm_pickle(written(tmp_path / "x.pkl", edm.edm_bytes({"ema": renamed(outer, inner)})))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"colour": 1}, "has the argument colour, which smalti does not know"),
        ({"encoder_type": "skip"}, "encoder_type 'skip'; smalti builds standard and residual"),
        ({"decoder_type": "skip"}, "decoder_type 'skip'"),
        ({"embedding_type": None}, "unusable embedding_type"),
        ({"channel_mult_emb": 2}, "another embedding width"),
        ({"out_channels": 2}, "other outputs than inputs"),
        ({"img_resolution": None}, "unusable img_resolution"),
        ({"img_resolution": "32"}, "unusable img_resolution"),
        ({"label_dim": True}, "unusable label_dim"),
        ({"dropout": math.nan}, "unusable dropout"),
        ({"model_channels": 10**100}, "unusable model_channels"),
        ({"channel_mult": [1] * 17}, "unusable channel_mult"),
        ({"channel_mult": [[1]]}, "unusable channel_mult"),
        ({"resample_filter": "13"}, "unusable resample_filter"),
    ],
)
def test_arguments_that_are_not_known(tmp_path, arguments, said):
    module = edm.edm_object(edm.unet({}), arguments)
    with pytest.raises(InputError, match=said):
        read_edm_pickle(written(tmp_path / "x.pkl", edm.edm_bytes({"ema": module})))


@pytest.mark.parametrize(
    "arguments", [{"num_blocks": 2}, {"model_channels": 8}, {"label_dim": 2}, {"model_channels": 2048}]
)
def test_arguments_that_do_not_fit_the_weights(tmp_path, arguments):
    module = edm.edm_object(edm.unet({}), arguments)
    with pytest.raises(InputError, match=r"architecture needs|architecture does not have"):
        Network.load(written(tmp_path / "x.pkl", edm.edm_bytes({"ema": module})))


def test_the_source_text_is_not_run(tmp_path):
    """EDM's own loader would run it: the file has code that makes a folder, at import and in the class."""
    marker = tmp_path / "executed"
    code = f"import os\nos.mkdir({str(marker)!r})\nclass SongUNet:\n    def __new__(cls, *args): os.mkdir({str(marker)!r})\n"
    module = edm.edm_object(edm.unet({}), {}, source=code)
    Network.load(written(tmp_path / "x.pkl", edm.edm_bytes({"ema": module})))
    assert not marker.exists()
    exec(code)
    assert marker.exists(), "the code itself works"
    assert os.path.isdir(marker)


@pytest.mark.parametrize("content", [{}, [], {"ema": None}, {"ema": {"a": 1}}, {"model": 1}, None, 3])
def test_files_without_a_network(tmp_path, content):
    with pytest.raises(InputError, match="has no network under 'ema' or 'net'"):
        read_edm_pickle(written(tmp_path / "x.pkl", edm.edm_bytes(content)))
