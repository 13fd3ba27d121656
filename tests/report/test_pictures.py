import io

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.core.errors import EnvironmentFailure, InputError
from smalti.report import (
    aligned_rows,
    grid,
    labelled_grid,
    samples_with_neighbours,
    save_png,
    shown_noisy,
    to_u8,
    trajectory_strip,
)
from smalti.report.pictures import sigma_caption
from smalti.sampling import SampleResult

RNG = np.random.default_rng(0)


def contains(picture, image, scale=8):
    """Whether the enlarged grey image stands somewhere in the picture, pixel for pixel."""
    pixels = np.asarray(picture)[..., 0]
    wanted = to_u8(image)[0].repeat(scale, 0).repeat(scale, 1)
    views = np.lib.stride_tricks.sliding_window_view(pixels, wanted.shape)
    return bool((views[..., ::scale, ::scale] == wanted[::scale, ::scale]).all(axis=(2, 3)).any())


def digits(*shape):
    return RNG.uniform(-1, 1, (*shape, 1, 8, 8)).astype(np.float32)


def test_grid_shows_every_image():
    images = digits(5)
    picture = grid(torch.from_numpy(images), columns=3, title="five")
    assert all(contains(picture, image) for image in images)
    assert not contains(picture, digits(1)[0])


def test_labelled_grid_shows_every_image():
    images = digits(2, 3)
    picture = labelled_grid(images, ["a", "b"], ["x", "y", "z"], "title", "note", block=1)
    assert all(contains(picture, image) for row in images for image in row)


def test_aligned_rows_break_into_blocks():
    clean, noisy = digits(5), digits(5)
    picture = aligned_rows({"clean": clean, "noisy": noisy}, columns=2)
    assert all(contains(picture, image) for image in (*clean, *noisy))
    assert picture.height > aligned_rows({"clean": clean, "noisy": noisy}, columns=5).height


def test_samples_stand_above_their_neighbours():
    samples, near = digits(3), digits(3, 2)
    picture = samples_with_neighbours(samples, near, np.ones((3, 2)), columns=2)
    assert all(contains(picture, image) for image in (*samples, *near.reshape(-1, 1, 8, 8)))
    first = samples_with_neighbours(samples, near[:, 0], np.ones(3))
    assert contains(first, near[2, 0])
    assert not contains(first, near[2, 1])


def trajectory(n=5, steps=12):
    states, denoised = torch.from_numpy(digits(steps + 1, n)), torch.from_numpy(digits(steps, n))
    return SampleResult(states[-1], torch.linspace(6, 0, steps + 1, dtype=torch.float64), states, denoised)


def test_trajectories_show_chosen_states_and_denoised_images():
    result = trajectory()
    picture = trajectory_strip(result, samples=[4], steps=[0, 6, 12])
    for t in (0, 6, 12):
        assert contains(picture, shown_noisy(result.states[t, 4], result.sigmas[t]))
    assert contains(picture, result.denoised[6, 4])
    assert not contains(picture, result.denoised[5, 4])
    assert not contains(picture, result.denoised[6, 3])
    assert contains(trajectory_strip(result), result.images[3])


def test_a_large_image_is_not_enlarged():
    assert grid(RNG.uniform(-1, 1, (1, 3, 100, 60))).size == (60 + 24, 100 + 24)


@pytest.mark.parametrize(
    ("sigma", "text"), [(80.0, "80"), (1.9233, "1.9"), (0.0075, "0.0075"), (0.0, "0"), (123.4, "120")]
)
def test_sigma_captions(sigma, text):
    assert sigma_caption(sigma) == f"sigma {text}"


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: grid(np.zeros((0, 1, 8, 8))), "not empty"),
        (lambda: grid(digits(2), columns=0), "columns"),
        (lambda: labelled_grid(digits(2, 3), ["only one"]), "1 row captions for 2"),
        (lambda: aligned_rows({"a": digits(2), "b": digits(3)}), "one shape"),
        (lambda: samples_with_neighbours(digits(3), digits(2), np.ones(2)), "do not fit"),
        (lambda: trajectory_strip(SampleResult(torch.zeros(1, 1, 8, 8), torch.tensor([1.0, 0.0]))), "keep_states"),
        (lambda: trajectory_strip(trajectory(), samples=[5]), "from 0 to 4"),
        (lambda: trajectory_strip(trajectory(), steps=[13]), "from 0 to 12"),
        (lambda: trajectory_strip(trajectory(), samples=[0], names=["a", "b"]), "2 names"),
    ],
)
def test_bad_input_is_named(draw, says):
    with pytest.raises(InputError, match=says):
        draw()


def test_save_writes_the_same_bytes_and_a_readable_png(tmp_path):
    picture = grid(digits(2))
    save_png(picture, tmp_path / "new" / "a.png")
    save_png(picture, tmp_path / "b.png")
    data = (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "new" / "a.png").read_bytes() == data
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(picture))


def test_save_says_what_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((InputError, EnvironmentFailure), match="cannot write"):
        save_png(grid(digits(1)), tmp_path / "file" / "a.png")
