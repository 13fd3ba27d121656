"""Words for captions."""

import dataclasses

from laboratories import laboratory
from smalti.experiments.wording import label_of, labels_of, listed, significant


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
