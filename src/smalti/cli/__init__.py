"""The command line, `smalti COMMAND`.

`commands` says what can be typed and imports nothing heavy, so that `smalti --help` is quick; `jobs` does the work.
Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 the environment (or a bug), 2 bad input, 130
interrupted, 141 the reader of stdout went away.
"""

from smalti.cli.app import main

__all__ = ["main"]
