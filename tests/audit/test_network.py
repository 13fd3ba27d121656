"""The audit of networks, with controls: the optimal denoiser, which memorises, and the Gaussian one, which does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from helpers import exact, random_source
from smalti import Gaussian, InputError, Optimal, Source, audit_network
from smalti.audit.membership import area_under_curve, membership
from smalti.audit.network import posterior_deviation, work
from smalti.audit.network_page import network_limits, network_record, network_sections, network_verdicts

SIGMAS = [1.0, 0.3]


@pytest.fixture(scope="module")
def digits():
    """80 training images and 100 held-out ones."""
    source = Source.open("digits")
    return source.subset(slice(0, 80)), source.subset(slice(600, 700))


@pytest.fixture(scope="module")
def memoriser(digits):
    training, held_out = digits
    done = []
    found = audit_network(
        Optimal(training), training, held_out, sigmas=SIGMAS, n=4, steps=6, rate=0.05, compared=3, shift=0,
        progress=done.append,
    )  # fmt: skip
    assert sum(done) == work(2, 80, 1, 3, 4, 4, 6, 2 * (4 + 100))
    return found


def test_a_memoriser_is_told_by_its_errors_and_its_samples(memoriser):
    member = memoriser.membership
    assert member.n == 80
    assert member.overall.value > 0.99
    assert member.telling
    assert all(row["auc"] > 0.8 and row["smaller_by_low"] > 0 for row in member.table())
    assert memoriser.copies == 4
    labels = [verdict.label for verdict in network_verdicts(memoriser)]
    assert labels[0] == "Its errors tell training images from held-out ones"
    assert labels[1].startswith("Its samples: ")
    assert labels[-1] == "It does what the optimal denoiser does"
    record = network_record(memoriser)
    assert record["copies"] == 4
    assert record["membership"]["telling"] is True


def test_the_gaussian_denoiser_of_many_images_is_not():
    source = random_source(1100, (1, 6, 6))
    training, held_out = source.subset(slice(0, 1000)), source.subset(slice(1000, 1100))
    found = audit_network(
        Gaussian(training), training, held_out, sigmas=SIGMAS, n=0, compared=2, denoisers={"copy": Gaussian(training)}
    )
    assert found.membership.n == 100
    assert abs(found.membership.overall.value - 0.5) < 0.1
    assert not found.membership.telling
    assert (found.samples, found.copies) == (None, 0)
    only = audit_network(
        Gaussian(training), training, sigmas=[1.0], n=0, compared=2, denoisers={"gaussian": Gaussian(training)}
    )
    assert len(network_verdicts(only)) == 1  # nothing that looks at patches: nothing is said of locality
    assert {round(row["fraction"], 6) for row in found.locality.where(denoiser="copy")} == {1}
    said = " ".join(network_limits(found))
    assert "no samples were asked for" in said
    assert "does not record it" in said


def test_without_held_out_images_membership_is_not_judged(digits):
    training, _ = digits
    found = audit_network(Optimal(training), training, sigmas=[1.0], n=0, compared=2)
    assert found.membership is None
    assert "cannot be known" in network_verdicts(found)[0].label


def test_pairs_share_their_noise():
    """The same images on both sides have the same errors, so that nothing tells them apart."""
    source = random_source(30, (1, 6, 6))
    images = source.working()
    found = membership(Gaussian(source), (images, None), (images, None), [0.5, 2.0], draws=2, batch_size=7)
    assert np.array_equal(found.training, found.held_out)
    assert found.overall.value == 0.5
    again = membership(Gaussian(source), (images[:5], None), (images[:5], None), [0.5, 2.0], draws=2)
    assert np.allclose(again.training, found.training[:, :5])


def test_labels_are_given_to_the_network():
    class Conditional(Gaussian):
        num_classes = 2
        seen: list = []

        def denoise(self, z, sigma, labels):
            self.seen.append(labels if labels is None else labels.tolist())
            return super().denoise(z, sigma, None)

    source = random_source(24, (1, 6, 6), labels=True)
    network = Conditional(source)
    x = source.working([0, 1, 2])
    membership(network, (x, np.array([0, 1, 1])), (x, np.array([1, 0, 0])), [1.0])
    assert network.seen == [[0, 1, 1], [1, 0, 0]]
    network.seen.clear()
    arguments = {
        "sigmas": [1.0],
        "compared": 2,
        "n": 2,
        "steps": 1,
        "labels": [1, 0],
        "rate": 0.3,
        "denoisers": {"g": Gaussian(source)},
    }
    held_out = random_source(4, (1, 6, 6), seed=3, labels=True)
    found = audit_network(network, source, held_out, labelled=True, **arguments)
    assert found.labelled
    assert [1, 0] in network.seen  # the samples
    assert not any("given classes" in sentence for sentence in network_limits(found))
    found = audit_network(network, source, held_out, **arguments)
    assert any("given classes" in sentence for sentence in network_limits(found))
    named = random_source(4, (1, 6, 6), seed=3, labels=True, class_names=["a", "b"])
    with pytest.raises(InputError, match="classes"):
        audit_network(network, source, named, labelled=True, **arguments)


def test_the_interval_of_an_auc_covers_it():
    random = np.random.default_rng(0)
    true, inside = 0.760250, 0  # P(N(0, 1) < N(1, 1)) = Phi(1 / sqrt 2)
    for _ in range(300):
        found = area_under_curve(random.normal(size=40), random.normal(1, size=40))
        inside += found.low <= true <= found.high
    assert 0.91 <= inside / 300 <= 0.99
    perfect = area_under_curve(np.zeros(30), np.ones(30))
    assert perfect.value == perfect.high == 1
    assert 0.8 < perfect.low < 0.95
    assert area_under_curve(np.array([1.0, 2]), np.array([1.0, 3])).value == pytest.approx(0.625)


@pytest.mark.parametrize("hflip", [False, True])
def test_the_posterior_deviation_is_that_of_all_images(hflip):
    source = random_source(12, (2, 5, 4), hflip=hflip)
    z = source.working([3])[0].double() + 0.7 * torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    mean, deviation = posterior_deviation(source, z, 0.7)
    images = torch.cat([exact(source), exact(source).flip(-1)]) if hflip else exact(source)
    weights = torch.softmax(-(images - z).square().flatten(1).sum(1) / (2 * 0.49), 0)[:, None, None, None]
    expected = (weights * images).sum(0)
    assert torch.allclose(mean, expected, atol=1e-7)
    spread = (weights * (images - expected).square()).sum(0).sqrt()
    assert torch.allclose(deviation, spread, atol=1e-6)


def test_kept_pieces_give_the_same(digits, tmp_path):
    training, held_out = digits
    arguments = {"sigmas": [1.0], "n": 1, "steps": 2, "compared": 2, "pairs": 10, "rate": 0.05, "shift": 0}
    first = network_record(audit_network(Optimal(training), training, held_out, **arguments, keep=tmp_path))
    done = []
    again = audit_network(Optimal(training), training, held_out, **arguments, keep=tmp_path, progress=done.append)
    assert network_record(again) == first
    assert sum(done) == work(1, 10, 1, 2, 4, 1, 2, 2 * (1 + 100))


def test_bad_input_is_said(digits):
    training, held_out = digits
    network = Optimal(training)
    with pytest.raises(InputError, match="takes"):
        audit_network(network, random_source(3, (1, 6, 6)))
    with pytest.raises(InputError, match="are training images"):
        audit_network(network, training, training)
    with pytest.raises(InputError, match="classes"):
        audit_network(network, training, Source(held_out.images), labelled=True)
    with pytest.raises(InputError, match="as many"):
        membership(network, (training.working(), None), (held_out.working(), None), [1.0])


def test_one_held_out_image_gives_a_record(digits):
    training, held_out = digits
    found = audit_network(Optimal(training), training, held_out.subset(slice(0, 1)), sigmas=[1.0], n=0, compared=2)
    record = json.loads(json.dumps(network_record(found), allow_nan=False))
    assert (record["membership"]["pairs"], record["membership"]["auc_low"]) == (1, None)
    assert network_sections(found)
    assert "Too few" in network_verdicts(found)[0].label
