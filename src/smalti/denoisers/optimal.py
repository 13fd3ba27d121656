"""The optimal (empirical) denoiser: the posterior mean over whole training images (workshop paper, Eq. 4).

D(z, sigma) = sum_i w_i x^i,   w_i ∝ exp(-|z - x^i|^2 / (2 sigma^2))
"""

from __future__ import annotations

from smalti.denoisers.base import WindowDenoiser
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.pruning import TOLERANCE
from smalti.engine.windows import Full
from smalti.source import Source

__all__ = ["Optimal"]


class Optimal(WindowDenoiser):
    """The minimiser of the training objective on the source: it memorises.

    Args:
        source: the training images.
        backend, tolerance: as for all that the engine computes (`smalti.denoisers.base.EngineDenoiser`).
    """

    name = "optimal"
    paper = "Niedoba et al., Towards a Mechanistic Explanation of Diffusion Model Generalization, Eq. 4"

    def __init__(self, source: Source, backend: str = "auto", *, tolerance: float = TOLERANCE) -> None:
        super().__init__(source=source, backend=backend, tolerance=tolerance)

    def collection_at(self, level: int) -> PosteriorMeanCollection:
        return self.posteriors(Full())
