"""A Fig. 9: similarities of samples."""

import dataclasses
import hashlib

import numpy as np
import pytest

from laboratories import TINY, away, laboratory, shown
from scripted import Means, saved
from smalti import InputError
from smalti.experiments.exhibits.similarity import PUBLISHED, PUBLISHED_NAMES, Similarity
from smalti.metrics import cosine
from smalti.sampling import sample


@pytest.fixture(scope="module")
def lab():
    return laboratory(away(ddpmpp=0, same=0, dit=1), dataclasses.replace(TINY, samples=5))


@pytest.fixture(scope="module")
def found(lab, tmp_path_factory):
    return shown(Similarity(), lab, tmp_path_factory.mktemp("a9"))


def test_equal_samples_have_1_by_every_measure(found):
    table = found.tables["a9-similarity"]
    assert table.columns[:5] == ("measure", "a", "b", "n", "similarity")
    assert table.distinct("measure") == ["pixel-cosine", "ssim", "patch-cosine"]
    rows = table.where(a="ddpmpp", b="same")
    assert rows["similarity"] == pytest.approx([1, 1, 1])
    assert all(value < 0.999 for value in rows["chance"])


def test_each_pair_is_there_once_denoisers_before_networks(lab, found):
    table = found.tables["a9-similarity"].where(measure="ssim")
    pairs = {frozenset((row["a"], row["b"])) for row in table}
    assert len(pairs) == len(table) == 7 * 6 // 2
    assert all(row["a"] in lab.denoisers for row in table if row["b"] in lab.denoisers)
    assert all(row["a"] not in lab.networks for row in table if row["b"] in lab.denoisers)


def test_pixel_cosine_is_about_the_mean_image(lab, found):
    images = []
    for name in ("gaussian", "dit"):
        run = sample(lab.subjects[name], 5, seed=lab.seed, solver="euler", sigmas=[12.9, 1.9, 0.3, 0.0], progress=False)
        images.append(run.images.double() - lab.source.working().double().mean(0))
    row = found.tables["a9-similarity"].where(measure="pixel-cosine", a="gaussian", b="dit").rows[0]
    assert row["similarity"] == pytest.approx(float(cosine(*images).mean()), abs=1e-5)
    shifted = float(cosine(images[0], images[1].roll(-1, 0)).mean())
    assert row["chance"] == pytest.approx(shifted, abs=1e-5)


def test_paired_differences_are_those_of_the_same_samples(lab, found):
    paired, table = found.tables["a9-paired"], found.tables["a9-similarity"]
    assert paired.columns[:6] == ("measure", "a", "b", "c", "n", "difference")
    value = {(row["measure"], frozenset((row["a"], row["b"]))): row["similarity"] for row in table}
    for row in paired:
        wanted = (value[row["measure"], frozenset((row[x], row["b"]))] for x in "ac")
        assert row["difference"] == pytest.approx(-np.subtract(*reversed(list(wanted))), abs=1e-12)
    nearest = paired.where(a="same", b="ddpmpp", c="gaussian", measure="ssim").rows[0]
    alone = table.where(a="gaussian", b="ddpmpp", measure="ssim").rows[0]
    assert nearest["difference_low"] == pytest.approx(1 - alone["similarity_high"], abs=1e-9), "of the same resamples"
    assert len(paired.where(a="gaussian", b="pspc-flex", measure="ssim")) == len(lab.networks)
    assert all(row["b"] in lab.networks for row in paired if row["a"] != "gaussian")
    assert not len(paired.where(lambda row: row["a"] in (row["b"], row["c"])))


def test_paired_differences_take_the_samples_that_both_have(lab, tmp_path):
    costs = dataclasses.replace(lab.costs, seconds={**lab.costs.seconds, "gaussian": (0.02,) * 3})
    found = shown(Similarity(), dataclasses.replace(lab, costs=costs, seconds=0.15), tmp_path)
    assert {row["n"] for row in found.tables["a9-paired"] if "gaussian" in (row["a"], row["c"])} == {2}
    assert max(found.tables["a9-paired"]["n"]) > 2


def test_the_published_matrix():
    networks = ("ncsnpp", "dit", "ddpmpp", "u-vit")
    assert len(PUBLISHED) == 36
    assert np.mean([PUBLISHED[name, "pspc-flex"] for name in networks]) == pytest.approx(0.5525)
    assert np.mean([PUBLISHED["optimal", name] for name in networks]) == pytest.approx(0.3425)
    assert PUBLISHED["gaussian", "pspc-flex"] == 0.70
    assert PUBLISHED["pspc-flex", "pspc-square"] == 0.88
    assert PUBLISHED["closed-form-diffusion", "u-vit"] == 0.22
    assert set(PUBLISHED_NAMES) > {"ncsnpp", "ddpmpp"}


def test_pictures_and_notes(found):
    names = [picture.name for picture in found.pictures]
    assert names == ["a9-samples", "a9-pixel-cosine", "a9-published", "a9-ssim", "a9-patch-cosine"]
    assert any("--sscd" in note for note in found.notes)


def test_sscd_is_another_measure_where_its_file_is_given(lab, tmp_path):
    file = saved(Means(), tmp_path / "sscd.pt")
    with pytest.raises(InputError, match="TorchScript, which is code"):
        Similarity().steps(dataclasses.replace(lab, sscd=file))
    trusting = dataclasses.replace(lab, sscd=file, trust=True, scale=dataclasses.replace(lab.scale, samples=2))
    found = shown(Similarity(), trusting, tmp_path / "results")
    rows = found.tables["a9-similarity"].where(measure="sscd")
    assert len(rows) == 21
    assert rows.where(a="ddpmpp", b="same")["similarity"] == pytest.approx([1])
    assert not any("--sscd" in note for note in found.notes)
    assert [picture.name for picture in found.pictures][1:3] == ["a9-sscd", "a9-published"]
    assert trusting.loaded.digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_fewer_samples_are_said(lab, tmp_path):
    costs = dataclasses.replace(lab.costs, seconds={**lab.costs.seconds, "gaussian": (0.02,) * 3})
    found = shown(Similarity(), dataclasses.replace(lab, costs=costs, seconds=0.15), tmp_path)
    table = found.tables["a9-similarity"]
    assert {row["n"] for row in table if "gaussian" in (row["a"], row["b"])} == {2}
    assert "(n = 2)" in found.pictures[1].caption
    assert found.pictures[1].caption.count("(n = ") == 1


def test_a_network_is_needed():
    assert "needs a network" in Similarity().missing(laboratory({}))
