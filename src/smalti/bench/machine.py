"""What a measurement was made on."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from smalti.engine.threads import get_threads
from smalti.source import Source

__all__ = ["describe_machine"]


def describe_machine(source: Source) -> dict[str, str | float]:
    """Processor, threads, versions, data."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
    return {
        "data": repr(source),
        "processor": names[0] if names else platform.processor(),
        "threads": get_threads(),
        "versions": f"Python {platform.python_version()}, {versions}",
    }
