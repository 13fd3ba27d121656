"""The script for the first minutes on a GPU: rehearsed on the CPU, and its parts."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

GPU = Path(__file__).parents[2] / "tools" / "gpu"
EXPECTED = {"report.md", "results.json", "loss.csv", "samples.png", "trainers.log"}
NETWORKS = {"ddpmpp", "ncsnpp", "dit"}


@pytest.fixture
def part(monkeypatch):
    """`part(name)` imports a file of tools/gpu."""
    monkeypatch.syspath_prepend(str(GPU))
    return importlib.import_module


def run(out, *arguments, seconds=300):
    environment = {**os.environ, "PYTHONPATH": str(GPU.parents[1] / "src")}
    command = [sys.executable, str(GPU), "--device", "cpu", "--quick", "--out", str(out), "--data", "none", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=seconds, check=False)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_rehearsal(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} == EXPECTED | {f"{name}.safetensors" for name in NETWORKS}
    results = json.loads((tmp_path / "results.json").read_text())
    verdicts = {row["denoiser"]: row["verdict"] for row in results["correctness"]["rows"]}
    assert {"pspc-square", "optimal", "pca-locality", "pspc-flex"} <= set(verdicts)
    assert set(verdicts.values()) == {"right"}
    assert {row["how"] for row in results["speed"]["rows"]} >= {
        "triton",
        "torch",
        "SDPA",
        "two float32 products and a softmax",
    }
    assert all(isinstance(row["ms"], float) for row in results["speed"]["rows"])
    trained = {row["network"]: row for row in results["training"]["rows"]}
    assert set(trained) == NETWORKS
    assert all(row["exit"] == 0 and row["steps"] == 1 for row in trained.values())
    assert any("mse_to_optimal" in note for note in results["training"]["notes"])


def test_it_ends_in_good_order_where_time_runs_short(tmp_path):
    started = time.monotonic()
    run(tmp_path, "--minutes", "0.02", "--no-training", seconds=120)
    assert time.monotonic() - started < 100
    results = json.loads((tmp_path / "results.json").read_text())
    assert any("not reached" in note for stage in results.values() for note in stage["notes"])


def test_without_a_card_it_says_what_rehearses(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a card")
    done = subprocess.run(
        [sys.executable, str(GPU), "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["gpu: there is no CUDA device here; --device cpu --quick rehearses"]


def test_a_stage_that_fails_is_reported_and_the_next_goes_on(tmp_path, part):
    stages = part("stages")
    report = stages.Report(tmp_path, stages.Clock(1.0))

    def fails(stage):
        stage.row(value=1.5)
        raise RuntimeError("no such luck")

    assert not report.run("first", 0.5, fails)
    assert report.run("second", 1.0, lambda stage: stage.row(value=2, other="a|b"))
    assert not report.run("late", 0.0, lambda stage: stage.row(value=3))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["first"]["rows"] == [{"value": 1.5}]
    assert "no such luck" in results["first"]["error"]
    assert results["late"]["notes"] == ["not reached: no time was left"]
    assert "| 2 | a/b |" in (tmp_path / "report.md").read_text()


def test_packed_images_come_out_byte_for_byte(tmp_path, part):
    pack = part("pack")
    contents = {
        f"{kind}/{i}.jpg": b"head" + bytes([i, len(kind)]) * (i + 1) for kind in ("cat", "dog") for i in range(5)
    }
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as files:
        for name, content in contents.items():
            files.writestr(name, content)
        files.writestr("readme.txt", "left out")
    pack.pack(tmp_path / "images.zip", tmp_path / "carry" / "images.pack")
    pack.unpack(tmp_path / "carry" / "images.pack", tmp_path / "again.zip")
    with zipfile.ZipFile(tmp_path / "again.zip") as files:
        assert {name: files.read(name) for name in files.namelist()} == contents


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_compile_for_hopper():
    """Without a card. In a process of its own: here the kernels belong to the interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(GPU.parents[1] / "src")}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, str(GPU / "compile_kernels.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([line for line in done.stdout.splitlines() if "registers" in line]) == 18
