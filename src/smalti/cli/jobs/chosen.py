"""--denoiser, --param and --backend, or --network: the one denoiser that a command runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smalti import denoisers
from smalti.analysis.identity import plain
from smalti.cli.jobs.parameters import parse_parameters
from smalti.cli.jobs.subjects import check_fits
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.source import Source

__all__ = ["DEFAULT", "Chosen", "choose"]

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

    Raises:
        InputError: a denoiser and a network; an unknown one; a checkpoint that cannot be loaded.
    """
    if network is None:
        name = denoiser or DEFAULT
        parameters = parse_parameters(denoisers.find(name), pairs, backend)
        return Chosen(name, {"name": name, "parameters": plain(parameters)}, parameters)
    if denoiser is not None or pairs or backend is not None:
        raise InputError("--network is the denoiser already; leave --denoiser, --param and --backend out")
    from smalti.networks import Network  # torch modules, for commands that need them

    loaded = Network.load(network)
    return Chosen(loaded.name, {"network": loaded.name, "digest": loaded.digest()}, {}, loaded)
