"""Words of captions."""

import dataclasses
import math

from laboratories import laboratory
from smalti.experiments.captions import label_of, labels_of, level, listed, runs, significant, with_interval


def test_limited_denoisers_say_so():
    lab = dataclasses.replace(laboratory(), limited={"gaussian": 1500})
    assert label_of(lab, "gaussian") == "gaussian (N=1,500)"
    assert labels_of(lab, ["optimal"]) == {"optimal": "optimal"}


def test_lists_and_numbers():
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert [significant(x) for x in (0.5851, 80, 0.00200, 12.91)] == ["0.59", "80", "0.002", "13"]


def test_stretches_of_levels_are_not_joined_over_gaps():
    every = (100.0, 25.0, 10.0, 2.0, 0.5, 0.25, 0.1)
    assert runs(every, (0.25, 0.5, 2.0, 25.0, 100.0)) == "sigma 0.25 to 2 and from 25 on"
    assert runs(every, (0.1, 0.25, 2.0)) == "sigma up to 0.25 and 2"
    assert (runs(every, every), runs(every, ())) == ("all levels", "no level")


def row(value, low, high):
    return {"mse": value, "mse_low": low, "mse_high": high}


def test_two_digits_and_the_interval():
    assert with_interval(row(0.07531, 0.0704, 0.081), "mse") == "0.075 [0.07, 0.081]"
    assert with_interval(row(0.5, math.nan, math.nan), "mse") == "0.5"
    assert with_interval(row(math.nan, math.nan, math.nan), "mse") == "undefined"
    assert level(1.923) == "sigma 1.9"
