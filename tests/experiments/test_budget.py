"""How many z fit into a time."""

import math

from smalti.analysis import intervals
from smalti.experiments import budget, evidence
from smalti.experiments.budget import count_within


def test_as_many_as_fit_between_least_and_most():
    assert count_within(1.0, 0.1, 100, 2) == 10
    assert count_within(1.0, 0.1, 5, 2) == 5
    assert count_within(0.0, 0.1, 5, 2) == 2
    assert count_within(0.0, 0.1, 1, 2) == 1
    assert count_within(0.5, 0.1, 100, 2) == 8  # overdrawn, so that an interval tells something
    assert count_within(0.35, 0.1, 100, 2) == 3
    assert count_within(math.inf, 0.1, 10_000, 2) == 10_000


def test_claims_figures_and_budgets_agree_on_how_few_z_tell_nothing():
    assert evidence.LEAST == intervals.TELLING == budget.TELLING
