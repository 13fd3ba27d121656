"""Readings, verdicts and trends: what is for, against, unclear and level."""

import math

import pytest
import torch

from smalti import Table
from smalti.analysis.intervals import Bootstrap
from smalti.experiments.evidence import (
    LEAST,
    LEVELS,
    READINGS,
    SHARE,
    Part,
    Reading,
    floor_of,
    judge,
    minus,
    relevance_floor,
    simultaneous,
    together,
    trend,
)

SIGMAS = (0.1, 0.3, 1, 3, 10, 30)


def reading(value: float, half: float = 0.1, n: int = 64) -> Reading:
    return Reading(value, value - half, value + half, half / 1.96, n)


def standing(values: list[float], half: float = 0.1, **options) -> str:
    return judge("x", [reading(value, half) for value in values], **options).standing


def test_judge_counts_readings():
    part = judge("x", [reading(1), reading(1), reading(1), reading(0.05), reading(0, 0)], kind="paired")
    assert part.standing == "supported"
    assert "for it at 3 of 5 levels" in part.text
    assert "unclear at 1" in part.text
    assert "level at 1" in part.text
    assert part.text.endswith("paired, n = 64")
    assert part.effect.value == pytest.approx(3.05 / 5)
    assert judge("x", [reading(1, n=16), reading(1), reading(1)]).text.endswith("n = 16 to 64")


def test_what_is_for_and_against():
    assert standing([1] * 5 + [-1]) == "supported"
    assert standing([1] * 5 + [-1], everywhere=True) == "not supported"
    assert standing([1, -1, -1]) == "not supported"
    assert standing([1, 1, -1, -1]) == "partly"
    assert standing([1, 1, 0.05, 0.05]) == "partly"


def test_unclear_is_not_against():
    assert standing([0.01] * 5) == "undecided"
    assert standing([-0.01] * 5) == "undecided"
    assert standing([0.01] * 9 + [1]) == "undecided"
    assert standing([0.01] * 9 + [-1]) == "undecided"
    assert standing([0.01] * 9 + [-1], everywhere=True) == "not supported"  # one refutes what is said of all
    assert standing([0.01] * 3 + [-1]) == "not supported"


def test_differences_within_the_floor_are_neither_for_nor_against():
    tiny = [1e-7] * 6
    assert standing(tiny, 1e-9) == "supported"  # without a floor a difference of 1e-7 is as good as any
    assert standing(tiny, 1e-9, floor=1e-3) == "not supported"
    assert standing([*tiny, 1, 1, 1], 1e-9, floor=1e-3) == "supported"
    assert standing([*tiny, -1, -1, -1], 1e-9, floor=1e-3) == "not supported"
    assert standing([-1e-7] * 6 + [1] * 3, 1e-9, floor=1e-3) == "supported"
    assert standing([*tiny, 1], 1e-9, floor=1e-3) == "undecided"  # one level that differs says little of levels
    assert "level at 6 (within 0.001)" in judge("x", [reading(v, 1e-9) for v in [*tiny, 1, 1, 1]], floor=1e-3).text
    assert standing([1e-7] * 3, 0.1, floor=1e-3) == "undecided"  # the interval is not within the floor


def test_few_readings_are_not_tested():
    assert standing([1] * (READINGS - 1)) == "not tested here"
    assert f"takes {READINGS}" in judge("x", [reading(1)] * (READINGS - 1)).text
    assert standing([1] * READINGS) == "supported"
    assert standing([1], least=1) == "supported"
    assert standing([]) == "not tested here"
    assert standing([0] * 5, 0) == "not tested here"


def test_simultaneous_intervals_are_wider_the_more_there_are():
    """Bonferroni: the 1 - 0.025 / m quantile of the normal distribution; 2.807 for m = 10."""
    readings = [reading(1.0, 1.96)] * 10
    for it in simultaneous(readings):
        assert it.high - it.value == pytest.approx(2.8070, abs=1e-3)
        assert it.value - it.low == pytest.approx(2.8070, abs=1e-3)
    assert simultaneous(readings[:1]) == readings[:1]


def test_noise_at_one_level_does_not_refute_a_claim_about_all():
    values = [1.0] * 17 + [-0.11]  # 0.11 / 0.051: 2.2 standard errors, which one level in 40 exceeds
    assert "against it at 1" in judge("x", [reading(v) for v in values]).text
    assert standing(values, everywhere=True) == "supported"
    assert standing([*values[:-1], -0.2], everywhere=True) == "not supported"


def test_differences_are_as_wide_as_independent_ones():
    found = minus(reading(2, 0.3), reading(1, 0.4))
    assert found.value == pytest.approx(1)
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(1.5)


def test_trend_needs_more_than_noise():
    rising = trend("x", [(s, reading(k, 0.1)) for k, s in enumerate(SIGMAS)])
    assert rising.standing == "supported"
    assert rising.effect.value == pytest.approx(1)
    assert trend("x", [(s, reading(k, 50.0)) for k, s in enumerate(SIGMAS)]).standing == "undecided"
    assert trend("x", [(s, reading(-k, 0.1)) for k, s in enumerate(SIGMAS)]).standing == "not supported"
    assert trend("x", [(s, reading(1, 0.0)) for s in SIGMAS]).standing == "not supported"
    assert trend("x", [(s, reading(k, 0.1)) for k, s in enumerate(SIGMAS[:-1])]).standing == "not tested here"
    assert len(SIGMAS) == LEVELS


def test_spearman_shares_ranks_among_equals():
    """Pearson's correlation of mean ranks 0, 1.5, 1.5, 3, 4, 5 with 0 .. 5; 1 - 6 sum d^2 / (n (n^2 - 1)) does not hold with ties."""
    part = trend("x", [(k, reading(v, 0.0)) for k, v in enumerate((1, 2, 2, 3, 4, 5))])
    assert part.effect.value == pytest.approx(0.9856108)


def test_parts_that_differ_are_partly():
    yes, no, open_ = (Part(standing, standing) for standing in ("supported", "not supported", "undecided"))
    assert together([yes, no]).standing == "partly"
    assert together([yes, open_]).standing == "partly"
    assert together([no, open_]).standing == "not supported"
    assert together([open_, open_]).standing == "undecided"
    assert together([yes, judge("c", [])]).standing == "supported"
    assert together([]).standing == "not tested here"


def test_denoisers_on_fewer_images_decide_nothing_alone():
    yes, limited = Part("supported", "all images"), Part("not supported", "few images", limited=True)
    assert together([yes, limited]).standing == "supported"
    assert "few images" in together([yes, limited]).text
    assert together([limited]).standing == "undecided"


def test_the_least_n_is_where_the_percentile_interval_covers_what_is_said():
    """1.96 sqrt((n - 1)/n) standard errors of a normal mean, with the spread estimated: Student's t with n - 1 degrees."""
    draws = torch.randn(300, LEAST, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inside = sum((found := Bootstrap(row[:, None], 400).mean_interval()).low <= 0 <= found.high for row in draws)
    assert 0.84 < inside / len(draws) < 0.94


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
