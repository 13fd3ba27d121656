"""The command line, `smalti COMMAND`.

`commands` has a file for each: its options, what is checked, and calls of the library; `command` and `options` are how options are said
once. Nothing heavy is imported before a command runs, so that `smalti --help` is quick.
Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 the environment (or a bug), 2 bad input, 130
interrupted, 141 the reader of stdout went away.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows `smalti`; None for the process's own arguments.

    Returns:
        The exit code: 0, 1, 2, 130 or 141.
    """
    # By its name, since importing it here would make every command part of the code of each (`smalti.core.code.code_digest`): a change of
    # `bench` would keep a sampling from going on.
    try:
        return importlib.import_module("smalti.cli.app").main(arguments)
    except KeyboardInterrupt:  # while it was imported: nothing was there yet to answer it
        if arguments is None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # another one would interrupt Python's own ending
        print("smalti: interrupted", file=sys.stderr)
        return 130
