"""Tensors of images that `torch.save` wrote (.pt, .pth): one tensor, (images, labels), or a dict of tensors.

They are read by smalti.core.torch_streams, which executes and imports nothing, and allocates nothing because a file says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.core.errors import EnvironmentFailure, InputError, from_os_error
from smalti.core.pickles import Budget, refusals
from smalti.core.text import printable
from smalti.core.torch_streams import TensorRecord, check_shares, is_archive, is_legacy, read_tree
from smalti.source.cache import Built, Store
from smalti.source.checks import check_labels_array
from smalti.source.conventions import check_layout, in_nchw
from smalti.source.conversion import fill, rows_of
from smalti.source.format import Format, Request, Stored, cached
from smalti.source.identity import file_identity
from smalti.source.memory import SHARE, available_memory, size_in_words
from smalti.source.names import choose_arrays

__all__ = ["TORCH"]

RULE = "a tensor of torch.save, stored as it is (floats as float32)"
ENDINGS = (".pt", ".pth")
MOST_TENSORS = 1000


def open_tensors(request: Request) -> Stored:
    """The images of a file of `torch.save`, and their labels where they are beside them.

    Raises:
        InputError: anything but tensors in it, damage, no images, labels that are not classes.
        EnvironmentFailure: it does not fit in memory.
    """
    path = request.path

    def build(store: Store) -> Built:
        data = _whole(path)
        if not is_archive(data) and not is_legacy(data):
            raise InputError(f"{path} is not a file of torch.save; save the tensor with it, or as .npy")
        with refusals(str(path), "tensors and plain containers", "file of torch.save"):
            records = _records(read_tree(data, {}, Budget.of(len(data))), str(path))
            check_shares(records, len(data))
            choice = choose_arrays({name: record.size for name, record in records.items()}, request.split, str(path))
            images = _array(records[choice.images])
            given = None if choice.labels is None else _array(records[choice.labels])
        what = f"{path}: {choice.images}"
        check_layout(images.shape, images.dtype, request.layout, what)
        rows = rows_of(in_nchw(images, request.layout))
        labels = None if given is None else check_labels_array(given, rows.shape[0])
        return Built(fill(rows, store, request.resolution, request.show), labels, None, choice.unused)

    options = {"layout": request.layout, "split": request.split, "reader": "torch"}
    return cached(request, "torch", request.name(path.suffix), RULE, file_identity(path), options, build)


def _whole(path: Path) -> bytes:
    try:
        needed, left = 2 * path.stat().st_size, available_memory()
        if needed > SHARE * left:
            raise EnvironmentFailure(
                f"reading {path} needs {size_in_words(needed)} of memory and {size_in_words(left)} is free; save it as .npy"
            )
        return path.read_bytes()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def _records(tree: Any, what: str) -> dict[str, TensorRecord]:
    """The tensors of a tree by name; a bare one is `images`, a pair is `images` and `labels`."""
    if isinstance(tree, TensorRecord):
        return {"images": tree}
    if isinstance(tree, (tuple, list)):
        if len(tree) > 2 and all(isinstance(item, TensorRecord) and len(item.size) == 3 for item in tree):
            raise InputError(f"{what} holds a list of {len(tree)} images; save them as one tensor, torch.stack(images)")
        tree = dict(zip(("images", "labels", *(f"item {k}" for k in range(2, len(tree)))), tree, strict=False))
    if not isinstance(tree, dict):
        raise InputError(f"{what} holds no tensor of images; save one, or (images, labels)")
    if len(tree) > MOST_TENSORS:
        raise InputError(f"{what} holds {len(tree)} things, which is no data set; save one tensor, or (images, labels)")
    found = {printable(name): value for name, value in tree.items() if isinstance(name, str)}
    tensors = {name: value for name, value in found.items() if isinstance(value, TensorRecord)}
    if not tensors:
        raise InputError(f"{what} holds no tensor of images; save one, or (images, labels)")
    return tensors


def _array(record: TensorRecord) -> np.ndarray:
    tensor = record.to_tensor()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


TORCH = Format(
    "torch",
    "tensors of torch.save (.pt)",
    lambda path, head: head is not None and path.suffix.lower() in ENDINGS,
    open_tensors,
    layouts=True,
    splits=True,
)
