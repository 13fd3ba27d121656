"""Rows of the Jacobian of a collection: the derivatives of chosen output entries with respect to all of z, exactly.

    dD_m/dz_n = 1/(sigma^2 sum_k R_k(m)) sum_k R_k(m) Q_k(n) Cov_{w_k}(x_m, x_n)
    Cov_{w_k}(x_m, x_n) = sum_i w_k^i (x_m^i - E_k(m)) x_n^i

Two routes, the one with fewer operations is taken: this formula as it stands, in float64, with one matrix product for each query
(`closed_form`); or one vector-Jacobian product of the backend for each output entry (`one_by_one`), where queries are many and wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from smalti.engine.elements import Selection, stored
from smalti.engine.problem import Problem

__all__ = ["Queries", "closed_form", "one_by_one", "plan"]

BLOCK_BYTES = 32 << 20  # of one intermediate
WEIGHTS_BYTES = 256 << 20  # of the weights of one z
NEGLIGIBLE = 2.0**-126  # weights below are 0, as in the numba backend
FEW = 16  # pixels that may be cheaper one at a time
CONVERSION_COST = 10  # measured: to read and subtract an entry of an element takes as long as so many multiplications
PRODUCT_COST = (
    8  # measured: a product of the backend, for one output, as long as so many multiplications a pixel and query
)


class Queries(NamedTuple):
    """What the chosen outputs m (M flat numbers c H W + y W + x) depend on.

    Attributes:
        numbers: (K',) the queries that contribute to any of them.
        places: (S,) flat numbers of the pixels that these look at, and of the outputs.
        looks: (K', S) = Q_k(n) at the places.
        gives: (K', M) = R_k(m).
        own: (M,) where in `places` the outputs are.
    """

    numbers: torch.Tensor
    places: torch.Tensor
    looks: torch.Tensor
    gives: torch.Tensor
    own: torch.Tensor

    @classmethod
    def of(cls, problem: Problem, pixels: torch.Tensor) -> Queries:
        """For pixels (P, 2): their entries, pixel by pixel, M = P C."""
        channels, height, width = problem.shape
        outputs = (pixels[:, :1] * width + pixels[:, 1:] + height * width * torch.arange(channels)).flatten()
        gives = problem.responses.masks(problem.shape).expand(-1, channels, -1, -1).flatten(1)[:, outputs]
        numbers = gives.any(1).nonzero()[:, 0]
        windows = problem.queries.some_masks(problem.shape, numbers)
        looks = windows.expand(-1, channels, -1, -1).flatten(1)
        touched = looks.any(0)
        touched[outputs] = True
        places = _where(touched)
        return cls(numbers, places, looks[:, places], gives[numbers], torch.searchsorted(places, outputs))

    def cost(self) -> int:
        """Multiplications for each element and z."""
        distances = (CONVERSION_COST + len(self.numbers)) * len(self.places)
        return distances + int((self.gives.count_nonzero(1) * (self.looks.count_nonzero(1) + 3)).sum())


def plan(problem: Problem, pixels: torch.Tensor) -> list[tuple[torch.Tensor, Queries | None]]:
    """Pixels (P, 2) in groups, each with its queries where the closed form is cheaper than products of the backend, else None."""
    together = Queries.of(problem, pixels)
    groups = [(pixels, together)]
    if 1 < len(pixels) <= FEW:  # far apart, they have few pixels to look at in common
        alone = [(pixel[None], Queries.of(problem, pixel[None])) for pixel in pixels]
        groups = alone if sum(queries.cost() for _, queries in alone) < together.cost() else groups
    elements = problem.elements

    def cheaper(queries: Queries) -> bool:
        products = PRODUCT_COST * queries.gives.shape[1] * (int(np.prod(problem.shape)) + problem.count)
        return elements * len(queries.numbers) * 8 <= WEIGHTS_BYTES and queries.cost() < products

    return [(some, queries if cheaper(queries) else None) for some, queries in groups]


def closed_form(
    problem: Problem, z: torch.Tensor, sigma: torch.Tensor, queries: Queries, selection: Selection
) -> torch.Tensor:
    """(B, P, C, C, H, W) float64: dD[b, c, pixel]/dz[b, c', i, j], on checked input."""
    channels, height, width = problem.shape
    queries = Queries(*(tensor.to(z.device) for tensor in queries))
    kinds = problem.flips * len(problem.shifts)
    largest = len(selection) * kinds * max(len(queries.numbers), int(queries.gives.count_nonzero(1).max()))
    size = max(1, BLOCK_BYTES // (8 * largest))  # z at once
    sigma = sigma.to(z.device)
    rows = z.new_zeros(len(z), len(queries.own), channels * height * width, dtype=torch.float64)
    for low in range(0, len(z), size):
        some = slice(low, low + size)
        rows[some, :, queries.places] = _covariances(problem, z[some].double(), sigma[some], queries, selection)
    coverage = problem.coverage.to(z.device).expand(problem.shape).flatten()[queries.places[queries.own]]
    return (rows / (coverage[:, None] * sigma[:, None, None] ** 2)).reshape(len(z), -1, channels, *problem.shape)


def _covariances(
    problem: Problem, z: torch.Tensor, sigma: torch.Tensor, queries: Queries, selection: Selection
) -> torch.Tensor:
    """sum_k R_k(m) Q_k(n) Cov_{w_k}(x_m, x_n), (B, M, S)."""
    seen = z.flatten(1)[:, queries.places]
    logits, own = [], []
    for log_priors, admitted, images in _blocks(problem, queries, selection, len(z)):
        sums = (seen[:, None] - images).square_() @ queries.looks.T
        values = log_priors[:, None] - sums / (2 * sigma[:, None, None] ** 2)
        logits.append(values if admitted is None else values.masked_fill(~admitted, -torch.inf))
        own.append(images[:, queries.own])
    weights = torch.cat(logits, 1).transpose(1, 2).softmax(2)  # (B, K', elements)
    x_m = torch.cat(own).T.contiguous()  # (M, elements)
    alive = (weights > NEGLIGIBLE).flatten(0, 1).any(0)
    gives, looks = [_where(given) for given in queries.gives], [_where(look) for look in queries.looks]
    means = [weights[:, k] @ x_m[given].T for k, given in enumerate(gives)]  # E_k(m)

    total = z.new_zeros(len(z), len(queries.own), len(queries.places))
    done = 0
    for log_priors, _, images in _blocks(problem, queries, selection, len(z)):
        kept = _where(alive[done : done + len(log_priors)])
        x_n, here = images[kept], done + kept
        done += len(log_priors)
        for k, (given, look) in enumerate(zip(gives, looks, strict=True)):
            if len(here) == 0:
                break
            centred = x_m[given[:, None], here] - means[k][:, :, None]  # x_m - E_k(m), (B, m, elements)
            product = (weights[:, k, None, here] * centred).flatten(0, 1) @ x_n[:, look]
            factors = queries.gives[k, given][:, None] * queries.looks[k, look]
            total[:, given[:, None], look] += factors * product.unflatten(0, (len(z), len(given)))
    return total


def _blocks(
    problem: Problem, queries: Queries, selection: Selection, batch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]]:
    """The elements, flips and shifts among them, at the places that count.

    Yields:
        log-priors (n,), which of the queries may be compared with these elements (K',) or None for all, and their entries (n, S).
    """
    device, images = queries.places.device, problem.source.images
    flat = np.asarray(images).reshape(len(images), -1)
    numbers = torch.arange(flat.shape[1]).reshape(problem.shape)
    size = max(1, BLOCK_BYTES // (32 * len(queries.places) * batch))
    for flip in (False, True) if problem.source.hflip else (False,):
        for number, (sy, sx) in enumerate(problem.shifts):
            moved = (numbers.flip(-1) if flip else numbers).roll(
                (-sy, -sx), (-2, -1)
            )  # entry n of an element is moved[n] of its image
            columns = moved.flatten()[queries.places.cpu()].numpy()
            admitted = None if problem.admitted is None else problem.admitted[queries.numbers.cpu(), number].to(device)
            for start in range(0, len(selection), size):
                rows = flat[selection.indices[start : start + size]][:, columns]
                log_priors = torch.from_numpy(selection.log_priors[start : start + size]).to(device)
                yield log_priors, admitted, stored(rows, np.arange(len(rows)), torch.float64, device)


def one_by_one(
    transposed: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, pixel: torch.Tensor
) -> torch.Tensor:
    """The same for one pixel (2,) by products with unit vectors: (B, 1, C, C, H, W).

    Args:
        transposed: a direction (B, C, H, W) float64 -> that direction times the Jacobian at z.
        z: (B, C, H, W).
        pixel: (row, column).
    """
    y, x = pixel.tolist()
    rows = []
    for channel in range(z.shape[1]):
        unit = torch.zeros_like(z, dtype=torch.float64)
        unit[:, channel, y, x] = 1
        rows.append(transposed(unit))
    return torch.stack(rows, 1)[:, None]


def _where(values: torch.Tensor) -> torch.Tensor:
    """Numbers of the entries of a vector that are not 0."""
    return values.nonzero()[:, 0]
