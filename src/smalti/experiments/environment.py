"""What a run was made with: machine and versions, as texts for the report and plain values for its record."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import matplotlib

from smalti.core.run_record import installed_versions
from smalti.engine.threads import get_threads

__all__ = ["machine", "versions"]

CPUINFO = Path("/proc/cpuinfo")


def versions() -> dict[str, str]:
    """Of Python and the packages that compute and draw."""
    return {**installed_versions(), "matplotlib": matplotlib.__version__}


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
