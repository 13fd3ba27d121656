"""Masks of any form on the numba backend, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import noisy, random_source
from smalti import Entries, Masks, PosteriorMeanCollection, Source
from smalti.engine.compiled.rows import LANES
from smalti.engine.precision import TOLERATED, rounding_error
from smalti.engine.programs import hard_masks
from smalti.engine.programs.atoms import grouped, make_atoms
from smalti.engine.programs.hard_masks import TreeProgram
from smalti.engine.programs.mask_tree import EMPTY, mask_tree


def windows(shape, channels: int, soft: bool, seed: int = 1) -> torch.Tensor:
    """One irregular mask per pixel, which it contains."""
    generator = torch.Generator().manual_seed(seed)
    height, width = shape[1:]
    masks = (torch.rand(height * width, channels, height, width, generator=generator) < 0.4).double()
    if soft:
        masks *= torch.rand(masks.shape, generator=generator)
    pixels = torch.arange(height * width)
    masks[pixels, 0, pixels // width, pixels % width] = 1
    return masks


def alone(shape) -> torch.Tensor:
    """Each pixel by itself."""
    return torch.eye(shape[1] * shape[2], dtype=torch.float64).reshape(-1, 1, *shape[1:])


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize(("shape", "channels"), [((3, 8, 8), 1), ((3, 7, 9), 3), ((1, 6, 5), 1), ((2, 3, 4), 2)])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("responding", ["same", "pixel"])
def test_matches_the_reference(hflip, shape, channels, soft, responding):
    source = random_source(70, shape, hflip=hflip, labels=True)
    queries = windows(shape, channels, soft)
    responses = alone(shape) if responding == "pixel" else queries + (0.1 if channels > 1 else 0)
    exact, fast = (
        PosteriorMeanCollection(source, Masks(queries), Masks(responses), backend=b) for b in ("reference", "numba")
    )
    for sigma in (30.0, 2.0, 0.3, 0.05, 0.004):
        z = noisy(source, sigma, 3)
        torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            fast.log_normalisers(z, sigma), exact.log_normalisers(z, sigma), atol=1e-3, rtol=1e-6
        )
        torch.testing.assert_close(fast(z, sigma, [0, 1, 1]), exact(z, sigma, [0, 1, 1]), atol=1e-5, rtol=0)


def test_gradients_match_the_reference():
    source = random_source(20, (2, 4, 5), hflip=True)
    queries = windows((2, 4, 5), 1, True)
    z = noisy(source, 0.5, 2)
    found = []
    for backend in ("reference", "numba"):
        point = z.clone().requires_grad_()
        PosteriorMeanCollection(source, Masks(queries), backend=backend)(point, 0.5).square().sum().backward()
        found.append(point.grad)
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)


def test_parts_merge():
    source = random_source(90, (1, 5, 5))
    collection = PosteriorMeanCollection(source, Masks(windows((1, 5, 5), 1, False)), backend="numba")
    z, sigma = noisy(source, 0.4, 2), 0.4
    parts = [slice(0, 33), slice(33, 90)]
    normalisers = torch.stack([collection.log_normalisers(z, sigma, images=part) for part in parts]).logsumexp(0)
    merged = sum(collection.numerator(z, sigma, normalisers, images=part) for part in parts)
    torch.testing.assert_close(collection.divide(merged), collection(z, sigma), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [1, 4, 16])
@pytest.mark.parametrize("soft", [False, True])
def test_atoms_are_the_masks(soft, size):
    """Written out again, atoms and their members are what they were made of."""
    flat = windows((2, 6, 7), 1, soft)[:, 0].flatten(1).numpy()
    starts = np.arange(0, 42, size)
    atoms = make_atoms(flat, np.stack([starts, np.diff(np.r_[starts, 42])], 1))
    again = np.zeros_like(flat)
    for a in range(len(atoms.atoms) - 1):
        for query in atoms.members[atoms.member_starts[a] : atoms.member_starts[a + 1]]:
            part = slice(atoms.atoms[a], atoms.atoms[a + 1])
            again[query, atoms.places[part] // LANES] += atoms.values[part]
    np.testing.assert_array_equal(again, flat)


def test_masks_that_overlap_share_sums():
    """Large, smooth masks go in groups; masks that have little in common, and windows of single pixels, each by themselves."""
    anchors = np.stack(np.divmod(np.arange(256), 16), 1)
    apart = np.abs(anchors[:, None] - anchors[None]).max(-1).reshape(256, 1, 16, 16)
    large, scattered = (apart <= 6).astype(float), windows((1, 16, 16), 1, False).numpy() * (apart < 99)
    cases = ((large, 8, 32), (np.ones_like(large), 32, 32), (scattered, 1, 4), ((apart == 0) * 1.0, 1, 1))
    for masks, least, most in cases:
        order, groups = grouped(masks, anchors)
        assert sorted(order) == list(range(256))
        assert groups[:, 1].sum() == 256
        assert least <= groups[0, 1] <= most
    atoms = make_atoms(np.ones((16, 50)), np.array([[0, 16]]))
    assert (len(atoms.places), len(atoms.members)) == (50, 16)


def entry_windows(shape, share: float) -> torch.Tensor:
    """For each entry all entries of the pixels around it, `share` of all, less some: (C H W, C, H, W)."""
    channels, height, width = shape
    y, x = np.divmod(np.arange(height * width), width)
    apart = np.maximum(abs(y[:, None] - y), abs(x[:, None] - x))
    near = apart <= np.quantile(apart, share, axis=1, method="nearest")[:, None]
    masks = np.tile(near, (channels, channels)).reshape(-1, *shape)
    masks &= np.random.default_rng(3).random(masks.shape) < 0.97
    masks.reshape(len(masks), -1)[np.diag_indices(len(masks))] = True
    return torch.from_numpy(masks).double()


def test_the_tree_is_the_masks():
    """Walked through, its places hold the masks; mirrored, the mirrored masks; and it says what their sums are."""
    masks = entry_windows((2, 6, 7), 0.7).flatten(1).numpy() > 0
    masks[17] = masks[16]
    tree = mask_tree(masks)
    assert sorted(tree.order) == list(range(84))
    for one, wanted in ((tree, masks), (tree.mirrored(7), masks.reshape(-1, 7)[:, ::-1].reshape(84, 84))):
        held = np.zeros((one.rows, 84), np.int64)
        for k, (source, target) in enumerate(one.places):
            assert target != EMPTY
            first, middle, last = one.starts[k]
            row = held[source].copy()
            row[one.entries[first:middle]] += 1
            row[one.entries[middle:last]] -= 1
            held[target] = row
            np.testing.assert_array_equal(row, wanted[one.order[k]])
    values = np.random.default_rng(0).random((3, 84))
    np.testing.assert_allclose(tree.sums(values), values @ masks[tree.order].T, rtol=1e-12)
    assert tree.largest == masks.sum(1).max()


def test_the_tree_is_short():
    """Neighbouring masks cost their margins, masks with little in common themselves, and equal masks nothing."""
    side = np.arange(256)
    near = np.maximum(abs(side[:, None] // 16 - side // 16), abs(side[:, None] % 16 - side % 16)) <= 6
    assert len(mask_tree(near).entries) < near.sum() / 8
    scattered = np.random.default_rng(0).random((64, 500)) < 0.02
    assert len(mask_tree(scattered).entries) <= scattered.sum()
    assert len(mask_tree(np.ones((40, 500), bool)).entries) == 500
    assert mask_tree(near).rows < 16


FLAT = {"dark": 0, "bright": 255}


def difficult(kind: str) -> Source:
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (50, 3, 10, 10))
    if kind in FLAT:
        images = abs(FLAT[kind] - images // 64)
    elif kind == "extreme":
        images = np.where(images < 128, 0, 255)
    elif kind == "constant":
        images[:] = rng.integers(0, 256, (50, 1, 1, 1))
    return Source(images.astype(np.uint8)) if kind != "floats" else Source((images / 16 - 3).astype(np.float32))


@pytest.mark.parametrize("kind", ["any", "dark", "bright", "extreme", "constant", "floats"])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.02])
def test_hard_masks_are_exact_where_it_is_hardest(kind, share):
    """Large masks at middling noise, images and z at the ends of their range and beyond: 1e-5 of the range from float64."""
    source = difficult(kind)
    masks = Masks(entry_windows(source.shape, share))
    exact, fast = (PosteriorMeanCollection(source, masks, Entries(), backend=b) for b in ("reference", "numba"))
    span = 2.0 if kind != "floats" else 16.0
    for sigma in (80.0, 8.0, 3.0, 1.0, 0.3, 0.05, 0.002):
        near = noisy(source, sigma, 1).double()
        for z in (near, 4 * near, torch.ones_like(near), torch.full_like(near, -0.7 + 0.1 * sigma)):
            torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=span / 2 * 1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["any", "bright", "constant"])
def test_rounding_stays_within_its_bound(kind, monkeypatch):
    """One image: its log-normalisers are logits, whose error is at most what `rounding_error` says; in int32, the coarser numbers."""
    source = difficult(kind).subset([3])
    masks = Masks(entry_windows(source.shape, 0.6))
    monkeypatch.setattr(hard_masks, "TOLERATED", np.inf)
    exact, fast = (PosteriorMeanCollection(source, masks, Entries(), backend=b) for b in ("reference", "numba"))
    worst = 0.0
    for sigma in (0.3, 0.1, 0.03):
        for level in np.linspace(-1.3, 1.3, 14):
            z = torch.full((1, *source.shape), level, dtype=torch.float64)
            program = TreeProgram(
                fast.problem, z, torch.tensor([sigma], dtype=torch.float64), fast._selection(None, None)
            )
            quantum = float(program.reach[0]) / hard_masks.LARGEST[np.int32] * np.log(2)
            error = (fast.log_normalisers(z, sigma) - exact.log_normalisers(z, sigma)).abs().max()
            worst = max(worst, float(error) / rounding_error(quantum, program.layout.trees[0].largest))
    assert 0.1 < worst < 1, worst


def test_int32_and_float64_are_both_used():
    source = difficult("any")
    collection = PosteriorMeanCollection(source, Masks(entry_windows(source.shape, 1.0)), Entries(), backend="numba")
    sigma = torch.tensor([8.0, 0.02], dtype=torch.float64)
    z = source.working(np.arange(2)).double()
    program = TreeProgram(collection.problem, z, sigma, collection._selection(None, None))
    assert program.coarse.tolist() == [True, False]
    assert TOLERATED == 4e-5
    together = collection(z, sigma)
    for b in range(2):
        torch.testing.assert_close(together[b : b + 1], collection(z[b : b + 1], float(sigma[b])), atol=0, rtol=0)
