"""--half: networks of disjoint halves of the images, and which images nobody has seen; by what their checkpoints record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from smalti.cli.subjects import check_fits, load_network
from smalti.core.errors import InputError
from smalti.source import Source, Split

__all__ = ["open_halves", "training_numbers", "unseen"]


def open_halves(texts: Sequence[str], opened: Source) -> dict[str, tuple[Any, Source]]:
    """The networks of --half with their images, called half1 and half2.

    Args:
        texts: checkpoints or names of shipped networks, two or none.
        opened: the data.

    Raises:
        InputError: a network of images of another shape; one whose training images are not known; halves with images in common.
    """
    halves: dict[str, tuple[Any, Source]] = {}
    seen: list[np.ndarray] = []
    for number, text in enumerate(texts, 1):
        network = load_network(text)
        check_fits(network, opened)
        numbers = training_numbers(network, opened)
        if numbers is None:
            raise InputError(
                f"--half {text}: which of these images it was trained on is not known; give networks that `smalti train --part 1/2` "
                "and `--part 2/2` made of the same --data"
            )
        halves[f"half{number}"] = (network, network.training_source(opened))
        seen.append(numbers)
    if len(seen) == 2 and (common := len(np.intersect1d(seen[0], seen[1]))):
        raise InputError(
            f"--half {texts[0]} and --half {texts[1]} were both trained on {common:,} of the images; give networks of disjoint halves "
            "(`smalti train --part 1/2` and `--part 2/2`)"
        )
    return halves


def training_numbers(network: Any, opened: Source) -> np.ndarray | None:
    """Numbers of the images of `opened` that a network was trained on, increasing, by what its file records; None where unknown."""
    said, split = _recorded(network, opened)
    if said is not None and said.get("trained_fingerprint") == opened.fingerprint():
        return np.arange(len(opened))
    return None if split is None else split.training_numbers(len(opened))


def unseen(
    networks: Mapping[str, Any], halves: Iterable[tuple[Any, Source]], opened: Source
) -> tuple[Source | None, list[str]]:
    """Images that neither the first network nor those of halves were trained on: of those that the first one was validated on.

    Args:
        networks: by name, the first one first; where there is none, the first of the halves stands for it.
        halves: networks of halves with their images.
        opened: the data.

    Returns:
        The images, or None where none are known; and what a reader must know of it, one sentence each.
    """
    pairs = list(halves)
    first = next(iter([*networks.values(), *(network for network, _ in pairs)]), None)
    if first is None:
        return None, []
    _, split = _recorded(first, opened)
    if split is None or not split.held_out:
        return None, []
    numbers = split.validation_numbers(len(opened))
    for network, _ in pairs:
        seen = training_numbers(network, opened)
        numbers = np.setdiff1d(numbers, np.arange(len(opened)) if seen is None else seen)
    notes = []
    if len(numbers) < min(split.held_out, len(opened)):
        missing = "All" if not len(numbers) else f"{min(split.held_out, len(opened)) - len(numbers):,}"
        notes = [
            f"{missing} of the {split.held_out:,} images held out from {first.name} were trained on by a network of a half, and are not "
            "counted as held out."
        ]
    return (opened.subset(numbers) if len(numbers) else None), notes


def _recorded(network: Any, opened: Source) -> tuple[dict[str, Any] | None, Split | None]:
    """What a network's file says of its training data, and the split where it is one of `opened`."""
    said = network.about.get("training_data")
    if not isinstance(said, dict):
        return None, None
    if said.get("fingerprint") != opened.fingerprint():
        return said, None
    try:
        return said, Split(**said["split"])
    except (TypeError, KeyError, InputError):
        return said, None
