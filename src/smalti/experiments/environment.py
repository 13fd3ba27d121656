"""What a run was made with: machine and versions, as texts for the report and plain values for its record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from smalti.engine.threads import get_threads

__all__ = ["machine", "versions"]

PACKAGES = ("smalti", "torch", "numpy", "numba", "matplotlib")
CPUINFO = Path("/proc/cpuinfo")


def versions() -> dict[str, str]:
    """Of Python and the packages that compute and draw."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "unknown"
    return found


def machine() -> dict[str, str]:
    """Processor, how many of its threads are used, system."""
    return {
        "processor": _processor(),
        "threads": f"{get_threads()} of {os.cpu_count()}",
        "system": platform.platform(terse=True),
    }


def _processor() -> str:
    lines = CPUINFO.read_text("utf-8").splitlines() if CPUINFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
