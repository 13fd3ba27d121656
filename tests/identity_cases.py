"""Commands with each of their options changed in turn, and what `--resume` compares of each: for the test of identities.

`python tests/identity_cases.py FILE` records the identities of the smalti that is imported; `old_identities.json` was so recorded
from commit 52fc9ac, where every command wrote its identity by hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

DATA = ["--data", "digits", "--limit", "40"]
ONE = {
    "data": ["--data", "{tmp}/x.npy", "--limit", "40"],
    "hflip": ["--hflip"],
    "classes": ["--classes", "1,2,3"],
    "limit": ["--limit", "30"],
    "resolution": ["--resolution", "6"],
    "skip_bad": ["--skip-bad"],
}
RUN = {"batch_size": ["--batch-size", "7"], "seed": ["--seed", "3"], "overwrite": ["--overwrite"], "debug": ["--debug"]}
SEVERAL = {
    "denoiser": ["--denoiser", "optimal"],
    "denoiser_param": ["--denoiser", "local-score:window=3"],
    "network": ["--network", "dit-digits"],
    "backend": ["--denoiser", "optimal", "--backend", "reference"],
    "labelled": ["--labelled"],
    "n": ["-n", "3"],
}
METHOD = {
    "denoiser": ["--denoiser", "gaussian"],
    "param": ["--param", "patch_size=3"],
    "schedule": ["--param", "schedule={tmp}/schedule.json"],
    "backend": ["--backend", "reference"],
    "labels": ["--labels", "1"],
    "n": ["-n", "3"],
}

# command -> (arguments of the run that others are compared with, option -> further arguments)
CASES: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "sample": (
        [*DATA, "-n", "2", "--steps", "3"],
        {
            **ONE, **METHOD, **RUN,
            "steps": ["--steps", "4"], "solver": ["--solver", "euler"], "sigma_min": ["--sigma-min", "0.01"],
            "sigma_max": ["--sigma-max", "40"], "rho": ["--rho", "5"], "keep_states": ["--keep-states"],
            "init": ["--init", "{tmp}/z.npy"], "network": ["--network", "ddpmpp-digits"],
        },
    ),
    "denoise": (
        [*DATA, "-n", "2"],
        {
            "": ["--sigma", "1"],
            **{name: ["--sigma", "1", *more] for name, more in {**ONE, **METHOD, **RUN}.items()},
            "sigma": ["--sigma", "2"], "level": ["--level", "9"], "input": ["--sigma", "1", "--input", "{tmp}/z.npy"],
            "network": ["--sigma", "1", "--network", "ddpmpp-digits"],
        },
    ),
    "error": (
        [*DATA, "--denoiser", "gaussian"],
        {
            **ONE, **SEVERAL, **RUN,
            "levels": ["--levels", "3"], "sigmas": ["--sigmas", "1,2"], "sigma_min": ["--sigma-min", "0.1"],
            "sigma_max": ["--sigma-max", "9"],
        },
    ),
    "transforms": (
        [*DATA, "--denoiser", "gaussian"],
        {
            **ONE, **SEVERAL, **RUN,
            "sigma": ["--sigma", "1"], "shift": ["--shift", "3"], "box": ["--box", "0,0,2,2"], "shown": ["--shown", "3"],
            "input": ["--input", "{tmp}/z.npy"],
        },
    ),
    "sensitivity": (
        [*DATA, "--denoiser", "gaussian"],
        {
            **ONE, **SEVERAL, **RUN,
            "levels": ["--levels", "3"], "sigmas": ["--sigmas", "1,2"], "pixels": ["--pixels", "grid:2"],
            "reduction": ["--reduction", "l2"],
        },
    ),
    "compare": (
        [*DATA, "--network", "ddpmpp-digits", "--levels", "4"],
        {
            **{name: more for name, more in {**ONE, **SEVERAL, **RUN}.items() if name not in ("labelled", "resolution")},
            "levels": ["--levels", "3"], "process": ["--process", "forward"],
            "z_set": ["--process", "both", "--z-set", "{tmp}/set.npy"],
        },
    ),
    "calibrate": (
        [*DATA, "--levels", "4"],
        {
            **ONE, **RUN,
            "denoiser": ["--denoiser", "local-score"], "param": ["--param", "backend=torch"], "labelled": ["--labelled"],
            "backend": ["--backend", "reference"], "network": ["--network", "ddpmpp-digits"], "optimal": ["--optimal"],
            "held_out": ["--held-out", "5"], "candidates": ["--candidates", "3,5"], "levels": ["--levels", "3"],
            "process": ["--network", "ddpmpp-digits", "--process", "reverse"], "sigmas": ["--levels", "4"],
            "error": ["--error", "patch"], "crops": ["--error", "patch", "--crops", "5"], "n": ["-n", "5"],
        },
    ),
    "train": (
        [*DATA],
        {
            **ONE, **RUN, "resolution": ["--resolution", "16"],
            "held_out": ["--held-out", "5"], "part": ["--part", "1/2"], "arch": ["--arch", "dit"],
            "preset": ["--preset", "tiny"], "param": ["--param", "model_channels=32"], "conditional": ["--conditional"],
            "label_dropout": ["--conditional", "--label-dropout", "0.2"], "dropout": ["--dropout", "0.3"], "steps": ["--steps", "20"],
            "learning_rate": ["--lr", "0.01"], "warmup": ["--warmup", "7"], "decay": ["--decay", "cosine"],
            "ema": ["--ema", "100"], "augment": ["--augment", "0.5"], "precision": ["--precision", "float32"],
            "compile": ["--no-compile"], "validate_every": ["--held-out", "5", "--validate-every", "9"], "store": ["--store", "float16"],
            "sample_every": ["--sample-every", "9"], "threads": ["--threads", "1"], "minutes": ["--minutes", "9"],
            "checkpoint_every": ["--checkpoint-every", "9"], "init": ["--init", "ddpmpp-digits"], "device": ["--device", "cpu"],
        },
    ),
}  # fmt: skip


class Stopped(BaseException):
    """In place of the computation."""


def identities(names: list[str] | None = None) -> dict[str, dict[str, str]]:
    """command -> option -> sha256 of what determines the run with that option changed ("" for the run as it is)."""
    try:
        from smalti.core.run_folder import RunFolder
    except ModuleNotFoundError:  # the old code
        from smalti.cli.jobs.run_folder import RunFolder
    from smalti.cli import main
    from smalti.denoisers import Schedule

    seen: list[dict] = []

    def start(self, identity, *_, **__):
        seen.append(json.loads(json.dumps(identity)))
        raise Stopped

    started, here = RunFolder.start, Path.cwd()
    RunFolder.start = start
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as tmp:
        os.chdir(tmp)
        draws = np.random.default_rng(0)
        np.save("x.npy", draws.integers(0, 256, (40, 1, 8, 8), np.uint8))
        np.save("z.npy", draws.standard_normal((2, 1, 8, 8)))
        _z_set("set.npy")
        Schedule("pspc-square", (1.0,), (3,)).save("schedule.json")
        try:
            for command, (base, options) in CASES.items():
                for option, more in ({"": []} | options).items() if names is None or command in names else ():
                    words = [word.replace("{tmp}", tmp) for word in [*base, *more]]
                    try:
                        code = main([command, *words, "--out", f"{tmp}/out"])
                    except Stopped:
                        found.setdefault(command, {})[option] = _digest(seen[-1])
                    else:
                        raise AssertionError(f"{command} {words} ended with {code}")
        finally:
            RunFolder.start = started
            os.chdir(here)
    return found


def _z_set(path: str) -> None:
    import torch

    from smalti.analysis.forward import forward_z
    from smalti.source import Source

    forward_z(Source.open("digits", limit=40), torch.tensor([2.0, 1.0]), 2, 5).save(path)


def _digest(identity: dict) -> str:
    """Versions and code left out: they are the same for all commands of one recording."""
    plain = {name: value for name, value in identity.items() if name not in ("versions", "code")}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(identities(), indent=1) + "\n")
