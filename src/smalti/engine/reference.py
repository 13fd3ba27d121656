"""The `reference` backend: the specification, in float64, on explicit masks, differentiable by autograd.

With queries Q_k, responses R_k, prior pi_k and noise level sigma (DESIGN section 2; the view of arXiv 2605.24192):

    l_k^i  = log pi_k(i) - 1/(2 sigma^2) sum_q Q_k(q) (z(q) - x^i(q))^2
    log Z_k = log sum_i exp l_k^i                                      phase 1: log-normalisers, merged by log-add-exp
    D      = sum_k R_k * sum_i exp(l_k^i - log Z_k) x^i  /  sum_k R_k    phase 2: numerators, merged by addition

Every other backend is held to this one.
"""

from __future__ import annotations

import torch

from smalti.engine.backend import Backend
from smalti.engine.elements import Block, Selection, blocks
from smalti.engine.problem import Problem

__all__ = ["ReferenceBackend"]

BLOCK = 64  # images


class ReferenceBackend(Backend):
    """Leaves nothing out: a problem's tolerance holds as it is."""

    name = "reference"
    differentiable = True

    def log_normalisers(
        self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        z = z.to("cpu", torch.float64)
        queries = problem.queries.masks(problem.shape)
        total = z.new_full((z.shape[0], len(queries)), -torch.inf)
        for block in self._blocks(problem, selection):
            total = torch.logaddexp(total, logits(z, sigma, block, queries).logsumexp(1))
        return total

    def numerator(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        log_normalisers: torch.Tensor,
        selection: Selection,
    ) -> torch.Tensor:
        z = z.to("cpu", torch.float64)
        queries = problem.queries.masks(problem.shape)
        responses = problem.responses.masks(problem.shape).expand(-1, z.shape[1], -1, -1)
        total = torch.zeros_like(z)
        for block in self._blocks(problem, selection):
            weights = (logits(z, sigma, block, queries) - log_normalisers[:, None]).exp()
            total = total + torch.einsum("bik,kchw,ichw->bchw", weights, responses, block.images)
        return total

    def _blocks(self, problem: Problem, selection: Selection):  # type: ignore[no-untyped-def]
        return blocks(problem, selection, BLOCK, torch.float64, torch.device("cpu"))


def logits(z: torch.Tensor, sigma: torch.Tensor, block: Block, queries: torch.Tensor) -> torch.Tensor:
    """l_k^i, (B, n, K): z (B, C, H, W), sigma (B,), queries (K, C or 1, H, W), all float64."""
    squares = (z[:, None] - block.images).square()
    if queries.shape[1] == 1:
        squares = squares.sum(2, keepdim=True)
    sums = squares.flatten(2) @ queries.flatten(1).T
    values = block.log_priors[:, None] - sums / (2 * sigma[:, None, None] ** 2)
    return values if block.admitted is None else values.masked_fill(~block.admitted, -torch.inf)
