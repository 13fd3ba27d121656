"""How well first order agrees with leaving images out, and what influence and decomposition cost:

    python docs/measured/influence.py cifar10-train.zip

Prints two tables in Markdown. Leaving out is exact: the same noise is sampled again by the denoiser on the other images.
"""

import argparse
import time

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


def agreement(source: smalti.Source, seeds: int, singles: int, tenths: int) -> None:
    """The table of rank correlations."""
    denoiser = smalti.PSPCSquare(source)
    random = np.random.default_rng(0)
    print("| level at which the image is read | noise | one image | a random tenth |\n|---|---|---|---|")
    for seed in range(seeds):
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


def seconds(call, repeats: int = 3) -> float:  # type: ignore[no-untyped-def]
    """The least of some runs, after one that is not counted."""
    call()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def costs(source: smalti.Source) -> None:
    """The table of costs, as ratios in one run."""
    denoiser = smalti.PSPCSquare(source)
    print(f"\n| N = {len(source):,} | seconds | ratio |\n|---|---|---|")
    plain = seconds(
        lambda: smalti.sample(denoiser, n=1, steps=STEPS, solver="euler", keep_states=False, progress=False), 2
    )
    whole = seconds(lambda: smalti.influence(denoiser, region, progress=False), 2)
    print(f"| a sample, {STEPS} Euler steps | {plain:.2f} | |")
    print(f"| influence of all images on it, read at 0.3 | {whole:.2f} | {whole / plain:.1f} x a sample |")
    x = source.working(slice(0, 1))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    for sigma in (5.32, 1.09, 0.30, 0.06):
        z = x + sigma * noise
        call = seconds(lambda z=z, sigma=sigma: denoiser(z, sigma))
        taken = seconds(lambda z=z, sigma=sigma: denoiser.attribute(z, sigma, top=10))
        print(
            f"| shares in all pixels, ten listed, sigma {sigma:g} (a call: {call:.3f} s) | {taken:.3f} | {taken / call:.1f} x a call |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--singles", type=int, default=100)
    parser.add_argument("--tenths", type=int, default=20)
    given = parser.parse_args()
    agreement(smalti.Source.open(given.data, limit=given.limit), given.seeds, given.singles, given.tenths)
    costs(smalti.Source.open(given.data))
