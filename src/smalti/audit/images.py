"""`smalti.audit_images`: are these training images?

Three looks at each image, each a distance (small is near):

    patches    1 - L, where a tenth of the image's patches reach the likeness L to a training patch (`smalti.audit.patches`); it cuts first
    whole      RMS difference from the nearest training image, working scale
    features   distance of unit vectors of a network's features, where one is given

Held-out images set the limits (`smalti.audit.limits`). Without them nothing is called near: only what is pixel for pixel a training image
is known to be one. Training images are looked at mirrored too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from smalti.analysis.identity import pieces_of, plain, source_identity
from smalti.audit.limits import RATE, Limits, check_rate, set_limits
from smalti.audit.patches import NONE, PatchMatches, best_patches
from smalti.core.errors import InputError
from smalti.core.pieces import Pieces
from smalti.core.progress import progress as show_progress
from smalti.core.table import Table
from smalti.core.text import counted
from smalti.core.validation import check_count
from smalti.quality.copies import nearest_distances
from smalti.quality.features import Features
from smalti.source import Source
from smalti.source.indexing import limit_indices

__all__ = [
    "REFERENCE",
    "SHARE",
    "VERDICTS",
    "ImagesAudit",
    "Look",
    "audit_images",
    "called",
    "firsts",
    "fitted",
    "held_outside",
    "work",
]

REFERENCE = 220  # held-out images: limits of both looks at a rate of 1 % take 199
SHARE = 0.1  # of the patches
DIGITS = 9  # of the distance of patches: that of copies is 0, not its rounding
IDENTICAL = 1e-6  # RMS: rounding; one grey level in one pixel of a megapixel is 4e-6
VERDICTS = ("identical", "near", "not near", "not known")


@dataclass(frozen=True)
class Look:
    """One distance of every image.

    Attributes:
        distances: (m,) float64, of the images.
        nearest: (m,) int64, the training image that it is from.
        held_out: (n,) float64, of the held-out images, or None.
        limit: images nearer than this are near; None where there is none.
    """

    distances: np.ndarray
    nearest: np.ndarray
    held_out: np.ndarray | None = None
    limit: float | None = None

    def nearer(self, number: int) -> int | None:
        """How many held-out images are as near or nearer than image `number`."""
        return None if self.held_out is None else int((self.held_out <= self.distances[number]).sum())


@dataclass(frozen=True)
class ImagesAudit:
    """What an audit of m images found.

    Attributes:
        names: of the images.
        images: (m, C, H, W) float32, working scale, as they were compared.
        source: the training images, mirrored ones counted in.
        looks: by name: patches, whole and, with features, features.
        patches: the most alike training patches of the images.
        mirrored: (m,) bool, whether the nearest whole image is nearer as its mirror image.
        limits: from the held-out images; None without.
        identical: (m,) bool, pixel for pixel a training image (or its mirror image).
        near: (m,) bool, nearer than a limit; None without limits.
        covered: (m,) float64, share of the area in patches that are nearer than the limit of patches; None without.
        share: of the patches whose likeness counts.
        shift: how far beside its place a patch was looked for.
        features: name of the features, or None.
        held_out: number of held-out images that were given.
        contained: how many of these are training images, and were left out.
        repeated: how many of the others are held-out images that were there already, mirrored or not, and were left out.
    """

    names: tuple[str, ...]
    images: torch.Tensor
    source: Source
    looks: Mapping[str, Look]
    patches: PatchMatches
    mirrored: np.ndarray
    limits: Limits | None
    identical: np.ndarray
    near: np.ndarray | None
    covered: np.ndarray | None
    share: float
    shift: int
    features: str | None
    held_out: int
    contained: int
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def copies(self) -> int:
        """Images that are identical or near."""
        return int((self.identical if self.near is None else self.identical | self.near).sum())

    @property
    def different(self) -> tuple[int, int]:
        """How many images differ from each other (mirrored ones do not), and how many of these are identical or near."""
        first = firsts(self.images)
        copies = self.identical if self.near is None else self.identical | self.near
        return int(first.sum()), int((first & copies).sum())

    def verdict(self, number: int) -> str:
        """One of `VERDICTS`."""
        if self.identical[number]:
            return "identical"
        if self.near is None:
            return "not known"
        return "near" if self.near[number] else "not near"

    def order(self) -> list[int]:
        """The images, those that matter first: identical ones, near ones, by how many held-out images are as near, and by area."""
        rank = {verdict: place for place, verdict in enumerate(VERDICTS)}

        def key(number: int) -> tuple[float, ...]:
            nearer = [look.nearer(number) for look in self.looks.values()]
            least = min((count for count in nearer if count is not None), default=0)
            covered = 0.0 if self.covered is None else -float(self.covered[number])
            return rank[self.verdict(number)], least, covered, float(self.looks["patches"].distances[number])

        return sorted(range(len(self)), key=key)

    def owners(self, number: int, most: int = 3) -> list[tuple[int, float]]:
        """The training images that hold most of the area of image `number`: (image, share of the area), the largest first.

        With a limit of patches, of the area in patches that are nearer than it; else of the area of all patches.
        """
        owner = self.patches.owners(number)
        limit = self.looks["patches"].limit
        flat = self.patches.likeness[number].ravel()
        counts = (owner != NONE) & ((flat[owner] > 1 - limit) if limit is not None else True)
        images, pixels = np.unique(self.patches.images[number].ravel()[owner[counts]], return_counts=True)
        order = np.argsort(-pixels, kind="stable")[:most]
        return [(int(images[i]), float(pixels[i] / owner.size)) for i in order]

    def table(self) -> Table:
        """A row for each image, with every number that the audit found."""
        rows = [self._row(number) for number in range(len(self))]
        return Table(tuple(rows[0]), rows, "distances in the working scale, likeness 0 to 1")

    def _row(self, number: int) -> dict[str, Any]:
        r, k = self.patches.best(number)
        image = int(self.patches.images[number, r, k])
        row, column = self.patches.places[number, r, k].tolist()
        found: dict[str, Any] = {"image": self.names[number], "verdict": self.verdict(number)}
        for name, look in self.looks.items():
            found[f"{name}_distance"] = float(look.distances[number])
            found[f"{name}_limit"] = look.limit
            found[f"{name}_held_out_as_near"] = look.nearer(number)
            if name != "patches":
                found[f"{name}_nearest"] = called(self.source, int(look.nearest[number]))
        return found | {
            "whole_mirrored": bool(self.mirrored[number]),
            "covered": None if self.covered is None else float(self.covered[number]),
            "patch_likeness": float(self.patches.likeness[number, r, k]),
            "patch_row": int(self.patches.rows[r]),
            "patch_column": int(self.patches.columns[k]),
            "training_image": None if image == NONE else called(self.source, image),
            "training_row": None if image == NONE else row,
            "training_column": None if image == NONE else column,
            "training_mirrored": bool(self.patches.mirrored[number, r, k]),
        }


def audit_images(
    images: Source | torch.Tensor,
    source: Source,
    held_out: Source | torch.Tensor | None = None,
    *,
    rate: float = RATE,
    patch: int | None = None,
    shift: int = 2,
    features: Features | None = None,
    reference: int = REFERENCE,
    names: Sequence[str] | None = None,
    keep: str | os.PathLike[str] | Pieces | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> ImagesAudit:
    """Are these training images, or made of parts of them?

    Args:
        images: the images asked about, a source or (m, C, H, W) in the working scale; grey and colour are brought to the training images'.
        source: the training images.
        held_out: images of the same kind that are surely no training images. They set the limits; without them nothing is called near.
        rate: of false alarms: the share of images like the held-out ones that may be called near.
        patch: side of the patches; a quarter of the shorter side of the images by default.
        shift: how far beside its place a patch is looked for, in pixels.
        features: a third look, such as `smalti.quality.load_features("sscd.pt", trust=True)`.
        reference: held-out images that are used at most, evenly spaced.
        names: of the images; else those of their files, or their numbers.
        keep: a folder (or Pieces) for what is finished, so that the same call goes on after a kill.
        progress: True or False; None shows it where stderr is a terminal; a function is called with numbers of images looked at
            (`work` in all).

    Raises:
        InputError: images of another size, none, a rate that is none, held-out images all of which are training images.
    """
    check_rate(rate)
    training = source.with_hflip(True)
    asked = fitted(_pixels(images), source.shape, "the images")
    named = _names(images, names, len(asked))
    given = 0 if held_out is None else len(held_out)
    others = None if held_out is None else _reference(held_out, source.shape, check_count("reference", reference))
    pieces = pieces_of(keep, __name__, lambda: {
        "audit": source_identity(training), "images": plain(asked), "held_out": plain(others), "patch": patch,
        "shift": shift, "features": None if features is None else features.name,
    })  # fmt: skip
    total = work(len(source), len(asked), 0 if others is None else len(others), features is not None)
    with show_progress("looking for copies", total, progress) as advance:
        contained = repeated = 0
        if others is not None:
            outside = held_outside(training, others, advance)
            contained = int((~outside).sum())
            others = others[torch.from_numpy(outside)]
            first = firsts(others)
            repeated = int((~first).sum())
            others = others[torch.from_numpy(first)]
        numbers, distances = nearest_distances(training, asked, advance)
        found = {"patches": best_patches(training, asked, patch, shift, advance, pieces.under("images"))}
        looks = {"patches": (_unlike(found["patches"]), _holders(found["patches"]))}
        looks["whole"] = (distances.numpy(), numbers.numpy())
        held: dict[str, np.ndarray] = {}
        if others is not None:
            matches = best_patches(training, others, patch, shift, advance, pieces.under("held-out"))
            held["patches"] = _unlike(matches)
            held["whole"] = nearest_distances(training, others)[1].numpy()
        if features is not None:
            vectors = _vectors(features, training.working(), advance)
            looks["features"] = _nearest(_vectors(features, asked, advance), vectors)
            if others is not None:
                held["features"] = _nearest(_vectors(features, others, advance), vectors)[0]
    limits = set_limits({name: held[name] for name in looks}, rate) if held else None
    shown = {
        name: Look(*values, held.get(name), None if limits is None else limits.limits[name])
        for name, values in looks.items()
    }
    patches = found["patches"]
    limit = shown["patches"].limit
    covered = None if limit is None else np.array([patches.covered(n, 1 - limit).mean() for n in range(len(asked))])
    return ImagesAudit(
        names=named,
        images=asked,
        source=training,
        looks=shown,
        patches=patches,
        mirrored=_mirrored(training, asked, numbers),
        limits=limits,
        identical=distances.numpy() < IDENTICAL,
        near=None if limits is None else limits.near({name: look.distances for name, look in shown.items()}),
        covered=covered,
        share=SHARE,
        shift=shift,
        features=None if features is None else features.name,
        held_out=given,
        contained=contained,
        repeated=repeated,
    )


def held_outside(source: Source, images: torch.Tensor, advance: Callable[[int], None] | None = None) -> np.ndarray:
    """(n,) bool: which images are not, pixel for pixel, training images (mirrored or not).

    Raises:
        InputError: all of them are.
    """
    outside = nearest_distances(source.with_hflip(True), images, advance)[1].numpy() >= IDENTICAL
    if not outside.any():
        raise InputError(f"all {counted(len(images), 'held-out image')} are training images; give others")
    return outside


def firsts(images: torch.Tensor) -> np.ndarray:
    """(n,) bool: which images (n, C, H, W) are the first of their kind; those that are equal, or mirrored, are of one."""
    seen: set[bytes] = set()
    found = []
    for image in images:
        views = (np.ascontiguousarray(view.numpy()).tobytes() for view in (image, image.flip(-1)))
        digest = hashlib.sha256(min(views)).digest()
        found.append(digest not in seen)
        seen.add(digest)
    return np.array(found, bool)


def work(training: int, images: int, held_out: int, features: bool) -> int:
    """Units of progress of an audit."""
    return 2 * (images + held_out) + features * (training + images + held_out)


def fitted(images: torch.Tensor, shape: tuple[int, int, int], what: str) -> torch.Tensor:
    """Images (m, C, H, W), working scale, with the channels of `shape`, clipped to [-1, 1]: grey becomes colour, colour grey (BT.601).

    Raises:
        InputError: another size, other channels, none.
    """
    if images.ndim != 4 or not len(images):
        raise InputError(f"{what} have shape {tuple(images.shape)}; give (m, C, H, W), m at least 1")
    if tuple(images.shape[2:]) != shape[1:]:
        sizes = ["x".join(map(str, size)) for size in (tuple(images.shape[2:]), shape[1:])]
        raise InputError(f"{what} are {sizes[0]}, the training images {sizes[1]}; open them with that resolution")
    images = images.float().clamp(-1, 1)
    channels = images.shape[1], shape[0]
    if channels == (1, 3):
        return images.expand(-1, 3, -1, -1).clone()
    if channels == (3, 1):
        return (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    if channels[0] != channels[1]:
        raise InputError(f"{what} have {channels[0]} channels, the training images {channels[1]}; give the same")
    return images


def called(source: Source, number: int) -> str:
    """What to call a training image: its file where it has one, else its number; and its class."""
    if source.files is not None:
        return str(source.files[number])
    name = f"image {number}"
    if source.labels is not None and source.class_names is not None:
        name += f" ({source.class_names[int(source.labels[number])]})"
    return name


def _pixels(images: Source | torch.Tensor) -> torch.Tensor:
    return images.working() if isinstance(images, Source) else images


def _names(images: Source | torch.Tensor, names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return tuple(called(images, n) if isinstance(images, Source) else f"image {n}" for n in range(count))
    if len(names) != count:
        raise InputError(f"{len(names)} names for {counted(count, 'image')}")
    return tuple(map(str, names))


def _reference(held_out: Source | torch.Tensor, shape: tuple[int, int, int], most: int) -> torch.Tensor:
    chosen = limit_indices(len(held_out), most) if len(held_out) else None
    if isinstance(held_out, Source):
        return fitted(held_out.working(chosen), shape, "the held-out images")
    return fitted(held_out if chosen is None else held_out[torch.as_tensor(chosen)], shape, "the held-out images")


def _unlike(patches: PatchMatches) -> np.ndarray:
    """(m,) 1 - the likeness that `SHARE` of the patches reach."""
    return np.round(1 - patches.reached(SHARE), DIGITS)


def _holders(patches: PatchMatches) -> np.ndarray:
    """(m,) the training image that holds most of the area of each image; -1 where nothing is alike."""
    found = []
    for number in range(len(patches)):
        owner = patches.owners(number)
        images = patches.images[number].ravel()[owner[owner != NONE]]
        found.append(int(np.bincount(images).argmax()) if len(images) else NONE)
    return np.array(found)


def _mirrored(training: Source, images: torch.Tensor, numbers: torch.Tensor) -> np.ndarray:
    near = training.working(numbers.numpy()).double()
    images = images.double()
    distances = [(images - view).square().flatten(1).sum(1) for view in (near, near.flip(-1))]
    return (distances[1] < distances[0]).numpy()


def _vectors(features: Features, images: torch.Tensor, advance: Callable[[int], None]) -> torch.Tensor:
    vectors = features(images, advance)
    return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _nearest(vectors: torch.Tensor, training: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    distances, numbers = torch.cdist(vectors, training, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    return distances.numpy(), numbers.numpy()
