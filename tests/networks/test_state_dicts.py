"""State dicts as trainings and wrappers save them: averaged weights, prefixes, things beside the tensors, bare safetensors."""

from __future__ import annotations

import argparse
import pathlib
import re
import time
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from smalti import InputError, Network


@pytest.fixture(scope="module")
def digits_dit():
    return Network.load("dit-digits")


@pytest.fixture(scope="module")
def state(digits_dit):
    return digits_dit.module.state_dict()


def halved(state):
    return {name: 0.5 * value for name, value in state.items()}


def same(network, state):
    return all(torch.equal(network.module.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("averaged", ["ema", "model_ema", "ema_state_dict"])
@pytest.mark.parametrize("raw", ["model", "state_dict", "net"])
def test_averaged_weights_are_read_and_said(averaged, raw, digits_dit, state, tmp_path):
    path = tmp_path / "x.pt"
    torch.save({raw: halved(state), averaged: state, "opt": {"state": {0: torch.ones(2)}}, "steps": 5}, path)
    with pytest.warns(UserWarning, match=f"averaged weights .*{averaged}.*raw ones .*{raw}.*weights='raw'"):
        network = Network.load(path, config=digits_dit.config)
    assert same(network, state)
    assert network.about["weights"] == averaged
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(Network.load(path, config=digits_dit.config, weights="raw"), halved(state))


def test_averaged_weights_alone(digits_dit, state, tmp_path):
    torch.save({"ema": state, "opt": {}}, tmp_path / "x.pt")
    for weights in ("averaged", "raw"):  # what there is
        assert same(Network.load(tmp_path / "x.pt", config=digits_dit.config, weights=weights), state)
    torch.save({"ema": {"decay": 0.999, "state_dict": state}}, tmp_path / "x.pt")
    assert same(Network.load(tmp_path / "x.pt", config=digits_dit.config), state)


def test_ema_pytorch(digits_dit, state, tmp_path):
    """lucidrains' EMA keeps both in one dict, with counters beside."""
    ema = {"initted": torch.tensor(True), "step": torch.tensor(3)}
    ema |= {f"online_model.{k}": v for k, v in halved(state).items()} | {f"ema_model.{k}": v for k, v in state.items()}
    torch.save({"step": 3, "model": halved(state), "ema": ema, "opt": {}, "version": "1.0"}, tmp_path / "x.pt")
    with pytest.warns(UserWarning, match="averaged"):
        assert same(Network.load(tmp_path / "x.pt", config=digits_dit.config), state)


def shadows(network, frozen=()):
    """What torch-ema and diffusers' EMAModel keep: the parameters in their order, without names."""
    return [2 * p.detach() for name, p in network.module.named_parameters() if name not in frozen]


@pytest.mark.parametrize("frozen", [(), ("model.enc.8x8_conv.weight",)])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_averages_without_names(frozen, wrapper, tmp_path):
    """The NCSN++ has buffers, and score_sde's averages leave frozen parameters out."""
    network = Network.load("ncsnpp-digits")
    raw = {wrapper + name: value for name, value in network.module.state_dict().items()}
    ema = {"decay": 0.999, "num_updates": 5, "shadow_params": shadows(network, frozen), "collected_params": None}
    path = tmp_path / "checkpoint_9.pth"
    torch.save({"optimizer": {"state": {}}, "model": raw, "ema": ema, "step": 9}, path)
    with pytest.warns(UserWarning, match="averaged weights .'ema'. and raw ones"):
        read = Network.load(path, config=network.config)
    for name, value in network.module.state_dict().items():
        factor = 2 if name in dict(network.module.named_parameters()) and name not in frozen else 1
        assert torch.equal(read.module.state_dict()[name], factor * value), name
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*averaged")
        assert same(Network.load(path, config=network.config, weights="raw"), network.module.state_dict())


def test_averages_without_names_that_fit_in_no_or_several_ways(digits_dit, state, tmp_path):
    def fails(content, says):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(InputError, match=says) as caught:
            Network.load(tmp_path / "x.pt", config=digits_dit.config)
        assert "copy_to(network.parameters())" in str(caught.value)

    listed = shadows(digits_dit)
    fails({"ema": {"shadow_params": listed}}, "a list without names .shadow_params., and no names")
    fails({"shadow_params": listed, "decay": 0.9}, "and no names")
    fails({"model": state, "ema": {"shadow_params": [*listed, torch.ones(3)]}}, "no way to match.*--weights raw")
    fails({"model": state, "ema": {"shadow_params": []}}, "several ways")
    twice = {**state, "model.extra.weight": torch.ones_like(listed[-1])}
    fails({"model": twice, "ema": {"shadow_params": listed}}, "several ways to match")


def test_averages_whose_names_lost_their_dots(digits_dit, state, tmp_path):
    """latent-diffusion's LitEma, in a Lightning checkpoint and as safetensors."""
    named = {f"model.diffusion_{name}": value for name, value in halved(state).items()}
    averages = {f"model_ema.{name.removeprefix('model.').replace('.', '')}": 2 * value for name, value in named.items()}
    whole = {**named, **averages, "model_ema.decay": torch.ones(()), "model_ema.num_updates": torch.ones(())}
    torch.save({"state_dict": whole, "epoch": 1}, tmp_path / "x.ckpt")
    save_file({name: value.contiguous() for name, value in whole.items()}, tmp_path / "x.safetensors")
    for path in (tmp_path / "x.ckpt", tmp_path / "x.safetensors"):
        with pytest.warns(UserWarning, match="averaged weights .'model_ema'. and raw ones"):
            assert same(Network.load(path, config=digits_dit.config), state)
        with pytest.warns(UserWarning, match="left out"):
            assert same(Network.load(path, config=digits_dit.config, weights="raw"), halved(state))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net.", "module._orig_mod."])
@pytest.mark.parametrize("inner", [False, True])
def test_prefixes_are_left_out_with_a_word(prefix, inner, digits_dit, state, tmp_path):
    """The prefix of a wrapper; also around the network without its preconditioning."""
    named = {prefix + (k.removeprefix("model.") if inner else k): v for k, v in state.items()}
    torch.save({"state_dict": {**named, "loss.weight": torch.ones(1)}, "epoch": 1}, tmp_path / "x.ckpt")
    with pytest.warns(UserWarning, match=f"{re.escape(repr(prefix))}.*left out; 1 tensors besides"):
        assert same(Network.load(tmp_path / "x.ckpt", config=digits_dit.config), state)


def test_two_prefixes(digits_dit, state, tmp_path):
    both = {f"net.{k}": v for k, v in halved(state).items()} | {f"net_ema.{k}": v for k, v in state.items()}
    torch.save({"state_dict": both}, tmp_path / "x.ckpt")
    with pytest.warns(UserWarning, match="net_ema"):
        assert same(Network.load(tmp_path / "x.ckpt", config=digits_dit.config), state)
    with pytest.warns(UserWarning, match="'net.'"):
        assert same(Network.load(tmp_path / "x.ckpt", config=digits_dit.config, weights="raw"), halved(state))
    torch.save({f"{p}.{k}": v for p in "ab" for k, v in state.items()}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="several prefixes"):
        Network.load(tmp_path / "x.ckpt", config=digits_dit.config)


def test_what_trainings_keep_beside_the_weights(digits_dit, state, tmp_path):
    """NumPy scalars and arrays, arguments, paths, devices, defaults, other protocols: none of it is executed, nor in the way."""
    beside = {"loss": np.float64(0.1), "curve": np.arange(3.0), "args": argparse.Namespace(lr=1, out=pathlib.Path("x"))}
    beside |= {"device": torch.device("cpu"), "dtype": torch.float32, "model_state_dict": state}
    for protocol in (2, 3, 4, 5):
        torch.save(beside, tmp_path / "x.pt", pickle_protocol=protocol)
        assert same(Network.load(tmp_path / "x.pt", config=digits_dit.config), state)
        torch.save(state, tmp_path / "x.pt", pickle_protocol=protocol)
        assert same(Network.load(tmp_path / "x.pt", config=digits_dit.config), state)


def test_bare_safetensors(digits_dit, state, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({f"module.{k}": v.contiguous() for k, v in state.items()}, path)
    with pytest.raises(InputError, match="pass config="):
        Network.load(path)
    with pytest.warns(UserWarning, match="left out"):
        assert same(Network.load(path, config=digits_dit.config), state)
    digits_dit.save(path)
    with pytest.raises(InputError, match="leave config out"):
        Network.load(path, config=digits_dit.config)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (None, "from a path or a name, not NoneType"),
        (3, "not int"),
        ("", "not nothing"),
        (b"x", "not bytes"),
        ("x\0y", "not a path"),
        ("\udc80\ud800", "no checkpoint|not a path"),
        ("n" * 10_000, "File name too long"),
        ("no\x1b[31mred", "no checkpoint no.\\[31mred"),
        ("edm-cifar10-32x32-uncond-vp", "fetch edm-cifar10-32x32-uncond-vp.pkl"),
        ("https://host/models/edm-ffhq-64x64-uncond-ve.pkl", "fetch edm-ffhq-64x64-uncond-ve.pkl"),
        ("https://host/x.pt", "nothing is downloaded"),
    ],
)
def test_what_is_no_path(path, said):
    with pytest.raises(InputError, match=said) as caught:
        Network.load(path)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_arguments_that_do_not_belong(digits_dit, tmp_path):
    with pytest.raises(InputError, match="leave config out"):
        Network.load("dit-digits", config=digits_dit.config)
    with pytest.raises(InputError, match="leave it out"):
        Network.load("dit-digits", scheduler={})
    with pytest.raises(InputError, match="averaged or raw"):
        Network.load("dit-digits", weights="emma")


def test_colliding_keys_take_no_time(tmp_path):
    """Whole numbers whose hashes agree in their low bits make a dict of Python's as slow as a list."""
    from networks.edm_format import torch_bytes

    path = tmp_path / "x.pt"
    path.write_bytes(torch_bytes({"w": torch.ones(1), "opt": {i << 44: None for i in range(-60_000, 60_000)}}))
    started = time.process_time()
    with pytest.raises(InputError):
        Network.load(path, config={"architecture": "dit"})
    assert time.process_time() - started < 5


def test_products_of_huge_sizes_take_no_time(tmp_path):
    """Thousands of sides of a million digits each would be multiplied for minutes."""
    side = str(10**4000)
    entries = ",".join(
        f'"t{i}":{{"dtype":"F32","shape":[{",".join([side] * 8)}],"data_offsets":[0,4]}}' for i in range(90)
    )
    many = ",".join(["9" * 18] * 150_000)
    for header in ("{" + entries + "}", '{"t":{"dtype":"F32","shape":[' + many + '],"data_offsets":[0,4]}}'):
        path = tmp_path / "x.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))
        started = time.process_time()
        with pytest.raises(InputError, match="malformed") as caught:
            Network.load(path)
        assert time.process_time() - started < 5
        assert len(str(caught.value)) < 400


def test_names_are_printed_without_what_a_terminal_obeys(tmp_path):
    name = "\x1b[2J\x07red\u202e"
    save_file({name: torch.ones(1)}, tmp_path / "x.safetensors")
    torch.save({name: torch.ones(1)}, tmp_path / "x.pt")
    config = {"architecture": "dit", "resolution": 4, "channels": 1, "hidden": 8, "heads": 1, "blocks": 1}
    for file in ("x.safetensors", "x.pt"):
        for wanted in (config, {name: 1}, {"architecture": name}, {**config, name: 1}):
            with pytest.raises(InputError) as caught:
                Network.load(tmp_path / file, config=wanted)
            assert all(c.isprintable() for c in str(caught.value))


NAMED = {
    "diffusers' UNet2DModel alone; give the folder": "conv_in conv_norm_out down_blocks.0.resnets.0.conv1 time_embedding.linear_1",
    "UNet2DConditionModel, which is conditional on text": "conv_in down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    "with an encoder of text": "cond_stage_model.transformer model.diffusion_model.out.0",
    "an autoencoder": "quant_conv decoder.conv_in",
    "score_sde's": "module.all_modules.0 module.all_modules.1",
    "the PyTorch port of DDPM": "temb.dense.0 down.0.block.0.norm1 conv_in",
    "DiT or SiT": "x_embedder.proj t_embedder.mlp.0 blocks.0.attn.qkv",
    "lucidrains'": "model.init_conv model.downs.0.0.block1.proj model.ups.0.0.block1.proj",
}


@pytest.mark.parametrize("says", NAMED)
def test_networks_that_are_not_built_are_told_by_their_names(says, tmp_path):
    state = {f"{name}.weight": torch.ones(2) for name in NAMED[says].split()}
    torch.save({"model": state, "epoch": 1}, tmp_path / "x.pt")
    save_file(state, tmp_path / "x.safetensors")
    for path in (tmp_path / "x.pt", tmp_path / "x.safetensors"):
        with pytest.raises(InputError, match=re.escape(says)) as caught:
            Network.load(path)
        assert "architecture" not in str(caught.value)
    if "diffusers' UNet2DModel" in says:
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(InputError, match=f"give its folder, {re.escape(str(tmp_path))}"):
            Network.load(tmp_path / "x.pt")


def test_what_is_no_checkpoint_yet(tmp_path):
    """A name of the hub, its cache, a training's folder, a pointer of git."""
    with pytest.raises(InputError, match="if it is a model of the Hugging Face hub, download it"):
        Network.load("google/ddpm-cifar10-32")
    (tmp_path / "models--x" / "snapshots" / "abc").mkdir(parents=True)
    with pytest.raises(InputError, match=r"give a snapshot in it, .*/snapshots/abc"):
        Network.load(tmp_path / "models--x")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "optimizer.bin").write_bytes(b"x")
    (tmp_path / "state" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"pytorch_model\.bin alone does not say what network"):
        Network.load(tmp_path / "state")
    (tmp_path / "state" / "model_index.json").write_text('{"_class_name": "DiTPipeline", "transformer": []}')
    with pytest.raises(InputError, match=r"a 'DiTPipeline' without a unet; smalti reads"):
        Network.load(tmp_path / "state")
    for name in ("x.safetensors", "x.pkl", "x.bin", "x.onnx"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        with pytest.raises(InputError, match="a Git LFS pointer"):
            Network.load(tmp_path / name, config={"convention": "edm"} if name == "x.onnx" else None)
