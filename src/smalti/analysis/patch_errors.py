"""The error of patch posterior means, patch by patch (full paper, Eqs. 9-10, Fig. 4; workshop paper, Fig. 5).

    E_k = sum_i w_k^i x^i                                                        the posterior mean under query k, as in the engine
    e_k = sum_q R_k(q) (E_k(q) - y(q))^2 / sum_q R_k(q)                          its error, over its response; channels alike
    e   = mean_k e_k                                                             over all k, or a sample of them

y is what the means are held against: a network's output, the optimal denoiser's, a clean image. For crops e_k is the MSE of a patch.
Where each response is one pixel, or there is one patch, e is the MSE of the composite, and computed so.

The composite averages patches before it is compared; here each is compared alone. As every patch counts alike, large ones weigh the
middle of the image more than small ones do; the composite's error weighs all pixels alike, whatever the side. All E_k of
the sample are needed: the sums are taken in float32, straight over the images, a block at a time, for the sampled k only.
"""

from __future__ import annotations

import numpy as np
import torch

from smalti.core.noise import check_seed
from smalti.denoisers.base import images_of_class
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.elements import Selection, blocks
from smalti.engine.windows import Centred, Crops, Entries

__all__ = ["is_composite", "patch_errors", "sample_patches"]

BLOCK = 512  # images
PATCHES = 1 << 62  # set in the keys of samples of patches, not in those of noise or images
STEP = (
    0.7548776662466927,
    0.5698402909980532,
)  # 1/g and 1/g^2, g^3 = g + 1: Roberts' R2 sequence covers a square evenly


def is_composite(collection: PosteriorMeanCollection) -> bool:
    """Whether the mean of its patches' errors is the error of its composite: single patches, or patches of a single pixel."""
    return collection.count == 1 or collection.responses in (Centred(1), Crops(1), Entries())


def sample_patches(collection: PosteriorMeanCollection, count: int, seed: int, level: int, j: int) -> torch.Tensor:
    """Numbers of the patches whose error is measured for z number j of a level: (M,) int64.

    All of them where there are no more than `count`; else `count`, spread evenly over their grid from a place that depends on (seed,
    level, j) alone. Each patch is equally likely, and collections of other sizes get patches at the same relative places.

    Raises:
        InputError: a seed out of range.
    """
    if collection.count <= count:
        return torch.arange(collection.count)
    key = np.array([check_seed(seed), PATCHES | (level << 32) | j], np.uint64)
    start = np.random.Generator(np.random.Philox(key=key)).random(2)
    places = (start + np.outer(np.arange(count), STEP)) % 1
    rows = len(collection.anchors[:, 0].unique())
    columns = collection.count // rows
    if rows * columns != collection.count:
        rows, columns = collection.count, 1
    return torch.from_numpy((places * (rows, columns)).astype(np.int64) @ np.array([columns, 1]))


@torch.no_grad()
def patch_errors(
    collection: PosteriorMeanCollection, z: torch.Tensor, sigma: float, y: torch.Tensor, patches: torch.Tensor,
    label: int | None = None,
) -> torch.Tensor:  # fmt: skip
    """The mean error of chosen patches of each z.

    Args:
        collection: one whose match is `SamePlace()`, images alike.
        z: (B, C, H, W).
        sigma: noise level > 0.
        y: (B, C, H, W), what they are held against.
        patches: (B, M) int64, numbers of queries.
        label: the class of all these z, or None.

    Returns:
        (B,) float64.
    """
    chosen = images_of_class(collection.source, label)
    selection = Selection(chosen, np.zeros(len(chosen)))
    z, shape = z.float().cpu(), collection.shape
    queries = [collection.queries.some_masks(shape, numbers).float() for numbers in patches]
    batch, count = patches.shape
    highest = torch.full((batch, count), -torch.inf)
    mass = torch.zeros((batch, count), dtype=torch.float64)
    total = torch.zeros((batch, count, int(np.prod(shape))), dtype=torch.float64)
    for block in blocks(collection.problem, selection, BLOCK, torch.float32, torch.device("cpu")):
        images = block.images.flatten(1)
        for b in range(batch):
            squares = (z[b] - block.images).square_()
            squares = squares.sum(1) if queries[b].shape[1] == 1 else squares
            values = queries[b].flatten(1) @ squares.flatten(1).T / (-2 * sigma**2)  # (M, n)
            after = torch.maximum(highest[b], values.amax(1))
            shrink, weights = (highest[b] - after).exp().double(), values.sub_(after[:, None]).exp_()
            mass[b] = mass[b] * shrink + weights.sum(1)
            total[b].mul_(shrink[:, None]).add_(weights @ images)
            highest[b] = after
    means = (total / mass[..., None]).unflatten(2, shape)
    responses = torch.stack([collection.responses.some_masks(shape, numbers) for numbers in patches])
    responses = responses.expand(-1, -1, shape[0], -1, -1)
    errors = (means - y.double().cpu()[:, None]).square() * responses
    return (errors.flatten(2).sum(2) / responses.flatten(2).sum(2)).mean(1)
