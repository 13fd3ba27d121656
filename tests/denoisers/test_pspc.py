"""PSPC-Square: schedules and arguments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import noisy, random_source
from smalti import Crops, Full, InputError, PSPCSquare, edm_sigmas
from smalti.denoisers.pspc import TABLE_1, table_1_patch_sizes


def test_table_1_scales_with_the_images():
    assert table_1_patch_sizes(32, 32) == [None] * 7 + list(TABLE_1[7:])
    assert table_1_patch_sizes(64, 64)[7:] == [46, 30, 22, 14, 10, 6, 6, 6, 6, 6, 6]
    assert table_1_patch_sizes(8, 8)[7:] == [6, 4, 3, 3, 3, 3, 3, 3, 3, 3, 3]
    assert table_1_patch_sizes(64, 16)[7:] == [12, 8, 6, 4, 3, 3, 3, 3, 3, 3, 3]
    assert table_1_patch_sizes(2, 5)[7:] == [2] * 11


def test_the_schedule_follows_sigma():
    denoiser = PSPCSquare(random_source(3, (1, 32, 32)))
    assert denoiser.collection(80).queries == Full()
    assert denoiser.collection(1.9).queries == Crops(11)
    assert denoiser.collection(0.002).queries == Crops(3)
    assert [denoiser.collection(s).queries for s in edm_sigmas().tolist()][7:] == [Crops(p) for p in TABLE_1[7:]]


def test_sizes_given_explicitly():
    source = random_source(4, (1, 6, 7))
    two = PSPCSquare(source, patch_sizes=[5, 2], sigmas=[3.0, 0.3])
    z = noisy(source, 0.5)
    torch.testing.assert_close(two(z, 2.0), PSPCSquare(source, patch_size=5)(z, 2.0))
    torch.testing.assert_close(two(z, 0.1), PSPCSquare(source, patch_size=2)(z, 0.1))
    assert PSPCSquare(source, patch_sizes=[2] * 18).levels == edm_sigmas().tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_size": 7}, "does not fit"),
        ({"patch_size": 0}, "at least 1"),
        ({"patch_sizes": [3, 9], "sigmas": [1.0, 0.1]}, "does not fit"),
        ({"patch_sizes": [3, 3], "sigmas": [1.0]}, "2 patch sizes for 1 sigmas"),
        ({"patch_sizes": [3, 3]}, "2 patch sizes for 18 levels"),
        ({"patch_size": 3, "patch_sizes": [3]}, "not both"),
        ({"sigmas": [1.0]}, "without patch_sizes"),
        ({"backend": "fast"}, "unknown backend"),
        ({"patch_size": 2.5}, "whole number"),
        ({"patch_size": "3"}, "whole number"),
        ({"patch_sizes": 3}, "takes a list"),
        ({"patch_sizes": [], "sigmas": []}, "takes a list"),
        ({"patch_sizes": [3, 2.5], "sigmas": [1.0, 2.0]}, "whole number"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        PSPCSquare(random_source(3, (1, 6, 7)), **arguments)


def test_repr_shows_what_was_set():
    source = random_source(3, (1, 6, 7))
    assert repr(PSPCSquare(source, patch_size=3)) == f"PSPCSquare({source!r}, patch_size=3)"
    assert "sigmas=[2.0, 1.0]" in repr(PSPCSquare(source, patch_sizes=[3, 2], sigmas=torch.tensor([2.0, 1.0])))


def test_numpy_integers_are_integers():
    source = random_source(3, (1, 6, 7))
    assert PSPCSquare(source, patch_size=np.int64(3)).collection(1.0).queries == Crops(3)
    assert PSPCSquare(source, patch_sizes=np.array([3, 2]), sigmas=[1.0, 0.1]).collection(0.1).queries == Crops(2)
