"""What only a real process shows: signals, pipes, what --help imports."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import smalti
from smalti import denoisers
from smalti.cli import main


class Slow(denoisers.Gaussian):
    """A denoiser that takes DELAY seconds, so that there is time to stop it."""

    name = "slow"

    def denoise(self, z, sigma, labels):
        time.sleep(float(os.environ.get("DELAY", "0")))
        return super().denoise(z, sigma, labels)


PROGRAM = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_processes import Slow, denoisers, main
denoisers.REGISTRY["slow"] = Slow
sys.exit(main())
"""
COMMAND = ["sample", "--data", "digits", "--limit", "50", "--denoiser", "slow", "-n", "6", "--steps", "3"]
COMMAND += ["--batch-size", "2"]


def start(tmp_path, out, delay):
    """The command in a process of its own."""
    environment = os.environ | {"SMALTI_CACHE": str(tmp_path / "cache"), "DELAY": str(delay)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *COMMAND, "--out", str(out)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )


def heed_ctrl_c():
    """Also where the tests run in the background of a shell, whose children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def finish(monkeypatch):
    """The same command in this process, without delay: (out, more arguments) -> its exit code."""
    monkeypatch.setitem(denoisers.REGISTRY, "slow", Slow)
    return lambda out, *more: main([*COMMAND, "--out", str(out), *more])


def wait_for(process, happened):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if happened():
            return
        time.sleep(0.01)
    process.kill()
    pytest.fail(f"it did not happen: {process.communicate()}")


def wait_for_a_part(process, out):
    wait_for(
        process,
        lambda: list(out.glob(".parts/*.npz")) and json.loads((out / "run.json").read_text())["done"] >= 2,
    )


@pytest.fixture
def uninterrupted(tmp_path, finish):
    assert finish(tmp_path / "whole") == 0
    return contents(tmp_path / "whole")


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_ctrl_c_keeps_what_is_finished_and_resume_goes_on(tmp_path, finish, uninterrupted):
    out = tmp_path / "out"
    process = start(tmp_path, out, delay=0.2)
    wait_for_a_part(process, out)
    process.send_signal(signal.SIGINT)
    stdout, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert "interrupted: 2 of 6 samples are kept" in err
    assert "Traceback" not in err
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], record["done"]) == ("partial", 2)
    assert np.load(out / "samples.npz")["images"].shape == (2, 1, 8, 8)
    assert not list(out.rglob("*.tmp"))

    assert finish(out, "--resume") == 0
    assert contents(out) == uninterrupted


def test_kill_9_then_resume_gives_the_same_bytes(tmp_path, finish, uninterrupted):
    out = tmp_path / "out"
    process = start(tmp_path, out, delay=0.2)
    wait_for_a_part(process, out)
    process.kill()
    process.wait(60)
    assert not (out / "samples.npz").exists()
    assert finish(out, "--resume") == 0
    assert contents(out) == uninterrupted


def test_kill_9_before_the_first_part_then_the_same_command_runs(tmp_path, finish, uninterrupted):
    out = tmp_path / "out"
    process = start(tmp_path, out, delay=5)
    wait_for(process, (out / "run.json").exists)
    assert finish(out) == 2, "it is still being written"
    assert finish(out, "--overwrite") == 2
    assert finish(out, "--resume") == 2
    process.kill()
    process.wait(60)
    assert finish(out) == 0
    assert contents(out) == uninterrupted


def test_ctrl_c_before_the_first_part_then_the_same_command_runs(tmp_path, finish, uninterrupted):
    out = tmp_path / "out"
    process = start(tmp_path, out, delay=5)
    wait_for(process, (out / "run.json").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("interrupted before the first batch was finished; run the same command again\n")
    assert finish(out) == 0
    assert contents(out) == uninterrupted


def test_a_closed_pipe_is_quiet(tmp_path):
    read, write = os.pipe()
    os.close(read)
    program = "import sys; from smalti.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program, "--version"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_help_lists_and_mistyped_paths_wait_for_nothing_heavy():
    # An empty package stands in for smalti/__init__.py: what that imports is its own matter.
    program = f"""
import sys, types
package = types.ModuleType("smalti")
package.__path__ = {list(smalti.__path__)!r}
sys.modules["smalti"] = package
from smalti.cli import main
code = main(["sample", "--help"]) or main(["denoisers"]) or 2 - main(["info", "no-such-data"])
heavy = {{"torch", "numba", "numpy", "matplotlib", "PIL"}} & set(sys.modules)
sys.exit(str(heavy) if heavy else code)
"""
    done = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
