"""How well first order agrees with leaving images out:

    python docs/measured/influence.py cifar10-train.zip

Prints a table in Markdown. Leaving out is exact: the same noise is sampled again by the denoiser on the other images. What it costs is
measured by costs.py.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch

import smalti
from smalti.sampling import sampling_sigmas

STEPS = 18
LEVELS = (1.92, 0.59, 0.30, 0.14)


def region(image: torch.Tensor) -> torch.Tensor:
    """The mean of the middle 3 x 3 pixels."""
    y, x = image.shape[-2] // 2 - 1, image.shape[-1] // 2 - 1
    return image[:, y : y + 3, x : x + 3].mean()


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(v)) for v in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def read(denoiser: smalti.WindowDenoiser, seed: int) -> dict[float, float]:
    """The region at each of LEVELS, by plain sampling."""
    run = smalti.sample(denoiser, n=1, steps=STEPS, solver="euler", seed=seed, progress=False)
    levels = sampling_sigmas(STEPS)[:-1]
    return {s: float(region(run.denoised[int((levels - s).abs().argmin()), 0].double())) for s in LEVELS}


def agreement(source: smalti.Source, seeds: Sequence[int], singles: int, tenths: int) -> None:
    """The table of rank correlations."""
    denoiser = smalti.PSPCSquare(source)
    print("| level at which the image is read | noise | one image | a random tenth |\n|---|---|---|---|")
    for seed in seeds:
        random = np.random.default_rng(seed)
        found = {s: smalti.influence(denoiser, region, seed=seed, stop=s, progress=False)[0].numpy() for s in LEVELS}
        likely = np.argsort(-np.abs(found[0.30]))[: singles // 2]  # half of those that matter, half at random
        chosen = np.unique(np.concatenate([likely, random.choice(len(source), singles - len(likely), replace=False)]))
        groups = [random.choice(len(source), len(source) // 10, replace=False) for _ in range(tenths)]
        before = read(denoiser, seed)
        alone = [read(smalti.without(denoiser, [i]), seed) for i in chosen]
        parts = [read(smalti.without(denoiser, group), seed) for group in groups]
        for s in LEVELS:
            one = spearman(found[s][chosen], np.array([before[s] - after[s] for after in alone]))
            many = spearman(
                np.array([found[s][group].sum() for group in groups]), np.array([before[s] - p[s] for p in parts])
            )
            print(f"| sigma {s:g} | {seed} | {one:.4f} | {many:.3f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--singles", type=int, default=75)
    parser.add_argument("--tenths", type=int, default=20)
    given = parser.parse_args()
    agreement(smalti.Source.open(given.data, limit=given.limit), given.seeds, given.singles, given.tenths)
