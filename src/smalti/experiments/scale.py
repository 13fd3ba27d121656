"""How large a run is: `quick` fits a time budget on two cores, `paper` has the papers' numbers of z."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PAPER", "QUICK", "SCALES", "Scale"]


@dataclass(frozen=True)
class Scale:
    """Upper limits; the time budget may make them less, down to what is stated as least.

    Attributes:
        name: "quick" or "paper".
        z: noisy images at each level, of each process.
        least: noisy images at each level that slow denoisers get at least.
        sensitivity: noisy images at each level of sensitivity heatmaps.
        error_levels: noise levels of the error to optimal.
        crops: per-patch errors: crops of each side that are looked at.
        gallery: rows of galleries of outputs.
        trajectories: samples whose trajectories are drawn.
        samples: samples for the similarity matrix.
        resamples: of bootstraps.
        minutes: the budget where none is given; None: no limit.
        demo: noisy images at each level, and samples, of every denoiser in the demo, whatever time they take.
    """

    name: str
    z: int
    least: int
    sensitivity: int
    error_levels: int
    crops: int
    gallery: int
    trajectories: int
    samples: int
    resamples: int
    minutes: float | None
    demo: int | None = None


QUICK = Scale("quick", 128, 2, 32, 24, 200, 4, 3, 32, 1000, 2.0, 32)
PAPER = Scale("paper", 10_000, 2, 1_000, 150, 10_000, 8, 4, 1_000, 10_000, None)
SCALES = {scale.name: scale for scale in (QUICK, PAPER)}
