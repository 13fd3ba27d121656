"""Networks in ONNX files, computed by ONNX Runtime on the CPU (the extra smalti[onnx]).

A file says how a network computes, not what its output means, nor at which noise levels: that is given, as `config`:

    {"convention": "epsilon-vp", "schedule": "linear", "steps": 1000}       one of `smalti.networks.conventions`; a table for -vp
    {"convention": "edm", "shape": [3, 32, 32], "num_classes": 10}          the shape where the file leaves it open

Its inputs are, in this order, x (B, C, H, W), the noise level (B,), and labels (B,), if any; its first output is F, whose further
channels (a learned variance) are left out. There are no gradients.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smalti.core.errors import InputError, did_you_mean
from smalti.core.pickles import printable
from smalti.networks.checkpoint import read_whole
from smalti.networks.conventions import CONVENTIONS
from smalti.networks.tables import DiscreteTable

__all__ = ["OnnxNetwork", "read_onnx"]

TYPES = {
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(float16)": torch.float16,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
}
KNOWN = ("convention", "schedule", "steps", "beta_start", "beta_end", "shape", "num_classes")
ELSEWHERE = b"\n\x08location"  # a tensor whose numbers are in another file, as protobuf writes it
LARGEST = 4096  # of a side and of the channels


class OnnxNetwork(nn.Module):
    """F(x, noise, labels) of an ONNX file.

    Args:
        content: the bytes of the file.
        what: its name, for messages.

    Raises:
        InputError: onnxruntime is not installed, or cannot read it.
    """

    identity: torch.Tensor

    def __init__(self, content: bytes, what: str) -> None:
        super().__init__()
        self.content, self.what = content, what
        # what it computes, for `Network.digest`
        self.register_buffer("identity", torch.tensor(list(hashlib.sha256(content).digest()), dtype=torch.uint8))
        self.session = _session(content, what)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "session": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "session": _session(state["content"], state["what"])})

    def forward(self, x: torch.Tensor, noise: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """x (B, C, H, W), noise (B,), labels (B,) int64 -> (B, C, H, W) float32."""
        if torch.is_grad_enabled() and x.requires_grad:
            raise InputError(f"{self.what} is an ONNX network, which has no gradients; call it on z without them")
        inputs = self.session.get_inputs()
        given = [x, noise.reshape(-1).expand(len(x)), *([] if labels is None else [labels])]
        if len(given) != len(inputs):
            wants = "labels, one class per image" if len(given) < len(inputs) else "no labels"
            raise InputError(f"{self.what} takes {wants}")
        # a file that was exported for one image takes one at a time
        step = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else max(len(x), 1)
        if len(x) % step:
            raise InputError(
                f"{self.what} was exported for batches of {step} and is given {len(x)}; export it for any size"
            )
        parts = []
        for low in range(0, len(x), step):
            feed = {}
            for place, tensor in zip(inputs, given, strict=True):
                part = tensor[low : low + step].detach().to("cpu", TYPES[place.type])
                feed[place.name] = (part if place.shape else part[0]).contiguous().numpy()
            try:
                parts.append(torch.from_numpy(self.session.run(None, feed)[0]))
            except Exception as error:  # whatever the runtime raises
                raise InputError(f"{self.what} cannot be computed ({_line(error)})") from error
        return torch.cat(parts)[:, : x.shape[1]].to(x.device, torch.float32) if parts else x


def read_onnx(
    path: Path, config: Mapping[str, Any] | None
) -> tuple[OnnxNetwork, str, tuple[int, int, int], int | None, DiscreteTable | None, dict[str, Any]]:
    """Read an ONNX file.

    Args:
        path: the file.
        config: see the module.

    Returns:
        module, convention, shape, num_classes, table and what is known of it, as `smalti.networks.network.Network` takes them.

    Raises:
        InputError: onnxruntime is not installed; a file that it does not read, or whose inputs are not a denoiser's; a config that
            lacks something or has what is not known.
    """
    said = dict(config or {})
    if "convention" not in said:
        raise InputError(
            f"{path} does not say what its output means; pass config={{'convention': 'epsilon-vp', 'schedule': 'linear', "
            f"'steps': 1000}} or another of {', '.join(CONVENTIONS)}"
        )
    unknown = [str(name) for name in said if name not in KNOWN]
    if unknown:
        raise InputError(
            f"config has no {printable(unknown[0], 40)!r} for an ONNX network{did_you_mean(unknown[0], KNOWN)}"
        )
    content = read_whole(path)
    if ELSEWHERE in content:
        raise InputError(f"{path} has its weights in further files; export it as one file")
    module = OnnxNetwork(content, str(path))
    inputs = module.session.get_inputs()
    fits = len(inputs) in (2, 3) and len(inputs[0].shape) == 4 and all(len(i.shape) <= 1 for i in inputs[1:])
    if not fits or any(i.type not in TYPES for i in inputs):
        found = ", ".join(f"{printable(i.name, 30)} {i.shape}" for i in inputs[:4])
        raise InputError(
            f"{path} takes {found}; a denoiser takes x (B, C, H, W), the noise level (B,), and perhaps labels (B,)"
        )
    shape = tuple(said.get("shape", inputs[0].shape[1:]))
    if len(shape) != 3 or not all(type(side) is int and 1 <= side <= LARGEST for side in shape):
        raise InputError(f"{path} leaves the size of its images open; add 'shape': [C, H, W] to config")
    table = None
    if str(said["convention"]).endswith("-vp"):
        names = ("schedule", "steps", "beta_start", "beta_end")
        table = DiscreteTable.named(**{name: said[name] for name in names if name in said})
    about = {"format": "ONNX", "inputs": len(inputs), "bytes": len(content)}
    return module, said["convention"], shape, said.get("num_classes"), table, about


def _session(content: bytes, what: str) -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise InputError("reading an ONNX file needs onnxruntime: pip install 'smalti[onnx]'") from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the runtime raises on a file that is none
        raise InputError(f"{what} is not a readable ONNX file ({_line(error)})") from error


def _line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()), 120)
