"""z of the forward process: z ~ p(z | x) = N(x, sigma^2 I), x uniform over the images (workshop paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from smalti.analysis.draws import forward_batch
from smalti.analysis.identity import source_identity
from smalti.analysis.z_sets import ZSet, check_levels
from smalti.core.errors import InputError
from smalti.core.schedule import edm_sigmas
from smalti.core.validation import check_count
from smalti.source import Source

__all__ = ["forward_z"]


def forward_z(
    source: Source,
    sigmas: torch.Tensor | Sequence[float] | None = None,
    n: int = 16,
    seed: int = 0,
    *,
    labelled: bool = False,
) -> ZSet:
    """n noisy images of the source (and their flips, where it has them) at each level.

    Image, flip and noise of z[level, j] are functions of (seed, level, j) alone, so that a longer set begins with the shorter one.
    The paper takes 10,000 z a level.

    Args:
        source: the images.
        sigmas: (L,) noise levels > 0; None for the 18 of the EDM schedule.
        n: z at a level, at least 1.
        seed: 0 to 2^64 - 1.
        labelled: condition every z on the class of its image.

    Returns:
        A ZSet of process "forward".

    Raises:
        InputError: bad sigmas, n or seed; `labelled` for a source without classes.
    """
    levels = edm_sigmas() if sigmas is None else check_levels(sigmas)
    n = check_count("n", n)
    if labelled and source.labels is None:
        raise InputError("labelled=True needs a source with classes; open the data with classes or leave it out")
    z = torch.empty((len(levels), n, *source.shape), dtype=torch.float32)
    labels = torch.empty((len(levels), n), dtype=torch.int64)
    for level, sigma in enumerate(levels.tolist()):
        drawn = forward_batch(source, sigma, seed, level, range(n))
        z[level] = drawn.z
        if drawn.labels is not None:
            labels[level] = drawn.labels
    about = {"seed": seed, "data": source_identity(source)}
    return ZSet(z, levels, "forward", about, labels if labelled else None)
