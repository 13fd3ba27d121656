"""The shared properties over every denoiser. A new denoiser joins by its line in the registry (and one in PARAMETERS, if it has any)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import smalti
from helpers import random_source
from smalti.checks import CHECKS, CheckFailure
from smalti.denoisers import REGISTRY, create


def _odd(largest):
    return st.integers(0, (largest - 1) // 2).map(lambda r: 2 * r + 1)


def _heatmaps(shape):
    """Heatmaps of 18 levels, some of them 0, and without any symmetry."""
    generator = torch.Generator().manual_seed(shape[1] * 8 + shape[2])
    values = torch.rand(18, *shape[1:], *shape[1:], generator=generator)
    return values * (values[:, :, :, :1, :1] > 0.2)


def _of_heatmaps(shape, **more):
    heatmaps = st.sampled_from(["wiener", _heatmaps(shape)])
    return st.fixed_dictionaries({"heatmaps": heatmaps}, optional=more)


# what hypothesis draws for each denoiser, given the (C, H, W) of the images
PARAMETERS = {
    "pspc-square": lambda shape: st.one_of(
        st.just({}), st.integers(1, min(shape[1:])).map(lambda p: {"patch_size": p})
    ),
    "pspc-flex": lambda shape: _of_heatmaps(shape, thresholds=st.floats(0.01, 1)),
    "local-score": lambda shape: _odd(2 * max(shape[1:]) - 1).map(lambda p: {"window": p}),
    "equivariant-local-score": lambda shape: st.fixed_dictionaries(
        {"window": _odd(min(shape[1:])), "borders": st.sampled_from(["circular", "aware"])}
    ),
    "pca-locality": lambda shape: st.fixed_dictionaries(
        {"threshold": st.sampled_from([0, 0.02, 0.3]), "temperature": st.sampled_from([0.5, 1, 4])}
    ),
    "gaussian-window": lambda shape: st.fixed_dictionaries(
        {"width": st.floats(0.3, 9), "response": st.sampled_from(["pixel", "window"])}
    ),
    "heatmap-weighted": lambda shape: _of_heatmaps(shape, response=st.sampled_from(["pixel", "window"])),
    "gaussian": lambda shape: st.one_of(st.just({}), st.integers(1, int(np.prod(shape))).map(lambda r: {"rank": r})),
    "closed-form-diffusion": lambda shape: st.fixed_dictionaries(
        {
            "smoothing": st.floats(0, 1),
            "samples": st.sampled_from([2, 6]),
            "seed": st.integers(0, 9),
            "coordinates": st.sampled_from(["scarvelis", "studio"]),
        }
    ),
}
FEWER = {"equivariant-local-score": 30}  # images, where the reference visits every place


@pytest.mark.parametrize("name", REGISTRY)
def test_properties_on_digits(name, digits):
    source = digits.subset(slice(0, FEWER.get(name, len(digits))))
    results = smalti.check_denoiser(create(name, source))
    assert {r.name for r in results} == set(CHECKS)


@st.composite
def sources(draw):
    """Odd sizes, one to three channels, one to six images, duplicates, uint8 and float32, with and without flips and classes."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    count = draw(st.integers(1, 6))
    source = random_source(
        count,
        shape,
        seed=draw(st.integers(0, 999)),
        dtype=draw(st.sampled_from([np.uint8, np.float32])),
        labels=draw(st.booleans()),
        hflip=draw(st.booleans()),
    )
    return source.subset(np.arange(count).repeat(2)) if draw(st.booleans()) else source


@pytest.mark.parametrize("name", REGISTRY)
@settings(max_examples=12)
@given(data=st.data())
def test_properties_on_any_source(name, data):
    source = data.draw(sources())
    parameters = data.draw(PARAMETERS.get(name, lambda shape: st.just({}))(source.shape))
    smalti.check_denoiser(create(name, source, **parameters), seed=data.draw(st.integers(0, 99)), verify_opt_outs=False)


COLLECTIONS = {
    "gaussian windows": lambda s: smalti.PosteriorMeanCollection(s, smalti.GaussianWindows(1.5)),
    "soft queries, one pixel": lambda s: smalti.PosteriorMeanCollection(
        s, smalti.GaussianWindows(1.0), smalti.Centred(1)
    ),
    "every place": lambda s: smalti.PosteriorMeanCollection(
        s, smalti.Centred(3, wrap=True), smalti.Centred(1), smalti.EveryPlace()
    ),
    "border distance": lambda s: smalti.PosteriorMeanCollection(
        s, smalti.Centred(3), smalti.Centred(1), smalti.SameBorderDistance()
    ),
    "crops at every place": lambda s: smalti.PosteriorMeanCollection(s, smalti.Crops(3), match=smalti.EveryPlace()),
    "crops, larger responses": lambda s: smalti.PosteriorMeanCollection(s, smalti.Centred(1), smalti.Centred(5)),
    "oblong crops": lambda s: smalti.PosteriorMeanCollection(s, smalti.Crops((2, 3))),
}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_properties_of_collections(name):
    source = random_source(7, (2, 6, 5), labels=True)
    smalti.check_denoiser(COLLECTIONS[name](source))


def test_full_windows_give_optimal():
    source = random_source(9, (3, 6, 5))
    optimal = smalti.Optimal(source)
    full = [
        smalti.PSPCSquare(random_source(9, (3, 5, 5)), patch_size=5),
        smalti.LocalScore(source, window=11),
        smalti.PosteriorMeanCollection(source, smalti.Crops((6, 5))),
        smalti.PosteriorMeanCollection(source, smalti.Masks(torch.ones(1, 6, 5))),
        smalti.PosteriorMeanCollection(source, smalti.GaussianWindows(1e6)),
    ]
    for denoiser in full:
        other = optimal if denoiser.shape == optimal.shape else smalti.Optimal(denoiser.source)
        for sigma in (0.05, 0.5, 2.0):
            z = smalti.core.noise.standard_normal(0, range(3), denoiser.shape)
            torch.testing.assert_close(denoiser(z, sigma), other(z, sigma), atol=1e-5, rtol=0)


class _Broken(smalti.Optimal):
    """Wrong in one way at a time: the suite must notice."""

    def __init__(self, source, fault="none", backend="auto"):
        self.fault = fault
        super().__init__(source, backend)

    def denoise(self, z, sigma, labels):
        if self.fault == "batch":
            return super().denoise(z - z.mean(0), sigma, labels)
        if self.fault == "gradient":
            return super().denoise(z.detach(), sigma, labels) + (z - z.detach()) * 0
        if self.fault == "range":
            return super().denoise(z, sigma, labels) * 1.5
        if self.fault == "random":
            return super().denoise(z, sigma, labels) + torch.rand(()) * 1e-3
        if self.fault == "first sigma":
            return super().denoise(z, sigma[:1].expand(len(z)), labels)
        if self.fault == "no labels":
            return super().denoise(z, sigma, None)
        if self.fault == "asymmetric":
            return super().denoise(z.roll(1, -1), sigma, labels)
        return super().denoise(z, sigma, labels)


@pytest.mark.parametrize(
    ("fault", "property_name"),
    [
        ("batch", "batch_equals_single_calls"),
        ("gradient", "gradients_match_finite_differences"),
        ("range", "stays_in_range"),
        ("random", "repeats_to_the_bit"),
        ("first sigma", "sigma_per_image_equals_scalar_calls"),
        ("no labels", "labels_select_images"),
        ("asymmetric", "flips_commute"),
    ],
)
def test_the_suite_notices(fault, property_name, digits):
    with pytest.raises(CheckFailure, match=property_name):
        smalti.check_denoiser(_Broken(digits, fault))


@pytest.mark.parametrize("factor", [0.99, 1.01, 1.3])
def test_a_wrong_sigma_is_called_so(factor, digits):
    class Off(smalti.LocalScore):
        def denoise(self, z, sigma, labels):
            return super().denoise(z, sigma * factor, labels)

    results = {r.name: r for r in smalti.check_denoiser(Off(digits), fail=False)}
    failed = {name: r.detail for name, r in results.items() if r.status == "failed"}
    assert "sigma looks wrong" in failed["answers_for_its_sigma"]
    assert f"{factor} times as much" in failed["answers_for_its_sigma"]
    assert "parts_merge_to_the_whole" not in failed


def test_an_answer_that_is_not_its_collections(digits):
    with pytest.raises(CheckFailure, match="answers_for_its_sigma: the answer is not the composite of its collection"):
        smalti.check_denoiser(_Broken(digits, "range"))


def test_an_opt_out_that_is_not_needed_is_reported(digits):
    class Modest(smalti.Optimal):
        opt_outs = {"stays_in_range": "it might leave it"}

    with pytest.raises(CheckFailure, match="but the property holds"):
        smalti.check_denoiser(Modest(digits))


def test_a_ten_line_denoiser_passes(digits):
    class Columns(smalti.WindowDenoiser):
        def __init__(self, source, width=3, backend="auto"):
            self.source, self.width, self.backend = source, width, backend
            super().__init__()

        def collection_at(self, level):
            windows = smalti.Crops((self.shape[1], self.width))
            return smalti.PosteriorMeanCollection(self.source, windows, backend=self.backend)

    smalti.check_denoiser(Columns(digits))


def test_a_denoiser_without_a_source():
    class Shrink(smalti.Denoiser):
        shape = (1, 4, 4)

        def denoise(self, z, sigma, labels):
            return z / (1 + sigma.to(z)[:, None, None, None] ** 2)

    statuses = {r.name: r.status for r in smalti.check_denoiser(Shrink())}
    assert statuses["batch_equals_single_calls"] == "passed"
    assert statuses["flips_commute"] == "not applicable"
