import math

import pytest
import torch

from smalti.core.errors import InputError
from smalti.core.schedule import edm_sigmas
from smalti.sampling import sampling_sigmas
from smalti.sampling.sampler import check_sigmas


def test_default_is_edm_and_zero():
    sigmas = sampling_sigmas()
    assert sigmas.dtype == torch.float64
    assert sigmas.shape == (19,)
    assert torch.equal(sigmas[:-1], edm_sigmas())
    assert sigmas[-1] == 0


def test_one_step_is_sigma_max_and_zero():
    assert sampling_sigmas(1).tolist() == [80.0, 0.0]


@pytest.mark.parametrize("steps", [0, -1, 2.5, math.nan, True])
def test_bad_steps(steps):
    with pytest.raises(InputError, match="steps"):
        sampling_sigmas(steps)


@pytest.mark.parametrize("bad", [{"rho": 0.0}, {"sigma_min": 0.0}, {"sigma_min": 2.0, "sigma_max": 2.0}])
def test_bad_range(bad):
    with pytest.raises(InputError):
        sampling_sigmas(5, **bad)


@pytest.mark.parametrize(
    ("sigmas", "says"),
    [
        ([1.0], "shape"),
        ([[1.0, 0.0]], "shape"),
        ([1.0, math.nan, 0.0], "NaN"),
        ([1.0, 2.0, 0.0], "decrease"),
        ([2.0, 1.0], "append a 0"),
        ("heun", "list of numbers"),
    ],
)
def test_bad_levels_say_why(sigmas, says):
    with pytest.raises(InputError, match=says):
        check_sigmas(sigmas)
