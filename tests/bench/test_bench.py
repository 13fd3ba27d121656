"""The benchmark: its tables say what was measured."""

from __future__ import annotations

import json

import pytest
import torch

import smalti.bench
from helpers import random_source
from smalti import InputError
from smalti.bench import Measurement, Results, check_only, markdown, scaling
from smalti.bench.floor import admitted, multiply_add_rate, operations, read_rate
from smalti.bench.results import best
from smalti.bench.rows import processes
from smalti.bench.rows.pictures import by_products, mosaic
from smalti.bench.runner import KINDS
from smalti.bench.setup import Setup, synthetic
from smalti.denoisers import EquivariantLocalScore
from smalti.engine.picture import reference_composite


def test_floors_are_measured():
    assert 1e8 < read_rate(synthetic(2000).images) < 1e13
    assert 1e8 < multiply_add_rate() < 1e14
    assert operations((3, 32, 32), 3) > 50 * 32 * 32


@pytest.mark.parametrize("borders", ["circular", "aware"])
def test_pairs_of_windows_and_places_are_counted(borders):
    denoiser = EquivariantLocalScore(synthetic(2), 7, borders)
    assert admitted(32, 32, 7, borders) == int(denoiser.collection(1.0).admitted.sum())


@pytest.fixture
def few_directions(monkeypatch):
    """The Wiener filter of a few smooth directions: that of 3,072 takes seconds."""
    rows = torch.arange(3072.0, dtype=torch.float64)[:, None] % 1024
    basis = torch.cos(rows * torch.arange(1, 9) * 0.01)
    monkeypatch.setattr(Setup, "wiener", lambda self, sigma: (basis @ basis.T / 8).abs())


def test_a_quick_run(tmp_path, capsys, monkeypatch, few_directions):
    monkeypatch.setattr(processes, "_run", lambda *arguments, **options: "1.5")
    only = ("pspc", "optimal", "ls", "processes")
    results = smalti.bench.run(synthetic(120), tmp_path, quick=True, only=only)
    out, err = capsys.readouterr()
    assert "| PSPC-Square p=3" in out
    assert "| LocalScore window=15" in out
    assert err == "" or "benchmark" in err
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert len(rows) == len(results.rows)
    first = rows[0]
    assert first["ratio"] == pytest.approx(first["published"] / first["ours"])
    assert (tmp_path / "bench.md").read_text().strip() == out.strip()


@pytest.mark.parametrize(
    ("only", "what", "asked"),
    [("flex", "PSPC-Flex, masks of", 60), ("pca", "PCA-locality, masks", None), ("els", "ELS circular, window=7", 20)],
)
def test_rows_of_the_family(only, what, asked, capsys, few_directions):
    rows = smalti.bench.run(synthetic(20), None, quick=True, only=[only]).rows
    assert all(row.what.startswith(what.split(",")[0].split(" ")[0]) for row in rows)
    assert rows[0].what.startswith(what)
    assert all(row.ratio > 0 for row in rows)
    assert rows[0].at_least in ((4, 10) if asked is None else (asked,))


def test_every_kind_has_jobs(few_directions):
    setup = Setup(synthetic(5), quick=False)
    counted = {name: len(kind(setup)) for name, kind in KINDS.items()}
    assert counted["flex"] == 3
    assert counted["ls"] == 3
    assert counted["els"] == 6
    assert min(counted.values()) >= 1


def test_time_against_images_and_sigma(tmp_path, capsys, monkeypatch, few_directions):
    monkeypatch.setattr(scaling, "COUNTS", (10, 30, 100))
    monkeypatch.setattr(scaling, "SIGMAS", (0.3, 2.0))
    table = smalti.bench.run_scaling(synthetic(40), tmp_path, quick=False, only=["optimal", "ls"])
    out = capsys.readouterr().out
    assert table.distinct("images") == [10, 30, 40]
    assert len(table) == 2 * 2 * 3
    first, second = list(table)[:2]
    assert first["exponent"] is None
    assert second["seconds"] / first["seconds"] == pytest.approx(3 ** second["exponent"])
    assert "| LocalScore window=7 | 0.3 |" in out
    assert (tmp_path / "scaling.csv").read_text().splitlines()[0] == ",".join(scaling.COLUMNS)
    assert len((tmp_path / "scaling.csv").read_text().splitlines()) == 13
    assert (tmp_path / "scaling.md").exists()


@pytest.mark.parametrize("kind", ["flex", "pca", "cfd", "soft", "nearest", "els", "pspc"])
def test_every_denoiser_can_be_measured(kind, few_directions):
    setup, source = Setup(synthetic(8), quick=True), synthetic(8)
    for maker in scaling.KINDS[kind].values():
        z = source.working([0])
        assert maker(setup, source, 0.3)(z, 0.3).shape == z.shape


def test_parts_that_there_are_not():
    with pytest.raises(InputError, match="did you mean 'flex'"):
        check_only(["flexx"], scaling=False)
    with pytest.raises(InputError, match="with --scaling"):
        check_only(["flips"], scaling=True)
    with pytest.raises(InputError, match="nothing is chosen"):
        check_only([], scaling=False)


def test_repetitions_end_when_enough():
    calls = []
    best(lambda: calls.append(1), 5, enough=0)
    assert len(calls) == 1
    best(lambda: calls.append(1), 3)
    assert len(calls) == 4


def test_other_sizes_are_refused():
    with pytest.raises(InputError, match="--resolution 32"):
        smalti.bench.run(random_source(3, (3, 8, 8)), None, quick=True)
    with pytest.raises(InputError, match="colour images are needed"):
        smalti.bench.run(random_source(3, (1, 8, 8)), None, quick=True)


def test_a_missed_target_is_said():
    rows = [
        Measurement("fast", 0.1, published=30.0, at_least=150),
        Measurement("slow", 0.1, published=3.0, quicker=1.0, at_least=150),
        Measurement("longer", 3.0, at_most=1.6, relation=1.5),
        Measurement("peak memory", 400.0, at_most=300),
    ]
    fast, slow, longer, memory = markdown(Results({}, rows)).splitlines()[-4:]
    assert "**>= 150 x**" in fast
    assert ">= 150 x: not reached" in slow
    assert "10 x" in slow
    assert "**<= 1.6 x**" in longer
    assert "<= 300 MB: not reached" in memory


def test_a_failing_measurement_is_one_line():
    with pytest.raises(smalti.EnvironmentFailure, match="boom") as error:
        processes._run("raise SystemExit('boom')")
    assert "\n" not in str(error.value)


def test_rows_of_generation(few_directions):
    rows = smalti.bench.run(synthetic(20), None, quick=True, only=["generate"]).rows
    assert rows[0].what.startswith("one picture of 40 x 40, p=5")
    assert rows[0].at_least == 20
    assert rows[0].ratio > 0
    assert [row.at_most for row in rows if row.at_most] == [60, 60]


def test_matrix_products_are_the_reference():
    picture = mosaic(synthetic(4), 20)
    z = picture[:, :9] + 0.5 * torch.randn(3, 9, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = reference_composite([picture], z[None], 0.5, torch.ones(5, dtype=torch.float64))[0]
    torch.testing.assert_close(by_products(picture, z, 0.5, 5).double(), expected, atol=1e-4, rtol=0)
