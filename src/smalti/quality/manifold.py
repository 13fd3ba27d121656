"""Precision and recall by nearest neighbours (Kynkaanniemi et al. 2019), and diversity, in features.

A set's manifold is the union of balls about its members, each out to its k-th nearest other member.

    precision   share of samples inside the manifold of the reference
    recall      share of the reference inside the manifold of the samples
    diversity   mean distance of two different samples, over that of two different images of the reference

Precision and recall depend on the sizes of both sets: compare only numbers of the same sizes. A copy of the reference scores 1 on both.
"""

from __future__ import annotations

import torch

from smalti.core.errors import InputError
from smalti.core.validation import check_count

__all__ = ["NEIGHBOURS", "diversity", "precision_recall"]

NEIGHBOURS = 3


def precision_recall(samples: torch.Tensor, reference: torch.Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """(precision, recall), each 0 to 1.

    Args:
        samples: (m, d) features; reference: (n, d).
        k: which neighbour bounds a ball, 1 <= k < m, n.

    Raises:
        InputError: k out of range.
    """
    smaller = min(len(samples), len(reference))
    if not check_count("k", k) < smaller:
        raise InputError(f"k must be from 1 to {smaller - 1}, one less than the images of the smaller set, not {k}")
    between = torch.cdist(samples.double(), reference.double())
    precision = (between <= _radii(reference, k)[None]).any(1)
    recall = (between <= _radii(samples, k)[:, None]).any(0)
    return float(precision.double().mean()), float(recall.double().mean())


def diversity(samples: torch.Tensor, reference: torch.Tensor) -> float:
    """Mean distance between different samples, relative to that in the reference: 1 is as diverse, 0 is all alike.

    Raises:
        InputError: a set of one.
    """
    if min(len(samples), len(reference)) < 2:
        raise InputError("diversity needs at least two images on both sides")
    return _spread(samples) / _spread(reference)


def _radii(points: torch.Tensor, k: int) -> torch.Tensor:
    """(n,) distance of each point to its k-th nearest other."""
    distances = torch.cdist(points.double(), points.double())
    distances.fill_diagonal_(torch.inf)
    return distances.kthvalue(k, dim=1).values


def _spread(points: torch.Tensor) -> float:
    count = len(points)
    return float(torch.cdist(points.double(), points.double()).sum() / (count * (count - 1)))
