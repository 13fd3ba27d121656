"""The transformer: shapes, its start as the identity, positions, and classes."""

from __future__ import annotations

import pytest
import torch

from smalti import InputError
from smalti.networks import DiT, EDMPreconditioned, build, preset_config


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def awake(model: torch.nn.Module) -> torch.nn.Module:
    """The same with no weight at 0, so that everything has an effect."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


@pytest.mark.parametrize(("resolution", "channels", "patch"), [(8, 1, 2), (16, 3, 4), (28, 1, 4), (64, 3, 8)])
def test_any_resolution_and_channels(resolution, channels, patch):
    model = DiT(resolution, channels, patch, 32, 2, 4, num_classes=3, augmentation=9)
    x = torch.randn(2, channels, resolution, resolution)
    out = awake(EDMPreconditioned(model))(x, torch.tensor([0.5, 3.0]), torch.eye(3)[:2], torch.randn(2, 9))
    assert out.shape == x.shape
    out.sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_starts_as_zero():
    model = DiT(8, 1, 2, 32, 2, 4).eval()
    assert not model(torch.randn(2, 1, 8, 8), torch.zeros(2)).any()


def test_workshop_table_2():
    model = build(preset_config("dit", "B/4", (3, 32, 32))).model
    assert len(model.blocks) == 12
    assert model.embed_patch.weight.shape == (768, 3 * 16)
    assert model.blocks[0].heads == 12
    assert model.blocks[0].dropout == 0.12
    assert model.positions.shape == (64, 768)
    counted = sum(p.numel() for p in model.parameters())
    assert 125e6 < counted < 135e6  # DiT-B has 130 million


def test_tokens_know_where_they_are():
    """Without positions a transformer would not tell two swapped tokens from one another."""
    model = awake(DiT(8, 1, 4, 32, 2, 4))
    assert len(torch.unique(model.positions, dim=0)) == 4
    x = torch.zeros(1, 1, 8, 8)
    x[..., :4, :4] = 1
    noise = torch.zeros(1)
    moved = model(x.roll(4, -1), noise).roll(-4, -1)
    assert not torch.allclose(model(x, noise), moved, atol=1e-3)


def test_attention_is_scaled_dot_product():
    """One block by hand."""
    block = awake(DiT(8, 1, 4, 8, 1, 2)).blocks[0]
    x = torch.randn(1, 4, 8)
    q, k, v = (t.reshape(1, 4, 2, 4).transpose(1, 2) for t in block.qkv(x).chunk(3, 2))
    weights = torch.softmax(q @ k.transpose(2, 3) / 4**0.5, 3)
    wanted = block.proj((weights @ v).transpose(1, 2).reshape(1, 4, 8))
    torch.testing.assert_close(block._attend(x), wanted)


def test_noise_and_class_matter():
    model = awake(DiT(8, 1, 2, 32, 2, 4, num_classes=2))
    x, eye = torch.randn(1, 1, 8, 8), torch.eye(2)
    outs = [model(x, torch.tensor([n]), c) for n in (-1.0, 1.0) for c in (None, eye[:1], eye[1:])]
    assert all(not torch.equal(a, b) for i, a in enumerate(outs) for b in outs[:i])


def test_sizes_that_do_not_divide():
    with pytest.raises(InputError, match="do not divide into tokens"):
        DiT(10, 1, 4)
    with pytest.raises(InputError, match="multiple of 4"):
        DiT(8, 1, 4, 30, 1, 5)
