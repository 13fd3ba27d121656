"""Where things are kept that are costly to make again: decoded images, spectra, compiled kernels.

The folder is $SMALTI_CACHE, else $XDG_CACHE_HOME/smalti, else ~/.cache/smalti. There may be none: a service account has no home, `~user`
names nobody. Who would keep something then goes on without.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_root"]


def cache_root() -> Path | None:
    """The folder, which need not exist, or None where none can be named (no home, an unknown user)."""
    given, base = os.environ.get("SMALTI_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if given:
            return Path(given).expanduser()
        return (Path(base).expanduser() if base else Path.home() / ".cache") / "smalti"
    except RuntimeError:  # pathlib's word for a home that cannot be found
        return None
