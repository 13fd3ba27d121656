"""`smalti denoisers`: what there is, from a list that is kept beside the denoisers, so that nobody waits for torch to read names.

`python -m smalti.cli.commands.denoisers` writes the list anew; a test holds it to the registry.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from smalti.cli import options
from smalti.cli.command import command

__all__ = ["denoiser_list", "denoisers"]

KEPT = Path(__file__).parents[2] / "denoisers" / "registry.json"


@command
def denoisers(as_json: options.Json = False) -> None:
    """Names, parameters with their defaults, and papers of all denoisers."""
    from rich.console import Console
    from rich.text import Text

    from smalti.cli.printing import print_json

    listed = denoiser_list() if "smalti.denoisers" in sys.modules else json.loads(KEPT.read_text("utf-8"))
    if as_json:
        return print_json(listed)
    console = Console(soft_wrap=True, highlight=False)
    for entry in listed:
        parameters = ", ".join(f"{name}={_shown(value)}" for name, value in entry["parameters"].items())
        console.print(Text.assemble((entry["name"], "bold"), f"({parameters})"))
        for line in filter(None, (entry["summary"], entry["paper"])):
            console.print(Text(f"    {line}"))
    return None


def denoiser_list() -> list[dict[str, Any]]:
    """name, parameters (name -> default, "required" without one), summary and paper of every registered denoiser."""
    from smalti.denoisers import REGISTRY, parameters_of

    return [
        {
            "name": name,
            "parameters": {
                key: "required" if p.default is p.empty else p.default for key, p in parameters_of(kind).items()
            },
            "summary": (kind.__doc__ or "").strip().partition("\n")[0],
            "paper": kind.paper,
        }
        for name, kind in REGISTRY.items()
    ]


def _shown(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


if __name__ == "__main__":
    KEPT.write_text(json.dumps(denoiser_list(), indent=1, default=str) + "\n", "utf-8")
