"""`smalti calibrate`: what it writes, resumes and refuses; and its schedules in the other commands."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from smalti import PSPCSquare, Source
from smalti.analysis import calibration
from smalti.cli import main, subjects
from smalti.denoisers import Schedule
from stand_ins import Counts

DATA = ("--data", "digits", "--limit", 60)
SMALL = ("--levels", 3, "-n", 4)


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


@pytest.fixture
def network(monkeypatch):
    """`network(k)`: --network anything is a denoiser with patches of 5, 5 and 3; Ctrl-C at its k-th call."""

    def opens(stop=0):
        def open_subjects(source, denoisers, networks):
            inner = PSPCSquare(source, patch_sizes=[5, 5, 3], sigmas=[80.0, 4.0, 0.002])
            return {"five": Counts(inner, stop)}, source

        monkeypatch.setattr(subjects, "open_subjects", open_subjects)

    return opens


def test_what_it_writes(capsys, tmp_path, network):
    network()
    out = tmp_path / "o"
    arguments = (
        "calibrate",
        *DATA,
        *SMALL,
        "--network",
        "x",
        "--process",
        "both",
        "--error",
        "composite",
        "--out",
        out,
    )
    code, printed, _ = run(capsys, *arguments)
    assert (code, printed.splitlines()[-1]) == (0, str(out))
    assert sorted(p.name for p in out.iterdir()) == [
        "calibration.pdf", "calibration.png", "errors.csv", "run.json", "schedule-reverse.json", "schedule.json"
    ]  # fmt: skip
    found = rows(out / "errors.csv")
    assert list(found[0]) == ["process", "sigma", "candidate", "error", "standard_error", "n", "crops"]
    assert len(found) == 2 * 3 * 4
    for name, process in (("schedule.json", "forward"), ("schedule-reverse.json", "reverse")):
        schedule = Schedule.load(out / name)
        assert schedule.chosen_by["process"] == process
        for sigma, value in zip(schedule.sigmas, schedule.values, strict=True):
            part = [row for row in found if (row["process"], float(row["sigma"])) == (process, sigma)]
            assert value == int(min(part, key=lambda row: float(row["error"]))["candidate"])
    assert list(Schedule.load(out / "schedule-reverse.json").values) == [5, 5, 3]
    assert Image.open(out / "calibration.png").size[0] > 1000
    assert (out / "calibration.pdf").read_bytes().startswith(b"%PDF")
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], record["done"]) == ("complete", 3 * 4 * (2 * 5 + 1))
    assert run(capsys, *arguments)[0] == 2, "nothing is replaced"
    one = ("calibrate", *DATA, *SMALL, "--candidates", "3,full", "--out", out, "--overwrite")
    assert run(capsys, *one)[0] == 0
    assert not (out / "schedule-reverse.json").exists()
    assert {row["candidate"] for row in rows(out / "errors.csv")} == {"3", "8"}


def test_runner_ups_are_said(capsys, tmp_path):
    code, _, err = run(capsys, "calibrate", *DATA, "--sigmas", "80,1", "-n", 3, "--out", tmp_path / "o")
    assert code == 0
    schedule = Schedule.load(tmp_path / "o" / "schedule.json")
    unclear = schedule.chosen_by["runner_up_within_one_standard_error_at"]
    assert ("within one standard error" in err) == bool(unclear)
    assert (schedule.chosen_by["against"], schedule.chosen_by["held_out"]) == ("held-out images", 6)
    assert (schedule.network, schedule.data["images"]) == (None, 60)


@pytest.mark.parametrize(
    "options",
    [
        ("--denoiser", "pspc-flex", "--candidates", "0.3,1", "--optimal"),
        ("--denoiser", "local-score", "--error", "patch", "--labelled", "--held-out", 10),
        ("--denoiser", "equivariant-local-score", "--param", "borders=aware", "--candidates", "3,5", "--optimal"),
        ("--denoiser", "equivariant-local-score:borders=aware", "--candidates", "3", "--optimal"),
        ("--denoiser", "gaussian-window", "--param", "response=window", "--crops", 5, "--optimal"),
        ("--denoiser", "closed-form-diffusion", "--param", "samples=2", "--candidates", "0,0.1"),
    ],
)
def test_every_kind_and_its_schedule_elsewhere(capsys, tmp_path, options):
    out = tmp_path / "o"
    code, _, _ = run(capsys, "calibrate", *DATA, *options, "--levels", 2, "-n", 2, "--out", out)
    assert code == 0
    name, file = options[1].partition(":")[0], out / "schedule.json"
    denoise = ("denoise", *DATA, "--denoiser", name, "--param", f"schedule={file}", "--sigma", 1, "-n", 2)
    assert run(capsys, *denoise, "--out", tmp_path / "d")[0] == 0
    parameters = json.loads((tmp_path / "d" / "run.json").read_text())["determined_by"]["denoiser"]["parameters"]
    assert parameters == Schedule.load(file).parameters()
    error = ("error", *DATA, "--denoiser", f"{name}:schedule={file}", "--sigmas", "1", "-n", 2)
    assert run(capsys, *error, "--out", tmp_path / "e")[0] == 0


def test_the_content_of_a_schedule_determines_a_run(capsys, tmp_path):
    file = tmp_path / "s.json"
    Schedule("pspc-square", (1.0,), (3,)).save(file)
    sample = ("sample", *DATA, "--param", f"schedule={file}", "-n", 1, "--steps", 2, "--out", tmp_path / "o")
    assert run(capsys, *sample)[0] == 0
    assert run(capsys, *sample, "--resume")[0] == 0
    Schedule("pspc-square", (1.0,), (5,)).save(file)
    code, _, err = run(capsys, *sample, "--resume")
    assert code == 2
    assert "patch_sizes was [3], now [5]" in err


def test_goes_on(capsys, tmp_path, network):
    arguments = ("calibrate", *DATA, *SMALL, "--network", "x", "--batch-size", 3, "--process", "both")
    network()
    assert run(capsys, *arguments, "--out", tmp_path / "whole")[0] == 0
    network(stop=4)
    code, _, err = run(capsys, *arguments, "--out", tmp_path / "parts")
    assert code == 130
    assert "interrupted: 23 of 132 evaluations are kept" in err
    network()
    assert run(capsys, *arguments, "--out", tmp_path / "parts", "--resume")[0] == 0
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "parts" / path.name).read_bytes() == path.read_bytes()
    network(stop=1)
    assert run(capsys, *arguments, "--out", tmp_path / "parts", "--resume")[0] == 0, "nothing is left to do"


def test_defaults_are_the_librarys(capsys, tmp_path):
    run(capsys, "calibrate", *DATA, *SMALL, "--out", tmp_path / "o")
    found = calibration.calibrate("pspc-square", Source.open("digits", limit=60), sigmas=None, n=4, progress=False)
    few = calibration.calibrate(
        "pspc-square", Source.open("digits", limit=60), sigmas=[80.0, 1.0], n=4, progress=False, batch_size=1
    )
    assert len(found.sigmas) == 18
    written = rows(tmp_path / "o" / "errors.csv")
    first = [float(row["error"]) for row in written if float(row["sigma"]) == 80]
    assert np.allclose(first, few.errors["forward"][0].mean(1).tolist(), rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--denoiser", "pspc-squar"), "did you mean 'pspc-square'"),
        (("--denoiser", "gaussian"), "'gaussian' has no parameter that a schedule chooses"),
        (("--candidates", "3,x"), "--candidates must be numbers or 'full'"),
        (("--candidates", "3.5"), "patch_sizes must be whole numbers"),
        (("--candidates", "9"), "does not fit the 8 x 8 images"),
        (("--param", "patch_size=3"), "patch_size is what is chosen"),
        (("--param", "schedule=nothing.json"), "cannot read the schedule nothing.json"),
        (("--sigmas", "1,2", "--levels", 2), "give one of them"),
        (("--sigmas", "1,2", "--process", "reverse", "--optimal"), "in falling order"),
        (("--process", "reverse"), "give it with --network"),
        (("--network", "x", "--optimal"), "--optimal is instead of a network"),
        (("--optimal", "--held-out", 3), "--held-out is for calibrating without a network"),
        (("--held-out", 0), "--held-out must be at least 1"),
        (("--held-out", 60), "hold out fewer"),
        (("--crops", 3), "--crops samples patches"),
        (("--crops", 0, "--optimal"), "--crops must be at least 1"),
        (("--denoiser", "closed-form-diffusion", "--error", "patch"), "has no patches"),
        (("-n", 0), "-n must be at least 1"),
        (("--seed", -1), "seed"),
        (("--network", "nothing.pkl"), "nothing"),
    ],
)
def test_refused_in_one_line(capsys, tmp_path, arguments, message):
    code, out, err = run(capsys, "calibrate", *DATA, *arguments, "--out", tmp_path / "o")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
