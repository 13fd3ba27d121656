"""`smalti.sensitivity` against whole Jacobians, and what keeps, pairs and refuses."""

import numpy as np
import pytest
import torch

from helpers import noisy, random_source
from smalti.analysis.forward import forward_batch
from smalti.analysis.gradients import jacobian_rows
from smalti.analysis.pixels import choose_pixels
from smalti.analysis.sensitivity import sensitivity
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, SmaltiError
from smalti.denoisers import Gaussian, LocalScore, Nearest, Optimal, PSPCSquare
from smalti.networks import EDMPreconditioned, Network, UNet

SOURCE = random_source(15, (2, 4, 5), labels=True)
GREY = random_source(15, (1, 8, 8), hflip=True)
SIGMAS = [4.0, 0.6]


def tiny_network(seed=0) -> Network:
    """An 8 x 8 network whose derivatives are not those of the skip alone."""
    torch.manual_seed(seed)
    unet = UNet(8, 1, 8, (1, 2), 1, (4,)).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return Network(EDMPreconditioned(unet).requires_grad_(False), shape=(1, 8, 8))


def whole_jacobian(denoiser, z, sigma):
    """(C, H, W, C, H, W) of one z (1, C, H, W), by autograd."""
    return torch.autograd.functional.jacobian(lambda x: denoiser(x, sigma), z)[0, :, :, :, 0]


class Linear(Denoiser):
    """D(z) = A z, with a gradient from autograd; it counts its calls and stops at one of them."""

    name = "linear"

    def __init__(self, shape, seed=0, stop_at=0):
        self.shape, self.seed, self.stop_at, self.calls = shape, seed, stop_at, 0
        size = int(np.prod(shape))
        self.matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def denoise(self, z, sigma, labels):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return (z.double().flatten(1).sin() @ self.matrix.T).reshape(z.shape)


REFERENCES = {
    "optimal": (Optimal(SOURCE), Optimal(SOURCE, backend="reference")),
    "pspc-square": (PSPCSquare(SOURCE), PSPCSquare(SOURCE, backend="reference")),
    "local-score": (LocalScore(SOURCE, window=3), LocalScore(SOURCE, window=3, backend="reference")),
    "gaussian": (Gaussian(SOURCE), Gaussian(SOURCE)),
    "user's own": (Linear(SOURCE.shape), Linear(SOURCE.shape)),
}
REDUCED = {
    "same-channel": lambda j: torch.einsum("cyxcij->cyxij", j).abs().sum(0),
    "all-channels": lambda j: j.abs().sum((0, 3)),
    "l2": lambda j: j.square().sum((0, 3)).sqrt(),
    "signed": lambda j: torch.einsum("cyxcij->yxij", j),
}


@pytest.mark.parametrize("reduction", REDUCED)
@pytest.mark.parametrize("name", REFERENCES)
def test_heatmaps_are_means_of_reduced_jacobians(name, reduction):
    denoiser, reference = REFERENCES[name]
    found = sensitivity(denoiser, SOURCE, SIGMAS, n=6, reduction=reduction, seed=3, batch_size=4)
    for level, sigma in enumerate(SIGMAS):
        z = forward_batch(SOURCE, sigma, 3, level, range(6)).z.double()
        each = torch.stack([REDUCED[reduction](whole_jacobian(reference, z[j : j + 1], sigma)) for j in range(6)])
        np.testing.assert_allclose(found.cells()[level], each.mean(0), atol=1e-9, rtol=1e-7)
        errors = each.std(0).flatten(0, 1) / 6**0.5
        np.testing.assert_allclose(found.standard_errors[level], errors, atol=1e-9, rtol=1e-6)


def test_a_network():
    network = tiny_network()
    found = sensitivity(network, GREY, [1.0], n=3, pixels="centre-edge")
    z = forward_batch(GREY, 1.0, 0, 0, range(3)).z
    each = torch.stack([whole_jacobian(network, z[j : j + 1], 1.0)[0, :, :, 0].abs() for j in range(3)])
    np.testing.assert_allclose(found.heatmaps[0, 0], each.mean(0)[3, 3], atol=1e-6)
    np.testing.assert_allclose(found.heatmaps[0, 1], each.mean(0)[3, 0], atol=1e-6)
    assert found.sides()[0, 2] > 3, "the network looks around"
    assert all(p.grad is None for p in network.module.parameters())


def test_linear_denoisers_have_no_standard_error_and_nearest_no_gradient():
    found = sensitivity(Gaussian(SOURCE), SOURCE, SIGMAS, n=7, batch_size=3)
    assert (found.standard_errors == 0).all()
    nearest = sensitivity(Nearest(SOURCE), SOURCE, SIGMAS, n=3)
    assert (nearest.heatmaps == 0).all()
    assert np.isnan(nearest.sides()).all()
    z, pixels = noisy(SOURCE, 1.0), choose_pixels(None, 4, 5)
    gaussian = Gaussian(SOURCE)
    for labels in (None, torch.tensor([0, 1])):
        rows = torch.cat(list(jacobian_rows(gaussian, z, 1.0, pixels, labels)), 1)
        for b in range(2):
            chosen = None if labels is None else labels[b : b + 1]
            whole = torch.autograd.functional.jacobian(lambda x, c=chosen: gaussian(x, 1.0, c), z[b : b + 1])
            expected = whole[0, :, :, :, 0].flatten(1, 2).transpose(0, 1)
            torch.testing.assert_close(rows[b % len(rows)], expected, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("denoiser", [PSPCSquare(GREY, patch_size=3), tiny_network(), Linear(GREY.shape)])
def test_batch_size_only_rounds(denoiser):
    whole = sensitivity(denoiser, GREY, SIGMAS, n=7, pixels=2)
    parts = sensitivity(denoiser, GREY, SIGMAS, n=7, pixels=2, batch_size=2)
    np.testing.assert_allclose(parts.heatmaps, whole.heatmaps, atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(parts.standard_errors, whole.standard_errors, atol=1e-6, rtol=1e-4)
    np.testing.assert_allclose(parts.ring_sums, whole.ring_sums, atol=1e-5, rtol=1e-5)


def test_standard_errors_halve_with_four_times_as_many_z():
    denoiser = Optimal(SOURCE)
    few, many = (sensitivity(denoiser, SOURCE, [2.0], n=n) for n in (64, 256))
    assert many.standard_errors.mean() == pytest.approx(few.standard_errors.mean() / 2, rel=0.15)
    apart = (few.heatmaps - many.heatmaps) / np.hypot(few.standard_errors, many.standard_errors)
    assert 0.3 < float((apart**2).mean()) < 2


def test_labels_condition_each_z_on_its_image():
    denoiser = Optimal(SOURCE)
    found = sensitivity(denoiser, SOURCE, [0.8], n=4, labelled=True)
    drawn = forward_batch(SOURCE, 0.8, 0, 0, range(4))
    pixels = choose_pixels(None, 4, 5)
    rows = torch.cat(list(denoiser.jacobian_rows(drawn.z.double(), 0.8, pixels, drawn.labels)), 1)
    np.testing.assert_allclose(found.heatmaps[0], rows.diagonal(dim1=2, dim2=3).abs().sum(-1).mean(0), atol=1e-12)
    with pytest.raises(InputError, match="needs a source with classes"):
        sensitivity(Optimal(GREY), GREY, [0.8], n=4, labelled=True)


@pytest.mark.parametrize("stop_at", [1, 2, 4, 5])
def test_interrupted_it_goes_on_and_gives_the_same_bits(tmp_path, stop_at):
    arguments = {"sigmas": SIGMAS, "n": 5, "batch_size": 2, "pixels": 3}
    whole = sensitivity(Linear(GREY.shape), GREY, **arguments)
    with pytest.raises(KeyboardInterrupt):
        sensitivity(_stopping(stop_at), GREY, keep=tmp_path / "kept", **arguments)
    again = _stopping(0)
    found = sensitivity(again, GREY, keep=tmp_path / "kept", **arguments)
    assert again.calls == 6 - (stop_at - 1)
    for name in ("heatmaps", "standard_errors", "ring_sums"):
        assert np.array_equal(getattr(found, name), getattr(whole, name))
    last = _stopping(0)
    sensitivity(last, GREY, keep=tmp_path / "kept", **arguments)
    assert last.calls == 0
    with pytest.raises(InputError, match=r"keeps another computation \(n was 5, now 6\)"):
        sensitivity(last, GREY, keep=tmp_path / "kept", **{**arguments, "n": 6})


def _stopping(stop_at):
    """A Linear that stops at a call; where it stops is no part of what it computes."""
    denoiser = Linear(GREY.shape)
    denoiser.stop_at = stop_at
    denoiser.parameters_shown = lambda: {"shape": GREY.shape, "seed": 0}
    return denoiser


def test_progress_is_reported():
    seen = []
    sensitivity(Linear(GREY.shape), GREY, SIGMAS, n=3, pixels=[(0, 0), (1, 2)], batch_size=2, progress=seen.append)
    assert sum(seen) == 3 * 2 * 2


class Cut(Linear):
    def denoise(self, z, sigma, labels):
        return super().denoise(z.detach(), sigma, labels)


class Broken(Linear):
    def denoise(self, z, sigma, labels):
        return super().denoise(z, sigma, labels) + z.double().abs().pow(0.5).clamp(min=0) * torch.inf


def test_bad_input():
    denoiser = Optimal(SOURCE)
    for message, arguments in {
        "at least one finite number": {"sigmas": [0.0]},
        "n must be at least 1": {"n": 0},
        "batch_size must be at least 1": {"batch_size": 0},
        "no reduction is called 'same-chanel'; did you mean": {"reduction": "same-chanel"},
        "the seed must be": {"seed": -1},
        "lies outside the 4 x 5 images": {"pixels": [(0, 5)]},
    }.items():
        with pytest.raises(InputError, match=message):
            sensitivity(denoiser, SOURCE, **{"sigmas": [1.0], "n": 1} | arguments)
    with pytest.raises(InputError, match="takes images of shape"):
        sensitivity(denoiser, GREY, [1.0], n=1)
    with pytest.raises(InputError, match="Cut gives no gradient"):
        sensitivity(Cut(GREY.shape), GREY, [1.0], n=1)
    with pytest.raises(SmaltiError, match="NaN or infinite"):
        sensitivity(Broken(GREY.shape), GREY, [1.0], n=1, pixels="centre-edge")
