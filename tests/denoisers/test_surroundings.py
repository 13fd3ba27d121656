"""Torch's modes around a call change neither what a denoiser computes nor what it keeps: every denoiser, every mode, gradients too."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest
import torch

import smalti
from helpers import random_source
from smalti.core.surroundings import _FULL, _products, outside, undisturbed
from smalti.denoisers import REGISTRY, create

SOURCE = random_source(12, (1, 7, 7), labels=True)
SIGMA = 0.7
MAKERS = {name: lambda name=name: create(name, SOURCE) for name in REGISTRY}
MAKERS |= {
    f"{name} on {backend}": lambda name=name, backend=backend: create(name, SOURCE, backend=backend)
    for name in ("pspc-square", "local-score", "gaussian-window", "closed-form-diffusion")
    for backend in ("torch", "reference")
}
MAKERS["blend"] = lambda: smalti.Blend([smalti.Optimal(SOURCE), smalti.Gaussian(SOURCE)], [0.25, 0.75])
MAKERS["scheduled"] = lambda: smalti.Scheduled(
    [2.0, 0.5], lambda level: smalti.PosteriorMeanCollection(SOURCE, smalti.Crops(3 + level))
)


def z(dtype=torch.float32):
    noise = torch.randn(2, 1, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    return (SOURCE.working(slice(0, 2)) + SIGMA * noise).to(dtype)


def answer_and_gradient(denoiser, point=None):
    point = (z() if point is None else point).clone().requires_grad_()
    out = denoiser(point, SIGMA)
    out.square().sum().backward()
    return out.detach(), point.grad


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def coarse_products():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


MODES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "meta by default": lambda: default_device("meta"),
    "meta for a while": lambda: torch.device("meta"),
    "deterministic": deterministic,
    "TF32": coarse_products,
}


@pytest.fixture(scope="module")
def plain():
    """What every denoiser answers with nothing around it, and its gradient."""
    return {name: answer_and_gradient(make()) for name, make in MAKERS.items()}


@pytest.mark.parametrize("name", MAKERS)
def test_modes_change_nothing(name, plain):
    given = z()
    for mode, around in MODES.items():
        with around():
            denoiser = MAKERS[name]()  # made, first called and differentiated within
            found = answer_and_gradient(denoiser, given)
        for one, other in zip(found, plain[name], strict=True):
            assert one.dtype == torch.float32
            assert torch.equal(one, other), mode
        for one, other in zip(answer_and_gradient(denoiser), plain[name], strict=True):
            assert torch.equal(one, other), f"{mode}, afterwards"


@pytest.mark.parametrize("name", MAKERS)
def test_inference_mode_leaves_gradients(name, plain):
    for made_within in (False, True):
        denoiser = None if made_within else MAKERS[name]()
        with torch.inference_mode():
            denoiser = denoiser or MAKERS[name]()
            out = denoiser(z(), SIGMA)
        assert torch.equal(out, plain[name][0])
        for one, other in zip(answer_and_gradient(denoiser), plain[name], strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", MAKERS)
def test_transforms_find_a_cold_denoiser_and_leave_it_whole(name, plain):
    answer, gradient = plain[name]
    made = [MAKERS[name]() for _ in range(3)]
    value, pull = torch.func.vjp(lambda point: made[0](point, SIGMA), z())
    torch.testing.assert_close(value, answer, atol=1e-6, rtol=0)
    torch.testing.assert_close(pull(2 * answer)[0], gradient, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.func.grad(lambda point: made[1](point, SIGMA).square().sum())(z()), gradient, atol=1e-5, rtol=1e-5
    )
    value, along = torch.func.jvp(lambda point: made[2](point, SIGMA), (z(),), (torch.ones_like(answer),))
    torch.testing.assert_close((along * 2 * answer).sum(), gradient.sum(), atol=1e-4, rtol=1e-4)
    for denoiser in made:
        again = copy.deepcopy(denoiser)
        assert torch.equal(again(z(), SIGMA), denoiser(z(), SIGMA))
        if name != "scheduled":  # its factory is a lambda
            again = pickle.loads(pickle.dumps(denoiser))
            assert torch.equal(again(z(), SIGMA), denoiser(z(), SIGMA))
        for one, other in zip(answer_and_gradient(again), plain[name], strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", MAKERS)
def test_vmap_and_meta_are_refused_in_a_line(name):
    denoiser, given = MAKERS[name](), z()
    for call in (
        lambda: torch.vmap(lambda one: denoiser(one[None], SIGMA))(given),
        lambda: torch.vmap(lambda one: denoiser(one, SIGMA))(given),
        lambda: torch.vmap(lambda sigma: denoiser(given, sigma))(torch.ones(3)),
    ):
        with pytest.raises(smalti.InputError, match=r"do not go through torch.vmap.*give a batch"):
            call()
    for call in (
        lambda: denoiser(z().to("meta"), SIGMA),
        lambda: denoiser(z(), torch.ones((), device="meta")),
    ):
        with pytest.raises(smalti.InputError, match="on the meta device, where tensors have no values"):
            call()


def test_compiled_around():
    """A graph break around the call; what is around it is compiled."""
    for name in ("optimal", "pspc-square", "gaussian", "nearest", "gaussian-window", "closed-form-diffusion", "blend"):
        denoiser = MAKERS[name]()
        torch.compiler.reset()
        compiled = torch.compile(lambda point, denoiser=denoiser: 2 * denoiser(point, SIGMA) + 1, backend="eager")
        assert torch.equal(compiled(z()), 2 * denoiser(z(), SIGMA) + 1)


def test_sigmas_of_four_dimensions():
    sigmas = torch.tensor([0.3, 2.0])
    for name, make in MAKERS.items():
        denoiser = make()
        assert torch.equal(denoiser(z(), sigmas[:, None, None, None]), denoiser(z(), sigmas)), name
        assert torch.equal(denoiser(z(), sigmas[:1, None, None, None]), denoiser(z(), sigmas[0])), name
    with pytest.raises(smalti.InputError, match=r"sigma has shape \(2, 2\)"):
        denoiser(z(), torch.ones(2, 2))


def test_products_are_whole_within_and_as_before_after():
    with coarse_products():
        before = _products()
        assert not set(before) <= set(_FULL)
        with undisturbed():
            with undisturbed():
                pass
            assert set(_products()) <= set(_FULL)
        assert _products() == before
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == "highest"


def test_outside_passes_errors_and_values_on():
    assert outside(lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(KeyError, match="mine"):
        outside({}.__getitem__, "mine")
    with torch.inference_mode():
        kept = outside(torch.zeros, 2)
    assert not kept.is_inference()
    assert torch.func.grad(lambda x: (x * outside(torch.ones, ())).sum())(torch.ones(())) == 1
