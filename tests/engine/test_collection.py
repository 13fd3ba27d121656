"""The collection: backends against the reference, parts, labels, derivatives, errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import smalti
from helpers import noisy, random_source
from smalti import (
    Centred,
    Crops,
    EveryPlace,
    Full,
    GaussianWindows,
    InputError,
    Masks,
    PosteriorMeanCollection,
    SamePlace,
    Windows,
)
from smalti.engine.windows import Boxes


def windows(draw, shape):
    side = draw(st.integers(1, min(shape[1:])))
    odd = 2 * draw(st.integers(0, max(shape[1:]) - 1)) + 1
    masks = torch.rand(4, draw(st.sampled_from([1, shape[0]])), *shape[1:]) * (torch.rand(4, 1, *shape[1:]) < 0.6)
    masks[0] += 0.1
    return draw(
        st.sampled_from(
            [
                (Full(), None),
                (Crops(side), None),
                (Crops((side, shape[2])), None),
                (Centred(odd), Centred(1)),
                (Centred(odd), None),
                (Centred(1), Centred(odd)),
                (GaussianWindows(1.2), Centred(1)),
                (Masks(masks), None),
            ]
        )
    )


@given(data=st.data())
def test_backends_match_the_reference(data):
    draw = data.draw
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    count = draw(st.integers(1, 9))
    source = random_source(
        count,
        shape,
        seed=draw(st.integers(0, 99)),
        dtype=draw(st.sampled_from([np.uint8, np.float32])),
        hflip=draw(st.booleans()),
    )
    match = SamePlace(draw(st.sampled_from([None, np.linspace(0.2, 3, count)])))
    queries, responses = windows(draw, shape)
    sigma = draw(st.sampled_from([0.002, 0.05, 0.4, 2.0, 80.0]))
    z = noisy(source, draw(st.sampled_from([sigma, 1.0])), draw(st.integers(1, 5)), draw(st.integers(0, 99)))
    z = z * draw(st.sampled_from([1, 1, 100]))  # also a z that no noise of this level explains
    reference = PosteriorMeanCollection(source, queries, responses, match, backend="reference")
    expected, normalisers = reference(z, sigma), reference.log_normalisers(z, sigma)
    for backend in ("numba", "torch"):
        collection = PosteriorMeanCollection(source, queries, responses, match, backend=backend)
        if backend == "numba" and type(queries) is GaussianWindows:
            with pytest.raises(InputError, match="does not cover"):
                collection(z, sigma)
            continue
        torch.testing.assert_close(collection(z, sigma), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(collection.log_normalisers(z, sigma), normalisers, atol=1e-3, rtol=1e-6)


def test_numba_says_what_it_does_not_cover():
    source = random_source(3, (1, 4, 4))
    for collection in (
        PosteriorMeanCollection(source, GaussianWindows(1.0), backend="numba"),
        PosteriorMeanCollection(source, Crops(2), match=EveryPlace(), backend="numba"),
    ):
        with pytest.raises(InputError, match="use backend='auto'"):
            collection(noisy(source, 1.0), 1.0)
        assert (
            PosteriorMeanCollection(source, collection.queries, match=collection.match)(noisy(source, 1.0), 1.0)
            .isfinite()
            .all()
        )


@given(cuts=st.lists(st.integers(1, 39), min_size=0, max_size=4), seed=st.integers(0, 99))
def test_any_split_merges_to_the_whole(cuts, seed):
    source = random_source(40, (3, 6, 5), hflip=True)
    collection = PosteriorMeanCollection(source, Crops(3))
    order = np.random.default_rng(seed).permutation(40)
    parts = [p for p in np.split(order, sorted(cuts)) if len(p)]
    sigma = 0.3
    z = noisy(source, sigma)
    normalisers = torch.full((2, collection.count), -torch.inf, dtype=torch.float64)
    for part in parts:
        normalisers = torch.logaddexp(normalisers, collection.log_normalisers(z, sigma, images=part))
    numerator = sum(collection.numerator(z, sigma, normalisers, images=part) for part in parts)
    torch.testing.assert_close(collection.divide(numerator), collection(z, sigma), atol=1e-6, rtol=0)


def test_parts_with_labels_may_be_empty():
    source = random_source(8, (1, 4, 4), labels=True)
    collection = PosteriorMeanCollection(source, Crops(2))
    z = noisy(source, 0.4)
    even = np.arange(0, 8, 2)  # images of class 0 only
    part = collection.log_normalisers(z, 0.4, labels=[0, 1], images=even)
    assert part[0].isfinite().all()
    assert (part[1] == -torch.inf).all()
    rest = collection.log_normalisers(z, 0.4, labels=[0, 1], images=np.arange(1, 8, 2))
    merged = torch.logaddexp(part, rest)
    numerator = sum(collection.numerator(z, 0.4, merged, [0, 1], images) for images in (even, np.arange(1, 8, 2)))
    torch.testing.assert_close(collection.divide(numerator), collection(z, 0.4, labels=[0, 1]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize(
    ("queries", "responses"), [(Full(), None), (Crops(3), None), (Centred(3), Centred(1)), (Centred(1), Centred(3))]
)
def test_jacobian_products(queries, responses, backend, hflip):
    source = random_source(7, (2, 5, 6), hflip=hflip)
    fast = PosteriorMeanCollection(source, queries, responses, backend=backend)
    exact = PosteriorMeanCollection(source, queries, responses, backend="reference")
    generator = torch.Generator().manual_seed(0)
    for sigma in (0.02, 0.3, 3.0):
        z = noisy(source, sigma)
        direction = torch.randn(z.shape, generator=generator, dtype=torch.float64)
        for transpose in (False, True):
            expected = exact.jacobian_product(z, sigma, direction, transpose=transpose)
            found = fast.jacobian_product(z, sigma, direction, transpose=transpose)
            scale = max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(found / scale, expected / scale, atol=1e-6, rtol=0)


def test_torch_func():
    source = random_source(6, (1, 4, 4))
    collection = PosteriorMeanCollection(source, Crops(2))
    z = noisy(source, 0.5)
    direction = torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    out, pull = torch.func.vjp(lambda point: collection(point, 0.5), z)
    torch.testing.assert_close(out, collection(z, 0.5))
    torch.testing.assert_close(pull(direction)[0], collection.jacobian_product(z, 0.5, direction, transpose=True))
    with pytest.raises(InputError, match="second derivatives"):
        torch.func.vjp(lambda point: torch.func.vjp(lambda q: collection(q, 0.5), point)[1](direction)[0], z)[1](
            direction
        )
    _, pushed = torch.func.jvp(lambda point: collection(point, 0.5), (z,), (direction,))
    torch.testing.assert_close(pushed, collection.jacobian_product(z, 0.5, direction))


def test_low_noise_far_from_all_images():
    """Where float32 distances would turn close calls around: 1e-4 all the same, alone and in a batch."""
    source = random_source(400, (3, 12, 12), seed=3)
    generator = torch.Generator().manual_seed(5)
    z = torch.rand(6, 3, 12, 12, generator=generator, dtype=torch.float64) * 2 - 1
    for queries, responses in ((Full(), None), (Crops(3), None), (Centred(5), Centred(1))):
        exact = PosteriorMeanCollection(source, queries, responses, backend="reference")
        for sigma in (0.002, 0.0075, 1e-5, 1e-8):
            expected = exact(z, sigma)
            for backend in ("numba", "torch"):
                fast = PosteriorMeanCollection(source, queries, responses, backend=backend)
                torch.testing.assert_close(fast(z, sigma), expected, atol=1e-4, rtol=0)


def test_z_in_any_dtype_and_layout():
    source = random_source(5, (3, 6, 6))
    collection = PosteriorMeanCollection(source, Crops(3))
    z = noisy(source, 0.5).float()
    strided = z.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not strided.is_contiguous()
    assert torch.equal(collection(strided, 0.5), collection(z, 0.5))
    assert collection(z.half(), 0.5).dtype == torch.float16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queries": Crops(2), "responses": Centred(1)}, "9 queries but 16 responses"),
        ({"queries": Crops(9)}, "does not fit"),
        ({"queries": Masks(torch.eye(4)[None])}, "row 0, column 1, channel 0"),
        ({"queries": Full(), "backend": "cuda"}, "unknown backend"),
    ],
)
def test_bad_collections(arguments, message):
    with pytest.raises(InputError, match=message):
        PosteriorMeanCollection(random_source(3, (1, 4, 4)), **arguments)


def test_a_class_without_images():
    source = smalti.Source(np.zeros((2, 1, 3, 3), np.uint8), [0, 2])
    with pytest.raises(InputError, match="no image of class 1"):
        PosteriorMeanCollection(source, Full())(torch.zeros(1, 1, 3, 3), 1.0, labels=1)


def test_sigma_that_requires_grad_is_refused():
    collection = PosteriorMeanCollection(random_source(3, (1, 4, 4)), Full())
    with pytest.raises(InputError, match="gradient with respect to sigma"):
        collection(torch.zeros(1, 1, 4, 4), torch.tensor(1.0, requires_grad=True))


def test_a_z_far_larger_than_the_noise():
    """What is taken less |z|^2 must not cancel: images 100 times too large at a noise level that is high for the source."""
    source = random_source(17, (4, 9, 8))
    for queries in (Full(), Crops(1), Crops(5), Crops((8, 1))):
        exact = PosteriorMeanCollection(source, queries, backend="reference")
        for sigma in (4.0, 27.0, 150.0):
            z = 100 * noisy(source, sigma)
            for backend in ("numba", "torch"):
                found = PosteriorMeanCollection(source, queries, backend=backend)(z, sigma)
                torch.testing.assert_close(found, exact(z, sigma), atol=3e-5, rtol=0)


@dataclass(frozen=True)
class Grid(Windows):
    """Any grid of boxes: what a user's own family may be."""

    grid: Boxes

    def anchors(self, shape):
        return torch.cartesian_prod(torch.arange(self.grid.rows), torch.arange(self.grid.columns)).reshape(-1, 2)

    def factors(self, shape):
        def factor(anchors, first, last, size):
            offset = torch.arange(size)[None] - torch.arange(anchors)[:, None]
            return ((offset >= first) & (offset < last)).double()

        grid = self.grid
        return factor(grid.rows, grid.top, grid.bottom, shape[1]), factor(grid.columns, grid.left, grid.right, shape[2])

    def boxes(self, shape):
        return self.grid


@given(data=st.data())
def test_any_grid_of_boxes(data):
    """Boxes that lie off their anchors, beyond the borders, or on grids larger than the image."""
    draw = data.draw
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    rows, columns = draw(st.integers(1, shape[1] + 2)), draw(st.integers(1, shape[2] + 2))

    def grid():
        top, left = draw(st.integers(-3, 3)), draw(st.integers(-3, 3))
        return Grid(Boxes(rows, columns, top, top + draw(st.integers(1, 9)), left, left + draw(st.integers(1, 9))))

    source = random_source(5, shape, hflip=draw(st.booleans()))
    queries, responses = grid(), grid()
    if bool((responses.masks(shape).sum(0) == 0).any()):
        return  # a pixel that nothing covers is refused, as tested elsewhere
    exact = PosteriorMeanCollection(source, queries, responses, backend="reference")
    z = noisy(source, 0.5)
    torch.testing.assert_close(
        PosteriorMeanCollection(source, queries, responses)(z, 0.5), exact(z, 0.5), atol=1e-5, rtol=0
    )


def test_many_chunks_and_waves_give_the_same_bits_on_any_number_of_threads(monkeypatch):
    """The merging of partial results, which sources of over 1,024 images go through."""
    source = random_source(61, (3, 7, 6), hflip=True)
    z = noisy(source, 0.5, 3)
    direction = torch.ones_like(z)
    for queries, responses in ((Full(), None), (Crops(3), None), (Centred(3), Centred(1))):
        collection = PosteriorMeanCollection(source, queries, responses, backend="numba")
        reference = PosteriorMeanCollection(source, queries, responses, backend="reference")
        whole = collection(z, 0.5), collection.jacobian_product(z, 0.5, direction, transpose=True)
        with monkeypatch.context() as patch:
            patch.setattr("smalti.engine.programs.base.CHUNK", 4)
            patch.setattr("smalti.engine.threads.WAVE", 3)
            results = []
            for threads in (1, 2, 3):
                smalti.set_threads(threads)
                results.append((collection(z, 0.5), collection.jacobian_product(z, 0.5, direction, transpose=True)))
            smalti.set_threads(None)
        for found in results:
            assert torch.equal(found[0], results[0][0])
            assert torch.equal(found[1], results[0][1])
            torch.testing.assert_close(found[0], whole[0], atol=1e-6, rtol=0)
            torch.testing.assert_close(found[1], whole[1], atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(found[0], reference(z, 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [1023, 1024, 1025, 2049])
def test_around_the_real_chunks(count):
    source = random_source(count, (1, 5, 5))
    z = noisy(source, 0.4)
    for queries in (Full(), Crops(3)):
        expected = PosteriorMeanCollection(source, queries, backend="reference")(z, 0.4)
        for backend in ("numba", "torch"):
            found = PosteriorMeanCollection(source, queries, backend=backend)(z, 0.4)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_the_mean_of_equal_images_is_that_image(backend):
    """The weights sum to one, also where a log-normaliser of thousands of bits would be rounded."""
    source = smalti.Source(np.full((5, 3, 32, 32), 255, np.uint8))
    z = 1 + 5.3 * noisy(source, 1.0, 2)
    for queries in (Full(), Crops(3), Crops(23), Crops(31), Centred(15)):
        out = PosteriorMeanCollection(source, queries, backend=backend)(z, 5.3)
        torch.testing.assert_close(out, torch.ones_like(out), atol=2e-6, rtol=0)


@pytest.mark.parametrize("queries", [Full(), Crops((16, 15)), Crops(12)])
def test_two_images_that_share_the_posterior(queries):
    """The hardest case for float32: z half-way between two images, plus noise that favours neither."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        source = smalti.Source(rng.integers(0, 256, (2, 3, 16, 16), dtype=np.uint8))
        a, b = torch.from_numpy(np.array(source.images)).double().flatten(1) / 127.5 - 1
        noise = torch.from_numpy(rng.standard_normal(a.shape))
        noise -= (a - b) * (noise @ (a - b)) / (a - b).square().sum()
        sigma = float(np.exp(rng.uniform(np.log(0.05), np.log(20))))
        z = ((a + b) / 2 + sigma * noise).reshape(1, 3, 16, 16)
        expected = PosteriorMeanCollection(source, queries, backend="reference")(z, sigma)
        for backend in ("numba", "torch"):
            found = PosteriorMeanCollection(source, queries, backend=backend)(z, sigma)
            torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)


def test_batches_give_what_single_calls_give_where_precision_switches():
    rng = np.random.default_rng(1)
    source = smalti.Source(rng.integers(0, 256, (60, 3, 12, 12), dtype=np.uint8))
    z = torch.from_numpy(rng.standard_normal((9, 3, 12, 12)))
    for queries, responses in ((Full(), None), (Crops(11), None), (Centred(11), Centred(1))):
        for backend in ("numba", "torch"):
            collection = PosteriorMeanCollection(source, queries, responses, backend=backend)
            for sigma in (0.05, 0.2, 0.5, 0.85, 1.5, 4.0):
                singles = torch.cat([collection(one[None], sigma) for one in z])
                torch.testing.assert_close(collection(z, sigma), singles, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, z: c.log_normalisers(z, 1.0, images=[0, 0, 2]), "an image twice"),
        (lambda c, z: c.log_normalisers(z, 1.0, images=[7]), "numbers of stored images"),
        (lambda c, z: c.log_normalisers(z[:0], 1.0), "empty batch"),
        (lambda c, z: c.numerator(z, 1.0, torch.zeros(1, 3)), "log_normalisers must be"),
        (lambda c, z: c.numerator(z, 1.0, torch.full((1, c.count), float("nan"))), "without NaN"),
        (lambda c, z: c.jacobian_product(z, 1.0, torch.ones(1, 1, 1, 1)), "direction has shape"),
        (lambda c, z: c.posterior(z, 1.0, [0.7]), "whole number"),
        (lambda c, z: c.posterior(z, 1.0, [0], top=2.5), "whole number"),
        (lambda c, z: PosteriorMeanCollection(c.source, 3), "windows are needed"),
        (lambda c, z: PosteriorMeanCollection(c.source, Full(), match=SamePlace), "a match is needed"),
        (lambda c, z: PosteriorMeanCollection(np.zeros((1, 1, 4, 4)), Full()), "a source is needed"),
        (lambda c, z: c(z * 1e20, 1.0), "in the working scale"),
        (lambda c, z: c(z, 1e-20), "greater than 0"),
        (lambda c, z: c(z, "a"), "sigma must be a number"),
        (lambda c, z: c(z, 1.0, labels="a"), "no classes"),
    ],
)
def test_bad_calls_are_one_line(call, message):
    collection = PosteriorMeanCollection(random_source(4, (1, 4, 4)), Crops(2))
    with pytest.raises(InputError, match=message) as error:
        call(collection, torch.ones(1, 1, 4, 4))
    assert "\n" not in str(error.value)


def test_no_more_elements_are_listed_than_there_are():
    collection = PosteriorMeanCollection(random_source(4, (1, 4, 4)), Crops(2))
    assert collection.posterior(torch.zeros(1, 1, 4, 4), 1.0, [0], top=99).weights.shape == (1, 1, 4)
