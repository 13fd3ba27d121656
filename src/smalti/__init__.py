"""smalti: training-free diffusion denoisers, exact and fast, on one engine.

    import smalti

    source   = smalti.Source.open("digits")
    denoiser = smalti.PSPCSquare(source)
    result   = smalti.sample(denoiser, n=16, steps=18, solver="heun", seed=0)

Images are in [-1, 1]; z = x + sigma * noise (variance exploding); every denoiser is called as `denoiser(z, sigma, labels=None)`.
Names are imported when they are first used, so that `smalti --help` need not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.checks import CheckFailure, CheckResult, check_denoiser
    from smalti.core.denoiser import Denoiser
    from smalti.core.errors import EnvironmentFailure, InputError, SmaltiError
    from smalti.core.schedule import edm_sigmas
    from smalti.denoisers import Gaussian, LocalScore, Nearest, Optimal, PSPCSquare, WindowDenoiser
    from smalti.engine import (
        Centred,
        Crops,
        EveryPlace,
        Full,
        GaussianWindows,
        Masks,
        Match,
        Posterior,
        PosteriorMeanCollection,
        SameBorderDistance,
        SamePlace,
        Scheduled,
        Windows,
        get_threads,
        set_threads,
    )
    from smalti.sampling import SampleResult, sample, trajectory
    from smalti.source import Source

_ROOMS = {
    "smalti.checks": ("CheckFailure", "CheckResult", "check_denoiser"),
    "smalti.core.denoiser": ("Denoiser",),
    "smalti.core.errors": ("EnvironmentFailure", "InputError", "SmaltiError"),
    "smalti.core.schedule": ("edm_sigmas",),
    "smalti.denoisers": ("Gaussian", "LocalScore", "Nearest", "Optimal", "PSPCSquare", "WindowDenoiser"),
    "smalti.engine": (
        "Centred",
        "Crops",
        "EveryPlace",
        "Full",
        "GaussianWindows",
        "Masks",
        "Match",
        "Posterior",
        "PosteriorMeanCollection",
        "SameBorderDistance",
        "SamePlace",
        "Scheduled",
        "Windows",
        "get_threads",
        "set_threads",
    ),
    "smalti.sampling": ("SampleResult", "sample", "trajectory"),
    "smalti.source": ("Source",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Centred",
    "CheckFailure",
    "CheckResult",
    "Crops",
    "Denoiser",
    "EnvironmentFailure",
    "EveryPlace",
    "Full",
    "Gaussian",
    "GaussianWindows",
    "InputError",
    "LocalScore",
    "Masks",
    "Match",
    "Nearest",
    "Optimal",
    "PSPCSquare",
    "Posterior",
    "PosteriorMeanCollection",
    "SameBorderDistance",
    "SamePlace",
    "SampleResult",
    "Scheduled",
    "SmaltiError",
    "Source",
    "WindowDenoiser",
    "Windows",
    "__version__",
    "check_denoiser",
    "edm_sigmas",
    "get_threads",
    "sample",
    "set_threads",
    "trajectory",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("smalti")
        except PackageNotFoundError:  # a source tree that is not installed
            return "0+unknown"
    if name in _ROOM_OF:
        value = getattr(importlib.import_module(_ROOM_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'smalti' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
