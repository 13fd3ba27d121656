"""What `smalti networks` prints: the shipped networks, or the facts of one checkpoint."""

from __future__ import annotations

import json
from typing import Any

from smalti.cli.jobs.tables import print_rows
from smalti.networks import Network, shipped

__all__ = ["network_facts", "print_network", "print_shipped"]

LONGEST = 300  # characters of a value that are shown as text


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


def print_shipped(as_json: bool = False) -> None:
    """One line for each network that comes with smalti."""
    listed = [network_facts(Network.load(name)) for name in shipped()]
    if as_json:
        print(json.dumps(listed, indent=2))
        return
    for facts in listed:
        data = facts["about"].get("training_data", {})
        size = "x".join(map(str, facts["shape"]))
        print(
            f"{facts['name']}  {size}, {facts['parameters']:,} parameters, trained on {data.get('trained_images')} of {data.get('name')}"
        )


def print_network(checkpoint: str, as_json: bool = False) -> None:
    """Everything known of a checkpoint.

    Raises:
        InputError: it cannot be loaded.
    """
    facts = network_facts(Network.load(checkpoint))
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    rows = [(key, value) for key, value in facts.items() if key not in ("config", "about")]
    rows += [(key, value) for part in ("config", "about") for key, value in (facts[part] or {}).items()]
    print_rows([(key, _text(value)) for key, value in rows])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{key} {_text(entry)}" for key, entry in value.items())
    elif isinstance(value, list):
        text = " ".join(_text(entry) for entry in value)
    else:
        text = "none" if value is None else str(value)
    text = "".join(c if c.isprintable() else "?" for c in text)  # a file's own text must not steer the terminal
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
