import math

import numpy as np
import pytest
import torch

from helpers import random_source
from smalti import Gaussian, InputError, LocalScore, Optimal, PSPCSquare, metrics
from smalti.analysis.errors import deviations, error_sigmas, error_to_optimal, example_outputs
from smalti.analysis.forward import forward_batch
from stand_ins import Away, Counts


@pytest.fixture
def source():
    return random_source(60, (2, 5, 6), labels=True)


def test_levels_are_the_papers():
    sigmas = error_sigmas()
    assert len(sigmas) == 150
    assert np.allclose([sigmas[0], sigmas[-1]], [0.01, 100])
    assert torch.allclose(sigmas.log().diff(), sigmas.log().diff()[0])
    with pytest.raises(InputError, match="low <= high"):
        error_sigmas(3, 1, 0.1)


def test_errors_are_mean_squared_errors(source):
    table = error_to_optimal([LocalScore(source, 3), Gaussian(source)], source, [0.5, 2.0], 8, seed=3, progress=False)
    assert table.columns == ("sigma", "denoiser", "mse", "low", "high", "standard_error", "n")
    for level, sigma in enumerate((0.5, 2.0)):
        z = forward_batch(source, sigma, 3, level, range(8)).z
        for name, denoiser in (("local-score", LocalScore(source, 3)), ("gaussian", Gaussian(source))):
            each = metrics.mse(denoiser(z, sigma), Optimal(source)(z, sigma))
            (row,) = table.where(sigma=sigma, denoiser=name)
            assert np.isclose(row["mse"], float(each.mean()), rtol=1e-4)
            assert np.isclose(row["standard_error"], float(each.std()) / math.sqrt(8), rtol=0.25)
            assert row["low"] < row["mse"] < row["high"]
            assert row["n"] == 8


def test_agreement_of_known_deviations(source):
    subjects = {
        "a": Away(source, 0.1),
        "b": Away(source, 0.3),
        "c": Away(source, -0.2),
        "d": Away(source, 0.2, 1),
        "o": Optimal(source),
    }
    found = deviations(subjects, source, [1.0], 5, progress=False)
    cosines = {(row["first"], row["second"]): row["cosine"] for row in found.agreement()}
    assert len(cosines) == 10
    for pair, cosine in {("a", "b"): 1, ("a", "c"): -1, ("a", "d"): 0}.items():
        assert abs(cosines[pair] - cosine) < 1e-4
    assert math.isnan(cosines["a", "o"]), "the optimal denoiser does not deviate"
    assert found.errors().where(denoiser="o")["mse"] == [0]
    assert found.errors().where(denoiser="o")["high"] == [0]


def test_labelled(source):
    found = error_to_optimal([LocalScore(source, 3)], source, [1.0], 4, labelled=True, progress=False)
    drawn = forward_batch(source, 1.0, 0, 0, range(4))
    a, b = (d(drawn.z, 1.0, drawn.labels) for d in (LocalScore(source, 3), Optimal(source)))
    assert np.isclose(found["mse"][0], float(metrics.mse(a, b).mean()), rtol=1e-4)


def test_goes_on_after_a_kill_with_the_same_bits(source, tmp_path):
    inner = LocalScore(source, 3)
    whole = deviations({"x": Counts(inner)}, source, [2.0, 0.5], 6, batch_size=2, progress=False)
    done = []
    with pytest.raises(KeyboardInterrupt):
        deviations(
            {"x": Counts(inner, stop=5)}, source, [2.0, 0.5], 6, batch_size=2, keep=tmp_path, progress=done.append
        )
    assert sum(done) == 8
    rest = Counts(inner)
    again = deviations({"x": rest}, source, [2.0, 0.5], 6, batch_size=2, keep=tmp_path, progress=False)
    assert rest.calls == 2
    assert torch.equal(again.products, whole.products)
    assert again.errors().rows == whole.errors().rows
    longer = deviations({"x": Counts(inner)}, source, [2.0, 0.5], 8, batch_size=2, keep=tmp_path, progress=False)
    assert torch.equal(longer.products[:, :6], whole.products), "more z go on from fewer"


def test_batches_do_not_matter(source):
    arguments = ([PSPCSquare(source, 3)], source, [1.0], 7)
    a, b = (deviations(*arguments, batch_size=size, progress=False).products for size in (7, 2))
    assert torch.allclose(a, b, rtol=1e-4)


def test_examples_share_image_and_noise(source):
    found = example_outputs([Gaussian(source)], source, (0.1, 3.0), seed=4)
    assert list(found) == ["z", "optimal", "gaussian"]
    assert {tuple(x.shape) for x in found.values()} == {(2, 2, 5, 6)}
    clean = forward_batch(source, 1.0, 4, 0, [0]).clean[0]
    noise = [(z - clean) / sigma for z, sigma in zip(found["z"], (0.1, 3.0), strict=True)]
    assert torch.allclose(*noise, atol=1e-4)


def test_bad_input(source):
    bare = random_source(5, (2, 5, 6))
    with pytest.raises(InputError, match="needs a source with classes"):
        error_to_optimal([Gaussian(bare)], bare, [1.0], 2, labelled=True)
    with pytest.raises(InputError, match="gaussian takes images of shape"):
        error_to_optimal([Gaussian(source)], random_source(5, (1, 4, 4)), [1.0], 2)
    with pytest.raises(InputError, match="seed"):
        error_to_optimal([Gaussian(source)], source, [1.0], 2, seed=-1, progress=False)
    with pytest.warns(UserWarning, match="gaussian is made on"):
        error_to_optimal([Gaussian(source)], source.with_hflip(True), [1.0], 2, progress=False)
