"""`smalti denoisers`."""

from __future__ import annotations

from smalti.cli import options

__all__ = ["denoisers"]


def denoisers(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Names, parameters with their defaults, and papers of all denoisers."""
    from smalti.cli.jobs.tables import print_denoisers

    print_denoisers(as_json)
