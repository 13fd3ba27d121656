"""smalti: training-free diffusion denoisers, exact and fast, on one engine.

    import smalti

    source   = smalti.Source.open("digits")
    denoiser = smalti.PSPCSquare(source)
    result   = smalti.sample(denoiser, n=16, steps=18, solver="heun", seed=0)

Images are in [-1, 1]; z = x + sigma * noise (variance exploding); every denoiser is called as `denoiser(z, sigma, labels=None)`.
"""

from importlib.metadata import PackageNotFoundError, version

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

try:
    __version__ = version("smalti")
except PackageNotFoundError:  # running from a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "Centred",
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
    "edm_sigmas",
    "get_threads",
    "sample",
    "set_threads",
    "trajectory",
]
