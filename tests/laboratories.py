"""A laboratory for tests of exhibits: few small images, stand-ins for networks, costs that are given and not measured."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch

from helpers import random_source
from smalti import Denoiser, denoisers
from smalti.experiments.costs import Costs
from smalti.experiments.exhibit import Exhibit, Shown
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.scale import QUICK
from smalti.experiments.steps import Store, run
from smalti.report.figures import style
from stand_ins import Away

__all__ = ["SIGMAS", "TINY", "Blurs", "away", "laboratory", "shown"]

TINY = dataclasses.replace(QUICK, z=6, sensitivity=3, error_levels=4, crops=2, gallery=2, resamples=50)
SIGMAS = (12.9, 1.9, 0.3)
SHAPE = (1, 6, 6)


class Blurs(Denoiser):
    """The mean over a square of pixels, 0 outside the image: what it depends on is known."""

    def __init__(self, source, side):
        self.source, self.side, self.shape, self.num_classes = source, side, source.shape, None

    def denoise(self, z, sigma, labels):
        return torch.nn.functional.avg_pool2d(z, self.side, 1, self.side // 2)


def away(**rows: int) -> dict:
    """name -> row: the optimal denoiser plus 0.1 on a row of pixels."""
    return {name: lambda source, row=row: Away(source, 0.1, row) for name, row in rows.items()}


def laboratory(networks=None, scale=TINY, seconds=math.inf, cost=1e-3) -> Laboratory:
    """Networks by name, each made of the source."""
    source = random_source(30, SHAPE)
    made = {name: denoisers.create(name, source) for name in ("optimal", "pspc-square", "pspc-flex", "gaussian")}
    subjects = {name: make(source) for name, make in (away(ddpmpp=0, dit=1) if networks is None else networks).items()}
    costs = Costs({name: (cost,) * len(SIGMAS) for name in (*made, *subjects)})
    sigmas = torch.tensor(SIGMAS, dtype=torch.float64)
    return Laboratory(source, None, subjects, {}, made, {}, sigmas, scale, costs, seconds)


def shown(exhibit: Exhibit, lab: Laboratory, folder: Path) -> Shown:
    """Its steps computed and shown; what is computed is kept in `folder`."""
    results = run(exhibit.steps(lab), Store(folder), show=False)
    with style():
        found = exhibit.show(lab, results)
        for picture in found.pictures:
            assert picture.caption
            assert picture.alternative
            assert picture.figure.get_size_inches()[0] <= 7
    return found
