"""Exhibits that cost nothing, for tests of the machinery around them, and tiny sizes for the real ones."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from smalti.core.table import Table
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.scale import QUICK
from smalti.experiments.shared_steps import forward_step
from smalti.experiments.steps import Step

TINY = dataclasses.replace(
    QUICK, z=4, sensitivity=2, error_levels=3, crops=4, gallery=1, trajectories=1, samples=3, resamples=50, demo=4
)
PARTS = 4


class Means(Exhibit):
    """Two steps, the second made of pieces; `calls` tells which were computed, `delay` and `fail_at` stand for slow and killed runs."""

    key, title, origin = "means", "Means of noisy images", "Nowhere"

    def __init__(self, factor: float = 1.0, delay: float = 0.0, fail_at: int | None = None) -> None:
        self.factor, self.delay, self.fail_at, self.calls = factor, delay, fail_at, []

    def steps(self, lab):
        first = Step("means/of-z", self._first, {"n": 3}, (forward_step(lab, 3),), about="z n = 3")
        return first, Step("means/scaled", self._second, {"factor": self.factor}, (first,), seconds=1.0)

    def _first(self, work):
        self.calls.append("of-z")
        return {"mean": work.results["z/forward"]["z"][:, :3].mean((1, 2, 3, 4))}

    def _second(self, work):
        parts = []
        for part in range(PARTS):
            kept = work.pieces.get(f"part-{part}")
            if kept is None:
                if part == self.fail_at:
                    raise KeyboardInterrupt
                time.sleep(self.delay)
                self.calls.append(part)
                kept = {"value": self.factor * work.results["means/of-z"]["mean"] + part}
                work.pieces.put(f"part-{part}", kept)
            parts.append(kept["value"])
            work.advance(1 / PARTS)
        return {"value": np.stack(parts)}

    def show(self, lab, results):
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot(results["means/scaled"]["value"].T)
        rows = [
            {"denoiser": "none", "sigma": float(sigma), "n": 3, "mean": float(mean)}
            for sigma, mean in zip(lab.sigmas, results["means/scaled"]["value"][0], strict=True)
        ]
        pictures = [Picture("means-lines", figure, "Lines of <means>.", "Means & more.")]
        return Shown(pictures, {"means": Table(("denoiser", "sigma", "n", "mean"), rows)}, ["A note."])


class Impossible(Exhibit):
    """One that needs what nobody has."""

    key, title, origin = "impossible", "What cannot be shown", "Nowhere"

    def missing(self, lab):
        return "needs a network"

    def steps(self, lab):
        raise AssertionError("its steps are not asked for")

    def show(self, lab, results):
        raise AssertionError


def tables_of(out: Path) -> dict[str, bytes]:
    """name -> bytes of the tables of a report."""
    return {path.name: path.read_bytes() for path in (out / "tables").glob("*.csv")}
