"""Files in the record structure of NVIDIA's EDM pickles, written from smalti's own networks, and opcodes to spoil them with.

The structure is what their persistence decorator gives to pickle: each module is a call of _reconstruct_persistent_obj with a dict of type,
version, module_src, class_name and state; ModuleDicts are plain objects; tensors are as torch pickles them. It was compared with what
NVlabs/edm itself writes.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from smalti.networks import EDMPreconditioned, UNet
from smalti.networks.layers import Convolution, FourierEmbedding, PositionalEmbedding
from smalti.networks.unet import Block

CLASSES = {
    EDMPreconditioned: "EDMPrecond",
    UNet: "SongUNet",
    Block: "UNetBlock",
    Convolution: "Conv2d",
    nn.Linear: "Linear",
    nn.GroupNorm: "GroupNorm",
    PositionalEmbedding: "PositionalEmbedding",
    FourierEmbedding: "FourierEmbedding",
}
TINY: dict[str, Any] = {
    "img_resolution": 4,
    "in_channels": 1,
    "out_channels": 1,
    "model_channels": 4,
    "channel_mult": [1, 1],
    "num_blocks": 1,
    "attn_resolutions": [],
}


def _reconstruct_persistent_obj(meta: object) -> object:
    raise AssertionError("a pickle was executed")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """pickle writes only names that can be imported; for as long as it writes, these can."""
    parent, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    names = {"torch_utils": parent, "torch_utils.persistence": module}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


class Persistent:
    """An object that the decorator would write."""

    def __init__(self, class_name: str, state: dict[str, Any], source: str = "", **meta: Any) -> None:
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": class_name,
            "state": state,
            **meta,
        }

    def __reduce__(self):
        return _reconstruct_persistent_obj, (self.meta,), None


def unet(arguments: Mapping[str, Any], seed: int = 0) -> EDMPreconditioned:
    """The network of SongUNet's arguments, every parameter and frequency random."""
    a = {**TINY, **arguments}
    model = UNet(
        a["img_resolution"],
        a["in_channels"],
        a["model_channels"],
        a["channel_mult"],
        a["num_blocks"],
        a["attn_resolutions"],
        a.get("dropout", 0.1),
        a.get("label_dim", 0),
        a.get("augment_dim", 0),
        a.get("embedding_type", "positional"),
        a.get("channel_mult_noise", 1),
        a.get("encoder_type", "standard"),
        a.get("resample_filter", [1, 1]),
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if not key.endswith("resample_filter"):
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return EDMPreconditioned(model).eval().requires_grad_(False)


def record(module: nn.Module, own: Mapping[type, dict[str, Any]], source: str) -> Any:
    """`module` as EDM's object of the same parameters; `own` has further attributes by class."""
    tables = {
        "_parameters": OrderedDict(module._parameters),
        "_buffers": dict(module._buffers),
        "_modules": {name: child and record(child, own, source) for name, child in module._modules.items()},
    }
    if isinstance(module, nn.ModuleDict):
        plain = nn.ModuleDict()
        plain.__dict__.update(tables)
        return plain
    hooks = {
        "_backward_hooks": OrderedDict(),
        "_non_persistent_buffers_set": {"not", "there"},
        "skip_scale": np.sqrt(0.5),
    }
    return Persistent(
        CLASSES[type(module)], {"training": False, **tables, **hooks, **own.get(type(module), {})}, source
    )


def edm_object(
    network: EDMPreconditioned,
    arguments: Mapping[str, Any],
    source: str = "raise AssertionError('source text was run')",
    preconditioning: Mapping[str, Any] | None = None,
    positional: int = 0,
) -> Persistent:
    """EDM's object for `network`; so many of SongUNet's `arguments` are given by position."""
    given = {**TINY, **arguments}
    model = {
        "_init_args": tuple(given.values())[:positional],
        "_init_kwargs": dict(list(given.items())[positional:]),
    }
    outer = {
        "sigma_data": 0.5,
        "use_fp16": False,
        "_init_args": (),
        "_init_kwargs": dict(given),
        **(preconditioning or {}),
    }
    return record(network, {UNet: model, EDMPreconditioned: outer}, source)


def edm_bytes(content: Any, protocol: int = 4) -> bytes:
    """A pickle of `content`, which may hold Persistent objects."""
    with importable():
        return pickle.dumps(content, protocol=protocol)


def snapshot(arguments: Mapping[str, Any] | None = None, protocol: int = 4, **more: Any) -> bytes:
    """A whole file, as EDM's training writes it: with a loss beside the network."""
    arguments = arguments or {}
    ema = edm_object(unet(arguments), arguments)
    loss = Persistent("EDMLoss", {"P_mean": -1.2, "_init_args": (), "_init_kwargs": {}})
    return edm_bytes(
        {"ema": ema, "loss_fn": loss, "augment_pipe": None, "dataset_kwargs": {"use_labels": False}, **more}, protocol
    )


def torch_bytes(content: Any, legacy: bool = False) -> bytes:
    """What torch.save writes; Persistent objects may be in it."""
    buffer = io.BytesIO()
    with importable():
        torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


# opcodes, for pickles that no pickler writes


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def integer(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8b" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def table(entries: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def sizes(*values: int) -> bytes:
    return b"(" + b"".join(integer(value) for value in values) + b"t"


def persistent(class_name: bytes, state: bytes, version: int = 6, kind: str = "class") -> bytes:
    meta = {
        "type": text(kind),
        "version": integer(version),
        "module_src": text(""),
        "class_name": class_name,
        "state": state,
    }
    return call(name("torch_utils.persistence", "_reconstruct_persistent_obj"), table(meta))


def finished(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."
