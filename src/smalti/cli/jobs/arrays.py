"""Reading z from .npy files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from smalti.core.errors import InputError, from_os_error
from smalti.core.files import read_floats
from smalti.core.validation import check_z

__all__ = ["load_z"]


def load_z(path: Path, shape: tuple[int, int, int]) -> tuple[torch.Tensor, str]:
    """Noisy images from a .npy file, read without unpickling.

    Args:
        path: an array (B, C, H, W), or (C, H, W) for one image; floating, working scale.
        shape: the (C, H, W) that is wanted.

    Returns:
        (B, C, H, W) float32 or float64 (wider of float32 and the file's dtype), and the SHA-256 of the file.

    Raises:
        InputError: not such a file, another shape, another dtype, no images, NaN or infinities; all name the file.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    array = read_floats(path)
    array = array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
    z = torch.from_numpy(array[None] if array.ndim == 3 else array)
    try:
        check_z(z, shape)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if z.shape[0] == 0:
        raise InputError(f"{path} holds no images")
    return z, digest
