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
from dataclasses import dataclass, field
from pathlib import Path

import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, did_you_mean
from smalti.experiments.building import DENOISERS, build_laboratory
from smalti.experiments.drawing import draw
from smalti.experiments.exhibit import Exhibit
from smalti.experiments.exhibits import EXHIBITS
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.log import Log
from smalti.experiments.names import check_names
from smalti.experiments.record import Record
from smalti.experiments.scale import Scale
from smalti.experiments.steps import Results, Step, Store, missing, ordered, run
from smalti.experiments.writing import write_page
from smalti.experiments.z_steps import z_set_of
from smalti.source import Source

__all__ = ["RESULTS", "Request", "find_exhibits", "reproduce"]

RESULTS = "results"
COMPUTING = 0.8  # of the budget, for the exhibits' steps; the rest is measuring and drawing
DRAWING = 2.0  # seconds for each exhibit, predicted
SMALL = 5_000_000  # parameters of a network that one thread serves best


@dataclass(frozen=True)
class Request:
    """What to reproduce, on what.

    Attributes:
        source: the images that the first network was trained on.
        networks: by name, the reference first; may be empty.
        halves: name -> (network, the images that it was trained on), two of them or none.
        held_out: images that no network saw, or None.
        scale: sizes.
        minutes: the budget; None for no limit.
        only: keys of exhibits; empty for all.
        seed: of all draws.
        sscd, trust: TorchScript file of the similarity network, and whether it is run though it is not known.
        command: that makes the same report again, for the report.
        notes: what a reader must know of data and networks, one sentence each.

    Raises:
        InputError: a network with the name of something else that is shown (`smalti.experiments.names`).
    """

    source: Source
    networks: Mapping[str, Denoiser]
    scale: Scale
    minutes: float | None
    halves: Mapping[str, tuple[Denoiser, Source]] = field(default_factory=dict)
    held_out: Source | None = None
    only: Sequence[str] = ()
    seed: int = 0
    sscd: Path | None = None
    trust: bool = False
    command: str = ""
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_names(self.networks, self.halves, DENOISERS)


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

    A run that was stopped, also by kill -9, goes on when it is called again, and ends with the same tables. A changed request computes
    again only what depends on the change.

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
    log, store, record = Log(out / "run.log"), Store(out / RESULTS), Record(out)
    record.begin(request)
    log(f"begun: {request.command or 'reproduce'}")
    budget = math.inf if request.minutes is None else 60 * request.minutes
    lab = build_laboratory(
        request.source,
        request.networks,
        store,
        held_out=request.held_out,
        halves=request.halves,
        scale=request.scale,
        budget=COMPUTING * budget,
        shares=sum(exhibit.share for exhibit in EXHIBITS),
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
    path = write_page(lab, outcomes, request, out, record, files)
    log("finished")
    return path


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
        numbers = _numbers(plan)
        lines.append(f"  {exhibit.key:<7} {_duration(seconds):>7}  {exhibit.title}{f' ({numbers})' if numbers else ''}")
    return [*lines, f"predicted: {_duration(total)} in all, drawing included"]


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
