"""`smalti.calibrate`: for each noise level the patch size (threshold, window, width, smoothing) that is nearest to a network.

    error(candidate, sigma)  =  E_z e(candidate, z),        chosen(sigma) = the candidate of least error

    e, "patch"         the mean error of the patch posterior means, each against the same patch of the network's output
                       (`smalti.analysis.patch_errors`; full paper, Eqs. 9-10, Fig. 4; workshop paper, Fig. 5)
    e, "composite"     |D(z) - D_net(z)|^2 / (C H W), D the whole denoiser with that candidate

over z of the forward process, by which the paper's schedules are chosen (Appendix B), or of the network's own reverse process. Without a
network: e against the clean image x of z = x + sigma noise, x among images that are held out and not denoised with. All candidates
see the same z, so that the difference of two of them is known better than either: its standard error is that of the paired
differences over z. With the optimal denoiser in place of the network "patch" is the left of the workshop paper's Fig. 5.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from smalti.analysis.candidates import Candidates
from smalti.analysis.forward import forward_batch
from smalti.analysis.identity import identity_of, pieces_of, plain, source_identity
from smalti.analysis.patch_errors import is_composite, patch_errors, sample_patches
from smalti.analysis.reverse import reverse_z
from smalti.analysis.subjects import check_images, evaluate
from smalti.analysis.z_sets import ZSet, check_levels
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.noise import check_seed
from smalti.core.pieces import Arrays, Batch, Pieces
from smalti.core.progress import progress as show_progress
from smalti.core.schedule import edm_sigmas
from smalti.core.table import Table
from smalti.core.validation import check_count, check_integer
from smalti.denoisers.base import AdaptedWindowDenoiser
from smalti.denoisers.schedule_file import Schedule
from smalti.engine.collection import PosteriorMeanCollection
from smalti.metrics import mse
from smalti.source import Source, Split

__all__ = ["CROPS", "PROCESSES", "Calibration", "calibrate", "held_out_split"]

CROPS = 32  # patches of each z
MOST_HELD_OUT = 1000
MEANS_BYTES = 64 << 20  # of posterior means at once
PROCESSES = {"forward": ("forward",), "reverse": ("reverse",), "both": ("forward", "reverse")}

Error = Literal["patch", "composite"]
Process = Literal["forward", "reverse", "both"]


@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """The errors of K candidates at L noise levels.

    Attributes:
        denoiser, parameter: whose parameter is chosen.
        candidates: its K values, ascending; None is the whole image.
        texts: each as text.
        sigmas: (L,) float64.
        errors: for each process, "forward" first, (L, K, n) float64: the error of each z.
        crops: (L, K) int64, the patches of each z that were compared (all of them for a composite).
        error: "patch" or "composite".
        about: how they were made, what against, plain JSON values.
        data, network: of a schedule's record.
    """

    denoiser: str
    parameter: str
    candidates: tuple[Any, ...]
    texts: tuple[str, ...]
    sigmas: torch.Tensor
    errors: Mapping[str, torch.Tensor]
    crops: torch.Tensor
    error: str
    about: Mapping[str, Any]
    data: Mapping[str, Any]
    network: Mapping[str, Any] | None

    @property
    def process(self) -> str:
        """The process by which `schedule` and `choices` choose by default: forward, where it was evaluated."""
        return next(iter(self.errors))

    def table(self) -> Table:
        """The curves: columns process, sigma, candidate, error, standard_error (over z; NaN for one z), n, crops."""
        rows = []
        for process, errors in self.errors.items():
            for level, sigma in enumerate(self.sigmas.tolist()):
                for k, text in enumerate(self.texts):
                    mean, deviation = _mean(errors[level, k])
                    rows.append({"process": process, "sigma": sigma, "candidate": text, "error": mean}
                                | {"standard_error": deviation, "n": errors.shape[2]}
                                | {"crops": int(self.crops[level, k])})  # fmt: skip
        columns = ("process", "sigma", "candidate", "error", "standard_error", "n", "crops")
        return Table(columns, rows, f"{self.error} error of {self.parameter} of {self.denoiser}")

    def choices(self, process: str | None = None) -> Table:
        """What is chosen at each level: the candidate of least mean error, the first of equals.

        Columns sigma, candidate, error, standard_error, runner_up (the next best), difference (of its error, >= 0) with its own
        difference_standard_error, from the paired differences over z, and clear: whether the difference is more than that. With one
        candidate there is no runner-up, and with one z no standard error; nothing is clear without one.

        Args:
            process: by whose z; None for `process`.

        Raises:
            InputError: a process that was not evaluated.
        """
        name = self.process if process is None else process
        if name not in self.errors:
            raise InputError(f"the {name} process was not evaluated; there is {', '.join(self.errors)}")
        rows = []
        for sigma, errors in zip(self.sigmas.tolist(), self.errors[name], strict=True):
            order = errors.mean(1).argsort(stable=True).tolist()
            best, mean_and_error = order[0], _mean(errors[order[0]])
            row = {"sigma": sigma, "candidate": self.texts[best], "error": mean_and_error[0]}
            row |= {"standard_error": mean_and_error[1], "runner_up": None, "difference": None}
            row |= {"difference_standard_error": None, "clear": True}
            if len(order) > 1:
                difference, deviation = _mean(errors[order[1]] - errors[best])
                row |= {"runner_up": self.texts[order[1]], "difference": difference}
                row |= {"difference_standard_error": deviation, "clear": difference > deviation}
            rows.append(row)
        return Table(tuple(rows[0]), rows, f"least {self.error} error over {name} z")

    def schedule(self, process: str | None = None) -> Schedule:
        """The values that `choices` gives, as denoisers and the command line take them."""
        choices = self.choices(process)
        value_of = dict(zip(self.texts, self.candidates, strict=True))
        chosen_by = {
            "process": self.process if process is None else process,
            "error": self.error,
            **self.about,
            "candidates": list(self.candidates),
            "errors": choices["error"],
            "runner_up_within_one_standard_error_at": [row["sigma"] for row in choices if not row["clear"]],
        }
        values = tuple(value_of[text] for text in choices["candidate"])
        return Schedule(self.denoiser, tuple(self.sigmas.tolist()), values, chosen_by, self.data, self.network)

    def __repr__(self) -> str:
        high, low = float(self.sigmas.max()), float(self.sigmas.min())
        return (
            f"Calibration({self.denoiser!r}: {self.parameter} from {', '.join(self.texts)}; "
            f"{len(self.sigmas)} levels from sigma {high:g} to {low:g}, {' and '.join(self.errors)})"
        )


def held_out_split(count: int, held_out: int | None = None) -> Split:
    """What is held out of `count` images where there is no network: a tenth, at most 1000, or as many as given.

    Raises:
        InputError: none, or all of them.
    """
    number = min(max(1, count // 10), MOST_HELD_OUT) if held_out is None else check_count("held_out", held_out)
    if number >= count:
        raise InputError(f"{number} of {count} images held out leave none to denoise with; hold out fewer")
    return Split(held_out=number)


def calibrate(
    denoiser: str,
    source: Source,
    network: Denoiser | None = None,
    candidates: Sequence[Any] | None = None,
    sigmas: torch.Tensor | Sequence[float] | None = None,
    n: int = 100,
    seed: int = 0,
    *,
    process: Process = "forward",
    error: Error | None = None,
    crops: int = CROPS,
    parameters: Mapping[str, Any] | None = None,
    held_out: int | None = None,
    labelled: bool = False,
    batch_size: int = 64,
    keep: str | os.PathLike[str] | Pieces | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> Calibration:
    """Choose a denoiser's schedule: what of it is nearest to a network at each noise level, or denoises held-out images best.

    Args:
        denoiser: the registered name of one that has a parameter by noise level (`smalti.Denoiser.by_level`).
        source: the images that it is made on: those that the network was trained on. A network that records others is warned of.
        network: what it is to be like: a network, or any denoiser; `Optimal(source)` gives the left of the workshop paper's Fig. 5.
            None holds images out.
        candidates: values to choose from; None for `smalti.analysis.candidates.default_candidates`.
        sigmas: (L,) noise levels > 0, strictly decreasing for the reverse process; None for the 18 of the EDM schedule.
        n: z at each level; the paper takes 10,000. Forward z number j at level l depends on (seed, l, j) alone.
        seed: 0 to 2^64 - 1: of z, and of the sample of patches.
        process: where z come from: "forward", "reverse" (states of the network's own sampling), or "both"; by which of them the
            schedule is chosen is said to `Calibration.schedule`.
        error: "patch" or "composite"; None is "patch" where there is a network and the denoiser has patches, else "composite". Where
            each patch's response is its own pixel alone (local scores) both are the same.
        crops: patches of each z whose error is taken; all where there are no more. Not used for composites.
        parameters: others of the denoiser's constructor, such as {"borders": "aware"}.
        held_out: images to hold out, without a network; None for a tenth, at most 1000. The rest is denoised with.
        labelled: condition every z, the network and the denoiser on the class of the z's image; of reverse z, on classes drawn alike.
        batch_size: z computed, and kept, together. It changes results only by rounding.
        keep: a folder (or Pieces) for finished batches, so that the same call goes on after a kill; None keeps nothing.
        progress: True or False; None shows it where stderr is a terminal; a function is called with numbers of evaluations.

    Returns:
        A Calibration: the curves, what is chosen, and `schedule()`.

    Raises:
        InputError: a denoiser without such a parameter; candidates that do not fit; "patch" for one without patches; the reverse
            process, or classes that are missing, without a network; bad sigmas, n, seed or crops; a folder of another computation.
        SmaltiError: a denoiser returned NaN, infinities or another shape.
    """
    levels = edm_sigmas() if sigmas is None else check_levels(sigmas)
    n, size, crops = check_count("n", n), check_count("batch_size", batch_size), check_count("crops", crops)
    seed = check_seed(check_integer("the seed", seed))
    if process not in PROCESSES:
        raise InputError(f"the process must be forward, reverse or both, not {process!r}")
    if error not in (None, "patch", "composite"):
        raise InputError(f"the error must be patch or composite, not {error!r}")
    split: Split | None = None
    if network is None:
        if process != "forward":
            raise InputError("the reverse process is a network's own sampling; give a network, or the forward process")
        split = held_out_split(len(source), held_out)
        held, made_on = split.validation(source), split.training(source)
        assert held is not None
        drawn_from = held
    else:
        if held_out is not None:
            raise InputError("images are held out where there is no network; leave held_out or the network out")
        check_images({"the network": network}, source)
        drawn_from = made_on = source
    if labelled and source.labels is None:
        raise InputError("labelled=True needs a source with classes; open the data with classes or leave it out")
    chosen_from = Candidates(denoiser, made_on, levels.tolist(), candidates, parameters)
    if error == "patch" and not chosen_from.has_patches:
        raise InputError(f"{denoiser} has no patches whose error could be taken; use the composite error")
    error = error or ("patch" if network is not None and chosen_from.has_patches else "composite")

    about = {
        "against": "held-out images" if network is None else "the outputs of the network",
        "n": n, "seed": seed, "labelled": labelled,
        **({"crops": crops} if error == "patch" else {}),
        **({"parameters": plain(dict(parameters))} if parameters else {}),
        **({"held_out": split.held_out, "split_seed": split.seed} if split else {}),
    }  # fmt: skip
    pieces = pieces_of(keep, __name__, lambda: {
        "calibrate": denoiser, "candidates": chosen_from.texts, "data": source_identity(source), "sigmas": levels.tolist(),
        "network": None if network is None else identity_of(network), "error": error, **about,
    })  # fmt: skip
    run = _Run(chosen_from, network, drawn_from, levels, n, seed, error, crops, labelled, size, pieces)
    units = evaluations(len(levels), len(chosen_from), n, PROCESSES[process], network is not None)
    with show_progress("calibrating", units, progress) as advance:
        errors = {one: run.errors(one, advance) for one in PROCESSES[process]}
    return Calibration(
        denoiser, chosen_from.parameter, tuple(chosen_from.values), tuple(chosen_from.texts), levels, errors, run.counts, error,
        about, {"name": source.name, **source_identity(source)}, None if network is None else _record(network),
    )  # fmt: skip


def evaluations(levels: int, candidates: int, n: int, processes: Sequence[str], with_network: bool = True) -> int:
    """How many evaluations `calibrate` reports to `progress`."""
    return levels * n * (len(processes) * (candidates + with_network) + ("reverse" in processes))


@dataclass
class _Run:
    """One calibration: what determines its errors, and where finished batches are."""

    candidates: Candidates
    network: Denoiser | None
    images: Source  # that z are drawn from
    sigmas: torch.Tensor
    n: int
    seed: int
    error: str
    crops: int
    labelled: bool
    size: int
    pieces: Pieces

    def __post_init__(self) -> None:
        self.counts = torch.zeros((len(self.sigmas), len(self.candidates)), dtype=torch.int64)

    def errors(self, process: str, advance: Callable[[int], None]) -> torch.Tensor:
        """(L, K, n) float64 over the z of a process."""
        states = self._states(advance) if process == "reverse" else None
        found = torch.empty((len(self.sigmas), len(self.candidates), self.n), dtype=torch.float64)
        for level in range(len(self.sigmas)):
            noisy = self._noisy(process, states, level, advance)
            for k in range(len(self.candidates)):
                at = functools.cache(self.candidates.at)  # made for the first batch that is not kept

                def compute(batch: Batch, level: int = level, k: int = k, at=at, noisy=noisy) -> Arrays:  # type: ignore[no-untyped-def]
                    errors, crops = self._errors(at(level, k), k, level, batch.low, noisy[batch.rows])
                    return {"errors": errors.numpy(), "crops": np.array(crops)}

                name = f"errors-{process}-{level:04d}-{k:03d}"
                for batch, arrays in self.pieces.batches(name, self.n, self.size, compute, advance):
                    found[level, k, batch.rows] = torch.from_numpy(arrays["errors"])
                    self.counts[level, k] = int(arrays["crops"])
        return found

    def _states(self, advance: Callable[[int], None]) -> ZSet:
        assert self.network is not None
        labels = forward_batch(self.images, 1.0, self.seed, 0, range(self.n)).labels if self.labelled else None
        return reverse_z(
            self.network, self.sigmas, self.n, self.seed,
            labels=labels, batch_size=self.size, keep=self.pieces, progress=advance,
        )  # fmt: skip

    def _noisy(self, process: str, states: ZSet | None, level: int, advance: Callable[[int], None]) -> _Noisy:
        """The z of a level, and what is to be found from them."""
        sigma, network = float(self.sigmas[level]), self.network
        if states is None:
            drawn = forward_batch(self.images, sigma, self.seed, level, range(self.n))
            z, clean, labels = drawn.z, drawn.clean, drawn.labels if self.labelled else None
            if network is None:
                return _Noisy(z, clean, labels)
        else:
            z, labels = states.z[level], None if states.labels is None else states.labels[level]
        assert network is not None

        def compute(batch: Batch) -> Arrays:
            chosen = None if labels is None else labels[batch.rows]
            return {"x0": evaluate("the network", network, z[batch.rows], sigma, chosen).float().numpy()}

        parts = self.pieces.batches(f"network-{process}-{level:04d}", self.n, self.size, compute, advance)
        return _Noisy(z, torch.cat([torch.from_numpy(arrays["x0"]) for _, arrays in parts]), labels)

    def _errors(self, denoiser: Denoiser, k: int, level: int, low: int, batch: _Noisy) -> tuple[torch.Tensor, int]:
        """(B,) float64, and how many patches of each z they are of."""
        sigma = float(self.sigmas[level])
        groups = _by_class(batch.labels, len(batch.z))
        collections = [_collection(denoiser, sigma, label) for label, _ in groups]
        if self.error == "composite" or all(one is not None and is_composite(one) for one in collections):
            text = self.candidates.texts[k]
            x0 = evaluate(f"{self.candidates.name} with {text}", denoiser, batch.z, sigma, batch.labels)
            return mse(x0, batch.wanted), 1 if collections[0] is None else collections[0].count
        errors = torch.empty(len(batch.z), dtype=torch.float64)
        taken = 0
        for (label, rows), collection in zip(groups, collections, strict=True):
            assert collection is not None
            patches = torch.stack(
                [sample_patches(collection, self.crops, self.seed, level, low + row) for row in rows.tolist()]
            )
            taken = patches.shape[1]
            at_once = max(1, MEANS_BYTES // (8 * taken * batch.z[0].numel()))
            for some, chosen in zip(rows.split(at_once), patches.split(at_once), strict=True):
                errors[some] = patch_errors(collection, batch.z[some], sigma, batch.wanted[some], chosen, label)
        return errors, taken


@dataclass(frozen=True)
class _Noisy:
    """Noisy images (B, C, H, W), what is wanted of them, and their classes or None."""

    z: torch.Tensor
    wanted: torch.Tensor
    labels: torch.Tensor | None

    def __getitem__(self, rows: slice) -> _Noisy:
        return _Noisy(self.z[rows], self.wanted[rows], None if self.labels is None else self.labels[rows])


def _by_class(labels: torch.Tensor | None, batch: int) -> list[tuple[int | None, torch.Tensor]]:
    """Rows of a batch that share a class."""
    if labels is None:
        return [(None, torch.arange(batch))]
    return [(label, (labels == label).nonzero()[:, 0]) for label in labels.unique().tolist()]


def _collection(denoiser: Denoiser, sigma: float, label: int | None) -> PosteriorMeanCollection | None:
    if isinstance(denoiser, AdaptedWindowDenoiser):
        return denoiser.collection(sigma, label)
    return denoiser.collection(sigma) if hasattr(denoiser, "collection") else None


def _mean(errors: torch.Tensor) -> tuple[float, float]:
    """The mean and its standard error."""
    if len(errors) < 2:
        return float(errors.mean()), math.nan
    return float(errors.mean()), float(errors.std() / math.sqrt(len(errors)))


def _record(network: Denoiser) -> dict[str, Any]:
    """Its name and content, for a schedule; of one whose content cannot be told, what it shows of itself."""
    name = getattr(network, "name", "") or type(network).__name__
    try:
        return {"name": name, **identity_of(network)}
    except InputError:
        return {"name": name, "repr": repr(network)}
