"""The `numba` backend: compiled loops on the CPU for boxes at the same place (`Full`, `Crops`, `Centred`), on threads.

The loops are in `compiled.kernels`, what calls them in `compiled.box_program` and `compiled.full_program`. A flip is done to z instead of
to every image: the distance between z and the flipped image is that between the flipped z and the image, so a source with flips costs
twice, and no image is moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from smalti.engine.backend import Backend
from smalti.engine.compiled.box_program import BoxProgram
from smalti.engine.compiled.full_program import FullProgram
from smalti.engine.elements import Selection
from smalti.engine.torch_backend import TorchBackend
from smalti.engine.windows import Full

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["NumbaBackend"]


class NumbaBackend(Backend):
    name = "numba"

    def unsupported(self, collection: PosteriorMeanCollection, device: torch.device) -> str | None:
        if device.type != "cpu":
            return f"it computes on the CPU, and z is on {device}"
        boxes = collection.queries.boxes(collection.shape), collection.responses.boxes(collection.shape)
        if boxes[0] is None or boxes[1] is None:
            return "it knows boxes only (Full, Crops, Centred)"
        if (boxes[0].rows, boxes[0].columns) != (boxes[1].rows, boxes[1].columns):
            return "its queries and responses must lie on one grid"
        if collection.shifts != [(0, 0)]:
            return "it compares the same place only"
        if collection.source.hflip and not all(box.mirrored(collection.shape[2]) for box in boxes if box):
            return "these windows are not symmetric under the flips of the source"
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
        program = _program(collection, z, sigma, selection)
        if not isinstance(program, BoxProgram):  # one window: plain matrix products are as fast
            return TorchBackend().covariance_product(collection, z, sigma, direction, selection, transpose)
        return torch.from_numpy(program.covariance_product(direction.detach().double().numpy(), transpose))


def _program(
    collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
) -> BoxProgram | FullProgram:
    box, reply = collection.queries.boxes(collection.shape), collection.responses.boxes(collection.shape)
    assert box is not None
    assert reply is not None
    whole = (box.rows, box.columns) == (1, 1) and box == reply == Full().boxes(collection.shape)
    return (FullProgram if whole else BoxProgram)(collection, z, sigma, selection)
