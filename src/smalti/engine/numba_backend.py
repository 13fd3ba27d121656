"""The `numba` backend: compiled loops on the CPU, on threads.

Which program runs is decided in `programs.table`. A flip is done to z instead of to every image: the distance between z and the flipped
image is that between the flipped z and the image, so a source with flips costs twice, and no image is moved.
"""

from __future__ import annotations

import torch

from smalti.engine.backend import Backend, Covariances, Shares
from smalti.engine.elements import Selection
from smalti.engine.problem import Problem
from smalti.engine.programs.base import Program
from smalti.engine.programs.table import row_for
from smalti.engine.torch_backend import TorchBackend

__all__ = ["NumbaBackend"]


class NumbaBackend(Backend):
    name = "numba"

    def unsupported(self, problem: Problem, device: torch.device) -> str | None:
        if device.type != "cpu":
            return f"it computes on the CPU, and z is on {device}"
        if row_for(problem) is not None:
            return None
        if problem.shifts != [(0, 0)]:
            return "it compares with shifted places only what is centred on a pixel, and whole"
        return "soft separable windows are matrix products, which torch does"

    def log_normalisers(
        self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        return torch.from_numpy(_program(problem, z, sigma, selection).normalisers())

    def numerator(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        log_normalisers: torch.Tensor,
        selection: Selection,
    ) -> torch.Tensor:
        program = _program(problem, z, sigma, selection)
        return torch.from_numpy(program.numerator(log_normalisers.double().cpu().numpy()))

    def both_phases(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> torch.Tensor:
        return torch.from_numpy(_program(problem, z, sigma, selection).both_phases())

    def covariance_product(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        selection: Selection,
        transpose: bool,
    ) -> Covariances:
        row = row_for(problem)
        if row is None or row.derivatives is None:
            return TorchBackend().covariance_product(problem, z, sigma, direction, selection, transpose)
        program = row.derivatives(problem, z, sigma, selection)
        product, by_image = program.covariance_product(direction.detach().double().numpy(), transpose)
        return Covariances(torch.from_numpy(product), torch.from_numpy(by_image))

    def pullback(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        selection: Selection,
    ) -> Covariances:
        row = row_for(problem)
        if row is None or row.pullback is None:
            return super().pullback(problem, z, sigma, direction, selection)
        found = row.pullback(problem, z, sigma, selection).pullback(direction.detach().double().numpy())
        return Covariances(*(torch.from_numpy(values) for values in found))

    def shares(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        selection: Selection,
        pixels: torch.Tensor,
        top: int,
    ) -> Shares:
        row = row_for(problem)
        if row is None or row.shares is None:
            return TorchBackend().shares(problem, z, sigma, selection, pixels, top)
        found = row.shares(problem, z, sigma, selection).shares(pixels.numpy(), top)
        return Shares(*(torch.from_numpy(values) for values in found))


def _program(problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> Program:
    row = row_for(problem)
    assert row is not None, "a problem that this backend says it covers"
    return row.prepare(problem, z, sigma, selection)
