"""The floor is a share of the network's largest deviation, of the process that is asked for."""

import math

import pytest

from smalti import Table
from smalti.experiments.relevance import SHARE, floor_of, relevance_floor

COLUMNS = ("process", "denoiser", "mse")


def test_it_is_a_share_of_the_largest_deviation_of_the_process():
    rows = [
        ("forward", "optimal", 0.02),
        ("forward", "optimal", 0.05),
        ("reverse", "optimal", 0.3),
        ("forward", "x", 9),
    ]
    table = Table(COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in rows])
    assert relevance_floor(table, "forward") == pytest.approx(0.05 * SHARE)
    assert relevance_floor(table, "reverse") == pytest.approx(0.3 * SHARE)


def test_without_deviations_every_difference_counts():
    assert relevance_floor(Table(COLUMNS), "forward") == 0
    assert floor_of([math.nan, math.inf]) == 0
    assert floor_of([math.nan, 2.0]) == pytest.approx(2 * SHARE)
