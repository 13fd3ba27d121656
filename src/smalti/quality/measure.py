"""All of it at once: how good samples are, and whether they are copies."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.validation import shown
from smalti.denoisers.base import check_source
from smalti.quality.copies import Copies, copies, nearest_distances, patch_distances
from smalti.quality.features import Features
from smalti.quality.kid import KID, kid
from smalti.quality.manifold import NEIGHBOURS, diversity, precision_recall
from smalti.source import Source

__all__ = ["Quality", "Reference", "measure"]

REFERENCE = 1000  # held-out images that samples are compared with
PATCHED = 256  # images, at most, whose patches are looked for

Advance = Callable[[int], None] | None


@dataclass(frozen=True)
class Quality:
    """What was measured of a set of samples; every number says its features and sizes.

    Attributes:
        n: samples.
        reference: held-out images.
        training: training images.
        features: name of the features of `kid`, precision, recall and diversity.
        kid: with its interval.
        precision, recall: with `neighbours` nearest neighbours.
        diversity: mean distance between samples over that between held-out images.
        copies: of whole images.
        patch_copies: of patches; its distances are those of all patches.
        patch, shift: side of the patches and how far beside they are looked for.
        neighbours: k of precision and recall.
    """

    n: int
    reference: int
    training: int
    features: str
    kid: KID
    precision: float
    recall: float
    diversity: float
    copies: Copies
    patch_copies: Copies
    patch: int
    shift: int
    neighbours: int = NEIGHBOURS

    def rows(self) -> list[tuple[str, str, str]]:
        """(what, number, how it was measured), to be printed."""
        against = f"{self.features}, {self.n} samples against {self.reference} held-out images"
        nearest = f"RMS to the nearest of {self.training} training images, working scale"
        patches = f"{self.patch} x {self.patch} patches, shifts up to {self.shift}"
        interval = f"({1000 * self.kid.low:.1f} to {1000 * self.kid.high:.1f})"
        return [
            ("KID x 1000", f"{1000 * self.kid.value:.1f} {interval}", f"{against}; 95 % jackknife interval"),
            ("precision", f"{self.precision:.3f}", f"{against}; {self.neighbours} neighbours"),
            ("recall", f"{self.recall:.3f}", f"{against}; {self.neighbours} neighbours"),
            ("diversity", f"{self.diversity:.3f}", f"mean distance over that of held-out images; {self.features}"),
            ("nearest training image", f"{self.copies.median:.3f}", f"median, {nearest}"),
            ("the same, held-out images", f"{self.copies.held_out_median:.3f}", f"median, {nearest}"),
            ("copies", f"{self.copies.share:.1%}", f"nearer than {self.copies.limit:.3f}, 1 % of held-out images are"),
            ("patch copies", f"{self.patch_copies.share:.1%}", f"{patches}; nearer than 1 % of held-out patches are"),
        ]


class Reference:
    """A training set and held-out images, and what of them is needed again for every set of samples.

    Args:
        training: the images that samples were made from.
        held_out: images that they were not made from, of the same shape; at most the first 1,000 (`limit`) are used.
        features: what sets are compared in.
        patch: side of patches; a quarter of the short side by default, at least 3.
        shift: how far beside its place a patch is looked for.
        limit: held-out images used.

    Raises:
        InputError: other shapes, or fewer than four held-out images.
    """

    def __init__(
        self,
        training: Source,
        held_out: Source,
        features: Features,
        patch: int | None = None,
        shift: int = 2,
        limit: int = REFERENCE,
        advance: Advance = None,
    ) -> None:
        check_source(training)
        check_source(held_out)
        if not callable(features):
            raise InputError(f"features are needed, such as load_features('pixels'), not {shown(features)}")
        if training.shape != held_out.shape:
            raise InputError(
                f"training images have shape {training.shape}, held-out ones {held_out.shape}; open both alike"
            )
        if len(held_out) < 4:
            raise InputError(f"{len(held_out)} held-out images are too few; give at least 4, better 1,000")
        self.training, self.features, self.shift = training, features, shift
        side = max(3, min(training.shape[1:]) // 4)
        self.patch = min(side, *training.shape[1:]) if patch is None else patch
        self.images = held_out.working(np.arange(min(limit, len(held_out))))
        self.vectors = features(self.images, advance)
        self.distances = nearest_distances(training, self.images, advance)[1]
        known = int((self.distances < 1e-6).sum())
        if known:
            warnings.warn(
                f"{known} of {len(self.images)} held-out images are training images; what is nearer than held-out images are is no "
                "copy then: give images that the samples were not made from",
                stacklevel=2,
            )
        self.patch_distances = patch_distances(training, self.images[:PATCHED], self.patch, shift, advance)

    @property
    def work(self) -> int:
        """Units that `advance` is called with, for the reference alone."""
        return 2 * len(self.images) + min(PATCHED, len(self.images))


def measure(samples: torch.Tensor, reference: Reference, advance: Advance = None) -> Quality:
    """Hold samples (n, C, H, W), working scale, against a reference.

    Raises:
        InputError: samples of another shape, or fewer than four.
    """
    if not isinstance(reference, Reference):
        raise InputError(f"a Reference(training, held_out, features) is needed, not {shown(reference)}")
    if not isinstance(samples, torch.Tensor) or not samples.dtype.is_floating_point:
        what = samples.dtype if isinstance(samples, torch.Tensor) else type(samples).__name__
        raise InputError(f"samples are a floating tensor (n, C, H, W) in the working scale [-1, 1], not {what}")
    if samples.ndim != 4 or tuple(samples.shape[1:]) != reference.training.shape:
        raise InputError(
            f"samples have shape {tuple(samples.shape)}; the training images have {reference.training.shape}"
        )
    if len(samples) < 4:
        raise InputError(f"{len(samples)} samples are too few to be judged; give at least 4, better 256")
    samples = samples.float().clamp(-1, 1)
    vectors = reference.features(samples, advance)
    distances = nearest_distances(reference.training, samples, advance)[1]
    patches = patch_distances(reference.training, samples[:PATCHED], reference.patch, reference.shift, advance)
    precision, recall = precision_recall(vectors, reference.vectors)
    return Quality(
        n=len(samples),
        reference=len(reference.images),
        training=len(reference.training),
        features=reference.features.name,
        kid=kid(vectors, reference.vectors),
        precision=precision,
        recall=recall,
        diversity=diversity(vectors, reference.vectors),
        copies=copies(distances, reference.distances),
        patch_copies=copies(patches, reference.patch_distances),
        patch=reference.patch,
        shift=reference.shift,
    )
