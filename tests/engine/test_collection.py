"""The collection: backends against the reference, parts, labels, derivatives, errors."""

from __future__ import annotations

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
)


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
    reference = PosteriorMeanCollection(source, queries, responses, match, backend="reference")
    expected, normalisers = reference(z, sigma), reference.log_normalisers(z, sigma)
    for backend in ("numba", "torch"):
        collection = PosteriorMeanCollection(source, queries, responses, match, backend=backend)
        if backend == "numba" and type(queries) in (GaussianWindows, Masks):
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
        for sigma in (0.002, 0.0075, 1e-5):
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
