"""What determines a computation, as plain JSON values: denoisers and sources by content, not by path or address.

Two things with the same identity give the same results; `core.pieces` names kept pieces by it. The code counts: of a denoiser that of its
class, wherever that is defined; of a computation that of the module that does it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch

from smalti.core.code import class_digest, code_digest, function_digest
from smalti.core.denoiser import Denoiser
from smalti.core.pieces import Pieces
from smalti.source import Source

__all__ = ["identity_of", "pieces_of", "plain", "source_identity"]

FILES = (".npy", ".npz", ".json")  # endings that parameters may have


def pieces_of(
    keep: str | os.PathLike[str] | Pieces | None, module: str, identity: Callable[[], Mapping[str, Any]]
) -> Pieces:
    """Where a computation keeps its pieces.

    Args:
        keep: a folder; Pieces of a larger computation, whose identity determines this one but for the code; or None, which keeps
            nothing.
        module: that computes, `__name__`: pieces of other code than it and what it imports is are never taken.
        identity: gives what else determines the computation. Called for a folder only: hashing takes time, and a plain function, say,
            has no identity but needs none where nothing is kept.

    Raises:
        InputError: the folder keeps another computation; a denoiser whose content cannot be told.
        EnvironmentFailure: it cannot be written.
    """
    if keep is None:
        return Pieces()
    code = code_digest(module)
    return keep.under(code[:8]) if isinstance(keep, Pieces) else Pieces.open(keep, {**identity(), "code": code})


def source_identity(source: Source) -> dict[str, Any]:
    """Images and labels by fingerprint (`Source.fingerprint`), and whether their flips count."""
    return {"fingerprint": source.fingerprint(), "images": len(source), "hflip": source.hflip}


def identity_of(denoiser: Any) -> dict[str, Any]:
    """A denoiser by its class and digest (a network's weights), else by its class and constructor arguments, and by its code.

    Args:
        denoiser: a `Denoiser`; it keeps its constructor arguments under their own names. Arguments that are sources,
            denoisers, tensors or modules count by content.

    Returns:
        Plain JSON values; "code" is `smalti.core.code.class_digest` of its class, and of its network's layers.
    """
    name = vars(type(denoiser)).get("kept_as") or f"{type(denoiser).__module__}.{type(denoiser).__qualname__}"
    kind = {"class": name, "code": _code_of(denoiser)}
    digest = getattr(denoiser, "digest", None)
    if callable(digest):
        return {**kind, "digest": digest()}
    if isinstance(denoiser, Denoiser):
        return {**kind, **{name: plain(value) for name, value in denoiser.parameters_shown().items()}}
    return {**kind, "repr": repr(denoiser)}


def _code_of(thing: Any) -> str:
    """Of its class; where it is a network, or holds one, of all layers' classes that are not torch's own."""
    module = thing if isinstance(thing, torch.nn.Module) else getattr(thing, "module", None)
    layers = {type(layer) for layer in module.modules()} if isinstance(module, torch.nn.Module) else set()
    return class_digest(type(thing), *(kind for kind in layers if not kind.__module__.startswith("torch.")))


def plain(value: Any) -> Any:
    """`value` as JSON values that tell it from others: arrays, weights and files by content."""
    if _names_a_file(value):  # a heatmap, say: its content, wherever it lies
        return {"file": Path(value).name, "sha256": _sha256(Path(value).read_bytes())}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Source):
        return source_identity(value)
    if isinstance(value, Denoiser) or callable(getattr(value, "digest", None)):
        return identity_of(value)
    if isinstance(value, torch.nn.Module):
        weights = {name: plain(tensor) for name, tensor in value.state_dict().items()}
        return {"class": type(value).__qualname__, "code": _code_of(value), "sha256": _sha256(repr(weights).encode())}
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.ascontiguousarray(value)
        return {"dtype": str(array.dtype), "shape": list(np.shape(value)), "sha256": _sha256(array.tobytes())}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, **fields}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    if callable(value):
        name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"
        return {"function": name, "code": function_digest(value)} if isinstance(value, FunctionType) else name
    return repr(value)


def _names_a_file(value: Any) -> bool:
    """Whether `value` is a path, or text that looks like one (a word like "numba" does not), of a file."""
    if isinstance(value, str):
        return (os.sep in value or Path(value).suffix in FILES) and Path(value).is_file()
    return isinstance(value, os.PathLike) and Path(value).is_file()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
