"""The search for the most alike training patch, against every patch compared with every other in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import exact, random_source
from smalti import InputError
from smalti.audit.patches import NONE, best_patches, default_side, likeness_of, step_of


def every_pair(source, z, side, row, column, shift):
    """The largest likeness of the patch at (row, column) of z, by its definition."""
    images, width = exact(source).numpy(), z.shape[-1]
    best = 0.0
    for flip in (False, True) if source.hflip else (False,):
        seen, left = (z[..., ::-1], width - side - column) if flip else (z, column)
        patch = seen[:, row : row + side, left : left + side]
        for dy in range(-shift, shift + 1):
            for dx in range(-shift, shift + 1):
                y, x = row + dy, left + dx
                if 0 <= y <= z.shape[1] - side and 0 <= x <= width - side:
                    others = images[:, :, y : y + side, x : x + side]
                    best = max(best, float(likeness_of(np.broadcast_to(patch, others.shape), others).max()))
    return best


@pytest.mark.parametrize(
    ("shape", "side", "shift", "dtype", "hflip"),
    [
        ((3, 10, 12), 4, 2, np.uint8, True),
        ((1, 9, 8), 3, 9, np.float32, True),
        ((2, 8, 8), 8, 2, np.uint8, False),
        ((3, 13, 11), 8, 1, np.uint8, True),  # every second row and column, and the last
    ],
)
def test_likeness_is_that_of_all_pairs_in_float64(shape, side, shift, dtype, hflip):
    source = random_source(5, shape, dtype=dtype, hflip=hflip)
    z = random_source(2, shape, seed=9).working() + 0.02 * torch.randn(
        2, *shape, generator=torch.Generator().manual_seed(0)
    )
    found = best_patches(source, z, side, shift)
    for n in range(2):
        for r, row in enumerate(found.rows):
            for k, column in enumerate(found.columns):
                expected = every_pair(source, z[n].numpy(), side, row, column, shift)
                assert found.likeness[n, r, k] == pytest.approx(expected, abs=1e-6)
                top, left = found.places[n, r, k]
                patch = z[n].numpy()[:, row : row + side, column : column + side]
                patch = patch[..., ::-1] if found.mirrored[n, r, k] else patch
                theirs = exact(source).numpy()[found.images[n, r, k], :, top : top + side, left : left + side]
                assert found.likeness[n, r, k] == pytest.approx(float(likeness_of(patch, theirs)), abs=1e-12)


def test_a_moved_mirrored_brightened_copy_is_found_where_it_was_put():
    source = random_source(20, (3, 16, 16), hflip=True)
    z = random_source(1, (3, 16, 16), seed=4).working()
    z += 0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    z[0, :, 4:12, 6:14] = source.working([13])[0, :, 5:13, 1:9].flip(-1) * 1.5 + 0.2
    found = best_patches(source, z, 8, 2)
    r, k = found.best(0)
    assert (found.rows[r], found.columns[k]) == (4, 6)
    assert found.images[0, r, k] == 13
    assert found.places[0, r, k].tolist() == [5, 1]
    assert found.mirrored[0, r, k]
    assert found.likeness[0, r, k] > 0.95
    owner = found.owners(0)
    assert (owner[4:12, 6:14] == r * len(found.columns) + k).all()
    assert found.covered(0, found.likeness[0, r, k] - 1e-9).sum() == 64


def test_flat_patches_are_like_nothing():
    source = random_source(3, (3, 12, 12))
    found = best_patches(source, torch.full((1, 3, 12, 12), 0.25), 4)
    assert (found.likeness == 0).all()
    assert found.reached(0.1).tolist() == [0]
    grain = torch.full((1, 1, 8, 8), 0.5)
    grain[..., ::2] += 0.001
    assert best_patches(random_source(3, (1, 8, 8)), grain, 4).likeness.max() < 0.1


def test_nothing_alike_is_said():
    source = random_source(1, (1, 4, 4), dtype=np.float32)
    found = best_patches(source, -source.working(), 4, 0)
    assert found.images.tolist() == [[[NONE]]]
    assert (found.owners(0) == NONE).all()


def test_batches_and_blocks_change_nothing(monkeypatch):
    import smalti.audit.patches as module

    source, z = random_source(9, (3, 12, 12), hflip=True), random_source(5, (3, 12, 12), seed=2).working()
    whole = best_patches(source, z)
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "BLOCK", 4)
    monkeypatch.setattr(module, "KEPT", 0)
    done = []
    parts = best_patches(source, z, advance=done.append)
    assert sum(done) == 5
    for name in ("likeness", "images", "places", "mirrored"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_steps_divide_the_side():
    assert [default_side((3, size, 200)) for size in (2, 8, 28, 32, 64, 89)] == [2, 3, 7, 8, 16, 20]
    assert [step_of(side) for side in (1, 3, 8, 12, 16, 22, 7)] == [1, 1, 2, 3, 4, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((9,), "does not fit"), ((4, -1), "negative"), ((0,), "side")],
)
def test_bad_sizes_are_said(arguments, message):
    source = random_source(2, (1, 8, 8))
    with pytest.raises(InputError, match=message):
        best_patches(source, source.working(), *arguments)
    with pytest.raises(InputError, match="shape"):
        best_patches(source, torch.zeros(1, 1, 8, 9))
