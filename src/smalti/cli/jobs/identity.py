"""What determines a run's results, as plain values: the data, the denoiser, the versions that computed it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from smalti.analysis.identity import source_identity
from smalti.cli.versions import package_version
from smalti.source import Source

__all__ = ["data_identity", "versions"]


def data_identity(source: Source) -> dict[str, Any]:
    """The data by content, not by path."""
    return {**source_identity(source), "shape": list(source.shape)}


def versions() -> Mapping[str, str]:
    """Versions of what computes. Results are the same bytes only for the same versions on the same machine."""
    packages = {name: package_version(name) for name in ("smalti", "torch", "numpy", "numba")}
    return {**packages, "python": platform.python_version()}
