import pytest
import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import SmaltiError
from smalti.sampling import trajectory


class Shrink(Denoiser):
    """The posterior mean of N(0, s^2): a known closed form."""

    shape = (1, 2, 3)
    num_classes = 4

    def __init__(self, spread=0.5):
        self.spread = spread
        self.labels = []

    def denoise(self, z, sigma, labels):
        self.labels.append(labels)
        s = sigma.to(z.dtype)[:, None, None, None]
        return z * self.spread**2 / (self.spread**2 + s**2)


SIGMAS = [10.0, 4.0, 1.0, 0.0]


def start(batch=2):
    return 10 * torch.randn(batch, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_yields_every_state_and_its_first_evaluation():
    d = Shrink()
    steps = list(trajectory(d, start(), SIGMAS))
    assert [s.step for s in steps] == [0, 1, 2, 3]
    assert [s.sigma for s in steps] == SIGMAS
    assert torch.equal(steps[0].z, start())
    for s in steps[:-1]:
        torch.testing.assert_close(s.denoised, d(s.z, s.sigma))
    assert steps[-1].denoised is None
    torch.testing.assert_close(steps[-1].z, steps[-2].denoised)


def test_is_lazy():
    d = Shrink()
    next(trajectory(d, start(), SIGMAS, "euler"))
    assert len(d.labels) == 1


def test_labels_reach_the_denoiser_and_are_left_out_otherwise():
    d = Shrink()
    list(trajectory(d, start(), SIGMAS, labels=[1, 3]))
    assert all(label.tolist() == [1, 3] for label in d.labels)
    list(trajectory(lambda z, sigma: 0 * z, start(), SIGMAS))


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_nan_names_step_and_sigma(solver):
    def breaks(z, sigma):
        out = 0 * z
        if sigma == 1.0:
            out[1] = torch.nan
        return out

    step = 2 if solver == "euler" else 1
    with pytest.raises(SmaltiError, match=rf"NaN.* at step {step} \(sigma = 1\), in image 1"):
        list(trajectory(breaks, start(), SIGMAS, solver))


def test_a_wrong_shape_is_named():
    with pytest.raises(SmaltiError, match=r"returned shape .* at step 0"):
        list(trajectory(lambda z, sigma: z[:1], start(), SIGMAS))


def test_gradients_flow_through_a_trajectory():
    z = start().requires_grad_()
    *_, last = trajectory(Shrink(), z, SIGMAS)
    (gradient,) = torch.autograd.grad(last.z.sum(), z)
    assert float(gradient.abs().min()) > 0
