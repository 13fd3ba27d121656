"""`smalti sensitivity` on the digits: what it writes, resumes and refuses."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from smalti import Source
from smalti.analysis import sensitivity as analysis
from smalti.analysis.heatmaps import Sensitivity
from smalti.cli import main
from smalti.denoisers import LocalScore
from smalti.networks import Network, build, preset_config

DATA = ("--data", "digits", "--limit", 60)
FILES = ["run.json", "sensitivity.pdf", "sensitivity.png", "sides.csv"]


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small random network, as a file, that says that it was trained on DATA and its mirror images."""
    torch.manual_seed(0)
    config = preset_config("ddpmpp", "tiny", (1, 8, 8))
    source = Source.open("digits", limit=60)
    said = {"name": "digits", "images": 60, "trained_fingerprint": source.fingerprint(), "hflip": True}
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    Network.from_module(build(config), config, "tiny", {"training_data": said}).save(path)
    return path


def test_what_it_writes(capsys, tmp_path):
    code, stdout, _ = run(
        capsys, "sensitivity", *DATA, "--denoiser", "local-score:window=3", "--denoiser", "local-score:window=5",
        "--denoiser", "gaussian", "--sigmas", "30,0.5", "-n", 4, "--seed", 2, "--out", tmp_path / "o",
    )  # fmt: skip
    assert (code, stdout.splitlines()[-1]) == (0, str(tmp_path / "o"))
    assert stdout.split()[:4] == ["denoiser", "sigma", "share", "side"]
    kept = ["heatmaps-gaussian.npz", "heatmaps-local-score-window=5.npz", "heatmaps-local-score.npz"]
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == kept + FILES
    source = Source.open("digits", limit=60)
    expected = analysis.sensitivity(LocalScore(source, window=5), source, [30, 0.5], n=4, seed=2)
    found = Sensitivity.load(tmp_path / "o" / kept[1])
    assert found.name == "local-score:window=5"
    np.testing.assert_allclose(found.cells(), expected.cells(), atol=1e-12)
    with open(tmp_path / "o" / "sides.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 3
    assert list(rows[0]) == ["denoiser", "sigma", "share", "side", "standard_error", "n"]
    chosen = [r for r in rows if r["denoiser"] == "local-score:window=5" and r["sigma"] == "0.5"]
    np.testing.assert_allclose([float(r["side"]) for r in chosen], expected.sides()[1])
    assert Image.open(tmp_path / "o" / "sensitivity.png").size[0] > 1000
    assert (tmp_path / "o" / "sensitivity.pdf").read_bytes().startswith(b"%PDF")
    record = json.loads((tmp_path / "o" / "run.json").read_text())
    assert (record["status"], record["done"], record["total"]) == ("complete", 24, 24)


def test_networks_decide_the_images(capsys, tmp_path, checkpoint):
    code, _, err = run(
        capsys, "sensitivity", *DATA, "--network", checkpoint, "--denoiser", "optimal", "--sigmas", "3", "-n", 2,
        "--pixels", "centre-edge", "--out", tmp_path / "o",
    )  # fmt: skip
    assert code == 0, err
    source = Source.open("digits", limit=60, hflip=True)
    network = Network.load(checkpoint)
    for file, denoiser in ((f"heatmaps-{network.name}.npz", network), ("heatmaps-optimal.npz", None)):
        found = Sensitivity.load(tmp_path / "o" / file)
        if denoiser is not None:
            expected = analysis.sensitivity(denoiser, source, [3.0], n=2, pixels="centre-edge")
            np.testing.assert_allclose(found.heatmaps, expected.heatmaps, atol=1e-6)
    record = json.loads((tmp_path / "o" / "run.json").read_text())
    assert record["determined_by"]["data"]["hflip"] is True
    assert record["determined_by"]["denoiser"]["optimal"]["source"]["hflip"] is True


def test_interrupted_it_goes_on_and_writes_the_same_bytes(capsys, tmp_path, monkeypatch):
    arguments = (
        "sensitivity", *DATA, "--denoiser", "optimal", "--denoiser", "local-score", "--levels", 3, "-n", 4, "--pixels",
        "grid:2", "--batch-size", 2,
    )  # fmt: skip
    assert run(capsys, *arguments, "--out", tmp_path / "whole")[0] == 0
    calls, rows = [], analysis.jacobian_rows

    def stop_at_the_ninth(*given):
        calls.append(given)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return rows(*given)

    monkeypatch.setattr(analysis, "jacobian_rows", stop_at_the_ninth)
    code, stdout, err = run(capsys, *arguments, "--out", tmp_path / "o")
    assert (code, stdout) == (130, "")
    assert "16 of 24 noisy images are kept" in err
    assert "run the same command with --resume" in err
    assert json.loads((tmp_path / "o" / "run.json").read_text())["status"] == "partial"
    assert run(capsys, *arguments, "--out", tmp_path / "o")[0] == 2
    code, _, err = run(capsys, *arguments[:-3], "grid:3", "--batch-size", 2, "--resume", "--out", tmp_path / "o")
    assert code == 2
    assert "cannot resume" in err
    code, _, err = run(capsys, *arguments, "--out", tmp_path / "o", "--resume")
    assert code == 0, err
    assert len(calls) == 9 + 4
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "o" / path.name).read_bytes() == path.read_bytes(), path.name
    assert run(capsys, *arguments, "--out", tmp_path / "o", "--resume")[0] == 0
    assert len(calls) == 9 + 4


def test_overwrite_leaves_nothing_of_the_former_run(capsys, tmp_path):
    common = ("sensitivity", *DATA, "--sigmas", 2, "-n", 2, "--out", tmp_path / "o")
    assert run(capsys, *common, "--denoiser", "optimal")[0] == 0
    assert run(capsys, *common, "--denoiser", "gaussian", "--overwrite")[0] == 0
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["heatmaps-gaussian.npz", *FILES]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give at least one --denoiser or --network"),
        (("--denoiser", "optimel"), "no denoiser is called 'optimel'; did you mean 'optimal'"),
        (("--denoiser", "local-score:windw=5"), "no parameter 'windw'; did you mean 'window'"),
        (("--denoiser", "local-score:5"), "NAME:PARAM=VALUE"),
        (("--denoiser", "local-score:window=big"), "window cannot be 'big'"),
        (("--denoiser", "optimal", "--denoiser", "optimal"), "is given twice"),
        (("--denoiser", "optimal", "--sigmas", "1,a"), "--sigmas must be numbers"),
        (("--denoiser", "optimal", "--sigmas", "1,-1"), "numbers from 1e-12"),
        (("--denoiser", "optimal", "--sigmas", "1", "--levels", 2), "give one of them"),
        (("--denoiser", "optimal", "-n", 0), "-n must be at least 1"),
        (("--denoiser", "optimal", "--pixels", "grid:9"), "has 1 to 8 along a side"),
        (("--denoiser", "optimal", "--pixels", "center"), "centre-edge"),
        (("--denoiser", "optimal", "--seed", -1), "seed must be"),
        (("--network", "nowhere.safetensors"), "nowhere.safetensors"),
    ],
)
def test_bad_input(capsys, tmp_path, arguments, message):
    code, stdout, err = run(capsys, "sensitivity", *DATA, *arguments, "--out", tmp_path / "o")
    assert (code, stdout) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())


def test_a_network_of_another_size_says_what_to_do(capsys, tmp_path, checkpoint):
    images = np.zeros((3, 1, 12, 12), np.uint8)
    np.save(tmp_path / "x.npy", images)
    code, _, err = run(
        capsys, "sensitivity", "--data", tmp_path / "x.npy", "--network", checkpoint, "--out", tmp_path / "o"
    )
    assert code == 2
    assert "--resolution 8" in err
