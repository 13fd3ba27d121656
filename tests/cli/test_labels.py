import pytest

from smalti.cli.jobs.labels import parse_labels
from smalti.core.errors import InputError

NAMES = ("cat", "dog", "0")


@pytest.mark.parametrize(
    ("text", "labels"),
    [(None, None), ("dog", [1] * 5), ("1", [1] * 5), ("cat, dog", [0, 1, 0, 1, 0]), ("2,cat,1", [2, 0, 1, 2, 0])],
)
def test_labels_are_cycled(text, labels):
    assert parse_labels(text, 5, NAMES, 3) == labels


def test_a_name_wins_over_a_number():
    assert parse_labels("0", 1, NAMES, 3) == [2]
    assert parse_labels("0", 1, None, 3) == [0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dgo", "did you mean 'dog'"),
        ("3", "numbers 0 to 2, or names: cat, dog, 0"),
        ("-1", "no class '-1'"),
        ("cat,,dog", "no class ''"),
        ("1,1,1,1,1,1", "6 entries for 5"),
    ],
)
def test_bad_labels_are_named(text, says):
    with pytest.raises(InputError, match=says):
        parse_labels(text, 5, NAMES, 3)


def test_data_without_classes():
    with pytest.raises(InputError, match="the data, or the network, has no classes; leave it out"):
        parse_labels("1", 5, None, None)
