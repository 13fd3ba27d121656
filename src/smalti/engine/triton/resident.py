"""Sources on the device: the stored images are copied there once, as they are stored."""

from __future__ import annotations

import warnings
import weakref

import numpy as np
import torch

from smalti.source import Source

__all__ = ["fits", "resident"]

SHARE = 0.5  # of the device's memory, for one source
_kept: weakref.WeakKeyDictionary[Source, dict[torch.device, torch.Tensor]] = weakref.WeakKeyDictionary()


def fits(source: Source, device: torch.device) -> bool:
    """Whether the images of a source find place on the device."""
    if device.type != "cuda" or device in _kept.get(source, {}):
        return True
    return source.images.nbytes <= SHARE * torch.cuda.get_device_properties(device).total_memory


def resident(source: Source, device: torch.device) -> torch.Tensor:
    """The stored images (N, C, H, W) on the device, uint8 or float32; they stay there as long as the source lives."""
    kept = _kept.setdefault(source, {})
    if device not in kept:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writ")  # nothing writes to it
            images = torch.from_numpy(np.ascontiguousarray(source.images))
        kept[device] = images.to(device) if device.type != "cpu" else images
    return kept[device]
