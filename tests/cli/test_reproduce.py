"""`smalti reproduce` and `smalti demo`, with exhibits that cost nothing: what they print, refuse and keep."""

import json

import numpy as np
import pytest

from smalti.cli import main
from smalti.experiments import reproduce as module
from smalti.experiments import scale
from smalti.networks import Network
from tiny_exhibits import TINY, Impossible, Means, tables_of

SMALL = ("--data", "digits", "--limit", 60)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch, own_cache):
    monkeypatch.setattr(module, "EXHIBITS", (Means(), Impossible()))
    monkeypatch.setitem(scale.SCALES, "quick", TINY)


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of `smalti reproduce`."""
    code = main(["reproduce", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_last_line_is_the_path_of_the_report(capsys, tmp_path):
    out = tmp_path / "new" / "out"
    code, stdout, err = run(capsys, *SMALL, "--network", "ddpmpp-digits", "--seed", 3, "--out", out)
    assert (code, stdout) == (0, f"{out}/report.html\n")
    assert "digits: 60 images, networks ddpmpp" in err
    assert "predicted: " in err
    record = json.loads((out / "run.json").read_text())
    assert (record["seed"], record["scale"], record["data"]["images"]) == (3, "quick", 60)
    again = f"smalti reproduce --data digits --limit 60 --network ddpmpp-digits --scale quick --seed 3 --out {out}"
    assert record["again"] == again
    assert not (out / ".lock").exists()


def test_the_command_that_the_report_gives_goes_on(capsys, tmp_path):
    run(capsys, *SMALL, "--budget", 0.5, "--only", "means", "--out", tmp_path / "o")
    first = json.loads((tmp_path / "o" / "run.json").read_text())
    before = tables_of(tmp_path / "o")
    assert main(first["again"].split()[1:]) == 0
    assert json.loads((tmp_path / "o" / "run.json").read_text()) == first
    assert tables_of(tmp_path / "o") == before
    assert (first["minutes"], first["only"]) == (0.5, ["means"])


def test_the_digits_bring_their_networks(capsys, tmp_path):
    code = main(["demo", "--out", str(tmp_path)])
    stdout, _ = capsys.readouterr()
    assert (code, stdout) == (0, f"{tmp_path}/report.html\n")
    record = json.loads((tmp_path / "run.json").read_text())
    assert list(record["networks"]) == ["ddpmpp", "ncsnpp", "dit"]
    assert list(record["halves"]) == ["half1", "half2"]
    assert record["data"]["images"] == 1617, "the images that they were trained on"
    assert record["again"] == f"smalti reproduce --data digits --scale quick --out {tmp_path}"
    assert record["n"] == TINY.demo, "the same on every machine"
    assert "180 images" in (tmp_path / "report.html").read_text(), "held out"


def test_other_data_bring_no_network(capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 1, 8, 8), np.uint8))
    code, _, err = run(capsys, "--data", tmp_path / "x.npy", "--out", tmp_path / "o")
    assert code == 0
    assert "no network" in err
    assert json.loads((tmp_path / "o" / "run.json").read_text())["networks"] == {}


def test_a_report_of_other_data_is_not_replaced_unless_told_to(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    run(capsys, *SMALL, "--network", "ddpmpp-digits", "--out", tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    other = ("--data", "digits", "--limit", 30, "--network", "ddpmpp-digits", "--out", tmp_path)
    code, stdout, err = run(capsys, *other)
    assert (code, stdout) == (2, "")
    assert "is the report of other images (60 of digits)" in err
    assert (tmp_path / "run.json").read_bytes() == before
    assert run(capsys, *other, "--overwrite")[0] == 0
    assert json.loads((tmp_path / "run.json").read_text())["data"]["images"] == 30
    assert (tmp_path / "mine.txt").read_text() == "mine"


BAD = [
    (("--only", "w9"), "no exhibit is called 'w9'"),
    (("--scale", "huge"), "--scale"),
    (("--budget", 0), "--budget must be minutes"),
    (("--budget", "nan"), "--budget must be minutes"),
    (("--budget", -3), "--budget must be minutes"),
    (("-n", 0), "-n must be at least 1"),
    (("-n", 3, "--budget", 1), "give one of them"),
    (("--seed", -1), "seed must be"),
    (("--network", "nothing-here"), "nothing-here"),
    (("--half", "ddpmpp-digits-half1"), "--half is given twice"),
    (
        ("--half", "ddpmpp-digits-half1", "--half", "ddpmpp-digits-half2"),
        "it was trained on is not known",
    ),  # of 60 of them
    (("--sscd", "no-such.pt"), "there is no file no-such.pt"),
    (("--resolution", 12, "--network", "ddpmpp-digits"), "--resolution 8x8"),
    (("--data", "no-such-data"), "no-such-data"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, tmp_path, arguments, says):
    code, stdout, err = run(capsys, *SMALL, *arguments, "--out", tmp_path / "o")
    assert (code, stdout) == (2, "")
    assert says in err.splitlines()[-1]
    assert "bug" not in err
    assert not (tmp_path / "o").exists()


def test_halves_that_overlap_are_refused(capsys, tmp_path):
    halves = ("--half", "ddpmpp-digits-half1", "--half", "ddpmpp-digits")
    code, _, err = run(capsys, "--data", "digits", *halves, "--out", tmp_path / "o")
    assert code == 2
    assert "were both trained on 809 of the images; give networks of disjoint halves" in err.splitlines()[-1]
    assert not (tmp_path / "o").exists()


def test_a_network_called_like_a_denoiser_is_refused_before_anything_is_replaced(capsys, tmp_path):
    run(capsys, *SMALL, "--out", tmp_path / "o")
    before = tables_of(tmp_path / "o")
    Network.load("ddpmpp-digits").save(tmp_path / "gaussian.safetensors")
    code, _, err = run(
        capsys, *SMALL, "--network", tmp_path / "gaussian.safetensors", "--overwrite", "--out", tmp_path / "o"
    )
    assert code == 2
    assert "a network cannot be called 'gaussian' here" in err.splitlines()[-1]
    assert tables_of(tmp_path / "o") == before


def test_some_of_the_digits_bring_no_halves(capsys, tmp_path):
    assert run(capsys, *SMALL, "--out", tmp_path / "o")[0] == 0
    record = json.loads((tmp_path / "o" / "run.json").read_text())
    assert list(record["networks"]) == ["ddpmpp", "ncsnpp", "dit"]
    assert record["halves"] == {}
    assert "--half" not in record["again"]


def test_the_command_names_halves_of_ones_own(capsys, tmp_path):
    halves = ("--half", "ddpmpp-digits-half2", "--half", "ddpmpp-digits-half1")
    assert run(capsys, "--data", "digits", *halves, "--out", tmp_path / "o")[0] == 0
    again = json.loads((tmp_path / "o" / "run.json").read_text())["again"]
    assert "--half ddpmpp-digits-half2 --half ddpmpp-digits-half1" in again


def test_a_folder_of_something_else_is_refused(capsys, tmp_path):
    (tmp_path / "results").mkdir()
    assert "holds something else (results)" in run(capsys, *SMALL, "--out", tmp_path, "--overwrite")[2]
    (tmp_path / "file").write_text("")
    assert "is not a folder" in run(capsys, *SMALL, "--out", tmp_path / "file")[2]
    (tmp_path / "run.json").write_text('{"command": "sample"}')
    assert run(capsys, *SMALL, "--out", tmp_path)[0] == 2


def test_interrupted_runs_say_how_to_go_on(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "EXHIBITS", (Means(fail_at=1),))
    code, stdout, err = run(capsys, *SMALL, "--out", tmp_path / "o")
    assert (code, stdout) == (130, "")
    assert err.splitlines()[-1].endswith("run the same command again to go on")
    monkeypatch.setattr(module, "EXHIBITS", (Means(),))
    assert run(capsys, *SMALL, "--out", tmp_path / "o")[0] == 0


def test_an_unknown_exhibit_is_answered_by_the_list(capsys, tmp_path):
    code, _, err = run(capsys, "--only", "w99", "--out", tmp_path / "out")
    assert code == 2
    assert f"there are: {', '.join(exhibit.key for exhibit in module.EXHIBITS)}" in err
    assert not (tmp_path / "out").exists()
