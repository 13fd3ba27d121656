"""Features: what distances between sets of images are taken in; named, so that every number can say which.

efficientnet-lite0   1280 pooled features of EfficientNet-Lite0 (`smalti[quality]`), images resized to 128 x 128
pixels               the images themselves, C H W numbers
FILE.onnx            any network of the user's, by onnxruntime
FILE.pt              any TorchScript module of the user's; it is code, and loaded only where it is trusted
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from smalti.core.errors import InputError, did_you_mean, from_os_error
from smalti.core.validation import check_count, shown

__all__ = ["DEFAULT", "SCALES", "Features", "load_features"]

DEFAULT = "efficientnet-lite0"
SIZE = 128  # what images are resized to for EfficientNet-Lite0
BATCH = 32
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SCALES = ("signed", "unit", "imagenet", "bytes")  # what a file's network takes

Extract = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, repr=False)
class Features:
    """A named map from images to vectors.

    Attributes:
        name: what it is, said beside every number made with it.
        extract: (n, C, H, W) float32 in [-1, 1] to (n, d).
    """

    name: str
    extract: Extract

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, advance: Callable[[int], None] | None = None) -> torch.Tensor:
        """Features of images.

        Args:
            images: (n, C, H, W) floating, working scale; clipped to [-1, 1].
            advance: called with the number of images that are done, batch by batch.

        Returns:
            (n, d) float64.

        Raises:
            InputError: images that the network does not take, or an answer that is not (n, d) finite numbers.
        """
        if images.ndim != 4 or not len(images):
            raise InputError(f"images have shape {tuple(images.shape)}; give (n, C, H, W), n at least 1")
        found = []
        for part in images.split(BATCH):
            try:
                values = self.extract(part.float().clamp(-1, 1))
            except (RuntimeError, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"{self.name} failed ({' '.join(str(error).split())[-120:]})") from error
            if not isinstance(values, torch.Tensor) or values.ndim != 2 or len(values) != len(part):
                raise InputError(f"{self.name} does not give one vector an image, (n, d)")
            if not bool(torch.isfinite(values).all()):
                raise InputError(f"{self.name} gave NaN or infinite features")
            found.append(values.double())
            if advance is not None:
                advance(len(part))
        return torch.cat(found)

    def __repr__(self) -> str:
        return f"Features({self.name!r})"


def load_features(
    what: str | os.PathLike[str] = DEFAULT, *, size: int | None = None, scale: str = "signed", trust: bool = False
) -> Features:
    """Features by name, or of a network in a file.

    Args:
        what: "efficientnet-lite0", "pixels", or the path of a .onnx file or of a TorchScript file.
        size: side that images are resized to (bilinear, antialiased where they shrink); 128 for EfficientNet-Lite0, the
            size that an ONNX file names, else that of the images.
        scale: what a file's network takes: "signed" [-1, 1], "unit" [0, 1], "imagenet" (unit less ImageNet's mean, by its
            standard deviation), "bytes" 0 to 255.
        trust: load a TorchScript file; it may run any code.

    Raises:
        InputError: an unknown name or scale, a file that cannot be read or is not trusted, an extra that is not installed.
    """
    if scale not in SCALES:
        raise InputError(
            f"no scale is called {scale!r}{did_you_mean(str(scale), SCALES)} (scales: {', '.join(SCALES)})"
        )
    side = None if size is None else check_count("the size of images for features", size)
    if not isinstance(what, (str, os.PathLike)):
        raise InputError(f"features are a name ({DEFAULT}, pixels) or the path of a file, not {shown(what)}")
    name = os.fspath(what)
    if name in (DEFAULT, "pixels") and (trust or scale != "signed"):
        option = "trust (--trust)" if trust else "scale (--feature-scale)"
        raise InputError(f"{option} is for a network in a file, and {name} is none; leave it out")
    if name == DEFAULT:
        from smalti.quality.efficientnet import EfficientNetLite0

        network, at = EfficientNetLite0.installed(), side or SIZE
        return Features(f"EfficientNet-Lite0 at {at}", lambda images: network(_resized(coloured(images), at)))
    if name == "pixels":
        return Features("pixels" if side is None else f"pixels at {side}", lambda x: _resized(x, side).flatten(1))
    path = Path(name)
    if not path.is_file():
        near = did_you_mean(name, (DEFAULT, "pixels"))
        raise InputError(f"there are no features {name!r} and no such file{near} (features: {DEFAULT}, pixels, a file)")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    label = f"{path.name} (sha256 {hashlib.sha256(content).hexdigest()[:12]}, {scale}"
    if path.suffix == ".onnx":
        session, named = _onnx(path, content)
        side = side or named
        if trust:
            raise InputError("trust (--trust) is for TorchScript, and an ONNX file needs none; leave it out")
        return Features(_titled(label, side), lambda x: session(_scaled(_resized(coloured(x), side), scale)))
    if content[:2] != b"PK":
        raise InputError(
            f"{path} is neither an ONNX file (.onnx) nor TorchScript; give one, or a name ({DEFAULT}, pixels)"
        )
    if not trust:
        raise InputError(
            f"{path} is TorchScript, which is code; give trust=True (--trust) if you know where it comes from"
        )
    module = _torchscript(path, content)
    return Features(_titled(label, side), lambda x: module(_scaled(_resized(coloured(x), side), scale)))


def coloured(images: torch.Tensor) -> torch.Tensor:
    """(n, 3, H, W) of grey or colour images.

    Raises:
        InputError: another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise InputError(f"networks take grey or colour images, (n, 1 or 3, H, W), not {tuple(images.shape)}")
    return images.expand(-1, 3, -1, -1)


def _resized(images: torch.Tensor, side: int | None) -> torch.Tensor:
    """Images at side x side; as they are where `side` is None."""
    if side is None or tuple(images.shape[2:]) == (side, side):
        return images
    return functional.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)


def _scaled(images: torch.Tensor, scale: str) -> torch.Tensor:
    if scale == "signed":
        return images
    unit = (images + 1) / 2
    if scale == "unit":
        return unit
    if scale == "bytes":
        return unit * 255
    mean, deviation = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    return (unit - mean) / deviation


def _titled(label: str, side: int | None) -> str:
    return f"{label})" if side is None else f"{label}, at {side})"


def _torchscript(path: Path, content: bytes) -> Extract:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(io.BytesIO(content), map_location="cpu").eval()  # what was hashed is what is loaded
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} is not a TorchScript module ({' '.join(str(error).split())[:100]})") from error


def _onnx(path: Path, content: bytes) -> tuple[Extract, int | None]:
    """The network, and the side of its input where the file fixes one."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError("ONNX files need onnxruntime; pip install onnxruntime") from None
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        raise InputError(f"{path} is not an ONNX network ({' '.join(str(error).split())[:100]})") from error
    (first, *_) = session.get_inputs()
    side = first.shape[-1] if len(first.shape) == 4 and isinstance(first.shape[-1], int) else None

    def run(images: torch.Tensor) -> torch.Tensor:
        try:
            (values, *_) = session.run(None, {first.name: images.numpy().astype(np.float32)})
        except Exception as error:
            raise InputError(f"{path} failed ({' '.join(str(error).split())[-120:]})") from error
        return torch.from_numpy(np.asarray(values)).flatten(1)

    return run, side
