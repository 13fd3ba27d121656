"""Which areas of one picture are near-copies of training patches, and where these are: for the page of `smalti explain --image`.

There are no held-out images here, so there is no limit that is known to call few unrelated pictures near: `NEAR` is a fixed likeness, and
the page says so. `smalti audit` sets limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from smalti.audit.images import called
from smalti.audit.patches import NONE, PatchMatches, best_patches
from smalti.core.pieces import Pieces
from smalti.quality.copies import nearest_distances
from smalti.report.audit_page import Panel, panel
from smalti.report.explanation_page import CopyMap
from smalti.source import Source

__all__ = ["NEAR", "CopySearch", "copy_search"]

NEAR = 0.98  # likeness
LISTED = 5  # training images


@dataclass(frozen=True)
class CopySearch:
    """What was found for one picture.

    Attributes:
        image: (C, H, W), working scale.
        source: the training images, mirrored ones counted in.
        nearest: the nearest whole training image, whether it is nearer mirrored, and the RMS difference.
        patches: the most alike training patches.
    """

    image: torch.Tensor
    source: Source
    nearest: tuple[int, bool, float]
    patches: PatchMatches

    @property
    def near(self) -> np.ndarray:
        """(H, W) bool, the pixels in patches of more likeness than `NEAR`."""
        return self.patches.covered(0, NEAR)

    def holders(self) -> list[tuple[int, float]]:
        """The training images of these patches: (image, share of the picture's area), the largest first."""
        found = self.patches.by_pixel(0)
        near = self.near & (found["images"] != NONE)
        images, counts = np.unique(found["images"][near], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(int(images[i]), float(counts[i] / near.size)) for i in order]

    def map(self) -> CopyMap:
        """What the page of an explanation takes."""
        found = self.patches.by_pixel(0)
        return CopyMap(
            side=self.patches.side, near=NEAR, texts=self._texts(), panels=self._panels(), **found,
        )  # fmt: skip

    def numbers(self) -> set[int]:
        """The training images that the page names."""
        return {int(n) for n in np.unique(self.patches.by_pixel(0)["images"]) if n != NONE} | {self.nearest[0]}

    def _texts(self) -> list[str]:
        number, mirrored, distance = self.nearest
        side, share = self.patches.side, float(self.near.mean())
        texts = [
            f"The nearest whole training image is {called(self.source, number)}{', mirrored' * mirrored}: RMS difference "
            f"{distance:.3f}, of 2 from "
            "black to white.",
            f"{100 * share:.0f} % of the picture lies in {side} x {side} patches that have a likeness of more than {NEAR} to a "
            f"training patch, "
            "whatever its brightness and contrast. Which one is said for every pixel above.",
        ]
        holders = [f"{called(self.source, n)} ({100 * area:.0f} %)" for n, area in self.holders()[:LISTED]]
        if holders:
            texts.append(f"By area these are in {', '.join(holders)}.")
        return texts

    def _panels(self) -> Sequence[Panel]:
        number, mirrored, distance = self.nearest
        training = self.source.working([number])[0]
        training = training.flip(-1) if mirrored else training
        outside = ~self.near
        return [
            panel("the picture", self.image),
            panel("nearest training image", training, called(self.source, number) + ", mirrored" * mirrored),
            panel("difference (grey: none)", (self.image - training) / 2, f"RMS {distance:.3f}"),
            panel("near-copies of training patches", self.image, "the rest is faint", dimmed=outside),
            panel(
                "the same area, out of training patches",
                self.patches.rebuilt(0, self.source),
                "in their places",
                dimmed=outside,
            ),
        ]


def copy_search(
    source: Source,
    image: torch.Tensor,
    patch: int | None = None,
    shift: int = 2,
    advance: Callable[[int], object] | None = None,
    keep: Pieces | None = None,
) -> CopySearch:
    """Look for the training image, and the training patches, that are most like a picture.

    Args:
        source: the training images.
        image: (C, H, W), working scale.
        patch, shift: as for `smalti.audit.patches.best_patches`.
        advance: called with 1 when it is done.
        keep: where it is kept.

    Raises:
        InputError: a picture of another shape, a patch that does not fit.
    """
    training = source.with_hflip(True)
    patches = best_patches(training, image[None], patch, shift, advance, keep)
    numbers, distances = nearest_distances(training, image[None])
    number = int(numbers[0])
    near = training.working([number])[0].double()
    apart = [(image.double() - view).square().sum() for view in (near, near.flip(-1))]
    return CopySearch(image, training, (number, bool(apart[1] < apart[0]), float(distances[0])), patches)
