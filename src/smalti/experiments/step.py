"""A step: one computation of an experiment, declared by what determines its result, so that the result can be kept and reused.

    key = sha256(name, version, parameters, keys of the steps that it needs)

A changed parameter changes the key of its step and of all steps that need it, and of no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from smalti.core.pieces import Pieces, key_of

__all__ = ["Arrays", "Results", "Step", "Work"]

Arrays = dict[str, np.ndarray]
Results = Mapping[str, Arrays]


@dataclass(frozen=True)
class Work:
    """What a step's computation is given.

    Attributes:
        results: the results of the steps that it needs, by their names.
        pieces: where it may keep parts, so that a killed run goes on in the middle of the step.
        advance: advance(share) tells how much of the step is done since the last call; the shares of a step add up to 1.
    """

    results: Results
    pieces: Pieces
    advance: Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Step:
    """One computation.

    Attributes:
        name: unique in a plan, lower case, parts separated by slashes: "to-network/forward/pspc-flex".
        compute: makes the result, named arrays (texts as unicode arrays). It must depend on nothing but `parameters` and `needs`.
        parameters: everything else that determines the result, as JSON values: identities of denoisers, networks and sources by
            content (`smalti.analysis.identity`), numbers, seeds. Never paths, times or numbers of threads.
        needs: the steps whose results it reads.
        seconds: how long it will take, predicted; does not belong to the key.
        version: raise it when `compute` comes to mean something else.
    """

    name: str
    compute: Callable[[Work], Arrays]
    parameters: Mapping[str, Any]
    needs: tuple[Step, ...] = ()
    seconds: float = 0.0
    version: int = 1
    about: str = field(default="", compare=False)

    @cached_property
    def key(self) -> str:
        """sha256 hex."""
        return key_of(
            {
                "name": self.name,
                "version": self.version,
                "parameters": self.parameters,
                "needs": [step.key for step in self.needs],
            }
        )[1]
