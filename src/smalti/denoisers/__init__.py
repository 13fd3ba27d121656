"""Named denoisers: short constructors, a file a family.

A new one is a file and two lines here: its import, and its place in `SHIPPED`. All else (names on the command line, `smalti denoisers`,
parameters as text, schedules, calibrations, the list in the documentation) follows from the class.
"""

from smalti.core.by_level import ByLevel
from smalti.core.denoiser import Denoiser
from smalti.denoisers.base import AdaptedWindowDenoiser, EngineDenoiser, WindowDenoiser
from smalti.denoisers.blend import Blend
from smalti.denoisers.closed_form import ClosedFormDiffusion
from smalti.denoisers.equivariant import EquivariantLocalScore
from smalti.denoisers.flex import PSPCFlex
from smalti.denoisers.gaussian import Gaussian
from smalti.denoisers.local_score import LocalScore
from smalti.denoisers.named import create, denoiser
from smalti.denoisers.nearest import Nearest
from smalti.denoisers.optimal import Optimal
from smalti.denoisers.pca_locality import PCALocality
from smalti.denoisers.pspc import PSPCSquare
from smalti.denoisers.registry import REGISTRY, by_level, find, parameters_of, register
from smalti.denoisers.schedule_file import Schedule
from smalti.denoisers.soft_windows import GaussianWindow, HeatmapWeighted

SHIPPED: tuple[type[Denoiser], ...] = (  # in the order of lists
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
for _kind in SHIPPED:
    register(_kind)

__all__ = [
    "REGISTRY",
    "SHIPPED",
    "AdaptedWindowDenoiser",
    "Blend",
    "ByLevel",
    "EngineDenoiser",
    "Schedule",
    "WindowDenoiser",
    "by_level",
    "create",
    "denoiser",
    "find",
    "parameters_of",
    "register",
    *(_kind.__name__ for _kind in SHIPPED),
]
