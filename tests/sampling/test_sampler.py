import numpy as np
import pytest
import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.noise import standard_normal
from smalti.sampling import initial_noise, sample

SHAPE = (2, 3, 4)
DATA = torch.rand(5, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1


class Posterior(Denoiser):
    """The exact posterior mean over five images; labels shift it."""

    shape = SHAPE
    num_classes = 3

    def __init__(self):
        self.calls = []

    def denoise(self, z, sigma, labels):
        self.calls.append((tuple(z.shape), z.dtype, float(sigma[0]), None if labels is None else labels.tolist()))
        distance = ((z[:, None].double() - DATA) ** 2).flatten(2).sum(2)
        mean = torch.einsum("bi,ichw->bchw", torch.softmax(-distance / (2 * sigma[:, None] ** 2), 1), DATA)
        return mean if labels is None else mean + labels[:, None, None, None]


def test_shapes_dtypes_and_ends():
    result = sample(Posterior(), n=3, steps=7)
    assert result.images.shape == (3, *SHAPE)
    assert result.sigmas.shape == (8,)
    assert result.sigmas[-1] == 0
    assert result.states.shape == (8, 3, *SHAPE)
    assert result.denoised.shape == (7, 3, *SHAPE)
    assert result.images.dtype == result.states.dtype == result.denoised.dtype == torch.float32
    assert result.sigmas.dtype == torch.float64
    assert torch.equal(result.states[-1], result.images)
    assert torch.equal(result.states[0], (80 * standard_normal(0, range(3), SHAPE)).float())
    assert repr(result) == "SampleResult(n=3, shape=(2, 3, 4), steps=7, states kept)"


def test_denoised_is_the_first_evaluation_of_each_step():
    d = Posterior()
    result = sample(d, n=2, steps=4)
    for state, sigma, denoised in zip(result.states, result.sigmas[:-1], result.denoised, strict=False):
        torch.testing.assert_close(d(state, float(sigma)), denoised)


def test_the_denoiser_sees_float64_and_heun_asks_twice():
    d = Posterior()
    sample(d, n=2, steps=3)
    assert [dtype for _, dtype, _, _ in d.calls] == [torch.float64] * 5
    levels = sorted({sigma for _, _, sigma, _ in d.calls}, reverse=True)
    assert [sigma for _, _, sigma, _ in d.calls] == [levels[0], levels[1], levels[1], levels[2], levels[2]]


def test_samples_end_on_the_data():
    result = sample(Posterior(), n=6)
    gap = ((result.images[:, None].double() - DATA) ** 2).flatten(2).sum(2).min(1).values
    assert float(gap.max()) < 1e-6


def test_one_step_denoises_the_noise():
    d = Posterior()
    result = sample(d, n=2, steps=1, seed=5)
    assert result.sigmas.tolist() == [80.0, 0.0]
    torch.testing.assert_close(result.images, d(initial_noise(5, range(2), SHAPE), 80.0).float())


def test_noise_depends_on_seed_and_index_alone():
    few, many = sample(Posterior(), n=2, steps=3, seed=9), sample(Posterior(), n=5, steps=3, seed=9)
    torch.testing.assert_close(few.images, many.images[:2], rtol=0, atol=1e-6)
    assert torch.equal(few.states[0], many.states[0][:2])
    assert not torch.equal(sample(Posterior(), n=2, steps=3, seed=8).states[0], few.states[0])


@pytest.mark.parametrize("batch_size", [1, 2, 5, 99])
def test_batch_size_changes_nothing(batch_size):
    whole = sample(Posterior(), n=5, steps=4, labels=[0, 1, 2, 1, 0])
    d = Posterior()
    parts = sample(d, n=5, steps=4, labels=[0, 1, 2, 1, 0], batch_size=batch_size)
    assert d.calls[0][0][0] == min(batch_size, 5)
    for a, b in zip(
        (whole.images, whole.states, whole.denoised), (parts.images, parts.states, parts.denoised), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_init_is_used_as_it_is_and_gives_n():
    init = initial_noise(3, [4, 7], SHAPE)
    result = sample(Posterior(), init=init)
    assert torch.equal(result.states[0], init.float())
    assert len(result) == 2
    torch.testing.assert_close(sample(Posterior(), n=8, seed=3).images[[4, 7]], result.images, rtol=0, atol=1e-6)
    assert torch.equal(sample(Posterior(), n=2, init=init.numpy()).images, result.images)


def test_keep_states_false_keeps_the_images_only():
    kept, bare = sample(Posterior(), n=2, steps=3), sample(Posterior(), n=2, steps=3, keep_states=False)
    assert bare.states is None
    assert bare.denoised is None
    assert torch.equal(kept.images, bare.images)


def test_own_sigmas_and_schedule():
    assert sample(Posterior(), n=1, sigmas=[5.0, 1.0, 0.0]).sigmas.tolist() == [5.0, 1.0, 0.0]
    result = sample(Posterior(), n=1, steps=2, sigma_min=0.5, sigma_max=3.0)
    assert result.sigmas.tolist() == [3.0, 0.5, 0.0]
    assert torch.equal(result.states[0], initial_noise(0, [0], SHAPE, 3.0).float())


def test_one_label_for_all():
    d = Posterior()
    sample(d, n=3, steps=2, labels=2, batch_size=2)
    assert [labels for _, _, _, labels in d.calls] == [[2, 2]] * 3 + [[2]] * 3


def test_progress_counts_sample_steps():
    seen = []
    sample(Posterior(), n=3, steps=4, batch_size=2, progress=seen.append)
    assert sum(seen) == 12
    assert seen == [2] * 4 + [1] * 4


def test_no_graph_is_built():
    assert not sample(Posterior(), init=initial_noise(0, [0], SHAPE).requires_grad_(), steps=2).images.requires_grad


GOOD = np.zeros((2, *SHAPE))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n": 0}, "n must be"),
        ({"n": 1.5}, "n must be"),
        ({"steps": 0}, "steps must be"),
        ({"solver": "heum"}, "did you mean 'heun'"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"seed": -1}, "seed must be"),
        ({"init": np.zeros((2, 3, 4))}, "shape"),
        ({"init": np.zeros((0, *SHAPE))}, "no images"),
        ({"init": np.full((1, *SHAPE), np.nan)}, "NaN"),
        ({"init": np.zeros((1, *SHAPE), np.int64)}, "dtype"),
        ({"init": GOOD, "n": 3}, "init holds 2"),
        ({"labels": [0, 1]}, "2 labels"),
        ({"labels": 3}, "from 0 to 2"),
        ({"sigmas": [1.0, 0.5]}, "append a 0"),
        ({"sigmas": [1.0, 0.0], "steps": 3}, "leave steps out"),
        ({"sigmas": [1.0, 0.0], "sigma_max": 3.0}, "no say"),
        ({"sigma_min": 90.0}, "sigma_min"),
    ],
)
def test_bad_input_is_named(arguments, says):
    with pytest.raises(InputError, match=says):
        sample(Posterior(), **arguments)
