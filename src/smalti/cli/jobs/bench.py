"""`smalti bench`: hand the data and the folder to `smalti.bench`."""

from __future__ import annotations

from pathlib import Path

from smalti.cli.jobs.data import DataOptions, open_source
from smalti.core.errors import InputError

__all__ = ["run_bench"]


def run_bench(
    data: DataOptions, out: Path | None, quick: bool, overwrite: bool, only: str | None = None, scaling: bool = False
) -> None:
    """Run the benchmark, on its own data where `data.data` is empty; `only` are parts of it, comma separated.

    Raises:
        InputError: data options without data; an `out` that is no folder, or that holds something and no `overwrite`;
            overwrite without `out`; parts that there are not.
    """
    import smalti.bench

    if not data.data and data != DataOptions(""):
        raise InputError("--hflip, --classes, --limit, --resolution, --layout and --skip-bad need --data")
    if out is None and overwrite:
        raise InputError("--overwrite needs --out")
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"{out} is not a folder; choose another --out")
    if out is not None and out.exists() and any(out.iterdir()) and not overwrite:
        raise InputError(f"{out} already has results; choose another --out, or --overwrite to replace them")
    parts = None if only is None else [name.strip() for name in only.split(",") if name.strip()]
    smalti.bench.check_only(parts, scaling)
    run = smalti.bench.run_scaling if scaling else smalti.bench.run
    run(open_source(data) if data.data else None, out, quick, parts)
