"""The exhibits, in the order of the report."""

from __future__ import annotations

from smalti.experiments.exhibit import Exhibit
from smalti.experiments.exhibits.composite import HowACompositeIsMade
from smalti.experiments.exhibits.error import ErrorToOptimal
from smalti.experiments.exhibits.galleries import Galleries
from smalti.experiments.exhibits.generalisation import Generalisation
from smalti.experiments.exhibits.patch_errors import PatchErrors
from smalti.experiments.exhibits.responses import Responses
from smalti.experiments.exhibits.sensitivity import SensitiveArea
from smalti.experiments.exhibits.similarity import Similarity
from smalti.experiments.exhibits.to_network import DistanceToNetwork
from smalti.experiments.exhibits.trajectories import Trajectories

__all__ = ["EXHIBITS"]

EXHIBITS: tuple[Exhibit, ...] = (
    Galleries(),
    ErrorToOptimal(),
    Responses(),
    SensitiveArea(),
    PatchErrors(),
    DistanceToNetwork(),
    HowACompositeIsMade(),
    Trajectories(),
    Similarity(),
    Generalisation(),
)
