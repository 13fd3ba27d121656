"""The error of patch posterior means, and the schedule of sides that follows from it (workshop paper, Fig. 5, Table 1).

Table w5-patches: process, target ("optimal" or the reference network), side, sigma, n, crops (of each z), error with its interval: the MSE
of a patch posterior mean on its patch (`smalti.analysis.patch_errors`); and difference with its interval: this less the error of the
optimal denoiser on the same patches of the same z. (Its error on whole images weighs the borders more, where images may be easy.)

Table w5-schedule: sigma, side (of least error to the network, forward), clear (by more than a standard error of the paired difference to
the next), side_reverse, clear_reverse, side_published (Table 1, scaled to these images).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch

from smalti.analysis.calibration import calibrate
from smalti.analysis.candidates import default_candidates
from smalti.analysis.forward import forward_batch
from smalti.analysis.identity import source_identity
from smalti.analysis.intervals import TELLING, Bootstrap
from smalti.analysis.patch_errors import sample_patches
from smalti.analysis.reverse import reverse_z
from smalti.analysis.subjects import evaluate
from smalti.core.denoiser import Denoiser
from smalti.core.schedule import edm_sigmas, nearest_level
from smalti.core.table import Table
from smalti.denoisers.pspc import PSPCSquare, table_1_patch_sizes
from smalti.experiments.captions import BANDS, level, runs, with_interval
from smalti.experiments.costs import count_within
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.steps import Arrays, Results, Step, Work
from smalti.report.patch_plots import patch_errors_figure, sides_chosen_figure

__all__ = ["PatchErrors"]

DENOISER, OPTIMAL = "pspc-square", "optimal"
CROPS = 16  # of each z
BATCH = 64  # z computed together, as a calibration does
CALL, ENTRY, PATCH = (
    1e-3,
    7e-10,
    3e-11,
)  # measured seconds of one z and side: at least; for each value of the images; and for each crop
SMALL = 0.1  # of the largest error: what the caption calls small
ENDS = ("", "_low", "_high", "_standard_error")

Process = Literal["forward", "reverse"]


class PatchErrors(Exhibit):
    """Error to the optimal denoiser on forward z, to the network on forward and reverse z; the sides of least error."""

    key = "w5"
    title = "Patch posterior means, against the optimal denoiser and the network"
    origin = "Workshop Fig. 5, Table 1"
    share = 1.2

    def missing(self, lab: Laboratory) -> str | None:
        return None if lab.networks else "needs a network; give one with --network"

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        return tuple(_step(lab, process, target, self.share * lab.seconds / 3) for process, target in _parts(lab))

    def show(self, lab: Laboratory, results: Results) -> Shown:
        reference = str(lab.reference)
        found = {part: results[_name(*part)] for part in _parts(lab)}
        rows = [row for part, arrays in found.items() for row in _rows(lab, *part, arrays)]
        statistics = tuple(f"{name}{end}" for name in ("error", "difference") for end in ENDS)
        columns = ("process", "target", "side", "sigma", "n", "crops", *statistics)
        note = "MSE of patches; difference: less that of the optimal denoiser on the same patches; 95 % bootstrap intervals over z"
        table = Table(columns, rows, note)
        schedule = _schedule(lab, found["forward", reference], found["reverse", reference])
        pictures = [_errors_picture(lab, table), _schedule_picture(schedule, reference)]
        notes = [
            "Each patch counts alike, so that the error of a side weighs the middle of the image more than that of the whole image "
            "does; differences to the optimal denoiser are therefore taken on the same patches."
        ]
        return Shown(pictures, {"w5-patches": table, "w5-schedule": schedule}, notes)


def _parts(lab: Laboratory) -> list[tuple[Process, str]]:
    reference = str(lab.reference)
    return [("forward", OPTIMAL), ("reverse", reference), ("forward", reference)]


def _name(process: str, target: str) -> str:
    return f"w5/{process}/{target}"


def _sides(lab: Laboratory) -> list[int | None]:
    """The paper's sides that fit the images, the whole image last."""
    return default_candidates(DENOISER, lab.source.shape)


def _step(lab: Laboratory, process: Process, target: str, seconds: float) -> Step:
    crops, sides = min(CROPS, lab.scale.crops), _sides(lab)
    values = len(lab.source) * (2 if lab.source.hflip else 1) * math.prod(lab.source.shape)
    each = len(lab.sigmas) * (len(sides) - 1) * (CALL + values * (ENTRY + PATCH * crops)) + 3 * lab.costs.of(target)
    n = count_within(seconds, each, lab.scale.z, lab.scale.least)
    subject = lab.subjects[target]
    states = len(lab.sigmas) if process == "reverse" else 0  # are made first
    units = n * (len(lab.sigmas) * (len(sides) + 1) + states)

    def compute(work: Work) -> Arrays:
        found = calibrate(
            DENOISER, lab.source, subject, sides, lab.sigmas, n, lab.seed, process=process, error="patch", crops=crops,
            keep=work.pieces, progress=lambda count: work.advance(count / units),
        )  # fmt: skip
        errors = found.errors[process].numpy()
        return {
            "errors": errors,
            "optimal": _of_optimal(lab, subject, process, n, crops, work),
            "crops": found.crops.numpy(),
        }

    parameters = {
        "target": lab.identity(target), "data": source_identity(lab.source), "process": process, "sigmas": lab.sigmas.tolist(),
        "sides": sides, "crops": crops, "n": n, "seed": lab.seed,
    }  # fmt: skip
    about = f"{process} to {target} n = {n}"
    return Step(_name(process, target), compute, parameters, seconds=n * each, about=about)


def _of_optimal(lab: Laboratory, subject: Denoiser, process: Process, n: int, crops: int, work: Work) -> np.ndarray:
    """The error of the optimal denoiser on the very patches that a calibration looks at, (L, K, n) float64."""
    collections = [PSPCSquare(lab.source, patch_size=side).collection_at(0) for side in _side_numbers(lab)]
    states = None
    if process == "reverse":
        states = reverse_z(subject, lab.sigmas, n, lab.seed, batch_size=BATCH, keep=work.pieces, progress=False).z
    found = np.empty((len(lab.sigmas), len(collections), n))
    for number, sigma in enumerate(lab.sigmas.tolist()):
        every = states[number] if states is not None else forward_batch(lab.source, sigma, lab.seed, number, range(n)).z
        for low in range(0, n, BATCH):
            z_numbers = range(low, min(low + BATCH, n))
            z = every[low : z_numbers.stop]
            apart = evaluate("the target", subject, z, sigma) - evaluate(OPTIMAL, lab.denoisers[OPTIMAL], z, sigma)
            squares = apart.double().square().mean(1, keepdim=True)
            for k, (side, collection) in enumerate(zip(_side_numbers(lab), collections, strict=True)):
                of_crops = torch.nn.functional.avg_pool2d(squares, side, 1).flatten(1)  # by row and column of the crop
                for j, values in zip(z_numbers, of_crops, strict=True):
                    found[number, k, j] = values[sample_patches(collection, crops, lab.seed, number, j)].mean()
    return found


def _rows(lab: Laboratory, process: str, target: str, arrays: Arrays) -> list[dict[str, Any]]:
    rows = []
    sides = _side_numbers(lab)
    for number, sigma in enumerate(lab.sigmas.tolist()):
        errors = torch.from_numpy(arrays["errors"][number]).T  # (n, K)
        optimal = torch.from_numpy(arrays["optimal"][number]).T
        bootstrap = Bootstrap(torch.cat([errors, errors - optimal], 1), lab.scale.resamples)
        for k, side in enumerate(sides):
            head = {"process": process, "target": target, "side": side, "sigma": sigma, "n": len(errors)}
            head["crops"] = int(arrays["crops"][number, k])
            difference = bootstrap.mean_interval(len(sides) + k)
            rows.append(head | bootstrap.mean_interval(k).named("error") | difference.named("difference"))
    return rows


def _side_numbers(lab: Laboratory) -> list[int]:
    whole = min(lab.source.shape[1:])
    return [whole if side is None else int(side) for side in _sides(lab)]


def _chosen(lab: Laboratory, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """(L,) sides of least mean error, and whether the next is further by more than a standard error of their difference."""
    errors = arrays["errors"]  # (L, K, n)
    order = errors.mean(2).argsort(axis=1, kind="stable")
    levels = np.arange(len(errors))
    difference = errors[levels, order[:, 1]] - errors[levels, order[:, 0]]
    n = difference.shape[1]
    deviation = difference.std(1, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(difference), np.inf)
    return np.array(_side_numbers(lab))[order[:, 0]], difference.mean(1) > deviation


def _schedule(lab: Laboratory, forward: Arrays, reverse: Arrays) -> Table:
    height, width = lab.source.shape[1:]
    published, levels = table_1_patch_sizes(height, width), edm_sigmas().tolist()
    (sides, clear), (sides_reverse, clear_reverse) = _chosen(lab, forward), _chosen(lab, reverse)
    rows = [
        {
            "sigma": sigma,
            "side": int(sides[number]),
            "clear": bool(clear[number]),
            "side_reverse": int(sides_reverse[number]),
            "clear_reverse": bool(clear_reverse[number]),
            "side_published": published[nearest_level(levels, sigma)] or min(height, width),
        }
        for number, sigma in enumerate(lab.sigmas.tolist())
    ]
    return Table(
        tuple(rows[0]),
        rows,
        f"sides of least patch error to {lab.reference}, and the paper's Table 1 scaled to these images",
    )


def _errors_picture(lab: Laboratory, table: Table) -> Picture:
    reference, whole = str(lab.reference), min(lab.source.shape[1:])
    titles = {
        ("forward", OPTIMAL): "to the optimal denoiser, forward z",
        ("reverse", reference): f"to {reference}, its own reverse z",
        ("forward", reference): f"to {reference}, forward z",
    }
    figure = patch_errors_figure(table, [(*part, titles[part]) for part in _parts(lab)])
    forward = table.where(lambda row: row["side"] < whole, process="forward", target=OPTIMAL)
    largest = max(forward, key=lambda row: row["error"])
    apart = {row["sigma"] for row in forward if row["error"] > SMALL * largest["error"]}
    nearer, unclear = _nearer(table.where(lambda row: row["side"] < whole, process="reverse", target=reference))
    counts = ", ".join(f"{part.rows[0]['n']} z {process} to {target}" for process, target in _parts(lab)
                       for part in [table.where(process=process, target=target)])  # fmt: skip
    crops = {row["side"]: row["crops"] for row in table}
    said = (
        f"To optimal, the error is largest with {largest['side']} x {largest['side']} at {level(largest['sigma'])}, "
        f"{with_interval(largest, 'error')}; some side smaller than the image has more than a tenth of that at "
        f"{runs(forward['sigma'], apart)}. {nearer}"
    )
    caption = (
        "Mean squared error of patch posterior means, on their patch, by side and noise level; a ring marks the side of least error, "
        f"{BANDS} ({counts}; crops of each z by side: "
        f"{', '.join(f'{side}: {count}' for side, count in crops.items())}). {said}{unclear}"
    )
    return Picture("w5-patches", figure, f"Three panels of curves over sigma, a line for each side. {said}", caption)


def _nearer(smaller: Table) -> tuple[str, str]:
    """Where all sides smaller than the image are nearer to the network than the whole image (optimal) is, and where that is not told."""
    levels = smaller.distinct("sigma")
    nearer = [s for s in levels if all(row["difference"] < 0 for row in smaller.where(sigma=s))]
    sure = [s for s in levels if all(row["difference_high"] < 0 for row in smaller.where(sigma=s))]
    network = smaller["target"][0]
    if not nearer:
        return f"On reverse z there is no level at which all sides are nearer to {network} than optimal is.", ""
    said = (
        f"On reverse z all sides smaller than the image are nearer to {network} than optimal is, on the same patches, "
        f"at {len(nearer)} of {len(levels)} levels: {runs(levels, nearer)}."
    )
    if min(smaller["n"]) < TELLING:
        return said, f" Fewer than {TELLING} z do not tell at which of them that is more than chance."
    return said, f" At {len(sure)} levels every interval of the paired difference lies below 0."


def _schedule_picture(schedule: Table, reference: str) -> Picture:
    rows = sorted(schedule, key=lambda row: row["sigma"])
    sigmas = [row["sigma"] for row in rows]
    chosen = {
        f"least error to {reference}, forward": "side",
        f"least error to {reference}, reverse": "side_reverse",
        "Table 1, scaled": "side_published",
    }
    clear = {"side": "clear", "side_reverse": "clear_reverse"}
    figure = sides_chosen_figure(
        {
            text: (sigmas, [row[column] for row in rows], [column not in clear or row[clear[column]] for row in rows])
            for text, column in chosen.items()
        }
    )
    same = [sum(row[column] == row["side_published"] for row in rows) for column in ("side", "side_reverse")]
    unclear = [sum(not row[column] for row in rows) for column in ("clear", "clear_reverse")]
    said = "; ".join(f"{text}: {' '.join(str(row[column]) for row in rows)}" for text, column in chosen.items())
    caption = (
        f"The side of least error to {reference} at each noise level, and the paper's Table 1 scaled to these images. Both agree at "
        f"{same[0]} (forward) and {same[1]} (reverse) of {len(rows)} levels. Hollow markers: the next best side is within one standard "
        f"error of their paired difference ({unclear[0]} levels forward, {unclear[1]} reverse)."
    )
    return Picture("w5-schedule", figure, f"Sides from low to high noise. {said}.", caption)
