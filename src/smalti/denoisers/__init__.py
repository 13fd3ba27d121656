"""Named denoisers: short constructors, a file a family."""

from smalti.denoisers.base import AdaptedWindowDenoiser, WindowDenoiser
from smalti.denoisers.blend import Blend
from smalti.denoisers.closed_form import ClosedFormDiffusion
from smalti.denoisers.equivariant import EquivariantLocalScore
from smalti.denoisers.flex import PSPCFlex
from smalti.denoisers.gaussian import Gaussian
from smalti.denoisers.local_score import LocalScore
from smalti.denoisers.nearest import Nearest
from smalti.denoisers.optimal import Optimal
from smalti.denoisers.pca_locality import PCALocality
from smalti.denoisers.pspc import PSPCSquare
from smalti.denoisers.registry import REGISTRY, create, find, parameters_of
from smalti.denoisers.schedule_file import Schedule
from smalti.denoisers.soft import GaussianWindow, HeatmapWeighted

__all__ = [
    "REGISTRY",
    "AdaptedWindowDenoiser",
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
    "create",
    "find",
    "parameters_of",
]
