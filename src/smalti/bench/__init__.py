"""`smalti bench`: the table of the README, measured here."""

from __future__ import annotations

import json
from pathlib import Path

from smalti.bench.measure import Bench, Measurement, Results, measure
from smalti.bench.subject import synthetic
from smalti.core.errors import InputError
from smalti.core.files import atomic_write
from smalti.core.progress import progress
from smalti.source import Source

__all__ = ["Measurement", "Results", "markdown", "measure", "run"]


def run(data: Source | None, out: Path | None, quick: bool) -> Results:
    """Measure, print the table to stdout, and write `bench.json` and `bench.md` into `out` if given.

    Args:
        data: what to measure on; None takes 50,000 smooth random images (5,000 if quick).
        out: folder for the results.
        quick: fewer patch sizes and steps, for a look in a minute.
    """
    source = synthetic(5_000 if quick else 50_000) if data is None else data
    if source.shape != (3, 32, 32):
        advice = (
            "open them with --resolution 32" if source.shape[0] == 3 else "colour images are needed, such as CIFAR-10"
        )
        raise InputError(f"the benchmark is defined on 3 x 32 x 32 images, not {source.shape}; {advice}")
    with progress("benchmark", Bench(source, quick, lambda n: None).steps(), show=True) as advance:
        results = measure(source, quick, advance)
    table = markdown(results)
    print(table)
    if out is not None:
        with atomic_write(out / "bench.json") as file:
            file.write(json.dumps(results.as_dict(), indent=1).encode())
        with atomic_write(out / "bench.md") as file:
            file.write(table.encode())
    return results


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
