"""Where errors and warnings end: one line on stderr, and for an error an exit code. --debug shows where they arose."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

import typer

from smalti.cli.printing import say, tolerant_streams
from smalti.core.errors import InterruptedRunError, SmaltiError, from_os_error
from smalti.core.text import LONGEST, shortened

__all__ = ["run", "show_tracebacks"]

BAD_INPUT, ENVIRONMENT, INTERRUPTED = 2, 1, 130
CLOSED_PIPE = 141  # 128 + SIGPIPE: as a shell reports a program that the signal ended

_debug = False
_typed: list[str] = []  # the words of the command line that messages may repeat


def show_tracebacks(value: bool) -> bool:
    """The callback of every --debug option: once given, anywhere, it stays on until `run` ends."""
    global _debug
    _debug = _debug or value
    return value


def run(action: Callable[[], Any], typed: Sequence[str] = (), last: bool = False) -> int:
    """Call `action` (a typer command in its non-standalone mode) and return the exit code of how it ended.

    Args:
        action: what to do.
        typed: the words of the command line; messages repeat no more of one than `smalti.core.text.LONGEST` letters.
        last: the process does nothing after it: a Ctrl-C that comes while it ends is ignored, where Python would show a traceback.
    """
    global _debug
    _debug = False
    _typed[:] = typed
    tolerant_streams()
    try:
        with _warnings_in_one_line():
            code = _ended(action)
            if last:
                _ignore_ctrl_c()
        sys.stdout.flush()
    except KeyboardInterrupt:  # a second one, while the first was answered
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`smalti ... | head`): no message, and nothing left to flush at the interpreter's end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    return code


def _ignore_ctrl_c() -> None:
    with contextlib.suppress(ValueError):  # signals belong to the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Each warning as one line, and once, from however many places it comes."""
    standard, said = warnings.showwarning, set[str]()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if _debug:
            standard(message, category, filename, lineno, file, line)
        elif str(message) not in said:
            said.add(str(message))
            _print(f"warning: {message}")

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = standard


def _ended(action: Callable[[], Any]) -> int:
    try:
        result = action()
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", INTERRUPTED, error=False)
    except SystemExit as ended:
        if getattr(ended.__context__, "errno", None) == errno.EPIPE:  # typer's own ending for a closed pipe
            raise BrokenPipeError from ended
        return ended.code if isinstance(ended.code, int) else ENVIRONMENT
    except InterruptedRunError as error:
        return _say(str(error), INTERRUPTED, error=False)
    except SmaltiError as error:
        return _say(str(error), error.exit_code)
    except OSError as error:
        failure = from_os_error(error, f"use {error.filename}" if error.filename else "read or write")
        return _say(str(failure), failure.exit_code)
    except Exception as error:
        return _unexpected(error)
    if result == INTERRUPTED:  # typer turns Ctrl-C into this
        return _say("interrupted", INTERRUPTED, error=False)
    return result if isinstance(result, int) else 0


def _unexpected(error: Exception) -> int:
    if hasattr(error, "format_message"):  # a usage error; typer's versions disagree on its class
        return _say(f"{error.format_message()} {_help_hint(error)}", getattr(error, "exit_code", BAD_INPUT))
    if isinstance(error, MemoryError) or _torch_is_out_of_memory(error):
        return _say("not enough memory; try a smaller --batch-size, --limit or --resolution", ENVIRONMENT)
    said = f"{type(error).__name__}: {error}"
    return _say(f"this is a bug in smalti, please report it ({said}); --debug shows where it happened", ENVIRONMENT)


def _help_hint(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"(try '{context.command_path} --help')" if context is not None else "(try 'smalti --help')"


def _torch_is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _say(message: str, code: int, error: bool = True) -> int:
    if _debug:
        traceback.print_exc()
    _print(f"{'error: ' if error else ''}{message}")
    return code


def _print(message: str) -> None:
    for long, short in _shortenings():
        message = message.replace(long, short)
    say(f"smalti: {' '.join(message.split())}")


def _shortenings() -> Iterator[tuple[str, str]]:
    """Words that were typed and are too long to be repeated, as they stand in messages, and what stands for them.

    Paths of what is there are left whole: who typed them wants to find it.
    """
    parts = {part for word in _typed for part in (word, *re.split("[=:,]", word)) if len(part) > LONGEST}
    for part in sorted(parts, key=len, reverse=True):
        if not os.path.exists(part):
            for said in (part, repr(part)[1:-1]):
                yield said, shortened(said)
