"""`smalti networks`: the shipped networks, or the facts of one checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import CHECKPOINT, command
from smalti.core.text import shortened

if TYPE_CHECKING:
    from smalti.networks import Network

__all__ = ["network_facts", "networks"]

LONGEST = 300  # characters of a value that are shown as text


@command
def networks(
    checkpoint: Annotated[
        str | None,
        typer.Argument(help="A checkpoint, or a name from the list.", show_default="list those that come with smalti"),
        CHECKPOINT,
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the networks that come with smalti, or say what a checkpoint holds; nothing in the file is executed."""
    from smalti.cli.printing import print_json, print_line, print_rows
    from smalti.cli.subjects import load_network
    from smalti.networks import shipped

    if checkpoint is not None:
        facts = network_facts(load_network(checkpoint))
        rows = [(key, value) for key, value in facts.items() if key not in ("config", "about")]
        rows += [(key, value) for part in ("config", "about") for key, value in (facts[part] or {}).items()]
        return print_json(facts) if as_json else print_rows([(key, _text(value)) for key, value in rows])
    listed = [network_facts(load_network(name)) for name in shipped()]
    if as_json:
        return print_json(listed)
    for facts in listed:
        data = facts["about"].get("training_data", {})
        size = "x".join(map(str, facts["shape"]))
        print_line(
            f"{facts['name']}  {size}, {facts['parameters']:,} parameters, trained on {data.get('trained_images')} of {data.get('name')}"
        )
    return None


def network_facts(network: Network) -> dict[str, Any]:
    """Plain JSON values: what it is, and what its file says of it, the log of its training left out."""
    return {
        "name": network.name,
        "shape": list(network.shape),
        "classes": network.num_classes,
        "parameters": network.parameter_count(),
        "convention": network.convention,
        "digest": network.digest(),
        "config": network.config,
        "about": {key: value for key, value in network.about.items() if key != "log"},
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{key} {_text(entry)}" for key, entry in value.items())
    elif isinstance(value, list):
        text = " ".join(_text(entry) for entry in value)
    else:
        text = "none" if value is None else str(value)
    return shortened(text, LONGEST)
