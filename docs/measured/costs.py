"""What shares and influence cost beside a call and a sample:

    python docs/measured/costs.py cifar10-train.zip                         # all images
    python docs/measured/costs.py cifar10-train.zip --limit 2000 --only equivariant

Processor seconds of all threads, the least of some runs; what is compared is measured in turn, in one process. Peak memory is that of a
process of its own. Prints tables in Markdown.
"""

import argparse
import itertools
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

import smalti
from smalti.provenance.influence import level_read
from smalti.sampling import initial_noise, sampling_sigmas

STEPS, STOP = 18, 0.3
SIGMAS = (5.32, 1.09, 0.30, 0.06)
DENOISERS: dict[str, Callable[[smalti.Source], smalti.WindowDenoiser]] = {
    "optimal": smalti.Optimal,
    "pspc-square": smalti.PSPCSquare,
    "local-score": lambda source: smalti.LocalScore(source, 5),
    "pspc-flex": smalti.PSPCFlex,
    "heatmap-weighted": smalti.HeatmapWeighted,
    "gaussian-window": smalti.GaussianWindow,
    "equivariant": lambda source: smalti.EquivariantLocalScore(source, 5),
}


def region(image: torch.Tensor) -> torch.Tensor:
    """The mean of the middle 3 x 3 pixels."""
    y, x = image.shape[-2] // 2 - 1, image.shape[-1] // 2 - 1
    return image[:, y : y + 3, x : x + 3].mean()


def noisy(source: smalti.Source, sigma: float) -> torch.Tensor:
    x = source.working(slice(0, 1))
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def seconds(calls: tuple[Callable[[], object], ...], repeats: int) -> list[float]:
    """The least of each, measured in turn; the first time is not counted where there is another."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for times, call in zip(found, calls, strict=True):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
    return [min(times[1:] or times) for times in found]


def to_the_stop(denoiser: smalti.WindowDenoiser) -> None:
    """A plain sampling run, down to the level at which influence reads the image."""
    z = initial_noise(0, range(1), denoiser.shape, float(sampling_sigmas(STEPS)[0]))
    run = smalti.trajectory(denoiser, z, sampling_sigmas(STEPS), "euler")
    for _ in itertools.islice(run, level_read(STEPS, STOP) + 1):
        pass


def peak(denoiser: smalti.WindowDenoiser, what: str) -> None:
    """Print the peak of this process, MB, after a call or all shares."""
    z = noisy(denoiser.source, 1.09)
    denoiser(z, 1.09)
    if what == "attribute":
        denoiser.attribute(z, 1.09, top=10)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def costs(arguments: argparse.Namespace) -> None:
    source = smalti.Source.open(arguments.data, limit=arguments.limit)
    print(f"| N = {len(source):,} | " + " | ".join(f"shares, sigma {s:g}" for s in SIGMAS), end=" |")
    print(" influence | a sample to the stop, s | peak of a call, MB | of shares, MB |\n|" + "---|" * (len(SIGMAS) + 5))
    for name in arguments.only or DENOISERS:
        denoiser, cells = DENOISERS[name](source), []
        for sigma in SIGMAS:
            z = noisy(source, sigma)
            both = partial(denoiser, z, sigma), partial(denoiser.attribute, z, sigma, top=10)
            call, shares = seconds(both, arguments.repeats)
            cells.append(f"{shares / call:.1f} x {call:.3g} s")
        if arguments.influence:
            both = partial(to_the_stop, denoiser), partial(smalti.influence, denoiser, region, progress=False)
            plain, whole = seconds(both, min(2, arguments.repeats))
            cells += [f"{whole / plain:.1f} x", f"{plain:.3g}"]
        else:
            cells += ["", ""]
        for what in ("call", "attribute"):
            command = [sys.executable, __file__, arguments.data, "--only", name, "--peak", what]
            command += [] if arguments.limit is None else ["--limit", str(arguments.limit)]
            cells.append(f"{float(subprocess.run(command, capture_output=True, text=True, check=True).stdout):.0f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--only", nargs="+", choices=list(DENOISERS), default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-influence", dest="influence", action="store_false")
    parser.add_argument("--peak", choices=["call", "attribute"], default=None)
    given = parser.parse_args()
    if given.peak is None:
        costs(given)
    else:
        peak(DENOISERS[given.only[0]](smalti.Source.open(given.data, limit=given.limit)), given.peak)
