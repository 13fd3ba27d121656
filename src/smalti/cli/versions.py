"""Versions of installed packages."""

from __future__ import annotations

import importlib.metadata

__all__ = ["package_version"]


def package_version(name: str) -> str:
    """The installed version of a package, or "unknown" (smalti itself, run from a checkout that is not installed)."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
