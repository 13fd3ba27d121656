"""--denoiser and --network: the one denoiser that a command runs, or the set of them that it looks at on the same images.

A network was trained on certain images. Analytic denoisers that it is held against are made on those, so that they explain
the same data set: the images recorded with the first network, flips included.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smalti import denoisers
from smalti.analysis.identity import plain
from smalti.cli.parameters import parse_parameters, split_name
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.text import printable
from smalti.source import Source

__all__ = [
    "DEFAULT",
    "Chosen",
    "check_fits",
    "check_labelled",
    "choose",
    "load_network",
    "open_subjects",
    "parse_denoisers",
]


DEFAULT = "pspc-square"


@dataclass(frozen=True)
class Chosen:
    """A denoiser to be made on a source, or a network that is there already.

    Attributes:
        name: for captions.
        identity: plain values that determine it.
        parameters: of a denoiser's constructor.
        network: or the network.
    """

    name: str
    identity: dict[str, Any]
    parameters: dict[str, Any]
    network: Any = None

    def create(self, source: Source) -> Denoiser:
        """The denoiser on `source`.

        Raises:
            InputError: a network for images of another shape; a parameter that the denoiser refuses.
        """
        if self.network is None:
            return denoisers.create(self.name, source, **self.parameters)
        check_fits(self.network, source)
        return self.network


def choose(denoiser: str | None, pairs: Sequence[str], backend: str | None, network: str | None) -> Chosen:
    """What the options name; checked before the data is opened.

    Args:
        denoiser: NAME or NAME:PARAM=VALUE; None for the default, or for a network.
        pairs: further PARAM=VALUE, from --param.
        backend: from --backend, or None.
        network: a checkpoint, or the name of one that comes with smalti.

    Raises:
        InputError: a denoiser and a network; an unknown one; a checkpoint that cannot be loaded.
    """
    if network is None:
        name, own = split_name(denoiser or DEFAULT)
        parameters = parse_parameters(denoisers.find(name), [*own, *pairs], backend)
        return Chosen(name, {"name": name, "parameters": plain(parameters)}, parameters)
    if denoiser is not None or pairs or backend is not None:
        raise InputError("--network is the denoiser already; leave --denoiser, --param and --backend out")
    loaded = load_network(network)
    return Chosen(printable(loaded.name), {"network": loaded.name, "digest": loaded.digest()}, {}, loaded)


def parse_denoisers(texts: Sequence[str], backend: str | None = None) -> dict[str, tuple[str, dict[str, Any]]]:
    """What --denoiser options name, which can be checked before the data is opened.

    Args:
        texts: each NAME or NAME:PARAM=VALUE[:PARAM=VALUE...], such as "pspc-square:patch_size=5".
        backend: from --backend; for the denoisers that have backends and were not given their own.

    Returns:
        For each its name (the second of the same name is called by its whole text) -> (registered name, parameters).

    Raises:
        InputError: an unknown denoiser or parameter, a value of another type, the same text twice.
    """
    parsed: dict[str, tuple[str, dict[str, Any]]] = {}
    for text in texts:
        name, pairs = split_name(text)
        kind = denoisers.find(name)
        parameters = parse_parameters(kind, pairs)
        if backend is not None and "backend" in denoisers.parameters_of(kind):
            parameters = {"backend": backend, **parameters}
        parsed[_unused_name(name, text.strip(), parsed, "--denoiser")] = name, parameters
    return parsed


def open_subjects(
    source: Source, denoisers_named: Sequence[str], networks_named: Sequence[str], backend: str | None = None
) -> tuple[dict[str, Denoiser], Source]:
    """The denoisers to look at, by unique names, and the images that they are about.

    Args:
        source: the data as opened.
        denoisers_named: from --denoiser, as in `parse_denoisers`.
        networks_named: from --network, checkpoints or names of shipped networks.
        backend: from --backend, or None.

    Returns:
        Networks, then denoisers, each in the order given; and the images that the first network was trained on
        (`source` itself without networks), on which the denoisers are made.

    Raises:
        InputError: nothing named; an unknown name or parameter; a network for images of another shape.
    """
    if not denoisers_named and not networks_named:
        raise InputError("nothing to look at; give at least one --denoiser or --network")
    parsed = parse_denoisers(denoisers_named, backend)
    subjects: dict[str, Denoiser] = {}
    images = source
    for text in networks_named:
        network = load_network(text)
        check_fits(network, source)
        trained_on = network.training_source(source)
        if not subjects:
            images = trained_on
        elif (trained_on.fingerprint(), trained_on.hflip) != (images.fingerprint(), images.hflip):
            warnings.warn(
                f"{text} was trained on other images ({trained_on!r}) than {networks_named[0]} ({images!r}); "
                "everything else is computed on the latter",
                stacklevel=2,
            )
        subjects[_unused_name(network.name, text, subjects, "--network")] = network
    for name, (registered, parameters) in parsed.items():
        unique = _unused_name(name, f"denoiser {name}", subjects, "--denoiser")
        subjects[unique] = denoisers.create(registered, images, **parameters)
    return subjects, images


def load_network(text: str) -> Any:
    """The network of --network: a file, a folder, or a name of one that comes with smalti.

    Raises:
        InputError: there is none, or it cannot be loaded.
    """
    from smalti.networks import Network  # torch modules, for commands that need them

    return Network.load(text)


def check_labelled(labelled: bool, subjects: Mapping[str, Denoiser], source: Source) -> None:
    """Raise InputError where --labelled is given and the data, or one of the denoisers, has no classes."""
    if not labelled:
        return
    if source.labels is None:
        raise InputError("--labelled needs classes, which this data set has not; leave it out")
    for name, subject in subjects.items():
        if subject.num_classes is None:
            raise InputError(f"--labelled needs classes, which {name} has not; leave it out, or leave {name} out")


def check_fits(network: Any, source: Source) -> None:
    """Raise InputError unless a network takes images of the source's shape."""
    if tuple(network.shape) != source.shape:
        wanted, found = ("x".join(map(str, shape)) for shape in (network.shape, source.shape))
        same_channels = network.shape[0] == source.shape[0]
        size = "x".join(map(str, network.shape[1:]))
        remedy = f"add --resolution {size}" if same_channels else f"give --data with {network.shape[0]} channels"
        raise InputError(f"the network {network.name} takes {wanted} images, and the data has {found} ones; {remedy}")


def _unused_name(name: str, text: str, taken: Any, option: str) -> str:
    """`name`, or `text` where the name is taken; fit to be printed, drawn and written, whatever the file is called."""
    name, text = printable(name), printable(text)
    if name not in taken:
        return name
    if text in taken or text == name:
        raise InputError(f"{option} {text} is given twice; give it once")
    return text
