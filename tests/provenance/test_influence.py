"""Influence: derivatives with respect to log prior weights through the sampler, against autograd, and against leaving images out."""

import itertools

import numpy as np
import pytest
import torch

import smalti
from smalti.sampling import initial_noise, sampling_sigmas
from smalti.sampling.solvers import find_solver


def digits(count: int = 40, hflip: bool = False) -> smalti.Source:
    return smalti.Source.open("digits", limit=count).with_hflip(hflip)


def region(image: torch.Tensor) -> torch.Tensor:
    return image[:, 2:5, 3:6].mean()


def by_autograd(denoiser, of, seed: int, n: int, steps: int, solver: str, stop: float, labels=None) -> torch.Tensor:
    """The definition: the sampler on the reference's equations in float64, with log prior weights as a variable."""
    source = denoiser.source
    images = source.working().double()
    variants = [images, images.flip(-1)] if source.hflip else [images]
    log_priors = torch.zeros(n, len(source), dtype=torch.float64, requires_grad=True)
    classes = None if labels is None else torch.as_tensor(labels)

    def evaluate(z: torch.Tensor, sigma: float) -> torch.Tensor:
        collection = denoiser.collection(sigma)
        shape = collection.shape
        queries, responses = collection.queries.masks(shape).double(), collection.responses.masks(shape).double()
        elements, priors, admitted = [], [], []
        for variant in variants:
            for number, (dy, dx) in enumerate(collection.shifts):
                elements.append(variant.roll((-dy, -dx), (-2, -1)))
                priors.append(log_priors)
                allowed = torch.ones(len(queries), dtype=torch.bool)
                if collection.admitted is not None:
                    allowed = collection.admitted[:, number]
                admitted.append(allowed.expand(len(source), -1))
        x, prior, may = torch.cat(elements), torch.cat(priors, 1), torch.cat(admitted)
        squares = ((z[:, None] - x) ** 2)[:, :, None] * queries
        logits = prior[..., None] - squares.sum((-3, -2, -1)) / (2 * sigma**2)
        logits = logits.masked_fill(~may, -torch.inf)
        if classes is not None:
            own = torch.as_tensor(np.tile(source.labels, len(x) // len(source)))
            logits = logits.masked_fill((own[None] != classes[:, None])[..., None], -torch.inf)
        weights = logits.softmax(1)
        return (
            torch.einsum("bik,kchw,ichw->bchw", weights, responses.expand(-1, shape[0], -1, -1), x)
            / collection.coverage
        )

    levels = sampling_sigmas(steps).tolist()
    read = min(range(steps), key=lambda i: abs(levels[i] - stop))
    z = initial_noise(seed, range(n), tuple(denoiser.shape), levels[0])
    for sigma, after in itertools.pairwise(levels[: read + 1]):
        z, _ = find_solver(solver)(evaluate, z, sigma, after)
    found = evaluate(z, levels[read])
    return torch.stack([torch.autograd.grad(of(x), log_priors, retain_graph=True)[0][i] for i, x in enumerate(found)])


def makers():
    return {
        "optimal": lambda s: smalti.Optimal(s),
        "pspc-square": lambda s: smalti.PSPCSquare(s),
        "pspc-square-torch": lambda s: smalti.PSPCSquare(s, backend="torch"),
        "local-score": lambda s: smalti.LocalScore(s, window=3),
        "equivariant": lambda s: smalti.EquivariantLocalScore(s, window=3),
        "gaussian-window": lambda s: smalti.GaussianWindow(s, width=1.5),
        "pca-locality": lambda s: smalti.PCALocality(s),
    }


@pytest.mark.parametrize("name", makers())
@pytest.mark.parametrize("hflip", [False, True], ids=["plain", "flips"])
def test_influence_is_the_derivative_through_the_sampler(name: str, hflip: bool) -> None:
    denoiser = makers()[name](digits(24 if name == "equivariant" else 40, hflip))
    found = smalti.influence(denoiser, region, seed=1, n=2, steps=9, stop=1.5)
    expected = by_autograd(denoiser, region, 1, 2, 9, "euler", 1.5)
    assert found.shape == (2, len(denoiser.source))
    assert found.dtype == torch.float64
    assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()


def test_heuns_second_evaluation_counts() -> None:
    denoiser = smalti.PSPCSquare(digits())
    found = smalti.influence(denoiser, region, seed=2, n=1, steps=6, solver="heun", stop=1.5)
    expected = by_autograd(denoiser, region, 2, 1, 6, "heun", 1.5)
    assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()


def test_labels_choose_the_images() -> None:
    source = digits(60)
    denoiser = smalti.PSPCSquare(source)
    found = smalti.influence(denoiser, region, seed=1, n=2, steps=6, stop=1.5, labels=[3, 7])
    expected = by_autograd(denoiser, region, 1, 2, 6, "euler", 1.5, labels=[3, 7])
    assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()
    assert not found[0][torch.as_tensor(np.asarray(source.labels) != 3)].any()


def test_all_weights_alike_change_nothing() -> None:
    found = smalti.influence(smalti.PSPCSquare(digits()), region, n=2, steps=6, stop=1.5)
    assert found.sum(1).abs().max() <= 1e-6 * found.abs().sum(1).max()


def test_leaving_an_image_out_changes_the_sample_by_about_minus_its_influence() -> None:
    denoiser = smalti.PSPCSquare(digits(300))
    found = smalti.influence(denoiser, region, seed=0, steps=18, stop=1.9)[0]
    chosen = torch.cat([found.abs().topk(12).indices, torch.arange(0, 300, 25)]).unique()
    level = int((sampling_sigmas(18)[:-1] - 1.9).abs().argmin())

    def read(d) -> float:
        result = smalti.sample(d, n=1, steps=18, solver="euler", seed=0)
        return float(region(result.denoised[level, 0].double()))

    before = read(denoiser)
    changes = torch.tensor([before - read(smalti.without(denoiser, int(i))) for i in chosen])
    ranks = [v.argsort().argsort().double() for v in (found[chosen], changes)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] >= 0.99


def test_the_end_of_the_run_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="snapped to single patches"):
        smalti.influence(smalti.PSPCSquare(digits()), region, steps=6, stop=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": lambda x: 3.0}, "one differentiable number"),
        ({"of": lambda x: x}, "one differentiable number"),
        ({"stop": -1}, "stop must be"),
        ({"stop": float("nan")}, "stop must be"),
        ({"steps": 0}, "steps"),
        ({"init": torch.zeros(2, 1, 4, 4)}, "shape"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    given = {"of": region, "steps": 4} | change
    with pytest.raises(smalti.InputError, match=message):
        smalti.influence(smalti.PSPCSquare(digits()), **given)


def test_only_denoisers_with_weights_over_images_have_influence() -> None:
    with pytest.raises(smalti.InputError, match="window denoiser"):
        smalti.influence(smalti.Gaussian(digits()), region)


@pytest.mark.parametrize("images", [[3, 5], np.arange(40) == 7, slice(0, 10), 4])
def test_without_is_the_denoiser_on_the_others(images) -> None:
    source = digits()
    denoiser = smalti.PSPCSquare(source, patch_size=3)
    kept = np.ones(40, bool)
    kept[images] = False
    z = source.working(slice(0, 2)) + 0.5
    expected = smalti.PSPCSquare(source.subset(kept), patch_size=3)(z, 0.6)
    assert torch.equal(smalti.without(denoiser, images)(z, 0.6), expected)


@pytest.mark.parametrize(
    ("images", "message"), [([99], "0 to 39"), (slice(None), "leaves nothing"), ([0.5], "whole numbers")]
)
def test_without_refuses(images, message: str) -> None:
    with pytest.raises(smalti.InputError, match=message):
        smalti.without(smalti.Optimal(digits()), images)
