"""Every way to end gives its exit code and one line on stderr."""

import errno

import pytest

from smalti.cli import boundary
from smalti.core.errors import EnvironmentFailure, InputError


def raising(error):
    def action():
        raise error

    return action


class UsageProblemError(Exception):
    """As typer's and click's usage errors look from outside."""

    exit_code = 2
    ctx = None

    def format_message(self):
        return "No such option:\n  --frobnicate"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InputError("sigma must be greater than 0"), 2, "smalti: error: sigma must be greater than 0\n"),
        (InputError("two\nlines"), 2, "smalti: error: two lines\n"),
        (EnvironmentFailure("the disk is full"), 1, "smalti: error: the disk is full\n"),
        (KeyboardInterrupt(), 130, "smalti: interrupted\n"),
        (boundary.InterruptedRunError("3 of 4 are kept"), 130, "smalti: 3 of 4 are kept\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.npz"), 1, "the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.npz"), 2, "cannot use x.npz"),
        (MemoryError(), 1, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "not enough memory"),
        (UsageProblemError(), 2, "smalti: error: No such option: --frobnicate (try 'smalti --help')\n"),
        (
            ZeroDivisionError("division by zero"),
            1,
            "bug in smalti, please report it (ZeroDivisionError: division by zero)",
        ),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_errors(error, code, says, capsys):
    assert boundary.run(raising(error)) == code
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == bool(says)


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (2, 2), (130, 130), ("text", 0)])
def test_results(result, code):
    assert boundary.run(lambda: result) == code


def test_a_traceback_is_shown_only_with_debug(capsys):
    def action():
        boundary.show_tracebacks(True)
        raise InputError("wrong")

    assert boundary.run(action) == 2
    assert "Traceback" in capsys.readouterr().err
    assert boundary.run(raising(InputError("wrong"))) == 2  # does not stick
    assert "Traceback" not in capsys.readouterr().err
