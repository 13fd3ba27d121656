"""Sides of squares on heatmaps whose sides are known, and files."""

import dataclasses
import zipfile

import numpy as np
import pytest
import torch

from smalti.analysis.heatmaps import Sensitivity, rings
from smalti.core.errors import InputError
from smalti.core.files import save_npz


def constructed(heatmaps, pixels, shape, **more) -> Sensitivity:
    heatmaps = np.asarray(heatmaps, np.float64)
    return Sensitivity(
        "made", np.ones(len(heatmaps)), np.asarray(pixels), shape, heatmaps, np.zeros_like(heatmaps), 1, **more
    )


def test_one_point_has_side_one_and_others_twice_their_distance_and_one():
    heat = np.zeros((4, 1, 7, 9))
    for level, (y, x) in enumerate([(3, 4), (2, 4), (3, 0), (6, 8)]):
        heat[level, 0, y, x] = 0.5
    found = constructed(heat, [(3, 4)], (1, 7, 9))
    assert found.sides().tolist() == [[1] * 3, [3] * 3, [9] * 3, [9] * 3]
    assert np.isnan(found.sides_standard_errors()).all()


def test_a_uniform_heatmap():
    found = constructed(np.ones((1, 2, 9, 9)), [(4, 4), (4, 0)], (1, 9, 9))
    # centre: 49 of 81 pixels in 7 x 7, 81 in 9 x 9; edge: columns 0..r, rows clipped to 9
    sides = found.sides_of_pixels((49 / 81, 50 / 81, 0.75, 1.0))[0]
    assert sides[0].tolist() == [7, 9, 9, 9]
    held = [min(2 * r + 1, 9) * (r + 1) / 81 for r in range(9)]
    assert sides[1].tolist() == [
        2 * int(np.argmax(np.array(held) >= s - 1e-12)) + 1 for s in (49 / 81, 50 / 81, 0.75, 1)
    ]
    assert found.sides((0.75,))[0, 0] == sides[:, 2].mean()


def test_pixels_that_depend_on_nothing_are_left_out():
    heat = np.zeros((2, 2, 5, 5))
    heat[0, 0, 2, 2] = 1
    heat[1] = 1e-14  # rounding
    found = constructed(heat, [(2, 2), (0, 0)], (1, 5, 5))
    assert found.sides((0.5,))[0] == 1
    assert np.isnan(found.sides((0.5,))[1])
    assert found.depends().tolist() == [[True, False], [False, False]]


def test_rings_are_clipped_squares():
    heat = torch.rand(3, 2, 6, 4, dtype=torch.float64)
    pixels = torch.tensor([[5, 1], [2, 3]])
    held = rings(heat, pixels).cumsum(-1)
    assert held.shape == (3, 2, 6)
    for p, (y, x) in enumerate(pixels.tolist()):
        for r in range(6):
            box = heat[:, p, max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1].sum((1, 2))
            torch.testing.assert_close(held[:, p, r], box)


def test_the_jackknife_knows_how_groups_of_z_vary():
    generator = np.random.default_rng(0)
    masses = generator.random((1, 10, 64, 8))
    alike = np.repeat(masses.mean(1, keepdims=True), 10, 1)
    pixels = [(y, x) for y in range(8) for x in range(8)]
    heat = np.ones((1, 64, 8, 8))
    varied, same = (constructed(heat, pixels, (1, 8, 8), ring_sums=sums) for sums in (masses, alike))
    assert (same.sides_standard_errors() == 0).all()
    assert (varied.sides_standard_errors((0.5, 0.75)) > 0.01).all()


def test_saved_and_loaded(tmp_path):
    found = constructed(
        np.random.default_rng(0).random((2, 3, 4, 4)), [(0, 0), (1, 1), (3, 2)], (2, 4, 4), reduction="l2", seed=5
    )
    found.save(tmp_path / "a.npz")
    again = Sensitivity.load(tmp_path / "a.npz")
    for field in dataclasses.fields(Sensitivity):
        assert np.array_equal(getattr(again, field.name), getattr(found, field.name)), field.name
    assert again.table().rows[0]["denoiser"] == "made"
    assert len(again.table((0.5,))) == 2
    with pytest.raises(InputError, match="all 16 output pixels are needed and there are 3"):
        again.cells()


def test_bad_files(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        Sensitivity.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(InputError, match="is not a file of heatmaps"):
        Sensitivity.load(tmp_path / "text.npz")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "terabytes.npz", "w") as archive:
        archive.writestr("sigmas.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(InputError, match="is not a file of heatmaps"):
        Sensitivity.load(tmp_path / "terabytes.npz")
    found = constructed(np.ones((1, 1, 4, 4)), [(0, 0)], (1, 4, 4))
    arrays = {name: getattr(found, name) for name in ("sigmas", "pixels", "heatmaps", "standard_errors", "ring_sums")}
    for name, about in {"json": "{", "keys": '{"name": "x"}', "list": "[]"}.items():
        save_npz(tmp_path / f"{name}.npz", {**arrays, "about": np.array(about)})
        with pytest.raises(InputError, match="is a damaged file of heatmaps"):
            Sensitivity.load(tmp_path / f"{name}.npz")
    found.save(tmp_path / "cut.npz")
    with np.load(tmp_path / "cut.npz") as stored:
        save_npz(tmp_path / "cut.npz", {**dict(stored), "heatmaps": np.ones((2, 1, 4, 4))})
    with pytest.raises(InputError, match="is a damaged file of heatmaps"):
        Sensitivity.load(tmp_path / "cut.npz")


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_bad_shares(share):
    with pytest.raises(InputError, match="shares must be above 0 and at most 1"):
        constructed(np.ones((1, 1, 4, 4)), [(0, 0)], (1, 4, 4)).sides((share,))
