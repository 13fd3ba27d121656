"""Opening the data that a command names: the one place where data options become a Source."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from smalti.core.errors import InputError
from smalti.source import Source

__all__ = ["DataOptions", "open_source", "parse_resolution"]


@dataclass(frozen=True)
class DataOptions:
    """The data options as typed.

    Attributes:
        data: a path, or the name of embedded data.
        hflip: count mirror images in.
        classes: comma separated, or None for all.
        limit: at most so many images, or None.
        resolution: "32" or "32x48" (height x width), or None.
        layout: "nchw" (also where none was typed), "nhwc", "hwcn" or "nhw".
        skip_bad: leave unreadable images out.
    """

    data: str
    hflip: bool = False
    classes: str | None = None
    limit: int | None = None
    resolution: str | None = None
    layout: str = "nchw"
    skip_bad: bool = False


def open_source(options: DataOptions) -> Source:
    """The Source that `options` describe, with progress on stderr and a line there about skipped images.

    Raises:
        InputError: bad data or options.
    """
    source = Source.open(
        options.data,
        hflip=options.hflip,
        classes=_names(options.classes),
        limit=options.limit,
        resolution=parse_resolution(options.resolution),
        layout=None if options.layout == "nchw" else options.layout,  # the default: what looks like another is refused
        skip_bad=options.skip_bad,
        progress=True,
    )
    if source.skipped:
        name, reason = source.skipped[0]
        others = f" and {len(source.skipped) - 1} more (see `smalti info`)" if len(source.skipped) > 1 else ""
        print(f"left out: {name} ({reason}){others}", file=sys.stderr)
    return source


def parse_resolution(text: str | None) -> int | tuple[int, int] | None:
    """ "32" as 32, "32x48" as (32, 48), height first; None as None.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]+)(?:[xX]([0-9]+))?", text.strip())
    sizes = [int(size) for size in match.groups() if size is not None] if match else []
    if not sizes or min(sizes) < 1:
        raise InputError(f"--resolution must look like 32 or 32x48 (height x width), not {text!r}")
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"--classes must be names separated by commas, not {text!r}")
    return names
