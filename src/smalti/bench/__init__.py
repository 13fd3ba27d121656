"""`smalti bench`: the tables of the README, measured here."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from smalti.bench import scaling as scaling_
from smalti.bench.results import Measurement, Results
from smalti.bench.runner import KINDS, Bench, measure
from smalti.bench.setup import synthetic
from smalti.core.errors import InputError, did_you_mean
from smalti.core.files import atomic_write
from smalti.core.progress import progress
from smalti.core.table import Table
from smalti.source import Source

__all__ = ["Bench", "Measurement", "Results", "check_only", "markdown", "measure", "run", "run_scaling"]


def run(data: Source | None, out: Path | None, quick: bool, only: Collection[str] | None = None) -> Results:
    """Measure, print the table to stdout, and write `bench.json` and `bench.md` into `out` if given.

    Args:
        data: what to measure on; None takes 50,000 smooth random images (5,000 if quick).
        out: folder for the results.
        quick: fewer patch sizes and steps, for a look in a few minutes.
        only: kinds of rows, of `smalti.bench.runner.KINDS`; all by default.

    Raises:
        InputError: images of another size; an unknown kind.
    """
    check_only(only, scaling=False)
    bench = Bench(_source(data, quick), quick, only)
    with progress("benchmark", len(bench.jobs), show=True) as advance:
        results = measure(bench, advance)
    table = markdown(results)
    print(table)
    if out is not None:
        with atomic_write(out / "bench.json") as file:
            file.write(json.dumps(results.as_dict(), indent=1).encode())
        _write(out / "bench.md", table)
    return results


def run_scaling(data: Source | None, out: Path | None, quick: bool, only: Collection[str] | None = None) -> Table:
    """Time against the number of images and sigma: print the table, and write `scaling.csv` and `scaling.md` into `out` if given.

    Args:
        data, out, quick: as for `run`; quick takes the two smallest numbers of images.
        only: kinds of denoisers, of `smalti.bench.scaling.KINDS`; all by default.

    Raises:
        InputError: images of another size; an unknown kind.
    """
    check_only(only, scaling=True)
    source = _source(data, quick)
    with progress("time against N and sigma", scaling_.steps(source, quick, only), show=True) as advance:
        table = scaling_.scaling(source, quick, only, advance)
    text = scaling_.markdown(table)
    print(text)
    if out is not None:
        table.save(out / "scaling.csv")
        _write(out / "scaling.md", text)
    return table


def check_only(only: Collection[str] | None, scaling: bool) -> None:
    """Raise InputError if `only` names what there is not."""
    known = list(scaling_.KINDS if scaling else KINDS)
    for name in only or ():
        if name not in known:
            where = "with --scaling" if scaling else "in the table"
            raise InputError(f"there is no {name!r} {where}{did_you_mean(name, known)}; there is: {', '.join(known)}")
    if only is not None and not only:
        raise InputError(f"nothing is chosen to be measured; choose from {', '.join(known)}")


def _source(data: Source | None, quick: bool) -> Source:
    source = synthetic(5_000 if quick else 50_000) if data is None else data
    if source.shape != (3, 32, 32):
        advice = (
            "open them with --resolution 32" if source.shape[0] == 3 else "colour images are needed, such as CIFAR-10"
        )
        raise InputError(f"the benchmark is defined on 3 x 32 x 32 images, not {source.shape}; {advice}")
    return source


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def markdown(results: Results) -> str:
    """The table as Markdown, with what it was measured on. Bold: what was asked for, and is reached."""
    machine = results.machine.items()
    lines = [
        f"- {name.replace('_', ' ')}: {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in machine
    ]
    lines += ["", "| what | ours | published | ratio | asked | quicker baseline | ratio | above the floor | |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    return "\n".join(lines + [_line(row) for row in results.rows])


def _line(row: Measurement) -> str:
    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:.3g} s"

    megabytes = "memory" in row.what
    ours = f"{row.ours:.0f} MB" if megabytes else seconds(row.ours)
    ratio = "" if row.ratio is None else f"{row.ratio:.3g} x"
    if row.relation is not None:
        ratio = f"{row.relation:.2f} of it"
    asked = ""
    if row.at_least is not None:
        asked = f">= {row.at_least:g} x"
    elif row.at_most is not None:
        asked = f"<= {row.at_most:g} {'x' if row.relation is not None else 'MB' if megabytes else 's'}"
    if row.reached is not None:
        asked = f"**{asked}**" if row.reached else f"{asked}: not reached"
    quicker = "" if row.quicker is None else f"{row.quicker / row.ours:.3g} x"
    above = "" if row.floor is None else f"{row.ours / row.floor:.1f} x"
    cells = (row.what, ours, seconds(row.published), ratio, asked, seconds(row.quicker), quicker, above, row.note)
    return f"| {' | '.join(cells)} |"
