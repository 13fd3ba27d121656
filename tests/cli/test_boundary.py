"""Every way to end gives its exit code and one line on stderr."""

import errno
import signal
import warnings

import pytest

from smalti.cli import boundary, main
from smalti.core.errors import EnvironmentFailure, InputError, InterruptedRunError


def raising(error):
    def action():
        raise error

    return action


def raising_at_call(error):
    def say(text):
        raise error

    return say


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
        (InterruptedRunError("3 of 4 are kept"), 130, "smalti: 3 of 4 are kept\n"),
        (
            OSError(errno.ENOSPC, "No space", "x.npz"),
            1,
            "cannot use x.npz: the disk is full; free some space and try again",
        ),
        (OSError(errno.EDQUOT, "Quota", "x.npz"), 1, "the disk quota is used up; free some space and try again"),
        (OSError(errno.EFBIG, "File too large", "x.npz"), 1, "raise the limit and try again"),
        (
            OSError(errno.EIO, "I/O error", "x.npz"),
            1,
            "cannot use x.npz: I/O error; check that the disk is not full, and the path",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.npz"), 2, "cannot use x.npz"),
        (MemoryError(), 1, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "not enough memory"),
        (UsageProblemError(), 2, "smalti: error: No such option: --frobnicate (try 'smalti --help')\n"),
        (
            ZeroDivisionError("division by zero"),
            1,
            "bug in smalti, please report it (ZeroDivisionError: division by zero)",
        ),
        (BrokenPipeError(), 141, ""),
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


@pytest.fixture
def heeded():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_while_the_process_ends_is_ignored(monkeypatch):
    """A second one came in Python's own ending, which then shows a traceback."""
    assert main(["--version"]) == 0
    assert boundary.run(raising(KeyboardInterrupt())) == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # who calls from Python keeps his Ctrl-C
    monkeypatch.setattr("sys.argv", ["smalti", "--version"])
    assert main() == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_while_the_commands_are_imported(monkeypatch, capsys):
    monkeypatch.setattr("importlib.import_module", raising_at_call(KeyboardInterrupt()))
    for arguments in (["--version"], None):
        assert main(arguments) == 130
        assert capsys.readouterr().err == "smalti: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_second_ctrl_c_while_the_first_is_answered(monkeypatch):
    monkeypatch.setattr(boundary, "say", raising_at_call(KeyboardInterrupt()))
    assert boundary.run(raising(KeyboardInterrupt())) == 130


def test_a_traceback_is_shown_only_with_debug(capsys):
    def action():
        boundary.show_tracebacks(True)
        raise InputError("wrong")

    assert boundary.run(action) == 2
    assert "Traceback" in capsys.readouterr().err
    assert boundary.run(raising(InputError("wrong"))) == 2  # does not stick
    assert "Traceback" not in capsys.readouterr().err


def test_a_warning_is_one_line(capsys):
    standard = warnings.showwarning

    def action():
        warnings.warn("the cache\n is full", stacklevel=1)

    assert boundary.run(action) == 0
    assert capsys.readouterr().err == "smalti: warning: the cache is full\n"
    assert warnings.showwarning is standard


def test_a_warning_is_said_once(capsys):
    def twice():
        warnings.warn("the cache is full", stacklevel=1)
        warnings.warn("the disk is slow", stacklevel=1)
        warnings.warn("the cache is full", stacklevel=1)  # another line of code

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for _ in range(2):  # once in each command
            assert boundary.run(twice) == 0
            assert capsys.readouterr().err == "smalti: warning: the cache is full\nsmalti: warning: the disk is slow\n"


def test_debug_shows_where_a_warning_arose(capsys):
    def action():
        boundary.show_tracebacks(True)
        warnings.warn("the cache is full", stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        boundary.run(action)
    assert "smalti: warning" not in capsys.readouterr().err
    assert [str(warning.message) for warning in caught] == ["the cache is full"]


def test_typers_ending_for_a_closed_pipe():
    def action():
        try:
            raise OSError(errno.EPIPE, "Broken pipe")
        except OSError:
            raise SystemExit(1)  # noqa: B904  (as typer does it)

    assert boundary.run(action) == 141
    assert boundary.run(raising(SystemExit(3))) == 3
