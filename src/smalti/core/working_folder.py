"""The folder that a program works in: torch's mathematics ends the process, without a word that helps, where it is gone."""

from __future__ import annotations

import os
import sys

from smalti.core.errors import EnvironmentFailure

__all__ = ["check_working_folder"]


def check_working_folder() -> None:
    """Call it before torch is first imported.

    Raises:
        EnvironmentFailure: the working folder was deleted, and torch is not loaded yet.
    """
    if "torch" in sys.modules:
        return
    try:
        os.getcwd()
    except FileNotFoundError:
        raise EnvironmentFailure(
            "the folder that this program was started in is gone, and torch cannot be loaded there; "
            "change to another folder (cd) and try again"
        ) from None
