"""Where errors end: one line on stderr and an exit code. A traceback is shown only with --debug."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from smalti.core.errors import SmaltiError, from_os_error

__all__ = ["InterruptedRunError", "run", "show_tracebacks"]

BAD_INPUT, ENVIRONMENT, INTERRUPTED = 2, 1, 130

_debug = False


class InterruptedRunError(SmaltiError):
    """Ctrl-C, after what was finished has been kept; the message says what and where."""

    exit_code = INTERRUPTED


def show_tracebacks(value: bool) -> bool:
    """The callback of every --debug option: once given, anywhere, it stays on until `run` ends."""
    global _debug
    _debug = _debug or value
    return value


def run(action: Callable[[], Any]) -> int:
    """Call `action` (a typer command in its non-standalone mode) and return the exit code of how it ended."""
    global _debug
    _debug = False
    try:
        code = _ended(action)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away (`smalti ... | head`): no message, and nothing left to flush at the interpreter's end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ENVIRONMENT
    return code


def _ended(action: Callable[[], Any]) -> int:
    try:
        result = action()
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", INTERRUPTED, error=False)
    except SystemExit as ended:  # typer's own ending for a closed pipe
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
    line = " ".join(message.split())
    print(f"smalti: {'error: ' if error else ''}{line}", file=sys.stderr, flush=True)
    return code
