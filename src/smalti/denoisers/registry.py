"""Denoisers by name, as the command line and reports know them. A new one joins by one line here."""

from __future__ import annotations

import inspect
from typing import Any

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, did_you_mean
from smalti.denoisers.closed_form import ClosedFormDiffusion
from smalti.denoisers.equivariant import EquivariantLocalScore
from smalti.denoisers.flex import PSPCFlex
from smalti.denoisers.gaussian import Gaussian
from smalti.denoisers.local_score import LocalScore
from smalti.denoisers.nearest import Nearest
from smalti.denoisers.optimal import Optimal
from smalti.denoisers.pca_locality import PCALocality
from smalti.denoisers.pspc import PSPCSquare
from smalti.denoisers.schedule_file import expanded
from smalti.denoisers.soft import GaussianWindow, HeatmapWeighted
from smalti.source import Source

__all__ = ["REGISTRY", "create", "find", "parameters_of"]

_KINDS: tuple[type[Denoiser], ...] = (
    Optimal,
    PSPCSquare,
    PSPCFlex,
    LocalScore,
    EquivariantLocalScore,
    PCALocality,
    GaussianWindow,
    HeatmapWeighted,
    Gaussian,
    ClosedFormDiffusion,
    Nearest,
)

REGISTRY: dict[str, type[Denoiser]] = {kind.name: kind for kind in _KINDS}


def find(name: str) -> type[Denoiser]:
    """The class of the denoiser called `name`; InputError, with the nearest name, if there is none."""
    if name not in REGISTRY:
        raise InputError(
            f"no denoiser is called {name!r}{did_you_mean(name, REGISTRY)} (there are: {', '.join(REGISTRY)})"
        )
    return REGISTRY[name]


def create(name: str, source: Source, **parameters: Any) -> Denoiser:
    """The denoiser called `name` on `source`.

    Args:
        name: as registered.
        source: the training images.
        parameters: of its constructor; also schedule=, a `Schedule` or its file, for the denoisers that have one.

    Raises:
        InputError: an unknown name or parameter (with the nearest one), a bad schedule, or a parameter that the denoiser refuses.
    """
    kind = find(name)
    known, parameters = parameters_of(kind), expanded(name, parameters)
    for parameter in parameters:
        if parameter not in known:
            listed = ", ".join(known) or "none"
            raise InputError(f"{name} has no parameter {parameter!r}{did_you_mean(parameter, known)}; it has: {listed}")
    return kind(source, **parameters)  # type: ignore[call-arg]


def parameters_of(kind: type[Denoiser]) -> dict[str, inspect.Parameter]:
    """Constructor parameters besides the source."""
    return {
        name: p for name, p in inspect.signature(kind.__init__).parameters.items() if name not in ("self", "source")
    }
