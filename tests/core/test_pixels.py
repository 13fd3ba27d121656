import numpy as np
import pytest
import torch

from smalti.core.errors import InputError
from smalti.core.pixels import channels_note, shown_noisy, tile, to_u8


def test_every_stored_value_survives():
    stored = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_u8(torch.from_numpy(stored).float() / 127.5 - 1), stored)
    assert to_u8(stored) is stored


def test_outside_values_are_clipped():
    assert to_u8(np.array([-7.0, 1.001, 50.0])).tolist() == [0, 255, 255]


def test_noisy_images_get_about_unit_range():
    z = torch.full((2, 1, 1, 1), 3.0)
    assert shown_noisy(z, 0.0).flatten().tolist() == [3.0, 3.0]
    assert shown_noisy(z, [0.0, np.sqrt(8)]).flatten().tolist() == pytest.approx([3.0, 1.0])


def test_tiles_repeat_pixels_exactly():
    grey = tile(torch.tensor([[[-1.0, 1.0]]]), 3)
    assert grey.shape == (3, 6, 3)
    assert grey[:, :3].max() == 0
    assert grey[:, 3:].min() == 255
    colour = tile(np.array([[[10]], [[20]], [[30]]], np.uint8), 2)
    assert colour[1, 1].tolist() == [10, 20, 30]
    latent = tile(np.array([[[10]], [[20]], [[30]], [[40]]], np.uint8), 1)
    assert latent[0, 0].tolist() == [10, 10, 10]


def test_channels_are_explained_where_they_must_be():
    assert channels_note(1) == channels_note(3) == ""
    assert "first of 4" in channels_note(4)
    with pytest.raises(InputError, match="C, H, W"):
        tile(np.zeros((2, 2)), 1)
