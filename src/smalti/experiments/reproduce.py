"""The experiments of both papers in one run: what is missing is computed, everything is drawn, the report is written.

report.html          the report, self-contained
run.json             what was run, and with what: identities, seeds, versions, budget, costs, verdicts
run.log              what happened when
tables/NAME.csv      the numbers of each figure, every digit
figures/NAME.pdf, .png
z/forward.npy, z/reverse.npy (each with a .json): the noisy images, for others (`smalti.ZSet.load`)
results/             the results of steps (`smalti.experiments.steps`), from which the same command goes on
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from smalti.analysis.identity import source_identity
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, did_you_mean
from smalti.core.files import remove_leftovers
from smalti.core.run_record import RunRecord
from smalti.experiments.building import build_laboratory
from smalti.experiments.environment import versions
from smalti.experiments.exhibit import SHARES, Exhibit
from smalti.experiments.exhibits import EXHIBITS
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.log import Log
from smalti.experiments.request import Request
from smalti.experiments.shared_steps import z_set_of
from smalti.experiments.steps import Results, Step, Store, missing, ordered, run
from smalti.experiments.writing import draw, write_page

__all__ = ["RESULTS", "Request", "find_exhibits", "reproduce"]

RESULTS = "results"
COMPUTING = 0.8  # of the budget, for the exhibits' steps; the rest is measuring and drawing
DRAWING = 2.0  # seconds for each exhibit, predicted
SMALL = 5_000_000  # parameters of a network that one thread serves best


def find_exhibits(keys: Sequence[str]) -> tuple[Exhibit, ...]:
    """The exhibits with these keys in the order of the report; all of them for no key.

    Raises:
        InputError: an unknown key; lists them all.
    """
    known = [exhibit.key for exhibit in EXHIBITS]
    for key in keys:
        if key not in known:
            raise InputError(f"no exhibit is called {key!r}{did_you_mean(key, known)}; there are: {', '.join(known)}")
    return tuple(exhibit for exhibit in EXHIBITS if not keys or exhibit.key in keys)


def reproduce(
    request: Request, out: Path, say: Callable[[str], None] = lambda line: None, show: bool | None = None
) -> Path:
    """Compute what is not kept in `out` yet, and write the report there.

    A run that was stopped, also by kill -9, goes on when it is called again, and ends with the same tables: what calls cost, and so the
    numbers of z, is kept with its results and not measured again. A changed request computes again only what depends on the change.
    Where `request.n` is given nothing is measured, and two runs give the same files but for run.log and results/times.txt.

    Args:
        request: what to reproduce.
        out: the folder; nobody else may write into it meanwhile.
        say: is told the prediction at the start.
        show: whether progress is shown; None shows it where stderr is a terminal.

    Returns:
        The path of report.html.

    Raises:
        InputError: an unknown exhibit.
        EnvironmentFailure: the disk is full or the folder may not be written.
    """
    every = [*request.networks.values(), *(network for network, _ in request.halves.values())]
    with _threads_for(every):
        return _reproduce(request, out, find_exhibits(request.only), say, show)


def _reproduce(
    request: Request, out: Path, chosen: tuple[Exhibit, ...], say: Callable[[str], None], show: bool | None
) -> Path:
    log, store, record = Log(out / "run.log"), Store(out / RESULTS), RunRecord(out)
    _begin(record, request)
    log(f"begun: {request.command or 'reproduce'}")
    budget = math.inf if request.minutes is None or request.n is not None else 60 * request.minutes
    lab = build_laboratory(
        request.source,
        request.networks,
        store,
        held_out=request.held_out,
        halves=request.halves,
        scale=request.sizes,
        budget=COMPUTING * budget,
        shares=SHARES,
        measure=request.n is None,
        seed=request.seed,
        sscd=request.sscd,
        trust=request.trust,
        notes=request.notes,
        log=log,
        show=show,
    )
    plans = {exhibit.key: _plan(exhibit, lab) for exhibit in chosen}
    steps = ordered(step for plan in plans.values() if not isinstance(plan, str) for step in plan)
    for line in _predicted(chosen, plans, store, lab):
        say(line)
        log(line)
    results = run(steps, store, log, show=show)
    files = _save_z(lab, results, out)
    outcomes = draw(chosen, plans, lab, results, store, out, show)
    for outcome in outcomes:
        files += outcome.files
    path, more = write_page(lab, outcomes, request, out, files)
    for folder in (out, *(path for path in out.iterdir() if path.is_dir())):
        remove_leftovers(folder)
    store.clear_pieces()
    record.finish([*files, "tables/claims.csv", path.name], **more)
    log("finished")
    return path


def _begin(record: RunRecord, request: Request) -> None:
    """Write that a run is under way; the files of an earlier one are still there."""
    source, before = request.source, record.before.get("files")
    record.begin(
        "reproduce",
        again=request.command,
        files=[name for name in before if isinstance(name, str)] if isinstance(before, list) else (),
        versions=versions(),
        data={"name": source.name, **source_identity(source), "shape": list(source.shape)},
        scale=request.scale.name,
        minutes=request.minutes,
        n=request.n,
        only=list(request.only),
        seed=request.seed,
    )


def _plan(exhibit: Exhibit, lab: Laboratory) -> tuple[Step, ...] | str:
    """Its steps, or why it is not shown."""
    return exhibit.missing(lab) or exhibit.steps(lab)


def _predicted(
    chosen: Sequence[Exhibit], plans: Mapping[str, tuple[Step, ...] | str], store: Store, lab: Laboratory
) -> list[str]:
    """The time that each exhibit will take, and the n of its steps."""
    networks = f", networks {', '.join(lab.networks)}" if lab.networks else ", no network"
    lines = [f"{lab.source.name or 'data'}: {len(lab.source):,} images{networks}; {lab.scale.name} scale", *lab.notes]
    counted: set[str] = set()
    total = 0.0
    for exhibit in chosen:
        plan = plans[exhibit.key]
        if isinstance(plan, str):
            lines.append(f"  {exhibit.key:<7} not shown: {plan}")
            continue
        left = [step for step in missing(plan, store) if step.name not in counted]
        counted |= {step.name for step in left}
        seconds = sum(step.seconds for step in left)
        total += seconds + DRAWING
        numbers, predicted = _numbers(plan), f"{_duration(seconds):>7}  " if lab.costs.seconds else ""
        lines.append(f"  {exhibit.key:<7} {predicted}{exhibit.title}{f' ({numbers})' if numbers else ''}")
    return [*lines, f"predicted: {_duration(total)} in all, drawing included"] if lab.costs.seconds else lines


def _numbers(plan: Sequence[Step]) -> str:
    """What the steps say of their n ("pspc-flex n = 12"), the denoisers of the same n together."""
    said = dict.fromkeys(step.about for step in plan if step.about)
    counts: dict[str, set[int]] = {}
    others = []
    for text in said:
        match = re.fullmatch(r"(.+?),? n = ([0-9]+)", text)
        if match:
            counts.setdefault(match[1], set()).add(int(match[2]))
        else:
            others.append(text)
    groups: dict[str, list[str]] = {}
    for name, found in counts.items():
        low, high = min(found), max(found)
        groups.setdefault(f"{low}" if low == high else f"{low} to {high}", []).append(name)
    return "; ".join([*(f"n = {n}: {', '.join(names)}" for n, names in groups.items()), *others])


@contextlib.contextmanager
def _threads_for(networks: Iterable[Denoiser]) -> Iterator[None]:
    """One thread of torch's for small networks: on two cores that others use as well, more are slower by up to a factor of a hundred,
    since each waits for the other; and rounding, so the tables, then does not depend on the number of cores."""
    before = torch.get_num_threads()
    sizes = [getattr(network, "parameter_count", lambda: 0)() for network in networks]
    if sizes and max(sizes) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _save_z(lab: Laboratory, results: Results, out: Path) -> list[str]:
    """The shared sets of z, where this run has them; names of the files."""
    files = []
    for process, step in (("forward", "z/forward"), ("reverse", f"z/reverse/{lab.reference}")):
        if step in results:
            z_set_of(lab, results[step], process).save(out / "z" / f"{process}.npy")
            files += [f"z/{process}.npy", f"z/{process}.json"]
    return files
