"""Looking at single posteriors: for chosen queries, their weights and their means. In float64, streamed over the source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from smalti.engine.elements import Block, Selection, blocks
from smalti.engine.problem import Problem
from smalti.engine.reference import logits
from smalti.engine.running import merged_sums

__all__ = ["Posterior"]

BLOCK = 256  # images
Groups = list[tuple[torch.Tensor, Selection]]


@dataclass(frozen=True)
class Posterior:
    """Posteriors w_k of B noisy images under M chosen queries; T = number of listed elements.

    Attributes:
        queries: (M,) int64, their numbers.
        log_normaliser: (B, M) float64, log sum_i pi_k(i) exp(...).
        effective_number: (B, M) float64, exp(entropy) of the weights of images (summed over their flips and shifts): 1 to N.
        weights: (B, M, T) float64, of the heaviest elements, heaviest first; 0 where a match or a class admits fewer.
        images: (B, M, T) int64, which stored image each is.
        flips: (B, M, T) bool, whether it is flipped.
        shifts: (B, M, T, 2) int64, how it is shifted: x(q + shift), wrapped around.
    """

    queries: torch.Tensor
    log_normaliser: torch.Tensor
    effective_number: torch.Tensor
    weights: torch.Tensor
    images: torch.Tensor
    flips: torch.Tensor
    shifts: torch.Tensor


def inspect_posterior(
    problem: Problem,
    z: torch.Tensor,
    sigma: torch.Tensor,
    queries: torch.Tensor,
    top: int,
    groups: Groups,
) -> Posterior:
    """See `PosteriorMeanCollection.posterior`; on checked input."""
    batch, chosen = len(z), len(queries)
    kinds = [(flip, shift) for flip in (False, True) for shift in problem.shifts]
    number = {kind: i for i, kind in enumerate(kinds)}
    per_image = z.new_full((batch, chosen, len(problem.source)), -torch.inf, dtype=torch.float64, device="cpu")
    best = per_image.new_full((batch, chosen, top), -torch.inf)
    which = torch.zeros((batch, chosen, top, 2), dtype=torch.int64)
    for rows, selection in groups:
        for block, values in _values(problem, z[rows], sigma[rows], queries, selection):
            images = torch.from_numpy(block.indices)
            target = per_image[rows][..., images]
            per_image[rows[:, None, None], torch.arange(chosen)[:, None], images] = torch.logaddexp(target, values)
            kind = torch.full_like(images, number[block.flip, block.shift])
            found = torch.stack([images, kind], -1).expand(*values.shape, 2)
            merged, order = torch.cat([best[rows], values], -1).sort(stable=True, dim=-1, descending=True)
            best[rows] = merged[..., :top]
            both = torch.cat([which[rows], found], -2)
            which[rows] = both.gather(-2, order[..., :top, None].expand(-1, -1, -1, 2))
    log_normaliser = per_image.logsumexp(-1)
    log_weights = per_image - log_normaliser[..., None]
    entropy = -torch.where(log_weights > -torch.inf, log_weights.exp() * log_weights, 0).sum(-1)
    flips = torch.tensor([flip for flip, _ in kinds])
    shifts = torch.tensor([shift for _, shift in kinds])
    return Posterior(
        queries=queries,
        log_normaliser=log_normaliser,
        effective_number=entropy.exp(),
        weights=(best - log_normaliser[..., None]).exp(),
        images=which[..., 0],
        flips=flips[which[..., 1]],
        shifts=shifts[which[..., 1]],
    )


def posterior_means(
    problem: Problem, z: torch.Tensor, sigma: torch.Tensor, queries: torch.Tensor, groups: Groups
) -> torch.Tensor:
    """See `PosteriorMeanCollection.means`; (B, M, C, H, W) float64, on the CPU unless z is elsewhere."""
    highest = torch.full((len(z), len(queries), 1), -torch.inf, dtype=torch.float64)
    sums = torch.zeros((len(z), len(queries), 1 + math.prod(problem.shape)), dtype=torch.float64)  # 1, then the entries
    for rows, selection in groups:
        for block, values in _values(problem, z[rows], sigma[rows], queries, selection):
            top = torch.maximum(highest[rows], values.amax(-1, keepdim=True))
            weights = (values - top.masked_fill(top == -torch.inf, 0)).exp()
            images = torch.einsum("bmi,ichw->bmchw", weights, block.images).flatten(2)
            found = torch.cat([weights.sum(-1, keepdim=True), images], -1)
            highest[rows], sums[rows] = merged_sums(highest[rows], sums[rows], top, found)
    return (sums[..., 1:] / sums[..., :1]).unflatten(-1, problem.shape).to(z.device)


def _values(
    problem: Problem,
    z: torch.Tensor,
    sigma: torch.Tensor,
    queries: torch.Tensor,
    selection: Selection,
) -> Iterator[tuple[Block, torch.Tensor]]:
    """Blocks of elements with their logits under the chosen queries, (B, M, n)."""
    z = z.to("cpu", torch.float64)
    masks = problem.queries.some_masks(problem.shape, queries)
    for block in blocks(problem, selection, BLOCK, torch.float64, torch.device("cpu")):
        admitted = None if block.admitted is None else block.admitted[queries]
        narrowed = Block(
            block.images, block.positions, block.indices, block.log_priors, block.flip, block.shift, admitted
        )
        yield narrowed, logits(z, sigma, narrowed, masks).transpose(1, 2)
