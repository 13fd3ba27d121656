"""The search for windows that can matter: its bounds, its loops, and what it finds, against the definitions and the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import noisy, random_source
from smalti import Centred, EveryPlace, PosteriorMeanCollection, SameBorderDistance, Source
from smalti.engine import threads
from smalti.engine.compiled import search_kernels
from smalti.engine.compiled.jit import plain
from smalti.engine.compiled.records import Directions
from smalti.engine.compiled.sketch_rows import COARSE, FINE, QUERIES, sketch_distance, survivors, window_distance
from smalti.engine.programs import shifts
from smalti.engine.programs.shifts import ShiftProgram
from smalti.engine.programs.sketches import Sketches


def collection(source, size, borders, backend="numba", tolerance=1e-5, **match):
    wrap = borders == "circular"
    kind = EveryPlace(**match) if wrap else SameBorderDistance(**match)
    return PosteriorMeanCollection(
        source, Centred(size, wrap=wrap), Centred(1), kind, backend=backend, tolerance=tolerance
    )


@pytest.fixture
def always(monkeypatch):
    """Searches whatever it costs; the list of how many z each call searched for."""
    monkeypatch.setattr(shifts._Plan, "cost", 1e15)
    return _spied(monkeypatch)


@pytest.fixture
def chosen(monkeypatch):
    """Searches where it pays; the list as above."""
    return _spied(monkeypatch)


def _spied(monkeypatch):
    found, real = [], ShiftProgram._searched

    def spy(self, batch, seen):
        result = real(self, batch, seen)
        found.append((len(result), len(batch)))
        return result

    monkeypatch.setattr(ShiftProgram, "_searched", spy)
    return found


def _windows(image, side):
    views = np.lib.stride_tricks.sliding_window_view(image, (side, side), (1, 2))
    return views.transpose(1, 2, 0, 3, 4).reshape(-1, image.shape[0] * side**2)


@pytest.mark.parametrize(("channels", "side"), [(1, 1), (1, 3), (2, 5), (3, 3), (3, 7), (4, 9), (17, 1)])
@pytest.mark.parametrize("count", [1, COARSE - 1, FINE - 1, 1000])
def test_sketches_are_nearer_than_windows(channels, side, count):
    rng = np.random.default_rng(channels + side)
    images = rng.normal(size=(5, channels, 12, 13)).cumsum(-1) + 100
    sketches = Sketches.of(images, side, count)
    assert len(sketches.directions) == min(count, channels * min(side, 5) ** 2)
    a, b = images[0], images[1] + rng.normal(size=images[1].shape)
    found = []
    for image in (a, b):
        known = sketches.coordinates(image)
        squares = sketches.squares(image)
        np.testing.assert_allclose(squares, (_windows(image, side) ** 2).sum(1))
        rest = squares - (known**2).sum(0)
        assert (rest > -1e-9 * squares).all()  # directions are orthonormal
        found.append(np.concatenate([known, np.sqrt(np.maximum(rest, 0))[None]]))
    lower = ((found[0][:, :, None] - found[1][:, None]) ** 2).sum(0)
    exact = ((_windows(a, side)[:, None] - _windows(b, side)[None]) ** 2).sum(-1)
    assert (lower <= exact * (1 + 1e-9) + 1e-6).all()
    if count >= channels * side**2 and side <= 5:  # all directions: nothing is left but rounding
        np.testing.assert_allclose(lower, exact, rtol=1e-3)


def test_directions_that_vary_most_come_first():
    images = np.random.default_rng(0).normal(size=(4, 3, 16, 16)).cumsum(-1).cumsum(-2)
    sketches = Sketches.of(images, 5, 8)
    variances = np.concatenate([sketches.coordinates(image) for image in images], 1).var(1)
    assert (np.diff(variances) <= 1e-9 * variances[0]).all()
    few = sketches.first(3)
    np.testing.assert_allclose(few.coordinates(images[0]), sketches.coordinates(images[0])[:3])


@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize("count", [2, COARSE - 1, FINE - 1])
def test_compiled_sketches(margin, count):
    rng = np.random.default_rng(0)
    stored, offset, side = rng.integers(0, 256, (3, 9 * 11), dtype=np.uint8), 127.5, 5
    image = np.pad(stored.reshape(3, 9, 11) - offset, ((0, 0), (margin,) * 2, (margin,) * 2))
    sketches = Sketches.of(image[None], side, count)
    tall, wide = image.shape[1:]
    grid = (tall, wide, tall - side + 1, wide - side + 1)
    places = grid[2] * grid[3]
    layout = (9, 11, margin, wide, tall * wide)
    x = np.zeros(image.size + 64, np.float32)
    search_kernels._load(stored, np.float32(offset), layout, x)
    np.testing.assert_array_equal(x[: image.size].reshape(image.shape), image)
    coordinates, squares = np.empty((count, places)), np.empty(places)
    scratches = np.empty(tall * grid[3]), np.empty(wide)
    search_kernels._sketch(x, layout, grid, Directions(*sketches[1:]), *scratches, coordinates, squares)
    np.testing.assert_allclose(coordinates, sketches.coordinates(image), atol=1e-9)
    np.testing.assert_allclose(squares, sketches.squares(image), rtol=1e-12)
    entries = np.array([3, 0, -1, places - 1])
    short, long = np.zeros(COARSE * 4, np.float32), np.zeros(places * FINE, np.float32)
    before = squares.copy()
    search_kernels._arrange(coordinates, squares, entries, short, long)
    short, known = short.reshape(COARSE, 4), min(count, COARSE - 1)
    real = entries[entries >= 0]
    np.testing.assert_allclose(short[:known][:, entries >= 0], coordinates[:known, real], rtol=1e-6)
    rest = np.sqrt(before - (coordinates[:known] ** 2).sum(0))
    np.testing.assert_allclose(short[-1, entries >= 0], rest[real], rtol=1e-6)
    assert short[0, 2] > 1e17
    assert not short[known : COARSE - 1].any(where=entries >= 0)
    if count >= COARSE:
        long = long.reshape(places, FINE)
        np.testing.assert_allclose(long[:, :count], coordinates.T, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(long[:, -1], np.sqrt(before - (coordinates**2).sum(0)), rtol=1e-6)


@plain
def _survivors(x, at, plane, count, z, z_at, z_plane, limits, out):
    return survivors(x, at, plane, count, z, z_at, z_plane, limits, out)


def test_survivors():
    rng = np.random.default_rng(0)
    count, plane, at, slots, z_at = 48, 80, 5, 12, 4
    x, z = (rng.normal(size=COARSE * n + 16).astype(np.float32) for n in (plane, slots))
    limits = rng.uniform(0, 8, slots).astype(np.float32)
    limits[z_at + 1] = -1
    out = np.full(count * QUERIES, -1)
    number = _survivors(x, at, plane, count, z, z_at, slots, limits, out)
    a = np.stack([x[at + d * plane : at + d * plane + count] for d in range(COARSE)])
    b = np.stack([z[z_at + d * slots : z_at + d * slots + QUERIES] for d in range(COARSE)])
    near = ((a[:, :, None] - b[:, None]) ** 2).sum(0) <= limits[z_at : z_at + QUERIES]
    assert 0 < near.sum() < near.size
    assert set(out[:number]) == set(np.flatnonzero(near))
    assert len(set(out[:number])) == number
    assert (out[number:] == -1).all()


@plain
def _window_distance(x, at, rows, z, z_at, z_rows, side):
    return window_distance(x, at, rows, z, z_at, z_rows, side)


@plain
def _sketch_distance(x, at, z, z_at):
    return sketch_distance(x, at, z, z_at)


@pytest.mark.parametrize("side", [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33])
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_window_distance(side, real):
    rng = np.random.default_rng(side)
    x, z = rng.normal(size=(2, 40, 41)).astype(np.float32), rng.normal(size=(2, 36, 50)).astype(real)
    rows, z_rows = ((np.arange(2)[:, None] * h * w + np.arange(side) * w).reshape(-1) for h, w in ((40, 41), (36, 50)))
    pads = np.full(64, np.nan)  # what lies beyond is read, but does not count
    flat, z_flat = (
        np.concatenate([x.reshape(-1), pads.astype(np.float32)]),
        np.concatenate([z.reshape(-1), pads.astype(real)]),
    )
    found = _window_distance(flat, 41 * 2 + 3, rows, z_flat, 50 + 4, z_rows, side)
    exact = ((x[:, 2 : 2 + side, 3 : 3 + side].astype(float) - z[:, 1 : 1 + side, 4 : 4 + side]) ** 2).sum()
    assert found == pytest.approx(exact, rel=2e-6 if real == np.float32 else 1e-13)
    a, b = rng.normal(size=(2, 40)).astype(np.float32)
    exact = ((a[3 : 3 + FINE].astype(float) - b[7 : 7 + FINE]) ** 2).sum()
    assert _sketch_distance(a, 3, b, 7) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("borders", ["circular", "aware"])
@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize(("shape", "size"), [((1, 8, 8), 3), ((3, 7, 9), 5), ((2, 6, 5), 1), ((4, 6, 8), 5)])
def test_matches_the_reference(always, borders, hflip, shape, size):
    source = random_source(130, shape, hflip=hflip, labels=True)
    exact, fast = (collection(source, size, borders, backend) for backend in ("reference", "numba"))
    for sigma in (0.3, 0.05, 0.004):
        z = noisy(source, sigma, 2)
        z[1] = z[1].roll(2, -1)  # as a whole near to no image
        torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            fast.log_normalisers(z, sigma), exact.log_normalisers(z, sigma), atol=1e-4, rtol=1e-9
        )
    assert all(searched == of > 0 for searched, of in always)


@pytest.mark.parametrize(("shape", "size"), [((1, 3, 20), 5), ((2, 4, 16), 9), ((1, 12, 3), 7)])
def test_windows_that_are_larger_than_one_side(always, shape, size):
    source = random_source(130, shape)
    exact, fast = (collection(source, size, "aware", backend) for backend in ("reference", "numba"))
    z = noisy(source, 0.05)
    torch.testing.assert_close(fast(z, 0.05), exact(z, 0.05), atol=1e-5, rtol=0)
    assert always == [(2, 2)]


@pytest.mark.parametrize("borders", ["circular", "aware"])
def test_priors_classes_and_parts(always, borders):
    source = random_source(400, (2, 6, 6), labels=True)
    weights = torch.rand(400, generator=torch.Generator().manual_seed(0)) ** 8
    weights[:5] = 0
    exact, fast = (collection(source, 3, borders, backend, weights=weights) for backend in ("reference", "numba"))
    z, sigma = noisy(source, 0.1, 2), 0.1
    torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=1e-5, rtol=0)
    torch.testing.assert_close(fast(z, sigma, [0, 1]), exact(z, sigma, [0, 1]), atol=1e-5, rtol=0)
    parts = [slice(0, 150), slice(150, 400)]
    normalisers = torch.stack([fast.log_normalisers(z, sigma, images=part) for part in parts]).logsumexp(0)
    merged = sum(fast.numerator(z, sigma, normalisers, images=part) for part in parts)
    torch.testing.assert_close(fast.divide(merged), exact(z, sigma), atol=2e-5, rtol=0)
    assert all(searched == of > 0 for searched, of in always)


@pytest.mark.parametrize("borders", ["circular", "aware"])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 50.0), (1e3, 0.0), (1e-3, 0.0)])
def test_float_sources(always, borders, scale, offset):
    images = np.asarray(random_source(130, (3, 7, 8), dtype=np.float32).images) * np.float32(scale) + np.float32(offset)
    source = Source(images)
    exact, fast = (collection(source, 3, borders, backend) for backend in ("reference", "numba"))
    sigma = 0.05 * scale
    z = noisy(source, sigma)
    torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=1e-5 * max(scale, 1), rtol=1e-6)
    assert always == [(2, 2)]


@pytest.mark.parametrize("borders", ["circular", "aware"])
def test_flat_and_equal_images(always, borders):
    """Nothing varies, rests are 0 but for rounding, everything ties."""
    for values in (np.full(130, 7), np.arange(130) % 3 * 100):
        source = Source(np.broadcast_to(values[:, None, None, None], (130, 3, 6, 7)).astype(np.uint8).copy())
        exact, fast = (collection(source, 5, borders, backend) for backend in ("reference", "numba"))
        for sigma in (0.2, 0.002):
            z = noisy(source, sigma)
            torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=1e-5, rtol=0)
    assert all(searched == of for searched, of in always)


@pytest.mark.parametrize("borders", ["circular", "aware"])
def test_without_a_tolerance(always, borders):
    source = random_source(130, (2, 6, 7))
    exact, fast = (collection(source, 3, borders, backend, tolerance=0) for backend in ("reference", "numba"))
    z = noisy(source, 0.1)
    torch.testing.assert_close(fast(z, 0.1), exact(z, 0.1), atol=1e-6, rtol=0)
    assert always == [(2, 2)]


def test_neither_batches_nor_threads_change_a_bit(chosen):
    source = random_source(300, (3, 10, 10), hflip=True)
    fast = collection(source, 5, "aware")
    z, sigma = noisy(source, 0.02, 5), 0.02
    batch = fast(z, sigma)
    for b in range(5):
        assert torch.equal(fast(z[b : b + 1], sigma)[0], batch[b])
    try:
        for number in (1, 3):
            threads.set_threads(number)
            assert torch.equal(fast(z, sigma), batch)
    finally:
        threads.set_threads(None)
    assert all(searched == of > 0 for searched, of in chosen)


def test_it_is_made_where_it_pays(chosen):
    """Where little is near, a search; where much is, none, whatever else is in the batch; at high noise it is not tried."""
    source = random_source(400, (3, 12, 12))
    fast = collection(source, 5, "circular")
    z = noisy(source, 1.0, 2)
    clean = source.working(np.arange(2)).double()
    low, high = clean + 0.01 * (z - clean), clean + 0.3 * (z - clean)
    fast(low, 0.01), fast(high, 0.3), fast(z, 1.0)
    assert chosen == [(2, 2), (0, 2), (0, 0)]
    both = fast(torch.cat([low, high]), torch.tensor([0.01, 0.01, 0.3, 0.3], dtype=torch.float64))
    assert chosen[-1] == (2, 4)
    assert torch.equal(both, torch.cat([fast(low, 0.01), fast(high, 0.3)]))


def test_what_is_given_up(monkeypatch, chosen):
    """A search that costs too much is stopped, early or late, and leaves nothing of itself."""
    source = random_source(400, (3, 8, 8))
    fast = collection(source, 3, "aware")
    exact = collection(source, 3, "aware", "torch")
    z = noisy(source, 0.1)
    for cost in (0.0, 1.0, 1e3, 3e4, 1e5, 1e15):
        monkeypatch.setattr(shifts._Plan, "cost", cost)
        torch.testing.assert_close(fast(z, 0.1), exact(z, 0.1), atol=1e-5, rtol=0)
    assert chosen[0] == (0, 2)
    assert chosen[-1] == (2, 2)


@pytest.mark.parametrize("sigma", [1e-6, 1e-8])
@pytest.mark.parametrize("offset", [None, 0.0, 5.0, 50.0])
def test_best_logits_of_float32_scans_are_bounds(chosen, offset, sigma):
    """At tiny sigma what rounding z to float32 does to a logit is more than the gap; nothing would be left of what is exact."""
    source = random_source(200, (3, 12, 12), dtype=np.uint8 if offset is None else np.float32)
    if offset is not None:
        source = Source(np.asarray(source.images) + np.float32(offset))
    exact, fast = (collection(source, 5, "aware", backend) for backend in ("torch", "numba"))
    clean = source.working(slice(0, 1)).double()
    z = torch.cat(
        [clean + 0.3 / 127.5, clean + sigma * torch.randn(clean.shape, dtype=torch.float64), clean.roll(5, 3)]
    )
    torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=3e-5, rtol=1e-6)
    assert chosen[0][0] > 0


@pytest.mark.parametrize("size", [1e14, 3e17, 1e18])
def test_enormous_images_are_not_searched(always, size):
    """Beyond what fillers of short sketches are far from."""
    source = Source(np.asarray(random_source(130, (1, 6, 6), dtype=np.float32).images) * np.float32(size))
    exact, fast = (collection(source, 3, "aware", backend) for backend in ("torch", "numba"))
    z, sigma = torch.zeros(1, 1, 6, 6, dtype=torch.float64), 1e6
    assert ((fast(z, sigma) - exact(z, sigma)).abs() <= 1e-5 * size).all()
    assert always == [(int(size < 1e15), 1)]
