"""Names of networks: apart from everything else that tables, figures and steps have names for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from smalti.core.errors import InputError

__all__ = ["check_names"]

HALF = re.compile(r"(optimal-)?half[0-9]*|optimal-half.*")
OTHERS = ("z", "image", "noisy", "composite", "reference")  # what exhibits call other things than networks


def check_names(networks: Iterable[str], halves: Iterable[str], denoisers: Iterable[str]) -> None:
    """Refuse names that two would have: results are kept, tabled and drawn by them. Capitals make no difference.

    Args:
        networks: names of the networks.
        halves: names of the networks of halves; their optimal denoisers are called "optimal-" and this.
        denoisers: names of the denoisers.

    Raises:
        InputError: a network with the name of a denoiser, of a half ("half1", "optimal-half1"), or of something else that is
            shown ("z"); a half with the name of a denoiser or network.
    """
    networks, halves, known = list(networks), list(halves), {name.lower() for name in denoisers}
    of_halves = {half.lower() for name in halves for half in (name, f"optimal-{name}")}
    for name in networks:
        lower = name.lower()
        if lower in known or lower in of_halves or lower in OTHERS or HALF.fullmatch(lower):
            raise InputError(
                f"a network cannot be called {name!r} here, which is the name of something else; rename its file"
            )
    if len({name.lower() for name in networks}) < len(networks):
        raise InputError(f"networks must differ in more than capitals: {', '.join(networks)}; rename a file")
    for name in halves:
        if name.lower() in known:
            raise InputError(f"the network of a half cannot be called {name!r}, which is the name of a denoiser")
