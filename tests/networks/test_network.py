"""`Network`: one call for every trained network, files that come back as they were, and what it was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import smalti
from smalti import InputError, Source
from smalti.networks import DiscreteTable, Network, build, preset_config, shipped
from smalti.source import Split


def tiny(arch: str = "dit", classes: int = 0, about: dict | None = None) -> Network:
    torch.manual_seed(0)
    config = preset_config(arch, "tiny", (1, 8, 8), classes)
    module = build(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return Network.from_module(module, config, "tiny", about)


@pytest.mark.parametrize("arch", ["dit", "ddpmpp", "ncsnpp"])
def test_suite(arch):
    smalti.check_denoiser(tiny(arch, 3))


@pytest.mark.parametrize("arch", ["dit", "ddpmpp", "ncsnpp"])
def test_saved_and_loaded(arch, tmp_path):
    network = tiny(arch, 3, {"recipe": {"seed": 5}})
    network.save(tmp_path / "a.safetensors")
    loaded = Network.load(tmp_path / "a.safetensors")
    z = torch.randn(2, 1, 8, 8)
    assert torch.equal(loaded(z, 0.7, labels=[0, 2]), network(z, 0.7, labels=[0, 2]))
    assert loaded.about == {"recipe": {"seed": 5}}
    assert (loaded.shape, loaded.num_classes, loaded.name) == ((1, 8, 8), 3, "a")
    assert loaded.digest() == network.digest()
    loaded.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_half_precision_file(tmp_path):
    network = tiny()
    network.save(tmp_path / "half.safetensors", torch.float16)
    network.save(tmp_path / "whole.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "whole.safetensors").stat().st_size
    z = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(Network.load(tmp_path / "half.safetensors")(z, 1.0), network(z, 1.0), atol=5e-3, rtol=0)


def test_gradient_with_respect_to_z_only():
    network = tiny()
    z = torch.randn(1, 1, 8, 8, requires_grad=True)
    network(z, 0.5).sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0
    assert not network(z.detach(), 0.5).requires_grad
    with torch.no_grad():
        assert not network(z, 0.5).requires_grad


@pytest.mark.parametrize("arch", ["dit", "ddpmpp", "ncsnpp"])
def test_without_labels_a_conditional_network_is_what_training_left_out_labels_for(arch):
    network = tiny(arch, 3)
    z, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.5, 2.0])
    torch.testing.assert_close(network(z, sigma), network.module(z, sigma, torch.zeros(2, 3)))


def test_digests_tell_networks_apart(tmp_path):
    """By weights, and by what the same weights are put into."""
    torch.manual_seed(0)
    config = preset_config("dit", "tiny", (1, 8, 8))
    state = build(config).state_dict()
    same = [
        Network.from_module(build(c, state), c, "n")
        for c in (config, config | {"heads": 2}, config | {"sigma_data": 1.0})
    ]
    assert len({network.digest() for network in same}) == 3
    counting = torch.nn.Sequential(torch.nn.BatchNorm2d(1))  # whose state has a number
    assert Network(lambda z, s: z, shape=(1, 8, 8)).parameter_count() == 0
    assert len(Network(counting, shape=(1, 8, 8)).digest()) == 64


def test_a_callable_of_ones_own():
    table = DiscreteTable.named("linear", 1000)
    sigma = float(table.sigmas[400])
    zero = Network(lambda x, t: torch.zeros_like(x), "epsilon-vp", (3, 4, 4), table=table, name="zero")
    z = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(zero(z, sigma), z)
    seen = []
    labelled = Network(lambda z, sigma, labels: seen.append(labels) or z, shape=(3, 4, 4), num_classes=5)
    labelled(z, 1.0, labels=[4, 1])
    assert seen[0].tolist() == [4, 1]
    with pytest.raises(InputError, match="no weights"):
        zero.digest()
    with pytest.raises(InputError, match="own architectures"):
        zero.save("never")


def test_bad_networks():
    with pytest.raises(InputError, match="callable"):
        Network(3, shape=(1, 8, 8))
    with pytest.raises(InputError, match="shape"):
        Network(lambda z, s: z)
    with pytest.raises(InputError, match="did you mean"):
        Network(lambda z, s: z, "epsilon-pv", (1, 8, 8))
    with pytest.raises(InputError, match=r"there is no no/such\.file; if it is a model of the Hugging Face hub"):
        Network.load("no/such.file")
    with pytest.raises(InputError, match=r"there is no checkpoint no-such\.file"):
        Network.load("no-such.file")


def test_samples(tmp_path):
    result = smalti.sample(tiny(), n=2, steps=3)
    assert result.images.shape == (2, 1, 8, 8)


def record(source: Source, split: Split) -> dict:
    trained = split.training(source)
    return {
        "training_data": {
            "name": "some",
            "images": len(source),
            "hflip": source.hflip,
            "fingerprint": source.fingerprint(),
            "trained_fingerprint": trained.fingerprint(),
            "split": {"held_out": split.held_out, "part": split.part, "parts": split.parts, "seed": split.seed},
        }
    }


def test_knows_what_it_was_trained_on(digits):
    split = Split(held_out=10, part=2, parts=2)
    network = tiny(about=record(digits.with_hflip(True), split))
    wanted = split.training(digits)
    for given in (digits, wanted):
        found = network.training_source(given)
        assert found.fingerprint() == wanted.fingerprint()
        assert found.hflip
    assert tiny().training_source(digits) is digits


def test_says_loudly_that_it_was_trained_on_other_images(digits):
    network = tiny(about=record(digits, Split()))
    with pytest.warns(UserWarning, match="other images"):
        network.training_source(digits.subset(slice(0, 7)))
    damaged = tiny(about={"training_data": {"fingerprint": digits.fingerprint(), "split": {"parts": "x"}}})
    with pytest.warns(UserWarning, match="other images"):
        damaged.training_source(digits)


def test_splits_are_disjoint_and_whole(digits):
    numbers = Source(np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1))
    pieces = [Split(20, part, 3).training(numbers) for part in (1, 2, 3)] + [Split(20).validation(numbers)]
    values = [set(piece.images.ravel().tolist()) for piece in pieces]
    assert sorted(v for piece in values for v in piece) == list(range(200))
    assert [len(v) for v in values] == [60, 60, 60, 20]
    assert Split().training(numbers) is numbers
    assert Split().validation(numbers) is None
    assert values[3] != set(pieces[3].images.ravel()[:0]) | set(range(20))  # not just the first
    with pytest.raises(InputError, match="leave none"):
        Split(held_out=200).training(numbers)
    with pytest.raises(InputError, match="no split"):
        Split(part=3, parts=2)


SHIPPED = ["ddpmpp-digits", "ddpmpp-digits-half1", "ddpmpp-digits-half2", "dit-digits", "ncsnpp-digits"]


def test_what_is_shipped():
    assert shipped() == SHIPPED
    halves = [Network.load(name).training_source(Source.open("digits")) for name in SHIPPED[1:3]]
    seen = [{image.tobytes() for image in half.images} for half in halves]
    assert len(halves[0]) + len(halves[1]) == 1797 - 180
    assert not seen[0] & seen[1]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks(name):
    """Each loads, knows its images, was trained to the end of what held-out images allow, denoises them better than the best linear
    denoiser, and is under a megabyte."""
    from importlib import resources

    digits, network = Source.open("digits"), Network.load(name)
    source = network.training_source(digits)
    split = Split(**network.about["training_data"]["split"])
    assert (
        source.fingerprint()
        == network.about["training_data"]["trained_fingerprint"]
        == split.training(digits).fingerprint()
    )
    assert (resources.files("smalti") / "weights" / f"{name}.safetensors").stat().st_size < 1_000_000
    held = [row["validation"] for row in network.about["log"] if "validation" in row]
    assert held[-1] < 1.1 * min(held)
    x = split.validation(digits).working()
    assert len(x) == 180
    z = x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    error = float((network(z, 0.5) - x).square().mean())
    assert error < 0.8 * float((smalti.Gaussian(source)(z, 0.5) - x).square().mean())
