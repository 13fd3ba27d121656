"""PSPC-Flex: its masks, where heatmaps may come from, classes and flips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import smalti
from helpers import by_class, composite, exact, noisy, random_source, with_flips
from smalti import Full, InputError, Optimal, edm_sigmas
from smalti.analysis.heatmaps import Sensitivity
from smalti.analysis.sensitivity import sensitivity
from smalti.denoisers import PSPCFlex
from smalti.denoisers.flex import THRESHOLDS
from smalti.denoisers.heatmap_windows import hard_windows, soft_windows
from smalti.engine import PackedMasks

SHAPE = (2, 4, 5)
LEVELS = [3.0, 0.5, 0.05]


def heatmaps():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(len(LEVELS), 4, 5, 4, 5, generator=generator, dtype=torch.float64) ** 3


def masks_by_hand(heat, share):
    """(P, 1, H, W) by the published rule, one output pixel after another."""
    masks = []
    for one in heat.reshape(-1, *heat.shape[-2:]).numpy():
        order = np.argsort(one.ravel(), kind="stable")
        kept = np.cumsum(one.ravel()[order]) / one.sum() >= 1 - share
        mask = np.zeros(one.size)
        mask[order[kept]] = 1
        masks.append(mask.reshape(1, *one.shape))
    return torch.from_numpy(np.stack(masks))


@pytest.mark.parametrize("hflip", [False, True])
def test_by_hand(hflip):
    source = random_source(6, SHAPE, labels=True, hflip=hflip)
    given, shares = heatmaps(), [1, 0.6, 0.3]
    denoiser = PSPCFlex(source, given, shares, LEVELS)
    for level, sigma in enumerate(LEVELS):
        z = noisy(source, sigma)
        masks = masks_by_hand(given[level], shares[level])
        expected = composite(with_flips(source), masks, masks, z, sigma)
        torch.testing.assert_close(denoiser(z, sigma), expected, atol=1e-5, rtol=0)
        images = with_flips(by_class(source, 1))
        torch.testing.assert_close(
            denoiser(z, sigma, labels=[1, 1]), composite(images, masks, masks, z, sigma), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("hflip", [False, True])
def test_wiener_by_hand(hflip):
    source = random_source(30, SHAPE, labels=True, hflip=hflip)
    sigma, share, z = 0.5, 0.6, noisy(source, 0.5)
    denoiser = PSPCFlex(source, thresholds=share, sigmas=[sigma])
    for labels, chosen in ((None, source), ([0, 0], by_class(source, 0))):
        images = with_flips(chosen)
        covariance = torch.cov(images.flatten(1).T, correction=0)
        f = torch.linalg.solve(covariance + sigma**2 * torch.eye(40, dtype=torch.float64), covariance).abs()
        heat = sum(f[20 * c : 20 * (c + 1), 20 * c : 20 * (c + 1)] for c in range(2))
        masks = hard_windows(heat, share, tied=True).unflatten(1, (1, 4, 5))
        if not hflip:  # then nothing is tied, and the rule is the published one
            assert torch.equal(masks.double(), masks_by_hand(heat.reshape(4, 5, 4, 5), share))
        expected = composite(images, masks, masks, z, sigma)
        torch.testing.assert_close(denoiser(z, sigma, labels=labels), expected, atol=1e-5, rtol=0)


def test_a_batch_of_several_classes_and_levels():
    source = random_source(12, SHAPE, labels=True)
    denoiser = PSPCFlex(source)
    z, sigmas, labels = noisy(source, 0.5, 6), torch.tensor([0.01, 3.0, 3.0, 0.5, 0.5, 60.0]), [0, 1, 0, 0, 1, 1]
    out = denoiser(z, sigmas, labels)
    for i, label in enumerate(labels):
        alone = PSPCFlex(by_class(source, label))(z[i : i + 1], float(sigmas[i]))
        torch.testing.assert_close(out[i : i + 1], alone, atol=1e-5, rtol=0)


def test_a_share_of_one_is_one_full_mask():
    source = random_source(5, SHAPE)
    denoiser = PSPCFlex(source)
    assert denoiser.shares == list(THRESHOLDS)
    assert [denoiser.collection(s).queries == Full() for s in edm_sigmas().tolist()] == [t == 1 for t in THRESHOLDS]
    z = noisy(source, 20.0)
    assert torch.equal(denoiser(z, 20.0), Optimal(source)(z, 20.0))


def test_masks_are_packed_and_made_when_used():
    denoiser = PSPCFlex(random_source(5, SHAPE), heatmaps(), 0.5, LEVELS)
    assert not denoiser._made
    first = denoiser.collection(0.4)
    assert len(denoiser._made) == 1
    assert denoiser.collection(0.6) is first
    assert isinstance(first.queries, PackedMasks)
    assert first.queries is first.responses
    assert first.queries.bits.shape == (20, 3)


def test_other_levels_take_the_nearest_threshold():
    denoiser = PSPCFlex(random_source(5, SHAPE), sigmas=[70.0, 2.0, 0.04])
    assert denoiser.shares == [1.0, 0.5, 0.3]


def test_hard_windows():
    heat = torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, 0], [1, 1, 1, 1], [0, 5, 5, 2]], dtype=torch.float64)
    expected = [[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]  # no other mask covers the first pixel
    assert hard_windows(heat, 0.4).int().tolist() == expected
    expected = [[0, 0, 1, 1], [0, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]]
    assert hard_windows(heat, 0.4, tied=True).int().tolist() == expected
    assert hard_windows(heat, 1e-9).any(1).all()


def test_soft_windows():
    heat = torch.tensor([[1.0, 2, 0], [0, 0, 0], [4, 0, 0]], dtype=torch.float64)
    assert soft_windows(heat).tolist() == [[0.5, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_sources_of_heatmaps(tmp_path):
    source, given = random_source(5, SHAPE), heatmaps()
    pixels = np.array([[y, x] for y in range(4) for x in range(5)])
    found = Sensitivity(
        "n", np.array(LEVELS), pixels, SHAPE, given.reshape(3, 20, 4, 5).numpy(), np.zeros((3, 20, 4, 5)), 9
    )
    np.save(tmp_path / "published.npy", given.numpy().astype(np.float32))
    np.savez(tmp_path / "one.npz", anything=given.numpy(), about=np.array("x"))
    found.save(tmp_path / "sensitivity.npz")
    z = noisy(source, 0.5)
    expected = PSPCFlex(source, given, 0.4, LEVELS)(z, 0.5)
    for other in (tmp_path / "published.npy", str(tmp_path / "one.npz"), given.numpy(), given.float()):
        assert torch.equal(PSPCFlex(source, other, 0.4, LEVELS)(z, 0.5), expected)
    for other in (found, tmp_path / "sensitivity.npz"):
        denoiser = PSPCFlex(source, other, 0.4)
        assert denoiser.levels == LEVELS
        assert torch.equal(denoiser(z, 0.5), expected)
        with pytest.raises(InputError, match=r"are those of sigma = 3, 0\.5, 0\.05, not of 3, 0\.5, 0\.06"):
            PSPCFlex(source, other, 0.4, [3, 0.5, 0.06])


def test_of_the_library_s_own_sensitivity():
    source = random_source(8, (1, 4, 4))
    found = sensitivity(Optimal(source), source, LEVELS, n=4, progress=False)
    smalti.check_denoiser(PSPCFlex(source, found))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heatmaps": "winer"}, "there is no file winer; .* or 'wiener'"),
        ({"heatmaps": 3}, "not int"),
        ({"heatmaps": heatmaps()}, "heatmaps of 3 levels for 18 levels of the default schedule"),
        ({"heatmaps": heatmaps(), "sigmas": [1.0]}, "for 1 sigmas"),
        ({"heatmaps": heatmaps()[:, :, :, :, :4], "sigmas": LEVELS}, "shape .levels, 4, 5, 4, 5."),
        ({"heatmaps": heatmaps()[0], "sigmas": LEVELS}, "shape"),
        ({"heatmaps": -heatmaps(), "sigmas": LEVELS}, "level 0 has values that are negative"),
        ({"heatmaps": heatmaps() / 0, "sigmas": LEVELS}, "infinite"),
        ({"heatmaps": heatmaps() * torch.nan, "sigmas": LEVELS}, "NaN"),
        ({"thresholds": 0}, "above 0"),
        ({"thresholds": 1.5}, "at most 1"),
        ({"thresholds": "much"}, "must be a number"),
        ({"thresholds": [0.5, 0.5]}, "2 thresholds for 18 sigmas"),
        ({"thresholds": [0.5, None], "sigmas": [2, 1]}, "must be a number"),
        ({"sigmas": [1.0, 0.0]}, "greater than 0"),
        ({"backend": "fast"}, "unknown backend"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        PSPCFlex(random_source(4, SHAPE), **arguments).collection(0.1)


def test_files_that_cannot_be_read(tmp_path):
    source = random_source(4, SHAPE)
    (tmp_path / "text.npy").write_text("heat")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 nothing")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=heatmaps().numpy(), b=heatmaps().numpy())
    some = Sensitivity("n", np.ones(1), np.array([[0, 0]]), SHAPE, np.ones((1, 1, 4, 5)), np.ones((1, 1, 4, 5)), 9)
    some.save(tmp_path / "some.npz")
    (tmp_path / "bracket.npy").write_bytes(
        (tmp_path / "objects.npy").read_bytes().replace(b"'shape': ()", b"'shape': ((")
    )
    packed = bytearray((tmp_path / "two.npz").read_bytes())
    for name, at, value in (("encrypted.npz", 8, 1), ("shrunk.npz", 10, 1)):  # a flag, and a method, of the first array
        odd = bytearray(packed)
        odd[odd.index(b"PK\x01\x02") + at] = odd[at - 2] = value
        (tmp_path / name).write_bytes(odd)
    for name, message in (
        ("bracket.npy", "not a readable"),
        ("encrypted.npz", "not a readable"),
        ("shrunk.npz", "not a readable"),
        ("text.npy", "not a readable"),
        ("cut.npz", "not a readable"),
        ("objects.npy", "not a readable"),
        ("two.npz", "has 2 arrays of heatmaps"),
        ("some.npz", "heatmaps of 1 pixels; those of all 20"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            PSPCFlex(source, tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="all 20 output pixels"):
        PSPCFlex(source, some)


def test_repr_and_with_source():
    source = random_source(5, SHAPE)
    denoiser = PSPCFlex(source, heatmaps().numpy(), 0.7, LEVELS)
    assert repr(denoiser) == f"PSPCFlex({source!r}, heatmaps=<tensor (3, 4, 5, 4, 5)>, thresholds=0.7, sigmas={LEVELS})"
    other = denoiser.with_source(source.subset([0, 1]))
    z = noisy(source, 0.5)
    masks = masks_by_hand(heatmaps()[1], 0.7)
    torch.testing.assert_close(other(z, 0.5), composite(exact(other.source), masks, masks, z, 0.5), atol=1e-5, rtol=0)


def test_asymmetric_heatmaps_opt_out_of_flips():
    source = random_source(40, (1, 5, 4))
    generator = torch.Generator().manual_seed(0)
    given = torch.rand(18, 5, 4, 5, 4, generator=generator)
    assert "flips_commute" in PSPCFlex(source, given).opt_outs
    smalti.check_denoiser(PSPCFlex(source, given))
    symmetric = PSPCFlex(source, given + given.flip(2, 4))
    assert not symmetric.opt_outs
    smalti.check_denoiser(symmetric)


def test_jacobian_rows_of_several_classes():
    source = random_source(12, SHAPE, labels=True)
    denoiser = PSPCFlex(source, thresholds=0.5)
    z, pixels = noisy(source, 0.5, 3), torch.tensor([[0, 0], [2, 3]])
    for labels in (None, torch.tensor([0, 1, 0])):
        rows = torch.cat(list(denoiser.jacobian_rows(z, 0.5, pixels, labels)), 1)
        point = z.clone().requires_grad_()
        out = PSPCFlex(source, thresholds=0.5, backend="reference")(point, 0.5, labels)
        for p, (y, x) in enumerate(pixels.tolist()):
            for c in range(2):
                (gradient,) = torch.autograd.grad(out[:, c, y, x].sum(), point, retain_graph=True)
                torch.testing.assert_close(rows[:, p, c], gradient, atol=1e-6, rtol=0)
