"""Noise levels, seeded noise, files that are whole or absent, validation."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import smalti
from smalti import Denoiser, EnvironmentFailure, InputError, edm_sigmas
from smalti.core.errors import from_os_error
from smalti.core.files import atomic_write
from smalti.core.leftovers import hold, is_left_over
from smalti.core.noise import standard_normal
from smalti.core.progress import progress
from smalti.core.schedule import nearest_level
from smalti.core.working_folder import check_working_folder


def test_edm_levels():
    sigmas = edm_sigmas()
    printed = [80, 57, 41, 28, 19, 13, 8.4, 5.3, 3.3, 1.9, 1.1, 0.59, 0.30, 0.14, 0.06, 0.02, 0.01, 0.002]
    np.testing.assert_allclose(sigmas, printed, rtol=0.35)
    assert float(sigmas[9]) == pytest.approx(1.92, abs=0.005)
    assert (float(sigmas[0]), float(sigmas[-1])) == (80.0, 0.002)
    assert edm_sigmas(1).tolist() == [80.0]
    for bad in ({"n": 0}, {"sigma_min": 0.0}, {"sigma_min": 90.0}, {"sigma_max": float("inf")}):
        with pytest.raises(InputError):
            edm_sigmas(**bad)


def test_nearest_level_is_linear():
    assert nearest_level([10.0, 1.0], 5.4) == 1
    assert nearest_level([10.0, 1.0], 5.6) == 0


def test_noise_depends_on_seed_and_number_alone():
    whole = standard_normal(3, range(5), (2, 3))
    assert torch.equal(whole[3:4], standard_normal(3, [3], (2, 3)))
    assert not torch.equal(whole, standard_normal(4, range(5), (2, 3)))
    many = standard_normal(0, range(2000), (5,))
    assert abs(float(many.mean())) < 0.03
    assert float(many.std()) == pytest.approx(1, abs=0.03)
    for seed in (-1, 2**64):
        with pytest.raises(InputError, match="seed"):
            standard_normal(seed, [0], (1,))


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "deep" / "file.bin"
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []
    with atomic_write(path) as file:
        file.write(b"one")
    with pytest.raises(EnvironmentFailure, match="disk is full"), atomic_write(path) as file:
        file.write(b"two")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == b"one"
    assert list(path.parent.iterdir()) == [path]


def test_os_errors_say_what_to_do():
    assert isinstance(from_os_error(OSError(errno.ENOENT, "No such file"), "read x"), InputError)
    assert isinstance(from_os_error(OSError(errno.EACCES, "Permission denied"), "write x"), EnvironmentFailure)
    assert "check the permissions" in str(from_os_error(OSError(errno.EACCES, "Permission denied"), "write x"))


def test_progress_goes_to_stderr_and_says_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr("smalti.core.progress.DELAY", 0.0)
    monkeypatch.setattr("smalti.core.progress.PLAIN_INTERVAL", 0.0)
    with progress("counting", 2, show=True) as advance:
        advance(1)
        advance(1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "counting: 1 of 2" in err
    assert "left" in err
    with progress("nothing", 2) as advance:
        advance(2)
    assert capsys.readouterr().err == ""


class Echo(Denoiser):
    shape = (1, 2, 2)
    num_classes = 3

    def denoise(self, z, sigma, labels):
        return z * 0 + (sigma if labels is None else labels)[:, None, None, None]


def test_sigma_and_labels_reach_every_row():
    z = torch.zeros(3, 1, 2, 2)
    assert Echo()(z, 2.0)[:, 0, 0, 0].tolist() == [2, 2, 2]
    assert Echo()(z, torch.tensor([1.0, 2.0, 3.0]))[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert Echo()(z, 1.0, [0, 2, 1])[:, 0, 0, 0].tolist() == [0, 2, 1]
    assert Echo()(z, 1.0, labels=2)[:, 0, 0, 0].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("z", "sigma", "labels", "message"),
    [
        (np.zeros((1, 1, 2, 2)), 1.0, None, "torch.from_numpy"),
        (torch.zeros(1, 2, 2), 1.0, None, r"takes \(B, 1, 2, 2\)"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.int64), 1.0, None, "dtype"),
        (torch.full((2, 1, 2, 2), float("nan")), 1.0, None, r"z\[0\] has NaN"),
        (torch.zeros(1, 1, 2, 2), 0.0, None, "greater than 0"),
        (torch.zeros(2, 1, 2, 2), torch.tensor([1.0, -1.0]), None, "not -1"),
        (torch.zeros(2, 1, 2, 2), torch.ones(3), None, "one per z"),
        (torch.zeros(2, 1, 2, 2), 1.0, [1], "1 labels for 2 z"),
        (torch.zeros(1, 1, 2, 2), 1.0, [3], "from 0 to 2"),
        (torch.zeros(1, 1, 2, 2), 1.0, [0.5], "integer class"),
    ],
)
def test_what_is_refused(z, sigma, labels, message):
    with pytest.raises(InputError, match=message) as error:
        Echo()(z, sigma, labels)
    assert "\n" not in str(error.value)


def test_temporary_files_of_killed_processes_are_cleared(tmp_path: Path) -> None:
    """A process is killed within a write; the next one that writes there removes what it left, and nothing of the living."""
    program = (
        "import os, sys; from smalti.core.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); print('writing', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.bin")]
    dead, alive = (subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in "ab")
    for process in (dead, alive):
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
    dead.kill()
    dead.communicate()
    assert len(list(tmp_path.glob(".*.tmp"))) == 2
    with atomic_write(tmp_path / "b.bin") as file:
        file.write(b"whole")
    [left] = tmp_path.glob(".*.tmp")
    assert f".{alive.pid}-" in left.name
    alive.communicate("\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"half"


def test_a_lock_protects_what_another_container_writes(tmp_path: Path) -> None:
    """There, the number of the process says nothing: what is locked stays, whatever its name."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / f".x.{gone.pid}-abc.tmp"
    with open(path, "wb") as file:
        hold(file.fileno())
        assert not is_left_over(path, gone.pid)
    assert is_left_over(path, gone.pid)
    assert not is_left_over(path, os.getpid())


def test_a_working_folder_that_is_gone_is_said_before_torch_is_loaded(monkeypatch):
    """oneMKL would end the process."""

    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    check_working_folder()  # torch is there already
    monkeypatch.delitem(sys.modules, "torch")
    for asked in (check_working_folder, lambda: smalti.__getattr__("Source")):
        with pytest.raises(EnvironmentFailure, match="is gone, and torch cannot be loaded there"):
            asked()
