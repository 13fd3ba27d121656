"""`smalti bench`: the table of the README, measured here."""

from __future__ import annotations

import json
from pathlib import Path

from smalti.bench.measure import Bench, Measurement, Results, measure
from smalti.bench.subject import synthetic
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
        from smalti.core.errors import InputError

        raise InputError(
            f"the benchmark is defined on 3 x 32 x 32 images, not {source.shape}; open them with --resolution 32"
        )
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
    """The table as Markdown, with what it was measured on."""
    lines = [
        f"- {name.replace('_', ' ')}: {value if isinstance(value, str) else f'{value:.4g}'}"
        for name, value in results.machine.items()
    ]
    lines += ["", "| what | ours | published | ratio | wanted | above the floor | |", "|---|---|---|---|---|---|---|"]
    for row in results.rows:
        unit = " MB" if "memory" in row.what else " s"
        published = "" if row.published is None else f"{row.published:.2f} s"
        ratio = "" if row.ratio is None else f"**{row.ratio:.0f} x**"
        above = "" if row.floor is None else f"{row.ours / row.floor:.1f} x"
        lines.append(
            f"| {row.what} | {row.ours:.3g}{unit} | {published} | {ratio} | {row.wanted} | {above} | {row.note} |"
        )
    return "\n".join(lines)
