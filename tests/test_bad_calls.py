"""Bad calls from Python: each one line of InputError that says what is wrong, before anything is computed."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import torch

import smalti
from helpers import random_source
from smalti import quality
from smalti.denoisers import REGISTRY, create, register
from smalti.networks.conversion import convert
from smalti.source.indexing import class_indices

SOURCE = random_source(5, (1, 7, 7), labels=True)
HUGE = 10**400
Z = torch.zeros(2, 1, 7, 7)


class Untouched(smalti.Denoiser):
    """Fails where it is asked: nothing may be computed before the call is found to be bad."""

    shape, num_classes = (1, 7, 7), 3

    def denoise(self, z, sigma, labels):
        raise AssertionError("something was computed")


D = Untouched()
OPTIMAL = smalti.Optimal(SOURCE)
PICTURE = np.random.default_rng(0).integers(0, 256, (3, 12, 12), dtype=np.uint8)
PIXELS = quality.load_features("pixels")
REFERENCE = quality.Reference(SOURCE, random_source(6, (1, 7, 7), seed=1), PIXELS)


class TWINS:
    """Data with two classes of one name."""

    @staticmethod
    def open():
        return class_indices(np.array([0, 1]), ("a", "a"), "a")


CALLS = {
    "sample(None)": (lambda: smalti.sample(None), "a denoiser is needed.*not None"),
    "sample of a class": (lambda: smalti.sample(smalti.Optimal), "a denoiser is needed"),
    "sample of a source": (lambda: smalti.sample(SOURCE), "a denoiser is needed"),
    "seed None": (lambda: smalti.sample(D, seed=None), "the seed must be a whole number, not None"),
    "seed 0.5": (lambda: smalti.sample(D, seed=0.5), "the seed must be a whole number, not 0.5"),
    "seed -1": (lambda: smalti.sample(D, seed=-1), "from 0 to 2\\^64 - 1, not -1"),
    "seed huge": (lambda: smalti.sample(D, seed=HUGE), "the seed is too large: 1000"),
    "seed of 5000 digits": (lambda: smalti.sample(D, seed=10**5000), "thousands of digits"),
    "n 10^12": (lambda: smalti.sample(D, n=10**12), "need .* GB of memory, and this machine has"),
    "n 10^12, nothing kept": (lambda: smalti.sample(D, n=10**12, keep_states=False, batch_size=1), "GB of memory"),
    "n huge": (lambda: smalti.sample(D, n=HUGE), "n is too large"),
    "n with labels": (lambda: smalti.sample(D, n=10**12, labels=1), "GB of memory"),
    "n 2.5": (lambda: smalti.sample(D, n=2.5), "n must be a whole number, not 2.5"),
    "n nan": (lambda: smalti.sample(D, n=float("nan")), "n must be a whole number, not nan"),
    "n text": (lambda: smalti.sample(D, n="16"), "n must be a whole number, not '16'"),
    "n True": (lambda: smalti.sample(D, n=True), "n must be a whole number"),
    "n of letters": (lambda: smalti.sample(D, n="a" * 10_000), "a whole number, not 'aaa"),
    "n surrogate": (lambda: smalti.sample(D, n="\udcff"), "a whole number"),
    "steps None": (lambda: smalti.sample(D, steps=None), "steps must be a whole number, not None"),
    "steps 10^12": (lambda: smalti.sample(D, steps=10**12), "at most 1,000,000"),
    "batch_size 0": (lambda: smalti.sample(D, batch_size=0), "batch_size must be at least 1, not 0"),
    "solver None": (lambda: smalti.sample(D, solver=None), "no solver is called None"),
    "solver list": (lambda: smalti.sample(D, solver=["heun"]), "no solver is called"),
    "solver huen": (lambda: smalti.sample(D, solver="huen"), "did you mean 'heun'"),
    "init list": (lambda: smalti.sample(D, init=[1.0]), "must be a torch tensor, not list"),
    "init of objects": (lambda: smalti.sample(D, init=np.array([None])), "init"),
    "sigma_max None": (lambda: smalti.sample(D, sigma_max=None), "sigma_max must be a number, not None"),
    "sigma_max 1e308": (lambda: smalti.sample(D, sigma_max=1e308), "sigmas must be from"),
    "sigma_max huge": (lambda: smalti.sample(D, sigma_max=HUGE), "sigma_max must be a number"),
    "sigma_min text": (lambda: smalti.sample(D, sigma_min="0"), "sigma_min must be a number, not '0'"),
    "rho 1e-5": (lambda: smalti.sample(D, rho=1e-5), "rho is too small"),
    "rho nan": (lambda: smalti.sample(D, rho=float("nan")), "rho must be a number, not NaN"),
    "sigmas text": (lambda: smalti.sample(D, sigmas="abc"), "sigmas must be a list of numbers"),
    "sigmas huge": (lambda: smalti.sample(D, sigmas=[HUGE, 0]), "sigmas must be"),
    "labels text": (lambda: smalti.sample(D, labels="cat"), "labels must be one integer class"),
    "labels huge": (lambda: smalti.sample(D, labels=HUGE), "labels must be one integer class"),
    "labels 7": (lambda: smalti.sample(D, labels=7), "labels must be from 0 to 2"),
    "trajectory(None)": (lambda: smalti.trajectory(None, Z, [1.0, 0.0]), "a denoiser is needed"),
    "trajectory of None": (lambda: smalti.trajectory(D, None, [1.0, 0.0]), "must be a torch tensor, not NoneType"),
    "sigma huge": (lambda: D(Z, HUGE), "sigma must be a number"),
    "sigma None": (lambda: D(Z, None), "sigma must be a number"),
    "sigma text": (lambda: D(Z, "1"), "sigma must be a number"),
    "sigma of 5000 digits": (lambda: D(Z, 10**5000), "sigma must be a number.*thousands of digits"),
    "z None": (lambda: D(None, 1.0), "z must be a torch tensor, not NoneType"),
    "collection(nan)": (lambda: OPTIMAL.collection(float("nan")), "sigma must be finite and greater than 0"),
    "collection(None)": (lambda: OPTIMAL.collection(None), "sigma must be a number"),
    "collection(-1)": (lambda: OPTIMAL.collection(-1), "sigma must be finite"),
    "a filter's collection(nan)": (
        lambda: smalti.PCALocality(SOURCE).collection(float("nan")),
        "sigma must be finite",
    ),
    "a collection's collection(nan)": (
        lambda: smalti.PosteriorMeanCollection(SOURCE, smalti.Full()).collection(float("nan")),
        "sigma must be finite",
    ),
    "denoiser(None)": (lambda: smalti.denoiser(None, SOURCE), "a denoiser's name is text"),
    "denoiser of no source": (lambda: smalti.denoiser("optimal", None), "a source is needed, not NoneType"),
    "denoiser unknown": (lambda: smalti.denoiser("pspc-sqare", SOURCE), "did you mean 'pspc-square'"),
    "denoiser of letters": (lambda: smalti.denoiser("a" * 10_000, SOURCE), "no denoiser is called 'aaa"),
    "denoiser without =": (lambda: smalti.denoiser("pspc-square:5", SOURCE), "must be NAME=VALUE, not '5'"),
    "denoiser twice": (lambda: smalti.denoiser("pspc-square:patch_size=5", SOURCE, patch_size=3), "given twice"),
    "create(1)": (lambda: create(1, SOURCE), "no denoiser is called 1"),
    "register(1)": (lambda: register(1), "a class of denoisers is needed"),
    "register without a name": (lambda: register(Untouched), "Untouched needs a name"),
    "Schedule.load(None)": (lambda: smalti.Schedule.load(None), "a path is needed"),
    "Schedule.load of letters": (lambda: smalti.Schedule.load("a" * 10_000), "cannot read the schedule"),
    "Schedule of nothing": (lambda: smalti.Schedule("pspc-square", None, None), "a schedule's sigmas and values"),
    "Schedule with huge": (lambda: smalti.Schedule("local-score", [HUGE], [3]), "sigmas must be finite numbers"),
    "save(None)": (lambda: smalti.SampleResult(Z, torch.ones(2)).save(None), "a path is needed"),
    "save as gif": (lambda: smalti.SampleResult(Z, torch.ones(2)).save("a.gif"), "a picture .* or as arrays"),
    "nearest(None)": (lambda: smalti.SampleResult(Z, torch.ones(2)).nearest(None), "a source is needed"),
    "nearest, k=0": (lambda: smalti.SampleResult(Z, torch.ones(2)).nearest(SOURCE, 0), "k must be from 1 to 5"),
    "edm_sigmas(None)": (lambda: smalti.edm_sigmas(None), "number of noise levels must be a whole number"),
    "edm_sigmas(10^12)": (lambda: smalti.edm_sigmas(10**12), "at most 1,000,000"),
    "Blend(None)": (lambda: smalti.Blend(None, [1.0]), "a blend is of denoisers"),
    "Blend of numbers": (lambda: smalti.Blend([1, 2], [0.5, 0.5]), "a blend is of denoisers"),
    "patch_size nan": (lambda: smalti.PSPCSquare(SOURCE, float("nan")), "the patch size must be a whole number"),
    "patch_size huge": (lambda: smalti.PSPCSquare(SOURCE, HUGE), "too large"),
    "patch_sizes text": (lambda: smalti.PSPCSquare(SOURCE, patch_sizes="abc"), "patch_sizes takes a list"),
    "patch_sizes 3.5": (lambda: smalti.PSPCSquare(SOURCE, patch_sizes=3.5), "patch_sizes takes a list"),
    "sigmas None in it": (lambda: smalti.LocalScore(SOURCE, [3], sigmas=[None]), "a sigma must be a number, not None"),
    "sigmas a number": (lambda: smalti.LocalScore(SOURCE, [3], sigmas=1.0), "sigmas must be a list"),
    "sigmas text for windows": (lambda: smalti.LocalScore(SOURCE, [3], sigmas="x"), "sigmas must be a list"),
    "window huge": (lambda: smalti.LocalScore(SOURCE, HUGE), "too large"),
    "window dict": (lambda: smalti.LocalScore(SOURCE, {}), "whole number"),
    "width huge": (lambda: smalti.GaussianWindow(SOURCE, HUGE), "width of a Gaussian window must be a number"),
    "width inf": (lambda: smalti.GaussianWindow(SOURCE, float("inf")), "width"),
    "response list": (lambda: smalti.GaussianWindow(SOURCE, response=["pixel"]), "the response must be"),
    "borders None": (lambda: smalti.EquivariantLocalScore(SOURCE, borders=None), "borders must be"),
    "smoothing None": (lambda: smalti.ClosedFormDiffusion(SOURCE, None), "the smoothing must be a number"),
    "samples 3": (lambda: smalti.ClosedFormDiffusion(SOURCE, samples=3), "samples must be even"),
    "samples 10^12": (lambda: smalti.ClosedFormDiffusion(SOURCE, samples=10**12), "samples must be even.* at most"),
    "noise's seed 0.5": (lambda: smalti.ClosedFormDiffusion(SOURCE, seed=0.5), "the seed must be a whole number"),
    "coordinates": (lambda: smalti.ClosedFormDiffusion(SOURCE, coordinates=[]), "coordinates must be"),
    "threshold huge": (lambda: smalti.PCALocality(SOURCE, HUGE), "the threshold must be a number"),
    "temperature None": (lambda: smalti.PCALocality(SOURCE, temperature=None), "the temperature must be a number"),
    "masks text": (lambda: smalti.PCALocality(SOURCE, masks="x"), "masks must be"),
    "rank nan": (lambda: smalti.Gaussian(SOURCE, float("nan")), "the rank must be a whole number"),
    "rank huge": (lambda: smalti.Gaussian(SOURCE, HUGE), "the rank is too large"),
    "heatmaps None": (lambda: smalti.PSPCFlex(SOURCE, None), "heatmaps must be"),
    "heatmaps of letters": (lambda: smalti.PSPCFlex(SOURCE, "a" * 10_000), "no file"),
    "thresholds huge": (lambda: smalti.PSPCFlex(SOURCE, thresholds=HUGE), "the threshold must be a number"),
    "thresholds text": (lambda: smalti.PSPCFlex(SOURCE, thresholds="x"), "the threshold must be a number"),
    "generate(None)": (lambda: smalti.generate(None), "a source is needed, not NoneType"),
    "generate of an array": (lambda: smalti.generate(SOURCE.images), "a source is needed, not ndarray"),
    "generate, n 10^12": (lambda: smalti.generate(SOURCE, n=10**12), "GB of memory"),
    "generate, n 10^12, labels": (lambda: smalti.generate(SOURCE, n=10**12, labels=1), "GB of memory"),
    "generate_like(None)": (lambda: smalti.generate_like(None), "a picture is a file or an array, not None"),
    "generate_like of bytes": (lambda: smalti.generate_like(b"a.png"), "a picture is a file or an array"),
    "generate_like of a device": (lambda: smalti.generate_like("/dev/zero"), "not a regular file"),
    "generate_like, n 10^12": (lambda: smalti.generate_like(PICTURE, patch_size=5, n=10**12), "GB of memory"),
    "tile as text": (lambda: smalti.generate_like(PICTURE, patch_size=5, tile="no"), "tile must be True or False"),
    "sources as text": (lambda: smalti.generate_like(PICTURE, patch_size=5, sources="no"), "sources must be True"),
    "symmetric, a list": (lambda: smalti.generate_like(PICTURE, patch_size=5, symmetric=["x"]), "symmetric is"),
    "keep, an object": (
        lambda: smalti.generate_like(PICTURE, patch_size=5, keep=object()),
        "keep is a file or an array",
    ),
    "influence of a region": (lambda: smalti.influence(OPTIMAL, (0, 0, 2, 2)), "of is a function of the image"),
    "influence of a class": (lambda: smalti.influence(smalti.Optimal, len), "Optimal has no posterior weights"),
    "influence, stop None": (lambda: smalti.influence(OPTIMAL, len, stop=None), "stop must be a number, not None"),
    "Source of a sparse tensor": (lambda: smalti.Source(torch.zeros(2, 1, 4, 4).to_sparse()), "sparse; give a dense"),
    "Source on meta": (lambda: smalti.Source(torch.zeros(2, 1, 4, 4, device="meta")), "meta device"),
    "Source.of a huge label": (lambda: smalti.Source.of([(PICTURE, 10**30)]), "labels that are too large"),
    "Source, name 3": (lambda: smalti.Source(SOURCE.images, name=3), "name must be text, not 3"),
    "Source.open, classes 1.5": (lambda: smalti.Source.open("digits", classes=1.5), "classes are names or numbers"),
    "Source.open, skip_bad as text": (lambda: smalti.Source.open("digits", skip_bad="no"), "skip_bad must be True"),
    "a class of two": (lambda: TWINS.open(), "several classes are called 'a'; give a number, one of 0, 1"),
    "convert to None": (lambda: convert("dit-digits", None), "the file to write is a path, not None"),
    "convert to NUL": (lambda: convert("dit-digits", "a\0.safetensors"), "the file to write is a path"),
    "convert, half as text": (lambda: convert("dit-digits", "a.safetensors", half="no"), "half must be True or False"),
    "features(None)": (lambda: quality.load_features(None), "features are a name .* not None"),
    "measure(None)": (lambda: quality.measure(None, REFERENCE), "samples are a floating tensor .* not NoneType"),
    "measure of bytes": (lambda: quality.measure(Z.to(torch.uint8), REFERENCE), "not torch.uint8"),
    "measure against None": (lambda: quality.measure(Z, None), "a Reference.* is needed, not None"),
    "Reference(None)": (lambda: quality.Reference(None, SOURCE, PIXELS), "a source is needed"),
    "Reference, features as text": (lambda: quality.Reference(SOURCE, SOURCE, "pixels"), "features are needed"),
    "check_denoiser(None)": (lambda: smalti.check_denoiser(None), "a denoiser is needed"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_call_is_one_line(name):
    call, says = CALLS[name]
    started = time.perf_counter()
    with pytest.raises(smalti.InputError) as caught:
        call()
    assert time.perf_counter() - started < 5
    message = str(caught.value)
    assert re.search(says, message), message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("source", [None, 3, "digits", [Z]])
def test_no_source(name, source):
    with pytest.raises(smalti.InputError, match="a source is needed"):
        create(name, source)


@pytest.mark.parametrize("name", [name for name, kind in REGISTRY.items() if name not in ("gaussian", "nearest")])
@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("backend", "cuda"),
        ("backend", 1),
        ("backend", []),
        ("tolerance", "x"),
        ("tolerance", HUGE),
        ("tolerance", float("nan")),
    ],
)
def test_what_every_windowed_denoiser_refuses(name, parameter, value):
    denoiser = None
    with pytest.raises(smalti.InputError, match=parameter):
        denoiser = create(name, SOURCE, **{parameter: value})
        denoiser.collection(1.0)
