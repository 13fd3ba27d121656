"""Claims: every rule must be able to come out each way, and say why where it cannot be tested."""

import math

import pytest

from smalti import InputError, Table
from smalti.experiments.claims import CLAIMS, as_markdown, evaluate
from smalti.experiments.evidence import LEAST, Reading, judge, minus, together, trend

SIGMAS = (80.0, 40.8, 19.4, 8.4, 3.26, 1.92, 1.09, 0.585, 0.296, 0.14, 0.06, 0.02)
SETTING = {"shape": (3, 32, 32), "networks": ["ddpmpp", "dit"], "reference": "ddpmpp"}
KEYS = [claim.key for claim in CLAIMS]


def it(name: str, value: float, width: float = 0.01) -> dict[str, float]:
    """A statistic with an interval of +- width of its size."""
    half = width * max(abs(value), 1e-3)
    return Reading(value, value - half, value + half, half / 1.96).named(name)


def table(rows: list[dict]) -> Table:
    return Table(tuple(rows[0]), rows)


def bump(sigma: float) -> float:
    """1 at sigma 3, small at both ends."""
    return math.exp(-0.7 * math.log(sigma / 3) ** 2)


def world(true: bool, n: int = 64) -> dict[str, Table]:
    """Tables in which all claims hold, or none does."""
    sign = 1 if true else -1
    sides = (3, 7, 15, 32)

    def side_of(sigma: float) -> int:
        """What is nearest: larger for more noise, or smaller."""
        rank = sorted(SIGMAS).index(sigma) / (len(SIGMAS) - 1)
        return sides[round((rank if true else 1 - rank) * 3)]

    error = [
        {"network": name, "sigma": s, "n": n} | it("mse", 0.07 * bump(s) if true else 0.02 + 0.01 * (s > 10))
        for name in ("ddpmpp", "dit")
        for s in SIGMAS
    ]
    agreement = [{"a": "ddpmpp", "b": "dit", "sigma": s, "n": n} | it("cosine", 0.9 if true else 0.1) for s in SIGMAS]
    responses = [
        {"subject": name, "transformation": t, "sigma": 2.0, "n": n}
        | it("distance", 0.02 if (name == "optimal") != true else 0.3)
        for name in ("optimal", "ddpmpp", "dit")
        for t in ("shift-x", "shift-y", "noise-inside", "noise-outside")
    ]
    areas = [
        {"subject": name, "sigma": s, "share": share, "n": n}
        | it("side", (1 + 12 * share * math.log(s / 0.01) / 9) if true else 31 - math.log(s))
        for name in ("ddpmpp", "dit")
        for s in SIGMAS
        for share in (0.5, 0.75)
    ]
    patches = []
    for s in SIGMAS:
        for side in sides:
            row = {"target": "optimal", "side": side, "sigma": s, "n": n, "crops": 100}
            if true:  # small at both ends; where not, only sides that grow with sigma are near
                forward = 0.0 if side == 32 else 0.1 * bump(s) * (1.0 if side < 10 * s else 0.02)
            else:
                forward = 0.05 if side < 20 / s or s > 30 or s < 0.1 else 0.001
            patches.append({"process": "forward", **row} | it("error", forward))
            row["target"] = "ddpmpp"
            near = 0.01 + 0.01 * abs(sides.index(side) - sides.index(side_of(s)))
            if true and s < 3.5:
                near += 0.1 * (side == 32)
            if not true and s < 3.5:
                near -= 0.0095 * (side == 32)
            patches += [{"process": process, **row} | it("error", near) for process in ("forward", "reverse")]
    for row in patches:
        row |= it("difference", -0.05 * sign if row["side"] < 32 else 0.0)
    order = ["dit", "pspc-flex", "pspc-square", "gaussian", "closed-form-diffusion", "optimal"]
    to_network = [
        {"process": process, "denoiser": name, "sigma": s, "n": n}
        | it("mse", 0.01 * (1 + (order if true else order[::-1]).index(name)))
        for process in ("forward", "reverse")
        for name in order
        for s in SIGMAS
    ]
    paired = [
        {"process": process, "denoiser": name, "against": against, "sigma": s, "n": n} | it("difference", -0.01 * sign)
        for process in ("forward", "reverse")
        for name in ("pspc-square", "pspc-flex")
        for against in ("optimal", "gaussian")
        for s in SIGMAS
    ]
    steps = [80.0, 40.8, 19.4, 8.4, 3.26, 1.09, 0.296, 0.0]
    trajectories = [
        {"denoiser": name, "step": k, "sigma": s, "n": n} | it("distance", 0.01 * k if true else 0.1 / (k + 1))
        for name in ("pspc-square", "pspc-flex")
        for k, s in enumerate(steps)
    ]
    alike = {
        ("dit", "ddpmpp"): 0.9,
        ("pspc-flex", "gaussian"): 0.7,
        ("pspc-flex", "ddpmpp"): 0.55,
        ("pspc-flex", "dit"): 0.56,
    }
    alike |= {
        (rival, net): 0.3 for rival in ("optimal", "gaussian", "closed-form-diffusion") for net in ("ddpmpp", "dit")
    }
    similarity = [
        {"measure": measure, "a": a, "b": b, "n": n}
        | it("similarity", value if true else 1 - value)
        | {"chance": 0.1 if true else 0.9}
        for measure in ("ssim", "pixel-cosine")
        for (a, b), value in alike.items()
    ]
    halves = [
        {"comparison": "networks-less-network-optimal", "a": name, "b": f"optimal-{name}", "sigma": s, "n": n}
        | it("value", -0.02 * sign)
        for s in SIGMAS
        for name in ("half1", "half2")
    ]
    copies = {"comparison": "sample-copies", "a": "optimal", "b": "training images", "sigma": None, "n": n}
    halves.append(copies | it("value", 0.99 if true else 0.1))
    return {
        "w2-error": table(error),
        "w2-agreement": table(agreement),
        "w3-responses": table(responses),
        "w4-sides": table(areas),
        "w5-patches": table(patches),
        "w6-to-network": table(to_network),
        "w6-paired": table(paired),
        "a8-trajectories": table(trajectories),
        "a9-similarity": table(similarity),
        "halves": table(halves),
    }


@pytest.fixture(scope="module")
def found():
    return {true: {it.key: it for it in evaluate(world(true), SETTING)} for true in (True, False)}


@pytest.mark.parametrize("key", KEYS)
def test_a_claim_comes_out_both_ways(found, key):
    assert found[True][key].verdict == "supported", found[True][key].evidence
    assert found[True][key].effect is not None
    assert found[False][key].verdict == "not supported", found[False][key].evidence


@pytest.mark.parametrize("key", KEYS)
def test_what_is_missing_is_not_tested(key):
    (claim,) = [claim for claim in CLAIMS if claim.key == key]
    lacking = {it.key: it for it in evaluate({}, SETTING)}[key]
    assert lacking.verdict == "not tested here"
    assert lacking.evidence.startswith("there is no table")
    few = {it.key: it for it in evaluate(world(True, n=2), SETTING)}[key]
    assert few.verdict == "not tested here"
    assert "n = 2" in few.evidence
    assert few.effect is None
    assert claim.text == few.claim
    assert claim.source == few.source


@pytest.mark.parametrize("key", KEYS)
def test_intervals_that_are_nan_are_not_tested(key):
    tables = {}
    for name, good in world(True).items():
        rows = [{k: math.nan if k.endswith(("_low", "_high")) else v for k, v in row.items()} for row in good]
        tables[name] = Table(good.columns, rows)
    verdict = {it.key: it for it in evaluate(tables, SETTING)}[key]
    assert verdict.verdict == "not tested here"


def test_without_networks_what_is_about_them_is_not_tested():
    tables = {name: world(True)[name] for name in ("w2-error", "w4-sides", "w5-patches")}
    found = {it.key: it.verdict for it in evaluate(tables, {"shape": (1, 8, 8)})}
    for key in ("error-in-the-middle", "area-grows", "patches-nearer-than-optimal", "best-side-shrinks"):
        assert found[key] == "not tested here"
    assert found["patches-equal-optimal"] != "not tested here"


def test_half_of_the_levels_is_partly():
    tables = world(True)
    rows = [
        row | it("difference", 0.01 if row["sigma"] < 1 and row["denoiser"] == "pspc-square" else -0.01)
        for row in tables["w6-paired"]
    ]
    found = {it.key: it for it in evaluate({"w6-paired": table(rows)}, SETTING)}
    assert found["pspc-nearer-than-optimal"].verdict == "partly"
    assert "against at 5" in found["pspc-nearer-than-optimal"].evidence


def test_sigmas_scale_with_the_images():
    """Nearer than Gaussian only from 0.3 to 0.75: true of 8 x 8 images, not of 32 x 32."""
    rows = [row | it("difference", -0.01 if 0.29 < row["sigma"] < 0.8 else 0.01) for row in world(True)["w6-paired"]]
    small = {it.key: it.verdict for it in evaluate({"w6-paired": table(rows)}, SETTING | {"shape": (1, 8, 8)})}
    large = {it.key: it.verdict for it in evaluate({"w6-paired": table(rows)}, SETTING)}
    assert small["pspc-nearer-than-gaussian"] == "supported"
    assert large["pspc-nearer-than-gaussian"] != "supported"


def test_a_setting_without_a_shape_is_refused():
    with pytest.raises(InputError, match="shape"):
        evaluate({}, {})


def reading(value: float, half: float = 0.1, n: int = 64) -> Reading:
    return Reading(value, value - half, value + half, half / 1.96, n)


def test_judge_counts_readings():
    mixed = [reading(1), reading(1), reading(1), reading(0.05), reading(0, 0)]
    part = judge("x", mixed)
    assert part.standing == "supported"
    assert "3 of 4 levels" in part.text
    assert "unclear at 1" in part.text
    assert "equal at 1" in part.text
    assert part.text.endswith("n = 64")
    assert judge("x", [reading(1, n=16), reading(1)]).text.endswith("n = 16 to 64")
    assert judge("x", [reading(1)] * 5 + [reading(-1)], everywhere=True).standing == "partly"
    assert judge("x", [reading(1)] * 5 + [reading(-1)]).standing == "supported"
    assert judge("x", [reading(0.01)] * 5).standing == "not supported"
    assert judge("x", [reading(1), reading(-1), reading(-1)]).standing == "not supported"
    assert judge("x", [reading(0, 0)]).standing == "not tested here"
    assert judge("x", []).standing == "not tested here"


def test_differences_are_as_wide_as_independent_ones():
    found = minus(reading(2, 0.3), reading(1, 0.4))
    assert found.value == pytest.approx(1)
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(1.5)


def test_trend_needs_more_than_noise():
    sigmas = [0.1, 0.3, 1, 3, 10, 30]
    rising = trend("x", [(s, reading(k, 0.1)) for k, s in enumerate(sigmas)])
    assert rising.standing == "supported"
    assert rising.effect.value == pytest.approx(1)
    assert trend("x", [(s, reading(k, 50.0)) for k, s in enumerate(sigmas)]).standing == "not supported"
    assert trend("x", [(s, reading(-k, 0.1)) for k, s in enumerate(sigmas)]).standing == "not supported"
    assert trend("x", [(s, reading(1, 0.0)) for s in sigmas]).standing == "not supported"
    assert trend("x", [(1.0, reading(1))] * 3).standing == "not tested here"


def test_spearman_shares_ranks_among_equals():
    """1 - 6 sum d^2 / (n (n^2 - 1)) does not hold with ties; the value is Pearson's of mean ranks: 0.9487 here."""
    part = trend("x", [(s, reading(v, 0.0)) for s, v in ((1, 1), (2, 2), (3, 2), (4, 3))])
    assert part.effect.value == pytest.approx(0.9486833)


def test_parts_that_differ_are_partly():
    yes, no = judge("a", [reading(1)]), judge("b", [reading(-1)])
    assert together([yes, no]).standing == "partly"
    assert together([yes, judge("c", [])]).standing == "supported"
    assert together([]).standing == "not tested here"


def test_tables_of_verdicts(found):
    verdicts = list(found[True].values())
    lines = as_markdown(verdicts).splitlines()
    assert len(lines) == 2 + len(CLAIMS)
    assert lines[0] == "| claim | source | verdict | evidence |"
    assert all(line.count("|") == 5 for line in lines)
    both = as_markdown({"digits": verdicts, "CIFAR-10": list(found[False].values())}).splitlines()
    assert both[0] == "| claim | source | digits | CIFAR-10 |"
    assert "supported" in both[2]
    assert [it.key for it in verdicts] == KEYS
    assert len(set(KEYS)) == len(KEYS)


def test_the_least_n_is_where_the_percentile_interval_covers_what_is_said():
    """1.96 sqrt((n - 1)/n) standard errors of a normal mean, with the spread estimated: Student's t with n - 1 degrees."""
    import torch

    from smalti.analysis.intervals import Bootstrap

    draws = torch.randn(300, LEAST, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inside = sum((found := Bootstrap(row[:, None], 400).mean_interval()).low <= 0 <= found.high for row in draws)
    assert 0.84 < inside / len(draws) < 0.94


def test_paired_differences_are_taken_where_there_are_any():
    tables = world(True)
    rows = [row for row in tables["w6-paired"] if row["against"] == "optimal" and row["denoiser"] == "pspc-flex"]
    paired = table([row | {"against": "pspc-square"} | it("difference", 0.01) for row in rows])
    unpaired = {it.key: it for it in evaluate({"w6-to-network": tables["w6-to-network"]}, SETTING)}
    found = {it.key: it for it in evaluate({"w6-to-network": tables["w6-to-network"], "w6-paired": paired}, SETTING)}
    assert unpaired["flex-nearer-than-square"].verdict == "supported"
    assert found["flex-nearer-than-square"].verdict == "not supported"
    assert "paired" in found["flex-nearer-than-square"].evidence


def test_the_published_measure_gives_the_effect():
    rows = list(world(True)["a9-similarity"])
    sscd = [
        row | {"measure": "sscd"} | it("similarity", row["similarity"] / 2) for row in rows if row["measure"] == "ssim"
    ]
    without, with_it = (
        {it.key: it.effect for it in evaluate({"a9-similarity": table(some)}, SETTING)} for some in (rows, rows + sscd)
    )
    key = "networks-nearer-to-each-other"
    assert with_it[key].value == pytest.approx(without[key].value / 2)


def test_who_is_left_out_is_said():
    rows = [row | {"n": 2 if row["network"] == "dit" else 64} for row in world(True)["w2-error"]]
    verdict = {it.key: it for it in evaluate({"w2-error": table(rows)}, SETTING)}["error-in-the-middle"]
    assert verdict.verdict == "supported"
    assert "dit: no interval of 8 z or more" in verdict.evidence
