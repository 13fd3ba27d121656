"""SSCD, a descriptor of images for copy detection (Pizzi et al. 2022), from its authors' TorchScript file.

The file is not part of smalti. TorchScript is code: a file is loaded only where its sha256 is a known one, or where its user says that it
is trusted. Images are prepared as SSCD's documentation recommends: the small edge resized to 288 pixels, three channels in [0, 1], less
ImageNet's mean and divided by its standard deviation. Descriptors have length 1, so that their dot product is the cosine.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F

from smalti.core.errors import InputError, from_os_error

__all__ = ["KNOWN", "SMALL_EDGE", "SSCD"]

KNOWN: dict[str, str] = {}  # sha256 hex -> name of a published file; none could be verified where this was written
SMALL_EDGE = 288
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 16


class SSCD:
    """A loaded descriptor. Made by `SSCD.load`.

    Attributes:
        digest: sha256 hex of its file.
        name: of the published file, or "unknown".
    """

    def __init__(self, module: torch.nn.Module, digest: str) -> None:
        self._module, self.digest, self.name = module.eval(), digest, KNOWN.get(digest, "unknown")

    @classmethod
    def load(cls, path: str | os.PathLike[str], trust: bool = False) -> SSCD:
        """Load a TorchScript file.

        Args:
            path: such as sscd_imagenet_mixup.torchscript.pt.
            trust: load it although its sha256 is not known: it may then run any code.

        Raises:
            InputError: no such file; an unknown sha256 without `trust`; no TorchScript module.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise from_os_error(error, f"read {path}") from error
        digest = hashlib.sha256(content).hexdigest()
        if not trust and digest not in KNOWN:
            known = "none is known" if not KNOWN else "not a known one"
            raise InputError(
                f"{path} is TorchScript, which is code, and its sha256 ({digest[:16]}...) cannot be verified ({known}); "
                "give --trust if you know where it comes from"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                module = torch.jit.load(io.BytesIO(content), map_location="cpu")  # what was hashed is what is loaded
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path} is not a TorchScript module ({' '.join(str(error).split())[:100]})") from error
        return cls(module, digest)

    @torch.no_grad()
    def descriptors(self, images: torch.Tensor) -> torch.Tensor:
        """Descriptors of images.

        Args:
            images: (B, 1 or 3, H, W), working scale.

        Returns:
            (B, D) float64 of length 1; D is 512 for the ResNet-50 models.

        Raises:
            InputError: images of another number of channels; a module that does not give (B, D) finite numbers.
        """
        found = []
        for part in images.split(BATCH):
            try:
                values = self._module(prepared(part))
            except RuntimeError as error:
                raise InputError(f"the SSCD module failed ({' '.join(str(error).split())[-100:]})") from error
            if not isinstance(values, torch.Tensor) or values.ndim != 2 or len(values) != len(part):
                raise InputError("the SSCD module does not give one descriptor an image, (B, D); is it another model?")
            if not bool(torch.isfinite(values).all()):
                raise InputError("the SSCD module gave NaN or infinite descriptors")
            found.append(F.normalize(values.double(), dim=1))
        return torch.cat(found)


def prepared(images: torch.Tensor) -> torch.Tensor:
    """(B, 1 or 3, H, W) in the working scale -> (B, 3, h, w) float32 as SSCD takes them, min(h, w) = 288."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"SSCD takes grey or colour images, (B, 1 or 3, H, W), not {tuple(images.shape)}")
    unit = ((images.float().clamp(-1, 1) + 1) / 2).expand(-1, 3, -1, -1)
    factor = SMALL_EDGE / min(images.shape[2:])
    size = [max(SMALL_EDGE, int(edge * factor)) for edge in images.shape[2:]]
    resized = F.interpolate(unit, size, mode="bilinear", antialias=True, align_corners=False)
    return (resized - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
