import math

import numpy as np
import pytest
import torch

from helpers import random_source
from smalti import Gaussian, InputError, LocalScore, Optimal, Source
from smalti.analysis.forward import forward_batch
from smalti.analysis.transforms import Box, kept_by_shift, shift_image, shift_of, shift_z, transforms
from stand_ins import Away, Counts


@pytest.fixture
def source():
    return random_source(50, (2, 8, 10), labels=True)


def test_shift_moves_right_and_down_and_repeats_edges():
    x = torch.arange(12.0).reshape(1, 3, 4)
    assert shift_image(x, 1, 0)[0].tolist() == [[0, 0, 1, 2], [4, 4, 5, 6], [8, 8, 9, 10]]
    assert shift_image(x, 0, 1)[0].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert shift_image(x, -2, 0)[0].tolist() == [[2, 3, 3, 3], [6, 7, 7, 7], [10, 11, 11, 11]]
    assert kept_by_shift(3, 4, 1, 0).tolist() == [[False, True, True, True]] * 3
    assert kept_by_shift(3, 4, 0, -1).tolist() == [[True] * 4] * 2 + [[False] * 4]


@pytest.mark.parametrize("shift", [3, -3])
def test_noise_stays_with_its_pixels_and_fresh_noise_enters(source, shift):
    """(T z)(i, j) = z(i, j - s); what enters is x's edge value and noise of its own."""
    drawn = forward_batch(source, 2.0, 0, 0, range(200))
    found = transforms([Optimal(source)], source, 2.0, 200, shift=shift, progress=False)
    z = found.z[1]
    kept, new = (z[..., 3:], z[..., :3]) if shift > 0 else (z[..., :-3], z[..., -3:])
    assert torch.equal(kept, drawn.z[..., :-3] if shift > 0 else drawn.z[..., 3:])
    edge = drawn.clean[..., :1] if shift > 0 else drawn.clean[..., -1:]
    noise = (new - edge) / 2
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03
    old = (drawn.z - drawn.clean)[..., :1] if shift > 0 else (drawn.z - drawn.clean)[..., -1:]
    assert abs(float(((new - edge) * old).mean())) < 0.2, "not the edge's own noise, repeated"


def test_box_has_noise_only_inside_or_outside(source):
    found = transforms([Optimal(source)], source, 2.0, 100, box=(1, 2, 3, 4), progress=False)
    inside = found.box.mask(8, 10)
    assert int(inside.sum()) == 12
    assert torch.equal(found.z[3][..., ~inside], found.z[0][..., ~inside])
    assert torch.equal(found.z[4][..., inside], found.z[0][..., inside])
    for fresh in (found.z[3][..., inside], found.z[4][..., ~inside]):
        assert abs(float(fresh.mean())) < 0.1
        assert abs(float(fresh.std()) - 2) < 0.1
    assert not torch.isclose(found.z[3][..., inside], found.z[0][..., inside]).any()


def test_defaults_scale_with_the_size():
    assert [shift_of(None, *size) for size in ((32, 32), (64, 64), (8, 8), (3, 40))] == [
        (5, 5),
        (10, 10),
        (1, 1),
        (1, 1),
    ]
    assert Box.central(32, 32) == Box(8, 8, 16, 16)
    assert Box.central(8, 10) == Box(2, 2, 4, 5)
    assert shift_of((2, -1), 8, 8) == (2, -1)


class Pixelwise(Away):
    """z / (1 + sigma^2): moves with a shift, and answers changes where they are."""

    def denoise(self, z, sigma, labels):
        return z / (1 + sigma[:, None, None, None].to(z) ** 2)


def test_distances_of_a_local_denoiser(source):
    found = transforms({"local": Pixelwise(source, 0), "optimal": Optimal(source)}, source, n=20, progress=False)
    table = found.distances()
    assert len(table) == 2 * 8
    local = table.where(denoiser="local")
    for row in local.where(compared="D(Tz), TD(z)"):
        assert (row["mse"], row["relative"]) == (0, 0), "a shift is answered by a shift"
    assert local.where(transform="noise-inside", region="outside")["mse"] == [0]
    assert local.where(transform="noise-outside", region="inside")["mse"] == [0]
    assert local.where(transform="noise-inside", region="inside")["mse"][0] > 0
    far = table.where(denoiser="optimal", transform="noise-inside", region="outside")
    assert far["mse_low"][0] > 0, "the optimal denoiser answers everywhere"
    assert far["mse"][0] < far["mse_high"][0]


def test_distances_are_means_over_their_region(source):
    found = transforms([Gaussian(source)], source, n=4, shift=2, progress=False)
    plain, moved, inside = found.outputs["gaussian"][0], found.outputs["gaussian"][1], found.box.mask(8, 10)
    (row,) = found.distances().where(transform="shift-x", compared="D(Tz), TD(z)")
    assert np.isclose(row["mse"], float((moved[..., 2:] - plain[..., :-2]).double().square().mean()))
    (row,) = found.distances().where(transform="shift-x", compared="D(Tz), D(z)")
    between = (plain - plain.roll(-1, 0))[..., 2:].double().square().mean()
    change = (moved - plain)[..., 2:].double().square().mean()
    assert np.isclose(row["relative"], float(change / between))
    (row,) = found.distances().where(transform="noise-outside", region="inside")
    away = (found.outputs["gaussian"][4] - plain)[..., inside].double().square().mean()
    assert np.isclose(row["mse"], float(away))


def test_given_z_borrow_their_edges_from_the_optimal_denoiser(source):
    z = 2 * torch.randn(3, 2, 8, 10, generator=torch.Generator().manual_seed(0))
    found = transforms([Gaussian(source)], source, z=z, shift=1, progress=False)
    assert torch.allclose(found.clean, Optimal(source)(z, 2.0))
    assert torch.equal(found.z[0], z)
    assert torch.equal(found.z[2][..., 1:, :], z[..., :-1, :])
    fresh = torch.zeros(3, 2, 8, 10)
    assert torch.allclose(shift_z(z, found.clean, 2.0, fresh, 0, 1)[..., 0, :], found.clean[..., 0, :])


def test_labelled(source):
    found = transforms([LocalScore(source, 3)], source, 1.0, 3, labelled=True, progress=False)
    labels = forward_batch(source, 1.0, 0, 0, range(3)).labels
    assert torch.allclose(found.outputs["local-score"][2], LocalScore(source, 3)(found.z[2], 1.0, labels), atol=1e-5)


def test_goes_on_after_a_kill_with_the_same_bits(source, tmp_path):
    inner = LocalScore(source, 3)
    whole = transforms({"x": Counts(inner)}, source, n=4, batch_size=2, progress=False)
    with pytest.raises(KeyboardInterrupt):
        transforms({"x": Counts(inner, stop=8)}, source, n=4, batch_size=2, keep=tmp_path, progress=False)
    rest = Counts(inner)
    again = transforms({"x": rest}, source, n=4, batch_size=2, keep=tmp_path, progress=False)
    assert rest.calls == 5
    assert torch.equal(again.outputs["x"], whole.outputs["x"])


def test_one_z(source):
    table = transforms([Gaussian(source)], source, n=1, progress=False).distances()
    assert all(math.isfinite(row["mse"]) and math.isnan(row["relative"]) for row in table)


def test_bad_input(source):
    subjects = [Gaussian(source)]
    for arguments, message in (
        ({"shift": 8}, "the shift must be from 1 to 7 pixels"),
        ({"shift": 0}, "the shift must be"),
        ({"shift": 1.5}, "whole number"),
        ({"box": (0, 0, 9, 3)}, "the box goes to row 9 and column 3 of a 8 x 10 image"),
        ({"box": (-1, 0, 3, 3)}, "top must be at least 0"),
        ({"box": (0, 0, 8, 10)}, "the whole image"),
        ({"sigma": -1}, "sigma must be"),
        ({"n": 0}, "n must be at least 1"),
        ({"z": torch.zeros(1, 1, 8, 8)}, "z has shape"),
        ({"z": torch.zeros(1, 2, 8, 10), "labelled": True}, "labelled needs forward z"),
    ):
        with pytest.raises(InputError, match=message):
            transforms(subjects, source, **arguments)
    single = Source(np.zeros((1, 2, 8, 10), np.uint8))
    with pytest.warns(UserWarning, match="is made on"):
        transforms(subjects, single, n=1, progress=False)
