"""The triton backend in Triton's interpreter, against the float64 reference."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault(
        "TRITON_INTERPRET", "1"
    )  # read when kernels are defined, so before their modules are imported
pytest.importorskip("triton", reason="Triton is not installed; pip install triton runs these tests")

from helpers import noisy, random_source
from smalti import (
    Centred,
    Crops,
    EveryPlace,
    Full,
    GaussianWindows,
    InputError,
    Masks,
    SameBorderDistance,
    SamePlace,
    edm_sigmas,
)
from smalti.engine import Entries
from smalti.engine.backends import backend_for
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.triton_backend import TritonBackend

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LEVELS = edm_sigmas().tolist()
generator = torch.Generator().manual_seed(0)
SOFT = Masks(torch.rand(5, 1, 5, 6, generator=generator) + 0.01)
HARD = Masks((torch.rand(5, 3, 5, 6, generator=generator) < 0.5).float() + 1e-3)
PIXELWISE = Masks((torch.rand(30, 1, 5, 6, generator=generator) < 0.4).float())
ENTRYWISE = Masks((torch.rand(90, 3, 5, 6, generator=generator) < 0.2).float())


def at_levels(source, levels):
    """A noisy image for each level."""
    return torch.cat([noisy(source, sigma, 1, seed=i) for i, sigma in enumerate(levels)])


def pair(source, queries, responses=None, match=None):
    """The triton backend and the reference."""
    made = (PosteriorMeanCollection(source, queries, responses, match, backend=b) for b in ("triton", "reference"))
    return tuple(made)


def check(source, queries, responses=None, match=None, levels=LEVELS, labels=None, z=None):
    triton, reference = pair(source, queries, responses, match)
    z, sigma = at_levels(source, levels) if z is None else z, torch.tensor(levels, dtype=torch.float64)
    expected = reference.log_normalisers(z, sigma, labels=labels)
    found = triton.log_normalisers(z.to(DEVICE), sigma, labels=labels)
    np.testing.assert_allclose(found.cpu(), expected, rtol=1e-6, atol=1e-4)
    composite = triton.divide(triton.numerator(z.to(DEVICE), sigma, found, labels=labels))
    assert composite.device.type == DEVICE
    np.testing.assert_allclose(composite.cpu(), reference(z, sigma, labels=labels), atol=1e-5)


@pytest.mark.parametrize("queries", [Full(), Crops((2, 5)), GaussianWindows(0.8)], ids=repr)
def test_all_levels(queries):
    check(random_source(7, (3, 5, 6)), queries)


@pytest.mark.parametrize("queries", [Full(), Crops(1), Crops(3), Crops(5)], ids=repr)
def test_flips(queries):
    check(random_source(5, (3, 5, 6), hflip=True), queries, levels=LEVELS[3::6])


@pytest.mark.parametrize("queries", [Centred(1), Centred(3), Centred(11), Centred(3, wrap=True)], ids=repr)
def test_windows_that_answer_with_a_pixel(queries):
    check(random_source(4, (1, 5, 6)), queries, Centred(1), levels=LEVELS[::5])


@pytest.mark.parametrize(
    ("queries", "responses"),
    [(SOFT, SOFT), (SOFT, HARD), (HARD, SOFT), (PIXELWISE, Centred(1)), (ENTRYWISE, Entries())],
    ids=["soft", "soft-channels", "channels-soft", "pixels", "entries"],
)
def test_masks(queries, responses):
    check(random_source(7, (3, 5, 6), hflip=True), queries, responses, levels=LEVELS[3::6])


@pytest.mark.parametrize("shape", [(1, 1, 9), (2, 17, 3), (4, 16, 16), (3, 33, 20)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_odd_shapes(shape, dtype):
    source = random_source(2, shape, dtype=dtype)
    check(source, Crops((1, 2)), levels=[0.4])
    check(source, Full(), levels=[0.4, 3.0])


@pytest.mark.parametrize(
    ("queries", "match"),
    [(Centred(3), SameBorderDistance(border=1)), (Centred(3, wrap=True), EveryPlace()), (PIXELWISE, EveryPlace())],
    ids=["aware", "circular", "masks"],
)
def test_every_place(queries, match):
    """Relative shifts, for a source and for one picture alone; with flips."""
    size = (3, 5, 6) if queries is PIXELWISE else (1, 3, 4)
    check(random_source(2, size, hflip=True), queries, Centred(1), match, levels=[0.2])
    check(random_source(1, size), queries, Centred(1), match, levels=[4.0])


def test_more_elements_than_a_tile_or_a_part():
    source = random_source(150, (1, 4, 4))
    for queries in (Crops(2), Full(), Masks(torch.rand(70, 1, 4, 4, generator=generator))):
        check(source, queries, levels=[0.5])


def test_classes_and_weights():
    source = random_source(40, (1, 4, 4), labels=True)
    weights = torch.rand(40, generator=generator)
    weights[:3] = 0
    for queries in (Crops(2), Full(), Masks(torch.rand(3, 1, 4, 4, generator=generator))):
        check(source, queries, match=SamePlace(weights), levels=[0.3, 0.3, 5.0], labels=[0, 1, 1])


def test_float64_where_float32_would_not_do():
    """z far from every image at low noise: logits of tens of thousands, which float32 sums to some thousandths; and decisions that hang on
    differences of 1."""
    source = random_source(9, (3, 16, 16))
    z = noisy(source, 0.7, 2)
    sigma = torch.tensor([0.03, 0.03], dtype=torch.float64)
    for queries in (Crops(5), Full(), Masks(torch.ones(4, 1, 16, 16))):
        triton, reference = pair(source, queries)
        expected = reference.log_normalisers(z, sigma)
        assert float(expected.abs().max()) > 1e4
        found = triton.log_normalisers(z.to(DEVICE), sigma).cpu()
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        np.testing.assert_allclose(triton(z.to(DEVICE), sigma).cpu(), reference(z, sigma), atol=1e-5)


def test_parts_merge():
    source = random_source(40, (1, 4, 4))
    z = noisy(source, 0.5, 2).to(DEVICE)
    for queries in (Crops(2), Full()):
        collection, _ = pair(source, queries)
        parts = [slice(0, 3), slice(3, 40)]
        normalisers = [collection.log_normalisers(z, 0.5, images=part) for part in parts]
        whole = torch.logaddexp(*normalisers)
        numerators = [collection.numerator(z, 0.5, whole, images=part) for part in parts]
        np.testing.assert_allclose(collection.divide(sum(numerators)).cpu(), collection(z, 0.5).cpu(), atol=1e-6)


def test_a_batch_gives_the_bits_of_single_calls():
    source = random_source(40, (1, 4, 4))
    levels = [0.3, 0.3, 8.0]
    z, sigma = at_levels(source, levels).to(DEVICE), torch.tensor(levels)
    for queries in (Crops(2), Full(), Masks(torch.rand(3, 1, 4, 4, generator=generator))):
        collection, _ = pair(source, queries)
        together = collection(z, sigma)
        for b in (1, 2):
            assert torch.equal(collection(z[b : b + 1], sigma[b : b + 1])[0], together[b])


def test_autocast_and_default_types_change_nothing():
    source = random_source(9, (1, 4, 4))
    z = noisy(source, 0.5).float().to(DEVICE)
    for queries in (Crops(2), GaussianWindows(1.0), Masks(torch.rand(3, 1, 4, 4, generator=generator))):
        collection, _ = pair(source, queries)
        plain = collection(z, 0.5)
        with torch.autocast(DEVICE, torch.bfloat16):
            assert torch.equal(collection(z, 0.5), plain)
        torch.set_default_dtype(torch.float64)
        try:
            assert torch.equal(collection(z, 0.5), plain)
        finally:
            torch.set_default_dtype(torch.float32)


def test_gradients():
    source = random_source(9, (1, 4, 4))
    triton, reference = pair(source, Crops(2))
    z = noisy(source, 0.5)
    gradients = []
    for collection, device in ((triton, DEVICE), (reference, "cpu")):
        given = z.to(device).requires_grad_()
        (gradient,) = torch.autograd.grad(collection(given, 0.5).square().sum(), given)
        gradients.append(gradient.cpu())
    np.testing.assert_allclose(*gradients, atol=1e-5)


def test_what_is_refused(monkeypatch):
    source = random_source(3, (1, 4, 4))
    collection, _ = pair(source, Crops(2))
    cpu = torch.device("cpu")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InputError, match="computes on a CUDA GPU, and z is on cpu"):
        collection(noisy(source, 1.0), 1.0)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    large = PosteriorMeanCollection(random_source(1, (1, 4, 130)), Crops(3))
    assert "do not fit a tile" in TritonBackend().unsupported(large.problem, cpu)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert TritonBackend().unsupported(collection.problem, cpu) == "the package triton is not installed"


def test_auto_takes_it_on_cuda_alone(monkeypatch):
    collection, _ = pair(random_source(3, (1, 4, 4)), Crops(2))
    assert backend_for("auto", collection.problem, torch.device("cpu")).name == "numba"
    monkeypatch.setattr("smalti.engine.triton.resident.fits", lambda source, device: True)
    assert backend_for("auto", collection.problem, torch.device("cuda")).name == "triton"
    monkeypatch.setattr("smalti.engine.triton.resident.fits", lambda source, device: False)
    assert backend_for("auto", collection.problem, torch.device("cuda")).name == "torch"
