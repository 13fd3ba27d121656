"""Collections under torch's modes and transforms, and in other processes: the same answers, and nothing kept that dies with them."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from helpers import noisy, random_source
from smalti import Centred, Crops, EveryPlace, Full, GaussianWindows, Masks, PosteriorMeanCollection, Scheduled

SOURCE = random_source(30, (1, 4, 4))
MASKS = Masks(
    (torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    + torch.eye(16).reshape(16, 1, 4, 4)
)
SIGMA = 0.6


def whole(backend="auto"):
    return PosteriorMeanCollection(SOURCE, Full(), backend=backend)


def crops(backend="auto"):
    return PosteriorMeanCollection(SOURCE, Crops(3), backend=backend)


def hard_masks():
    return PosteriorMeanCollection(SOURCE, MASKS, Centred(1))


def every_place():
    return PosteriorMeanCollection(SOURCE, Centred(3, wrap=True), Centred(1), EveryPlace())


def soft():
    return PosteriorMeanCollection(SOURCE, GaussianWindows(1.0))


def levels():
    return Scheduled([0.3, 3.0], lambda level: PosteriorMeanCollection(SOURCE, MASKS if level == 0 else Crops(2)))


MAKERS = [whole, crops, hard_masks, every_place, soft, levels]


def gradient(denoiser, z):
    z = z.clone().requires_grad_()
    (found,) = torch.autograd.grad(denoiser(z, SIGMA).square().sum(), z)
    return found


@pytest.mark.parametrize("make", MAKERS)
def test_a_first_call_under_a_transform_or_inference_mode_leaves_nothing_behind(make):
    z, direction = noisy(SOURCE, SIGMA, 2).float(), torch.ones(2, 1, 4, 4)
    expected, slope = make()(z, SIGMA), gradient(make(), z)
    for mode in ("inference", "vjp", "jvp"):
        denoiser = make()
        if mode == "inference":
            with torch.inference_mode():
                out = denoiser(z, SIGMA)
        elif mode == "vjp":
            out, _ = torch.func.vjp(lambda point: denoiser(point, SIGMA), z)  # noqa: B023
        else:
            out, _ = torch.func.jvp(lambda point: denoiser(point, SIGMA), (z,), (direction,))  # noqa: B023
        assert torch.equal(out, expected)
        assert torch.equal(gradient(denoiser, z), slope)
        if make is not levels:  # whose factory is a function in a function
            assert torch.equal(pickle.loads(pickle.dumps(denoiser))(z, SIGMA), expected)
        assert torch.equal(copy.deepcopy(denoiser)(z, SIGMA), expected)


@pytest.mark.parametrize("make", [lambda: whole("torch"), lambda: crops("torch"), soft, crops])
def test_autocast_changes_no_method(make):
    collection, z = make(), noisy(SOURCE, SIGMA, 2).float()
    direction = torch.linspace(-1, 1, z.numel()).reshape(z.shape)

    def everything():
        normalisers = collection.log_normalisers(z, SIGMA)
        return [
            normalisers,
            collection.numerator(z, SIGMA, normalisers),
            collection.means(z, SIGMA, [0]),
            collection.posterior(z, SIGMA, [0]).weights,
            collection.jacobian_product(z, SIGMA, direction),
            *collection.jacobian_rows(z, SIGMA, torch.tensor([[1, 2]])),
            gradient(collection, z),
        ]

    expected = everything()
    with torch.autocast("cpu", torch.bfloat16):
        found = everything()
    assert all(map(torch.equal, found, expected))


# -------------------------------------------------------------------------------------------------------- processes


class Denoised(Dataset):
    """What a data pipeline may do: denoise an item."""

    def __init__(self, denoiser, z):
        self.denoiser, self.z = denoiser, z

    def __len__(self):
        return len(self.z)

    def __getitem__(self, number):
        return self.denoiser(self.z[number : number + 1], SIGMA)[0]


def send(denoiser, z, connection):
    connection.send(denoiser(z, SIGMA).numpy())


def test_a_fork_after_use_gives_the_same_bits():
    denoiser, z = crops(), noisy(SOURCE, SIGMA, 2).float()
    expected = denoiser(z, SIGMA)  # in this process first: threads have run, kernels are loaded
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=send, args=(denoiser, z, there))
    process.start()
    assert here.poll(120), "no answer"
    found = here.recv()
    process.join(30)
    assert process.exitcode == 0
    assert (found == expected.numpy()).all()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader(method):
    denoiser, z = crops(), noisy(SOURCE, SIGMA, 4).float()
    expected = denoiser(z, SIGMA)
    loader = DataLoader(Denoised(denoiser, z), batch_size=2, num_workers=2, multiprocessing_context=method, timeout=120)
    assert torch.equal(torch.cat(list(loader)), expected)
