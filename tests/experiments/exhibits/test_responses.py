"""Responses to transformed z: 0 for a denoiser that looks at one pixel, more for the optimal one."""

import pytest

from laboratories import Blurs, laboratory, shown
from smalti.experiments.exhibits.responses import Responses

CHANGES = ["shift-x", "shift-y", "noise-inside", "noise-outside"]


def test_a_denoiser_of_single_pixels_answers_locally(tmp_path):
    lab = laboratory({"ddpmpp": lambda source: Blurs(source, 1)})
    found = shown(Responses(), lab, tmp_path)
    table = found.tables["w3-responses"]
    assert table.columns[:5] == ("subject", "transformation", "sigma", "n", "distance")
    assert table.distinct("sigma") == [2.0, 2.0 * 6 / 32]
    for sigma in table.distinct("sigma"):
        own = table.where(subject="ddpmpp", sigma=sigma)
        assert own["transformation"] == CHANGES
        assert own["distance"] == pytest.approx([0] * 4, abs=1e-12)
        assert min(table.where(subject="optimal", sigma=sigma)["distance"]) > 1e-3
    assert set(table["n"]) == {lab.scale.z}
    assert len(found.tables["w3-distances"]) == 2 * 3 * 8  # sigmas, subjects, comparisons
    assert "ddpmpp 0 [0, 0]" in found.pictures[1].caption


def test_no_network():
    assert "needs a network" in Responses().missing(laboratory({}))
