"""Named denoisers: short constructors, a file a family."""

from smalti.denoisers.base import WindowDenoiser
from smalti.denoisers.gaussian import Gaussian
from smalti.denoisers.local_score import LocalScore
from smalti.denoisers.nearest import Nearest
from smalti.denoisers.optimal import Optimal
from smalti.denoisers.pspc import PSPCSquare
from smalti.denoisers.registry import REGISTRY, create, find, parameters_of

__all__ = [
    "REGISTRY",
    "Gaussian",
    "LocalScore",
    "Nearest",
    "Optimal",
    "PSPCSquare",
    "WindowDenoiser",
    "create",
    "find",
    "parameters_of",
]
