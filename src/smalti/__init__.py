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
    from smalti import metrics
    from smalti.analysis.calibration import Calibration, calibrate
    from smalti.analysis.compare import compare
    from smalti.analysis.errors import Deviations, deviations, error_to_optimal
    from smalti.analysis.forward import forward_z
    from smalti.analysis.heatmaps import Sensitivity
    from smalti.analysis.reverse import reverse_z
    from smalti.analysis.sensitivity import sensitivity
    from smalti.analysis.transformations import Box
    from smalti.analysis.transforms import TransformResult, transforms
    from smalti.analysis.z_sets import ZSet
    from smalti.checks import CheckFailure, CheckResult, check_denoiser
    from smalti.core.denoiser import Denoiser
    from smalti.core.errors import EnvironmentFailure, InputError, SmaltiError
    from smalti.core.schedule import edm_sigmas
    from smalti.core.table import Table
    from smalti.denoisers import (
        Blend,
        ClosedFormDiffusion,
        EquivariantLocalScore,
        Gaussian,
        GaussianWindow,
        HeatmapWeighted,
        LocalScore,
        Nearest,
        Optimal,
        PCALocality,
        PSPCFlex,
        PSPCSquare,
        Schedule,
        WindowDenoiser,
    )
    from smalti.engine import (
        Centred,
        Crops,
        Entries,
        EveryPlace,
        Full,
        GaussianWindows,
        Masks,
        Match,
        PackedMasks,
        Posterior,
        PosteriorMeanCollection,
        SameBorderDistance,
        SamePlace,
        Scheduled,
        Windows,
        get_threads,
        set_threads,
    )
    from smalti.networks.network import Network
    from smalti.networks.tables import DiscreteTable
    from smalti.sampling import SampleResult, sample, trajectory
    from smalti.source import Source, Split
    from smalti.training import Recipe, Training, train

_ROOMS: dict[str, tuple[str, ...]] = {
    "smalti.analysis.calibration": (
        "Calibration",
        "calibrate",
    ),
    "smalti.analysis.compare": ("compare",),
    "smalti.analysis.errors": (
        "Deviations",
        "deviations",
        "error_to_optimal",
    ),
    "smalti.analysis.forward": ("forward_z",),
    "smalti.analysis.heatmaps": ("Sensitivity",),
    "smalti.analysis.reverse": ("reverse_z",),
    "smalti.analysis.sensitivity": ("sensitivity",),
    "smalti.analysis.transformations": ("Box",),
    "smalti.analysis.transforms": (
        "TransformResult",
        "transforms",
    ),
    "smalti.analysis.z_sets": ("ZSet",),
    "smalti.checks": (
        "CheckFailure",
        "CheckResult",
        "check_denoiser",
    ),
    "smalti.core.denoiser": ("Denoiser",),
    "smalti.core.errors": (
        "EnvironmentFailure",
        "InputError",
        "SmaltiError",
    ),
    "smalti.core.schedule": ("edm_sigmas",),
    "smalti.core.table": ("Table",),
    "smalti.denoisers": (
        "Blend",
        "ClosedFormDiffusion",
        "EquivariantLocalScore",
        "Gaussian",
        "GaussianWindow",
        "HeatmapWeighted",
        "LocalScore",
        "Nearest",
        "Optimal",
        "PCALocality",
        "PSPCFlex",
        "PSPCSquare",
        "Schedule",
        "WindowDenoiser",
    ),
    "smalti.engine": (
        "Centred",
        "Crops",
        "Entries",
        "EveryPlace",
        "Full",
        "GaussianWindows",
        "Masks",
        "Match",
        "PackedMasks",
        "Posterior",
        "PosteriorMeanCollection",
        "SameBorderDistance",
        "SamePlace",
        "Scheduled",
        "Windows",
        "get_threads",
        "set_threads",
    ),
    "smalti.networks.network": ("Network",),
    "smalti.networks.tables": ("DiscreteTable",),
    "smalti.sampling": (
        "SampleResult",
        "sample",
        "trajectory",
    ),
    "smalti.source": (
        "Source",
        "Split",
    ),
    "smalti.training": (
        "Recipe",
        "Training",
        "train",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Blend",
    "Box",
    "Calibration",
    "Centred",
    "CheckFailure",
    "CheckResult",
    "ClosedFormDiffusion",
    "Crops",
    "Denoiser",
    "Deviations",
    "DiscreteTable",
    "Entries",
    "EnvironmentFailure",
    "EquivariantLocalScore",
    "EveryPlace",
    "Full",
    "Gaussian",
    "GaussianWindow",
    "GaussianWindows",
    "HeatmapWeighted",
    "InputError",
    "LocalScore",
    "Masks",
    "Match",
    "Nearest",
    "Network",
    "Optimal",
    "PCALocality",
    "PSPCFlex",
    "PSPCSquare",
    "PackedMasks",
    "Posterior",
    "PosteriorMeanCollection",
    "Recipe",
    "SameBorderDistance",
    "SamePlace",
    "SampleResult",
    "Schedule",
    "Scheduled",
    "Sensitivity",
    "SmaltiError",
    "Source",
    "Split",
    "Table",
    "Training",
    "TransformResult",
    "WindowDenoiser",
    "Windows",
    "ZSet",
    "__version__",
    "calibrate",
    "check_denoiser",
    "compare",
    "deviations",
    "edm_sigmas",
    "error_to_optimal",
    "forward_z",
    "get_threads",
    "metrics",
    "reverse_z",
    "sample",
    "sensitivity",
    "set_threads",
    "train",
    "trajectory",
    "transforms",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("smalti")
        except PackageNotFoundError:  # a source tree that is not installed
            return "0+unknown"
    if name == "metrics":
        return importlib.import_module("smalti.metrics")
    if name in _ROOM_OF:
        value = getattr(importlib.import_module(_ROOM_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'smalti' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
