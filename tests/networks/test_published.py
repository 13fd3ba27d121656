"""ADM and U-ViT, and the state dicts of OpenAI's and Bao et al.'s code: names, shapes, counts, and what becomes of every tensor.

Held against that code itself once, with random weights (within 1e-4 of its noise predictions); here nothing of it is needed.
"""

from __future__ import annotations

import math

import pytest
import torch

from smalti import InputError, Network
from smalti.networks import build
from smalti.networks.published import _rows

ADM = {"architecture": "adm", "resolution": 8, "channels": 2, "model_channels": 32, "multipliers": [1, 2], "blocks": 1}
ADM |= {"attention": [4], "head_channels": 16}
UVIT = {"architecture": "uvit", "preconditioning": "vp", "resolution": 8, "channels": 2, "patch": 2, "hidden": 16}
UVIT |= {"depth": 4, "heads": 2}


def awake(config, seed=0):
    """A network whose every parameter is random."""
    network, generator = build(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 1 / math.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 0.3
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"resolution": 64, "num_classes": 1000}, 295_899_267),  # EDM's ImageNet-64
        ({"resolution": 64, "num_classes": 1000, "outputs": 2}, 295_904_454),  # guided-diffusion's
        (
            {"resolution": 32, "model_channels": 128, "multipliers": [1, 2, 2, 2], "attention": [16, 8], "heads": 4}
            | {"outputs": 2, "resampling": "convolution"},
            52_546_438,
        ),  # improved-diffusion's CIFAR-10
        ({"architecture": "uvit", "resolution": 32}, 44_255_328),  # U-ViT-S/2
    ],
)
def test_sizes_of_the_published_networks(config, count):
    """As many parameters as the public code counts for these configurations."""
    with torch.device("meta"):
        network = build({"architecture": "adm", "channels": 3, **config})
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(
    "config",
    [
        ADM,
        {**ADM, "num_classes": 3, "augmentation": 9},
        {**ADM, "preconditioning": "iddpm", "outputs": 2},
        {**ADM, "scale_shift": False, "resampling": "convolution", "group_size": 1, "heads": 2},
        UVIT,
        {**UVIT, "num_classes": 3, "time_mlp": True, "qkv_bias": True, "convolution": False},
    ],
)
def test_every_parameter_counts(config, tmp_path):
    """Gradients reach all of them, and a network that was saved is the same network."""
    network = awake(config)
    z, sigma = torch.randn(3, 2, 8, 8), torch.tensor([0.3, 1.0, 9.0])
    classes = torch.eye(3) if config.get("num_classes") else None
    labels = torch.randn(3, 9) if config.get("augmentation") else None
    network(z, sigma, classes, labels).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).any()), name
    known = Network.from_module(network, config, "n")
    known.save(tmp_path / "n.safetensors")
    again = Network.load(tmp_path / "n.safetensors")
    numbers = [0, 1, 2] if classes is not None else None
    assert torch.equal(again(z, sigma, labels=numbers), known(z, sigma, labels=numbers))
    assert again.digest() == known.digest()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**ADM, "resolution": 9}, "cannot be halved"),
        ({**ADM, "heads": 3}, "do not divide into 3 heads"),
        ({**ADM, "model_channels": 33}, "must be even|do not divide"),
        ({**ADM, "resampling": "maybe"}, "block or convolution"),
        ({**ADM, "scale_shift": 1}, "true or false"),
        ({**ADM, "preconditioning": "none"}, "unknown preconditioning"),
        ({**ADM, "preconditioning": "vp", "sigma_data": 0.5}, "has no sigma_data"),
        ({**ADM, "preconditioning": "ddpm"}, "schedule must be linear or cosine"),
        ({**ADM, "preconditioning": "ddpm", "schedule": "linear", "steps": 10**9}, "steps must be"),
        ({**ADM, "preconditioning": "ddpm", "schedule": "linear", "steps": 3}, "steps must be"),
        ({**UVIT, "depth": 3}, "even"),
        ({**UVIT, "patch": 3}, "do not divide"),
        ({**UVIT, "hidden": 10**6}, "hidden must be"),
    ],
)
def test_bad_configurations(config, said):
    with pytest.raises(InputError, match=said) as caught:
        build(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", ["legacy", "new"])
def test_the_rows_of_attention(order):
    """The reordered matrix gives EDM's code the queries, keys and values that OpenAI's code finds in the given one."""
    channels, heads = 12, 3
    given = torch.arange(3 * channels).float()
    ours = given[_rows(channels, heads, order)].reshape(heads, channels // heads, 3)
    split = {"new": given.reshape(3, heads, -1), "legacy": given.reshape(heads, 3, -1).transpose(0, 1)}
    theirs = split[order]
    for which in range(3):
        assert torch.equal(ours[:, :, which], theirs[which])


def openai_state(convolution: bool, scale_shift: bool, classes: int) -> dict[str, torch.Tensor]:
    """Random tensors under the names of OpenAI's UNetModel: 32 channels, levels of 1 and 2 times that, one block, attention at half."""
    generator = torch.Generator().manual_seed(1)
    found: dict[str, torch.Tensor] = {}

    def put(name, *shape, bias=True):
        scale = 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.3
        found[f"{name}.weight"] = scale * torch.randn(shape, generator=generator)
        if bias:
            found[f"{name}.bias"] = 0.3 * torch.randn(shape[0], generator=generator)

    def residual(name, ins, outs):
        put(f"{name}.in_layers.0", ins)
        put(f"{name}.in_layers.2", outs, ins, 3, 3)
        put(f"{name}.emb_layers.1", outs * (2 if scale_shift else 1), 128)
        put(f"{name}.out_layers.0", outs)
        put(f"{name}.out_layers.3", outs, outs, 3, 3)
        if ins != outs:
            put(f"{name}.skip_connection", outs, ins, 1, 1)

    def attention(name, channels):
        put(f"{name}.norm", channels)
        put(f"{name}.qkv", 3 * channels, channels, 1)
        put(f"{name}.proj_out", channels, channels, 1)

    put("time_embed.0", 128, 32)
    put("time_embed.2", 128, 128)
    if classes:
        put("label_emb", classes, 128, bias=False)
    put("input_blocks.0.0", 32, 2, 3, 3)
    residual("input_blocks.1.0", 32, 32)
    put("input_blocks.2.0.op", 32, 32, 3, 3) if convolution else residual("input_blocks.2.0", 32, 32)
    residual("input_blocks.3.0", 32, 64)
    attention("input_blocks.3.1", 64)
    residual("middle_block.0", 64, 64)
    attention("middle_block.1", 64)
    residual("middle_block.2", 64, 64)
    residual("output_blocks.0.0", 128, 64)
    attention("output_blocks.0.1", 64)
    residual("output_blocks.1.0", 96, 64)
    attention("output_blocks.1.1", 64)
    put("output_blocks.1.2.conv", 64, 64, 3, 3) if convolution else residual("output_blocks.1.2", 64, 64)
    residual("output_blocks.2.0", 96, 32)
    residual("output_blocks.3.0", 64, 32)
    put("out.0", 32)
    put("out.2", 4, 32, 3, 3)
    return found


GIVEN = {"resolution": 8, "heads": 4, "schedule": "cosine", "steps": 1000}


@pytest.mark.parametrize("convolution", [True, False])
@pytest.mark.parametrize("scale_shift", [True, False])
@pytest.mark.parametrize("classes", [0, 3])
def test_openais_state_dicts(convolution, scale_shift, classes, tmp_path):
    """The architecture is read off; every tensor of the file arrives and has a say."""
    state = openai_state(convolution, scale_shift, classes)
    torch.save(state, tmp_path / "x.pt")
    network = Network.load(tmp_path / "x.pt", config=GIVEN)
    config = network.config
    assert (config["architecture"], config["preconditioning"]) == ("adm", "ddpm")
    assert (config["multipliers"], config["blocks"], config["attention"]) == ([1, 2], 1, [4])
    assert (config["outputs"], config["num_classes"]) == (2, classes)
    assert (config["scale_shift"], config["resampling"]) == (scale_shift, "convolution" if convolution else "block")
    assert network.parameter_count() == sum(t.numel() for t in state.values())
    z, labels = torch.randn(2, 2, 8, 8), [1, 2] if classes else None
    before = network(z, 0.7, labels=labels)
    torch.save({"ema": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "x.pt")  # as trainings keep them
    assert torch.equal(Network.load(tmp_path / "x.pt", config=GIVEN)(z, 0.7, labels=labels), before)
    new = {**GIVEN, "attention_order": "new"}
    assert not torch.allclose(Network.load(tmp_path / "x.pt", config=new)(z, 0.7, labels=labels), before)
    for name in ("input_blocks.2", "middle_block.1", "output_blocks.1", "time_embed.0"):
        changed = {n: t + 0.1 if n.startswith(name) else t for n, t in state.items()}
        torch.save(changed, tmp_path / "x.pt")
        assert not torch.allclose(Network.load(tmp_path / "x.pt", config=GIVEN)(z, 0.7, labels=labels), before), name


def test_what_openais_state_dicts_do_not_say(tmp_path):
    state = openai_state(True, True, 0)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(
        InputError, match=r"does not say its resolution, heads or head_channels, schedule, steps; pass config="
    ):
        Network.load(tmp_path / "x.pt")
    for change, said in (
        ({"resolution": 7}, "multiple of 2"),
        ({"resolution": "8"}, "multiple of 2"),
        ({"heads": 5}, "do not divide into 5 heads"),
        ({"heads": "x"}, "heads must be"),
        ({"schedule": "sine"}, "linear or cosine"),
        ({"attention_order": "odd"}, "legacy or new"),
        ({"colour": 1}, "no argument 'colour'"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            Network.load(tmp_path / "x.pt", config={**GIVEN, **change})
        assert "\n" not in str(caught.value)
    for name in (
        "middle_block.1.qkv.bias",
        "input_blocks.3.0.out_layers.3.weight",
        "out.2.weight",
        "output_blocks.3.0.in_layers.0.weight",
    ):
        torch.save({n: t for n, t in state.items() if n != name}, tmp_path / "x.pt")
        with pytest.raises(InputError, match=r"damaged|no model"):
            Network.load(tmp_path / "x.pt", config=GIVEN)


@pytest.mark.parametrize(
    "more", [{}, {"num_classes": 3, "time_mlp": True, "qkv_bias": True, "convolution": False, "patch": 4}]
)
def test_uvits_state_dicts(more, tmp_path):
    config = {**UVIT, **more}
    network = awake(config)
    torch.save({n.removeprefix("model."): t for n, t in network.state_dict().items()}, tmp_path / "nnet_ema.pth")
    with pytest.raises(InputError, match="does not say its heads; pass config="):
        Network.load(tmp_path / "nnet_ema.pth")
    read = Network.load(tmp_path / "nnet_ema.pth", config={"heads": 2})
    assert {k: read.config[k] for k in config} == config
    known = Network.from_module(network, config, "n")
    z, labels = torch.randn(3, 2, 8, 8), [0, 2, 1] if more else None
    assert torch.equal(read(z, 0.7, labels=labels), known(z, 0.7, labels=labels))
