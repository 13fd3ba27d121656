"""What networks of halves, and the first network, were trained on."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers import random_source
from smalti.cli.halves import training_numbers, unseen
from smalti.source import Split

SOURCE = random_source(40, (1, 4, 4))


def network(source=SOURCE, **split):
    said = {"fingerprint": source.fingerprint(), "split": split, "images": len(source), "name": "x"}
    return SimpleNamespace(name="net", about={"training_data": said})


def numbers_of(source):
    every = SOURCE.working().flatten(1).numpy()
    return [int(np.flatnonzero((every == image).all(1))[0]) for image in source.working().flatten(1).numpy()]


@pytest.mark.parametrize("split", [{}, {"held_out": 7}, {"held_out": 7, "part": 2, "parts": 2, "seed": 3}])
def test_numbers_are_those_of_the_images(split):
    assert training_numbers(network(**split), SOURCE).tolist() == numbers_of(Split(**split).training(SOURCE))
    assert Split(**split).validation_numbers(40).tolist() == (
        numbers_of(Split(**split).validation(SOURCE)) if split else []
    )


def test_what_is_not_recorded_is_unknown():
    assert training_numbers(SimpleNamespace(name="net", about={}), SOURCE) is None
    assert training_numbers(network(random_source(9, (1, 4, 4), seed=1)), SOURCE) is None
    assert training_numbers(network(held_out=-1), SOURCE) is None
    whole = SimpleNamespace(name="net", about={"training_data": {"trained_fingerprint": SOURCE.fingerprint()}})
    assert training_numbers(whole, SOURCE).tolist() == list(range(40))


def test_held_out_images_are_outside_both_halves():
    first, halves = network(held_out=10), [network(held_out=10, part=part, parts=2) for part in (1, 2)]
    source, notes = unseen({"a": first}, [(half, SOURCE) for half in halves], SOURCE)
    assert source.fingerprint() == Split(held_out=10).validation(SOURCE).fingerprint()
    assert notes == []
    other = [network(held_out=4, part=part, parts=2) for part in (1, 2)]
    source, notes = unseen({"a": first}, [(half, SOURCE) for half in other], SOURCE)
    assert sorted(numbers_of(source)) == sorted(Split(held_out=4).validation_numbers(40))
    assert notes[0].startswith("6 of the 10 images held out from net were trained on by a network of a half")


def test_where_all_were_seen_none_are_held_out():
    halves = [(network(part=part, parts=2), SOURCE) for part in (1, 2)]
    source, notes = unseen({"a": network(held_out=10)}, halves, SOURCE)
    assert source is None
    assert notes[0].startswith("All of the 10")
    assert unseen({}, [], SOURCE) == (None, [])
    alone, _ = unseen({}, [(network(held_out=10, part=part, parts=2), SOURCE) for part in (1, 2)], SOURCE)
    assert len(alone) == 10, "the first half stands for a network"
