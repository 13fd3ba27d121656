"""Shares of training images in pixels: they sum to one, rebuild D, and equal the definition."""

import numpy as np
import pytest
import torch

import smalti

PIXELS = [(0, 0), (3, 4), (7, 2)]


def source(count: int = 60, hflip: bool = False) -> smalti.Source:
    return smalti.Source.open("digits", limit=count).with_hflip(hflip)


def makers():
    return {
        "optimal": lambda s, **k: smalti.Optimal(s, **k),
        "pspc-square": lambda s, **k: smalti.PSPCSquare(s, **k),
        "local-score": lambda s, **k: smalti.LocalScore(s, window=5, **k),
        "equivariant": lambda s, **k: smalti.EquivariantLocalScore(s, window=3, **k),
        "borders": lambda s, **k: smalti.EquivariantLocalScore(s, window=3, borders="aware", **k),
        "pspc-flex": lambda s, **k: smalti.PSPCFlex(s, **k),
        "gaussian-window": lambda s, **k: smalti.GaussianWindow(s, width=1.5, **k),
        "pca-locality": lambda s, **k: smalti.PCALocality(s, **k),
        "heatmap-weighted": lambda s, **k: smalti.HeatmapWeighted(s, **k),
    }


def noisy(s: smalti.Source, sigma: float, n: int = 2) -> torch.Tensor:
    x = s.working(slice(0, n))
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))


def by_definition(collection, z: torch.Tensor, sigma: float) -> dict[tuple[int, bool, tuple[int, int]], torch.Tensor]:
    """W of every element, (B, C, H, W), in float64 on explicit masks."""
    s = collection.source
    levels = torch.full((len(z),), sigma, dtype=torch.float64)
    queries = collection.queries.masks(collection.shape)
    responses = collection.responses.masks(collection.shape).expand(-1, collection.shape[0], -1, -1)
    log_normalisers = collection.log_normalisers(z.double(), sigma)
    found = {}
    images = s.working().double()
    for flip in (False, True) if s.hflip else (False,):
        for number, (dy, dx) in enumerate(collection.shifts):
            x = (images.flip(-1) if flip else images).roll((-dy, -dx), (-2, -1))
            squares = ((z.double()[:, None] - x) ** 2)[:, :, None] * queries
            values = -squares.sum((-3, -2, -1)) / (2 * levels[:, None, None] ** 2)
            if collection.admitted is not None:
                values = values.masked_fill(~collection.admitted[:, number], -torch.inf)
            weights = (values - log_normalisers[:, None]).exp()
            shares = torch.einsum("bik,kchw->bichw", weights, responses) / collection.coverage
            for i in range(len(s)):
                found[i, flip, (dy, dx)] = shares[:, i]
    return found


@pytest.mark.parametrize("hflip", [False, True], ids=["plain", "flips"])
@pytest.mark.parametrize("name", makers())
def test_shares_are_those_of_the_definition(name: str, hflip: bool) -> None:
    s = source(12 if name in ("equivariant", "borders") else 60, hflip)
    sigma = 0.5
    denoiser, z = makers()[name](s), noisy(s, sigma)
    expected = by_definition(makers()[name](s, backend="reference").collection(sigma), z, sigma)
    a = denoiser.attribute(z, sigma, pixels=PIXELS, top=4)
    assert a.shares.shape == (2, 3, 4)
    stack = torch.stack(list(expected.values())).mean(2)  # over channels
    for p, (y, x) in enumerate(PIXELS):
        largest = stack[:, :, y, x].topk(4, dim=0).values.T
        assert torch.allclose(a.shares[:, p], largest, atol=2e-5)
        for b in range(2):
            for t in range(int((a.shares[b, p] > 0).sum())):  # what certainly weighs nothing is not listed
                dy, dx, flip = a.places[b, p, t].tolist()
                share = expected[int(a.images[b, p, t]), bool(flip), (dy, dx)][b, :, y, x]
                assert torch.allclose(a.shares[b, p, t], share.mean(), atol=2e-5)
                image = s.working([int(a.images[b, p, t])])[0]
                row, column = (y + dy) % 8, (x + dx) % 8
                pixel = image[:, row, 7 - column if flip else column].double()
                assert torch.allclose(a.values[b, p, t], share * pixel, atol=3e-5)
    by_image = torch.stack([sum(v for key, v in expected.items() if key[0] == i) for i in range(len(s))]).mean(2)
    shares = torch.stack([by_image[:, :, y, x] for y, x in PIXELS], -1)
    entropy = -torch.where(shares > 0, shares * shares.clamp_min(1e-300).log(), 0).sum(0)
    assert torch.allclose(a.effective, entropy.exp(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", makers())
@pytest.mark.parametrize("sigma", [3.3, 0.3, 0.02])
def test_all_shares_sum_to_one_and_rebuild_the_denoised_image(name: str, sigma: float) -> None:
    s = source(8 if name in ("equivariant", "borders") else 30, hflip=True)
    denoiser, z = makers()[name](s), noisy(s, sigma)
    a = denoiser.attribute(z, sigma, top=10**6)
    assert torch.allclose(a.shares.sum(-1), torch.ones(2, 64, dtype=torch.float64), atol=1e-5)
    assert a.rest.abs().max() <= 1e-5
    assert a.rest_values.abs().max() <= 1e-5
    rebuilt = a.values.sum(2).transpose(1, 2).reshape(2, 1, 8, 8)
    assert (rebuilt - denoiser(z.double(), sigma)).abs().max() <= 1e-5


def test_the_reference_rebuilds_to_float64() -> None:
    s = source(30, hflip=True)
    denoiser, z = smalti.PSPCSquare(s, backend="reference"), noisy(s, 0.4).double()
    a = denoiser.attribute(z, 0.4, top=60)
    assert (a.shares.sum(-1) - 1).abs().max() <= 1e-10
    assert (a.values.sum(2) - a.total).abs().max() <= 1e-10
    assert (a.total.transpose(1, 2).reshape(2, 1, 8, 8) - denoiser(z, 0.4)).abs().max() <= 1e-10


def test_a_batch_gives_what_single_calls_give_mixed_sigmas_included() -> None:
    s = source()
    denoiser = smalti.PSPCSquare(s)
    z, sigmas = noisy(s, 0.5, 3), torch.tensor([2.0, 0.5, 0.1])
    together = denoiser.attribute(z, sigmas, pixels=PIXELS, top=3)
    for b in range(3):
        alone = denoiser.attribute(z[b : b + 1], float(sigmas[b]), pixels=PIXELS, top=3)
        assert torch.equal(together.images[b], alone.images[0])
        assert torch.allclose(together.shares[b], alone.shares[0], atol=1e-6)


def test_labels_choose_the_images() -> None:
    s = source(200)
    a = smalti.PSPCSquare(s).attribute(noisy(s, 0.5), 0.5, labels=[2, 5], top=5)
    labels = np.asarray(s.labels)
    for b, label in enumerate([2, 5]):
        shown = a.images[b][a.shares[b] > 0]
        assert (labels[shown.numpy()] == label).all()


def test_pixels_may_be_a_mask_or_all() -> None:
    s = source()
    denoiser, z = smalti.PSPCSquare(s), noisy(s, 0.5)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[0, 0] = mask[3, 4] = True
    some, everything = denoiser.attribute(z, 0.5, pixels=mask, top=2), denoiser.attribute(z, 0.5, top=2)
    assert some.pixels.tolist() == [[0, 0], [3, 4]]
    assert everything.pixels.shape == (64, 2)
    assert torch.equal(some.shares[:, 1], everything.shares[:, 3 * 8 + 4])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pixels": [(8, 0)]}, "outside"),
        ({"pixels": []}, "no pixel"),
        ({"pixels": [(1, 2, 3)]}, r"\(row, column\)"),
        ({"pixels": torch.zeros(4, 4, dtype=torch.bool)}, "mask"),
        ({"top": 0}, "top"),
    ],
)
def test_bad_input(given: dict, message: str) -> None:
    s = source()
    with pytest.raises(smalti.InputError, match=message):
        smalti.PSPCSquare(s).attribute(noisy(s, 0.5), 0.5, **given)


def test_the_definition_above_sums_to_one() -> None:
    collection = smalti.PSPCSquare(source(10), backend="reference").collection(0.5)
    total = sum(by_definition(collection, noisy(collection.source, 0.5), 0.5).values())
    assert torch.allclose(total, torch.ones_like(total), atol=1e-10)


@pytest.mark.parametrize("name", ["pspc-square", "equivariant", "borders", "pspc-flex"])
def test_a_pixel_that_is_asked_for_twice(name: str) -> None:
    s = source(20)
    denoiser, z = makers()[name](s), noisy(s, 0.5)
    twice, once = denoiser.attribute(z, 0.5, pixels=[(3, 4), (1, 2), (3, 4)]), denoiser.attribute(z, 0.5, [(3, 4)])
    assert twice.pixels.tolist() == [[3, 4], [1, 2], [3, 4]]
    for k in (0, 2):
        torch.testing.assert_close(twice.shares[:, k], once.shares[:, 0])
        torch.testing.assert_close(twice.effective[:, k], once.effective[:, 0])


@pytest.mark.parametrize("name", ["equivariant", "borders"])
@pytest.mark.parametrize("sigma", [5e-5, 1e-5])
def test_shares_at_the_lowest_noise(name: str, sigma: float) -> None:
    """Logits are beyond what float32 resolves to a bit, and beyond what it can make up for."""
    s = source(20)
    z = noisy(s, 0.3)
    found = makers()[name](s).attribute(z, sigma, PIXELS)
    expected = makers()[name](s, backend="reference").attribute(z, sigma, PIXELS)
    torch.testing.assert_close(found.shares, expected.shares, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.effective, expected.effective, atol=1e-3, rtol=0)
