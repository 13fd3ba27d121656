"""The benchmark: its plain algorithms are right, its table says what was measured."""

from __future__ import annotations

import json

import pytest
import torch

import smalti.bench
from helpers import noisy, random_source
from smalti import InputError, Optimal, PSPCSquare
from smalti.bench import Measurement, Results, markdown, probes
from smalti.bench.floor import multiply_add_rate, operations, read_rate
from smalti.bench.published import batched_loop, crop_by_crop
from smalti.bench.subject import synthetic


@pytest.mark.parametrize("by_mask", [True, False])
def test_the_published_algorithms_agree_with_ours(by_mask):
    source = random_source(250, (3, 7, 7))
    images = torch.from_numpy(source.images)
    for sigma in (0.1, 1.0):
        z = noisy(source, sigma).float()
        plain = crop_by_crop(z, sigma, images, 3, by_mask)
        torch.testing.assert_close(plain, PSPCSquare(source, patch_size=3)(z, sigma), atol=2e-5, rtol=0)
        whole = batched_loop(z.flatten(1), sigma, images.flatten(1)).reshape(z.shape)
        torch.testing.assert_close(whole, Optimal(source)(z, sigma), atol=2e-5, rtol=0)


def test_floors_are_measured():
    assert 1e8 < read_rate(synthetic(2000).images) < 1e13
    assert 1e8 < multiply_add_rate() < 1e14
    assert operations((3, 32, 32), 3) > 50 * 32 * 32


def test_a_quick_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(probes, "_run", lambda *arguments, **options: "1.5")
    results = smalti.bench.run(synthetic(150), tmp_path, quick=True)
    out, err = capsys.readouterr()
    assert "| PSPC-Square p=3" in out
    assert err == "" or "benchmark" in err
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert len(rows) == len(results.rows)
    first = rows[0]
    assert first["ratio"] == pytest.approx(first["published"] / first["ours"])
    assert (tmp_path / "bench.md").read_text().strip() == out.strip()


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
        probes._run("raise SystemExit('boom')")
    assert "\n" not in str(error.value)
