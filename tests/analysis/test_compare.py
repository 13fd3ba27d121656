import math
import warnings

import numpy as np
import pytest
import torch

from helpers import random_source
from smalti import Gaussian, InputError, LocalScore, Optimal, PSPCSquare, SmaltiError, metrics
from smalti.analysis.compare import STATISTICS, compare
from smalti.analysis.forward import forward_z
from smalti.analysis.z_sets import ZSet
from stand_ins import Away, Counts


@pytest.fixture
def source():
    return random_source(60, (1, 6, 6), labels=True)


@pytest.fixture
def z(source):
    return forward_z(source, [8.0, 1.0, 0.3], 10)


def test_optimal_against_itself(source, z):
    table = compare(Optimal(source), {"optimal": Optimal(source)}, z, progress=False)
    assert len(table) == 3
    for row in table:
        assert (row["mse"], row["mse_low"], row["mse_high"], row["r2"]) == (0, 0, 0, 1)
        assert abs(row["cosine"] - 1) < 1e-12
        assert math.isnan(row["fraction"]), "there is no deviation to explain"


def test_network_itself_and_optimal(source, z):
    network = PSPCSquare(source, 3)
    table = compare(network, {"same": PSPCSquare(source, 3)}, z, progress=False)
    assert table["denoiser"] == ["optimal", "same"] * 3
    for row in table.where(denoiser="same"):
        assert (row["mse"], row["r2"], row["fraction"], row["fraction_low"]) == (0, 1, 1, 1)
    for row in table.where(denoiser="optimal"):
        assert (row["fraction"], row["fraction_low"], row["fraction_high"]) == (0, 0, 0)


def test_known_fractions(source, z):
    """Half of the deviation leaves a quarter of its square; as much in another direction leaves twice the square."""
    others = {"half": Away(source, 0.1), "double": Away(source, 0.4), "other": Away(source, 0.2, 1)}
    table = compare(Away(source, 0.2), others, z, optimal=Optimal(source), progress=False)
    for name, fraction in (("optimal", 0), ("half", 0.75), ("double", 0), ("other", -1)):
        for row in table.where(denoiser=name):
            assert abs(row["fraction"] - fraction) < 1e-4
            assert abs(row["fraction_low"] - fraction) < 1e-4
    for row in table.where(denoiser="half"):
        assert abs(row["mse"] - 0.01 / 6) < 1e-6, "one row of six"


def test_statistics_are_those_of_metrics(source, z):
    network, other = PSPCSquare(source, 3), Gaussian(source)
    table = compare(network, [other], {"a": z}, progress=False, optimal=Optimal(source))
    for level, sigma in enumerate(z.sigmas.tolist()):
        a, b, o = (d(z.z[level], sigma) for d in (network, other, Optimal(source)))
        (row,) = table.where(set="a", level=level, denoiser="gaussian")
        assert (row["sigma"], row["n"]) == (sigma, 10)
        assert np.isclose(row["mse"], float(metrics.mse(a, b).mean()), rtol=1e-6)
        assert np.isclose(row["cosine"], float(metrics.cosine(a, b).mean()), rtol=1e-6)
        assert np.isclose(row["r2"], float(metrics.r2(a, b)), rtol=1e-6)
        assert np.isclose(row["fraction"], 1 - row["mse"] / float(metrics.mse(a, o).mean()), rtol=1e-6)
        for name in STATISTICS:
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
            assert row[f"{name}_standard_error"] > 0


def test_batches_do_not_matter(source, z):
    network, others = PSPCSquare(source, 3), [LocalScore(source, 3)]
    whole = compare(network, others, z, progress=False)
    parts = compare(network, others, z, batch_size=3, progress=False)
    for a, b in zip(whole, parts, strict=True):
        assert all(
            np.isclose(a[k], b[k], rtol=1e-3, atol=1e-6, equal_nan=True) for k in a if k not in ("set", "denoiser")
        )


def test_goes_on_after_a_kill_with_the_same_bits(source, z, tmp_path):
    network, other = PSPCSquare(source, 3), LocalScore(source, 3)
    whole = compare(Counts(network), {"other": other}, z, batch_size=4, progress=False, optimal=Optimal(source))
    stopped, done = Counts(network, stop=5), []
    arguments = {"batch_size": 4, "keep": tmp_path, "optimal": Optimal(source)}
    with pytest.raises(KeyboardInterrupt):
        compare(stopped, {"other": other}, z, progress=done.append, **arguments)
    assert sum(done) == 10 * 3 + 4
    rest = Counts(network)
    again = compare(rest, {"other": other}, z, progress=False, **arguments)
    assert rest.calls == 9 - 4
    assert str(again.rows) == str(whole.rows)
    with pytest.raises(InputError, match="keeps another computation"):
        compare(rest, {"other": LocalScore(source, 5)}, z, progress=False, **arguments)


def test_labels_condition_everything(source):
    z = forward_z(source, [1.0], 6, labelled=True)
    table = compare(PSPCSquare(source, 3), [LocalScore(source, 3)], z, progress=False)
    network, other = (kind(source, 3)(z.z[0], 1.0, z.labels[0]) for kind in (PSPCSquare, LocalScore))
    (row,) = table.where(denoiser="local-score")
    assert np.isclose(row["mse"], float(metrics.mse(network, other).mean()))


def test_one_z_has_no_intervals(source):
    (row,) = compare(PSPCSquare(source, 3), [Optimal(source)], forward_z(source, [1.0], 1), progress=False)
    assert row["mse"] > 0
    assert math.isnan(row["mse_low"])
    assert math.isnan(row["r2"])


def test_other_images_are_said(source, z):
    other = random_source(60, (1, 6, 6), seed=1)
    with pytest.warns(UserWarning, match=r"local is made on Source.*compared on Source"):
        compare(PSPCSquare(source, 3), {"optimal": Optimal(source), "local": LocalScore(other, 3)}, z, progress=False)
    with pytest.warns(UserWarning, match=r"the network pspc-square is made on Source\(.*hflip=True"):
        compare(PSPCSquare(source.with_hflip(True), 3), [Optimal(source)], z, progress=False)

    class Trained(Counts):
        def training_source(self, given):
            return given.subset(range(30))

    with pytest.warns(UserWarning, match=r"the network Trained was trained on Source\(30 x"):
        compare(Trained(Gaussian(source)), [Optimal(source)], z, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(PSPCSquare(source, 3), [LocalScore(source, 3)], z, progress=False)


def test_bad_input(source, z):
    network = Gaussian(source)
    with pytest.raises(InputError, match="give at least one denoiser"):
        compare(network, {}, z)
    with pytest.raises(InputError, match="two denoisers are called 'local-score'; give a dict"):
        compare(network, [LocalScore(source, 3), LocalScore(source, 5)], z)
    with pytest.raises(InputError, match=r"give optimal=smalti.Optimal\(source\)"):
        compare(network, {"a": Counts(network)}, z)
    with pytest.raises(InputError, match="another name"):
        compare(network, {"optimal": Gaussian(source)}, z)
    with pytest.raises(InputError, match=r"the z of x are \(1, 4, 4\)"):
        compare(network, [Optimal(source)], {"x": ZSet(torch.zeros(1, 1, 1, 4, 4), [1.0])})
    with pytest.raises(InputError, match="must be a denoiser, not str"):
        compare(network, {"a": "optimal"}, z)

    class Broken(Away):
        def denoise(self, z, sigma, labels):
            return z * float("nan")

    with pytest.raises(SmaltiError, match="broken returned NaN or infinite values at sigma = 8"):
        compare(network, {"broken": Broken(source, 0)}, z, optimal=Optimal(source), progress=False)
