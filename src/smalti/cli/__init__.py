"""The command line, `smalti COMMAND`.

`commands` has a file for each: its options, what is checked, and calls of the library; `command` and `options` are how options are said
once. Nothing heavy is imported before a command runs, so that `smalti --help` is quick.
Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 the environment (or a bug), 2 bad input, 130
interrupted, 141 the reader of stdout went away.
"""

from smalti.cli.app import main

__all__ = ["main"]
