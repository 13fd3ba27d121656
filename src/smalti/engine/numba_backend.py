"""The `numba` backend: compiled loops on the CPU for windows at the same place, on threads.

Boxes (`Full`, `Crops`, `Centred`) are sliding sums: `compiled.kernels`, called by `compiled.box_program` and `compiled.full_program`; where
each answers with its own pixel, one pass does: `compiled.pixel_kernels` and `compiled.pixel_program`. Masks of any form are sparse sums
with images in lanes: `compiled.mask_kernels` and `compiled.mask_program`. A flip is done to z instead of to every image: the distance
between z and the flipped image is that between the flipped z and the image, so a source with flips costs twice, and no image is moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from smalti.engine.backend import Backend
from smalti.engine.compiled.box_program import BoxProgram
from smalti.engine.compiled.full_program import FullProgram
from smalti.engine.compiled.mask_program import mask_program
from smalti.engine.compiled.pixel_program import PixelProgram
from smalti.engine.compiled.shift_program import ShiftProgram
from smalti.engine.elements import Selection
from smalti.engine.torch_backend import TorchBackend
from smalti.engine.windows import Full

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["NumbaBackend"]


class _TwoPhases(Protocol):
    """What every program has; see `smalti.engine.compiled.one_pass`."""

    def normalisers(self) -> np.ndarray: ...

    def numerator(self, log_normalisers: np.ndarray) -> np.ndarray: ...

    def both_phases(self) -> np.ndarray: ...


class NumbaBackend(Backend):
    name = "numba"

    def unsupported(self, collection: PosteriorMeanCollection, device: torch.device) -> str | None:
        if device.type != "cpu":
            return f"it computes on the CPU, and z is on {device}"
        if ShiftProgram.covers(collection):
            return None
        if collection.shifts != [(0, 0)]:
            return "it compares with shifted places only what is centred on a pixel, and whole"
        if not _are_boxes(collection) and collection.queries.factors(collection.shape) is not None:
            return "soft separable windows are matrix products, which torch does"
        return None

    def log_normalisers(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        return torch.from_numpy(_program(collection, z, sigma, selection).normalisers())

    def numerator(
        self,
        collection: PosteriorMeanCollection,
        z: torch.Tensor,
        sigma: torch.Tensor,
        log_normalisers: torch.Tensor,
        selection: Selection,
    ) -> torch.Tensor:
        program = _program(collection, z, sigma, selection)
        return torch.from_numpy(program.numerator(log_normalisers.double().cpu().numpy()))

    def both_phases(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        program = _program(collection, z, sigma, selection)
        return torch.from_numpy(program.both_phases())

    def covariance_product(
        self,
        collection: PosteriorMeanCollection,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        selection: Selection,
        transpose: bool,
    ) -> torch.Tensor:
        boxes = not ShiftProgram.covers(collection) and _are_boxes(collection)
        if not boxes or _are_whole(collection):  # plain matrix products do for one window, and for masks
            return TorchBackend().covariance_product(collection, z, sigma, direction, selection, transpose)
        program = BoxProgram(collection, z, sigma, selection)
        return torch.from_numpy(program.covariance_product(direction.detach().double().numpy(), transpose))


def _are_boxes(collection: PosteriorMeanCollection) -> bool:
    """Whether queries and responses are boxes on one grid, which flips, if there are any, map onto itself."""
    box, reply = collection.queries.boxes(collection.shape), collection.responses.boxes(collection.shape)
    if box is None or reply is None or (box.rows, box.columns) != (reply.rows, reply.columns):
        return False
    width = collection.shape[2]
    return not collection.source.hflip or (box.mirrored(width) and reply.mirrored(width))


def _are_whole(collection: PosteriorMeanCollection) -> bool:
    """Whether queries and responses are one box, the image."""
    box, reply = collection.queries.boxes(collection.shape), collection.responses.boxes(collection.shape)
    return box == reply == Full().boxes(collection.shape)


def _program(
    collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
) -> _TwoPhases:
    if ShiftProgram.covers(collection):
        return ShiftProgram(collection, z, sigma, selection)
    if not _are_boxes(collection):
        return mask_program(collection, z, sigma, selection)
    if _are_whole(collection):
        return FullProgram(collection, z, sigma, selection)
    return (PixelProgram if PixelProgram.covers(collection) else BoxProgram)(collection, z, sigma, selection)
