"""`Network`: a trained network as a denoiser, with the call that all denoisers have.

network = smalti.Network.load("runs/ddpmpp/network.safetensors")          # or an EDM pickle, a torch.save file, a diffusers folder
network = smalti.Network.load("ddpmpp-digits")                            # one that comes with smalti
network = smalti.Network(module, convention="epsilon-vp", table=table, shape=(3, 32, 32))
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.validation import check_count
from smalti.networks.architectures import build
from smalti.networks.checkpoint import Checkpoint, write_safetensors
from smalti.networks.conventions import DiscreteTable, as_denoiser
from smalti.networks.loading import load
from smalti.networks.preconditioning import Preconditioned
from smalti.source import Source, Split

__all__ = ["Network"]


class Network(Denoiser):
    """A network that denoises.

    Without labels a class-conditional network of smalti or of EDM gets the zero class vector: for smalti's own, trained with
    labels left out at times, that is the unconditional network; for EDM's it is out of distribution, so give labels.

    Args:
        module: a callable; what it takes and returns is what `convention` says.
        convention: "edm" (module(z, sigma) -> x0), "epsilon-ve", "score-ve", or with a `table` "epsilon-vp", "v-vp", "sample-vp";
            see `smalti.networks.conventions`. Labels, where given, are the third argument: (B,) int64, or one-hot float32 (B,
            num_classes) for smalti's own `Preconditioned`.
        shape: (C, H, W) of the images.
        num_classes: number of classes that labels may name, or None.
        table: the noise levels of a discrete variance-preserving network.
        name: what tables and figures call it.
        config: the architecture, for smalti's own networks: with it `save` can write the network.
        about: plain JSON values: what is known of its training.

    Raises:
        InputError: no callable, an unknown convention, a bad shape.
    """

    name = "network"
    ambient = True
    opt_outs = {
        "stays_in_range": "a network extrapolates",
        "large_sigma_gives_the_mean": "a network is not exact outside the noise levels that it was trained on",
        "small_sigma_gives_the_nearest": "a network does not select an image",
    }

    def __init__(
        self,
        module: Callable[..., torch.Tensor],
        convention: str = "edm",
        shape: tuple[int, int, int] | None = None,
        *,
        num_classes: int | None = None,
        table: DiscreteTable | None = None,
        name: str = "network",
        config: Mapping[str, Any] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if not callable(module):
            raise InputError(f"a network must be callable, not {type(module).__name__}")
        if shape is None or len(shape) != 3:
            raise InputError(f"a network needs shape=(C, H, W), the shape of its images, not {shape!r}")
        self.module, self.convention, self.table = module, convention, table
        self.shape = (check_count("C", shape[0]), check_count("H", shape[1]), check_count("W", shape[2]))
        self.num_classes = None if num_classes is None else check_count("num_classes", num_classes)
        self.name = name  # type: ignore[misc]
        self.config, self.about = dict(config) if config else None, dict(about or {})
        self._denoise = as_denoiser(module, convention, table)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        config: Mapping[str, Any] | None = None,
        scheduler: Mapping[str, Any] | None = None,
        weights: str = "averaged",
    ) -> Network:
        """Load a checkpoint; nothing in the file is executed.

        Args:
            path: a .safetensors of smalti, an EDM pickle (.pkl), a file of `torch.save`, a folder of a diffusers `UNet2DModel`, or
                the name of a network that comes with smalti (`smalti.networks.shipped()` lists them).
            config: the architecture of a file that holds a bare state dict (torch.save, safetensors); what an ONNX file means
                (`smalti.networks.onnx_file`, the extra smalti[onnx]).
            scheduler: for a diffusers folder without a scheduler its scheduler's configuration (`config` is taken for it too).
            weights: where a checkpoint has both, "averaged" weights (a warning says so) or "raw" ones.

        Raises:
            InputError: no such file, an unknown format or architecture, a damaged or hostile file.
        """
        found = load(path, config, scheduler, weights)
        return cls(
            found.module,
            found.convention,
            found.shape,
            num_classes=found.num_classes,
            table=found.table,
            name=found.name,
            config=found.config,
            about=found.about,
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, name: str) -> Network:
        """Build the network of a checkpoint.

        Raises:
            InputError: the tensors do not fit the architecture.
        """
        module = build(checkpoint.config, checkpoint.state)
        return cls.from_module(module, checkpoint.config, name, checkpoint.about)

    @classmethod
    def from_module(
        cls, module: Preconditioned, config: Mapping[str, Any], name: str, about: Mapping[str, Any] | None = None
    ) -> Network:
        """One of smalti's own networks around `module`, whose parameters stop collecting gradients."""
        module.requires_grad_(False)
        shape = (config["channels"], config["resolution"], config["resolution"])
        return cls(
            module, "edm", shape, num_classes=config.get("num_classes") or None, name=name, config=config, about=about
        )

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
        """Write it as .safetensors with its architecture and all that is known of it.

        Raises:
            InputError: a network of the user's own, whose architecture smalti does not know.
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        if self.config is None or not isinstance(self.module, nn.Module):
            raise InputError("only smalti's own architectures can be saved; save your module with its own library")
        write_safetensors(path, self.config, self.module, self.about, dtype)

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and z.requires_grad):
            return self._denoise(z.to(self.device), sigma, self._classes(labels))

    def _classes(self, labels: torch.Tensor | None) -> torch.Tensor | None:
        if labels is None:
            return None
        if isinstance(self.module, Preconditioned):
            return F.one_hot(labels, self.num_classes or -1).to(self.device, torch.float32)
        return labels.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where its parameters are; the CPU for a callable without any."""
        parameters = self.module.parameters() if isinstance(self.module, nn.Module) else iter(())
        return next((p.device for p in parameters), torch.device("cpu"))

    def to(self, device: str | torch.device) -> Network:
        """Move it; returns itself."""
        if isinstance(self.module, nn.Module):
            self.module.to(device)
        return self

    def parameter_count(self) -> int:
        """Number of trained numbers; 0 for a callable without parameters."""
        return sum(p.numel() for p in self.module.parameters()) if isinstance(self.module, nn.Module) else 0

    def digest(self) -> str:
        """Identity of what it computes: sha256 hex of its convention, architecture, table and weights.

        Raises:
            InputError: a callable without a state dict, whose content cannot be told.
        """
        if not isinstance(self.module, nn.Module):
            raise InputError("a callable that is not a torch module has no weights to identify it by")
        architecture = json.dumps(self.config, sort_keys=True)  # the same weights with other heads are another network
        digest = hashlib.sha256(f"{self.convention} {self.shape} {self.num_classes} {architecture}".encode())
        if self.table is not None:
            digest.update(self.table.rounding.encode())
            digest.update(self.table.sigmas.numpy().tobytes())
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def training_source(self, source: Source) -> Source:
        """The images that it was trained on, of the data set that they were taken from.

        Args:
            source: the data set as it was opened for the training, or just the images trained on.

        Returns:
            The training images, with flips as in the training; `source` itself where the checkpoint does not say (EDM's do not), or
            says that it was trained on other images, of which a warning tells.
        """
        said = self.about.get("training_data")
        if not isinstance(said, dict):
            return source
        flips = bool(said.get("hflip", False))
        found = source.fingerprint()
        if found == said.get("trained_fingerprint"):
            return source if source.hflip == flips else source.with_hflip(flips)
        split = said.get("split")
        if found == said.get("fingerprint") and isinstance(split, dict):
            try:
                return Split(**split).training(source).with_hflip(flips)
            except (TypeError, InputError):
                pass
        warnings.warn(
            f"{self.name} was trained on other images ({said.get('images')} of {said.get('name')}) than {source!r}: "
            "what is compared here is not what it has seen",
            stacklevel=2,
        )
        return source

    def parameters_shown(self) -> dict[str, Any]:
        return {"name": self.name, "convention": self.convention, "shape": self.shape, "num_classes": self.num_classes}

    def with_source(self, source: Source) -> Network:
        """Itself: a network's training images are in its weights."""
        return self

    def __repr__(self) -> str:
        kind = self.config["architecture"] if self.config else type(self.module).__name__
        size = "x".join(map(str, self.shape))
        return f"Network({self.name!r}, {kind}, {size}, {self.parameter_count():,} parameters, {self.convention})"
