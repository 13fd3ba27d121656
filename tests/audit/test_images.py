"""The audit of images, with controls: held-out images, training images, copies that were moved, mirrored and brightened."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import random_source
from smalti import InputError, Source, audit_images
from smalti.audit.images import VERDICTS, fitted, work
from smalti.audit.images_page import images_limits, images_record, images_verdicts
from smalti.quality.features import load_features


@pytest.fixture(scope="module")
def digits():
    """80 training images and 120 held-out ones."""
    source = Source.open("digits")
    return source.subset(slice(0, 80)), source.subset(slice(600, 720))


def test_training_images_are_all_copies_and_held_out_ones_at_the_rate(digits):
    training, held_out = digits
    asked = Source.open("digits").subset(slice(800, 900))
    found = audit_images(asked, training, held_out, rate=0.05)
    assert found.limits.realised == pytest.approx(6 / 121)
    assert found.near.mean() <= found.limits.upper
    assert found.near.sum() > 0
    assert not found.identical.any()
    same = audit_images(training.subset(slice(0, 20)), training, held_out, rate=0.05)
    assert same.identical.all()
    assert same.copies == 20
    assert same.near.all()


def test_without_held_out_images_nothing_is_known_but_identity(digits):
    training, _ = digits
    asked = torch.cat([training.working([3]).flip(-1), Source.open("digits").working([900])])
    found = audit_images(asked, training)
    assert (found.limits, found.near, found.covered) == (None, None, None)
    assert [found.verdict(n) for n in range(2)] == ["identical", "not known"]
    assert found.copies == 1
    assert bool(found.mirrored[0])
    assert "cannot be known" in images_verdicts(found)[1].label
    assert "held-out" in images_limits(found)[0]


def moved(image, down, right):
    """The image moved, its edges repeated."""
    rows = (torch.arange(image.shape[1]) - down).clamp(0, image.shape[1] - 1)
    columns = (torch.arange(image.shape[2]) - right).clamp(0, image.shape[2] - 1)
    return image[:, rows][:, :, columns]


def test_copies_that_were_moved_mirrored_and_brightened_are_found_by_their_parts():
    training, held_out = random_source(60, (3, 24, 24)), random_source(60, (3, 24, 24), seed=1)
    detail = 0.3 * torch.randn(120, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    training = Source((training.working() + detail[:60]).clamp(-1, 1).numpy())
    held_out = Source((held_out.working() + detail[60:]).clamp(-1, 1).numpy())
    copy = (moved(training.working([7])[0], 2, -1).flip(-1) * 0.8 + 0.1).clamp(-1, 1)
    found = audit_images(copy[None], training, held_out, rate=0.05)
    assert found.near.tolist() == [True]
    assert found.looks["patches"].distances[0] < found.looks["patches"].limit
    assert found.owners(0, 1)[0][0] == 7
    assert found.covered[0] > 0.8
    row = found.table().rows[0]
    assert row["training_image"] == "image 7"
    assert row["verdict"] == "near"
    still = audit_images(copy[None], training, held_out, rate=0.05, shift=0)
    assert still.looks["patches"].distances[0] > still.looks["patches"].limit


def test_held_out_images_that_are_training_images_do_not_count(digits):
    training, held_out = digits
    mixed = Source(np.concatenate([held_out.images, training.images[:4]]))
    found = audit_images(held_out.working([0]), training, mixed, rate=0.05, shift=0)
    assert (found.contained, found.limits.held_out, found.held_out) == (4, 120, 124)
    assert any("4 of those looked at are training images" in sentence for sentence in images_limits(found))
    with pytest.raises(InputError, match="are training images"):
        audit_images(held_out.working([0]), training, training)


def test_features_are_a_further_look(digits):
    training, held_out = digits
    asked = torch.cat([training.working([5]), held_out.working([5])])
    done = []
    found = audit_images(
        asked,
        training,
        held_out,
        rate=0.05,
        features=load_features("pixels"),
        reference=60,
        shift=0,
        progress=done.append,
    )
    assert sum(done) == work(80, 2, 60, True)
    look = found.looks["features"]
    assert look.nearest[0] == 5
    assert look.distances[0] == pytest.approx(0, abs=1e-6)
    vectors = [torch.nn.functional.normalize(x.double().flatten(1), dim=1) for x in (asked, training.working())]
    assert np.allclose(look.distances, torch.cdist(*vectors).amin(1), atol=1e-7)
    assert list(found.limits.limits) == ["patches", "whole", "features"]
    assert found.limits.limits["features"] is not None


def test_too_few_held_out_images_are_said(digits):
    training, held_out = digits
    found = audit_images(held_out.working([0]), training, held_out.subset(slice(1, 21)))
    assert not found.limits.enough
    assert found.looks["whole"].limit is None
    assert "Too few" in images_verdicts(found)[-1].label
    record = images_record(found)
    assert record["limits"]["enough_held_out_images"] is False
    assert record["limits"]["whole"] is None


def test_kept_pieces_give_the_same(digits, tmp_path):
    training, held_out = digits
    first = audit_images(held_out.working([0, 1]), training, held_out, shift=0, keep=tmp_path)
    again = audit_images(held_out.working([0, 1]), training, held_out, shift=0, keep=tmp_path)
    assert first.table().rows == again.table().rows
    with pytest.raises(InputError, match="another computation"):
        audit_images(held_out.working([0, 2]), training, held_out, shift=0, keep=tmp_path)


def test_images_are_brought_to_the_training_images_channels():
    grey, colour = torch.zeros(1, 1, 4, 4), torch.ones(1, 3, 4, 4)
    assert fitted(grey, (3, 4, 4), "x").shape == (1, 3, 4, 4)
    assert fitted(colour, (1, 4, 4), "x").allclose(torch.ones(1, 1, 4, 4))
    for images, shape in (
        (grey, (1, 5, 4)),
        (torch.zeros(1, 2, 4, 4), (3, 4, 4)),
        (torch.zeros(0, 1, 4, 4), (1, 4, 4)),
    ):
        with pytest.raises(InputError, match="the images"):
            fitted(images, shape, "the images")


def test_those_that_matter_come_first(digits):
    training, held_out = digits
    asked = torch.cat([held_out.working([3]), training.working([3])])
    found = audit_images(asked, training, held_out, rate=0.05, shift=1, names=["a", "b"])
    assert found.order()[0] == 1
    assert set(found.table()["verdict"]) <= set(VERDICTS)


def test_equal_images_count_once(digits):
    """Copies of one held-out image know no more than one of them, and copies of one image that is asked about are one surprise."""
    training, held_out = digits
    twice = torch.cat([held_out.working(), held_out.working([0, 1]).flip(-1)])
    found = audit_images(held_out.working([3, 3]), training, twice, rate=0.05, shift=0)
    assert (found.repeated, found.limits.held_out, found.different[0]) == (2, 120, 1)
    assert any("2 were there already" in sentence for sentence in images_limits(found))
    asked = training.working([3]) * 0.9
    one, three = (audit_images(asked.repeat(n, 1, 1, 1), training, held_out, rate=0.05, shift=0) for n in (1, 3))
    assert three.near.all()
    chances = [images_record(each)["limits"]["chance_of_as_many"] for each in (one, three)]
    assert chances[0] == chances[1] == pytest.approx(6 / 121)
    assert "which are all one" in images_verdicts(three)[0].sentence


def test_rounding_decides_nothing():
    """Likeness 1 is that of exact copies of patches, but for rounding: held-out images that have it leave nothing nearer."""
    digits = Source.open("digits")
    found = audit_images(
        digits.subset(slice(900, 960)), digits.subset(slice(0, 300)), digits.subset(slice(600, 720)), rate=0.05
    )
    look = found.looks["patches"]
    assert (look.limit, (look.distances == 0).any()) == (0, True)
    assert not (look.distances < look.limit).any()
    assert any("Larger patches" in sentence for sentence in images_limits(found))


def test_near_images_that_chance_explains_are_said_to_be_that(digits):
    training, held_out = digits
    found = audit_images(training.working([3]) * 0.9, training, held_out.subset(slice(0, 3)), rate=0.05, shift=0)
    assert found.near.all()
    verdict = images_verdicts(found)[0]
    assert (verdict.mark, "may be chance" in verdict.label, "25 %" in verdict.sentence) == ("partly", True, True)
