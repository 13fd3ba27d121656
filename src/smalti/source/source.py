"""Images with their symmetries: what every denoiser looks its patches up in."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from smalti.core.errors import EnvironmentFailure, InputError
from smalti.core.validation import check_flag, shown
from smalti.source.cache import forget
from smalti.source.checks import blocks, check_finite, check_labels_array
from smalti.source.conventions import check_layout, in_nchw, scale_doubt
from smalti.source.datasets import stored_of
from smalti.source.format import Origin, Stored
from smalti.source.identity import damaged_image, fingerprint
from smalti.source.indexing import class_indices, limit_indices, to_indexer
from smalti.source.memory import allocate
from smalti.source.opening import open_stored

__all__ = ["Source"]


class Source:
    """N images in memory or memory-mapped, (N, C, H, W), with labels and symmetries.

    Storage is uint8 (0 to 255) or float32 in the working scale; computation is float32 in the working scale [-1, 1],
    x = u8 / 127.5 - 1. The source is meant not to change: pixel ranges and the fingerprint are computed once.

    Args:
        images: (N, C, H, W) uint8, or finite floats in the working scale (other floats become float32); a NumPy array,
            also memory-mapped, or a torch tensor. C-contiguous uint8 and float32 are used as they are, never copied.
            What looks like another layout is refused, what looks like another scale warned of.
        labels: (N,) integer classes numbered from 0, or None.
        hflip: count the horizontal flip of every image in. A flip is a symmetry, not an image: len() does not change.
        class_names: one name a class, in the order of their numbers, or None.
        name: short name, shown by repr.
        layout: order of the axes: "nchw" (said, it is not doubted), "nhwc", "hwcn", "chwn" or, of grey images, "nhw".

    Attributes:
        images: the stored array, (N, C, H, W) uint8 or float32, C-contiguous; read-only where it was opened from a
            path.
        labels: (N,) int64, or None.
        class_names: tuple of names, or None.
        files: (N,) text, the name of every image's file within the data set, or None where images have none.
        hflip: whether flips count.
        name: short name, or None.
        skipped: (file name, reason) of every file that was left out on opening.
        origin: where it was opened from (path, format, cache), or None.

    Raises:
        InputError: another shape or dtype, an empty axis, NaN or infinite values, labels that do not fit.
    """

    def __init__(
        self,
        images: np.ndarray | torch.Tensor,
        labels: np.ndarray | torch.Tensor | Sequence[int] | None = None,
        hflip: bool = False,
        *,
        class_names: Sequence[str] | None = None,
        name: str | None = None,
        layout: str | None = None,
    ) -> None:
        array = _to_numpy(images, "images")
        check_layout(array.shape, array.dtype, layout, "images")
        array = in_nchw(array, layout)
        dtype = np.uint8 if array.dtype == np.uint8 else np.float32
        with np.errstate(over="ignore"):  # what overflows is refused as infinite
            array = array if array.dtype == dtype and array.flags.c_contiguous else np.ascontiguousarray(array, dtype)
        check_finite(array)
        self._set(array, None if labels is None else _labels(labels, len(array)), hflip, class_names, name)
        self._warn_of_scale("images" if name is None else name)

    def _warn_of_scale(self, what: str) -> None:
        """Warn whoever called the method that calls this, if the scale is odd."""
        doubt = scale_doubt(self.images)
        if doubt is not None:
            warnings.warn(f"{what}: {doubt}", stacklevel=3)

    def _set(
        self,
        images: np.ndarray,
        labels: np.ndarray | None,
        hflip: bool,
        class_names: Sequence[str] | None,
        name: str | None,
        skipped: tuple[tuple[str, str], ...] = (),
        origin: Origin | None = None,
        sums: np.ndarray | None = None,
        files: np.ndarray | None = None,
    ) -> Source:
        """Set everything from images and labels that are already checked."""
        if not isinstance(hflip, (bool, np.bool_)):
            raise InputError(f"hflip must be True or False, not {hflip!r}")
        if name is not None and not isinstance(name, str):
            raise InputError(f"name must be text, not {shown(name)}")
        self.images = images
        self.labels = labels
        self.hflip = bool(hflip)
        self.class_names = None if class_names is None else _class_names(class_names, labels)
        self.name = name
        self.skipped = skipped
        self.origin = origin
        self.files = files
        self._sums = sums
        self._range: tuple[np.ndarray, np.ndarray] | None = None
        self._fingerprint: str | None = None
        return self

    @classmethod
    def open(
        cls,
        path_or_name: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        hflip: bool = False,
        classes: str | int | Iterable[str | int] | None = None,
        limit: int | None = None,
        resolution: int | Sequence[int] | None = None,
        *,
        layout: str | None = None,
        split: str | None = None,
        skip_bad: bool = False,
        progress: bool | None = None,
    ) -> Source:
        """Open a data set; what had to be decoded comes from the cache the next time.

        Accepted are a folder or .zip of images (its top-level folders are classes when all images are in one, and parts
        if they are called train and test), an EDM data set (dataset.json), arrays in .npy and .npz, the files of the
        data sets that smalti/source/opening.py lists, and the name "digits" for the embedded 8 x 8 digits. What exists
        as a path is a path; only what does not is a name. Odd scales and mixed parts are warned of.

        Args:
            path_or_name: the data set; a list of files (shards) is one data set, where the format has shards.
            hflip: count horizontal flips in.
            classes: keep these classes only: names or numbers, a list or one. Numbers and names of classes stay what
                they are.
            limit: keep this many images, evenly spaced in order, floor(i N / limit), after `classes`; all where it is
                >= N.
            resolution: bring the images to this size, one side or (H, W): centre crop, then area resize.
            layout: order of the axes of arrays: "nchw", "nhwc", "hwcn", "chwn" or "nhw"; None is "nchw", and refuses what looks
                like another.
            split: the part of a data set that has parts: "train", "test", "validation". Without it published sets give
                their training images, and folders everything.
            skip_bad: leave images that cannot be decoded out, instead of refusing; `skipped` lists them.
            progress: show it; None does on a terminal.

        Raises:
            InputError: no such data set, class, layout or part; damaged or hostile files; images of several sizes.
            EnvironmentFailure: it cannot be read, or there is no room for it.
        """
        check_flag("skip_bad", skip_bad)
        stored = open_stored(path_or_name, resolution, layout, split, skip_bad, progress)
        source = cls._of_stored(stored, hflip, classes, limit)
        for remark in stored.remarks:
            warnings.warn(remark, stacklevel=2)
        source._warn_of_scale(str(path_or_name))
        return source

    @classmethod
    def of(
        cls,
        dataset: Any,
        hflip: bool = False,
        classes: str | int | Iterable[str | int] | None = None,
        limit: int | None = None,
        resolution: int | Sequence[int] | None = None,
        *,
        name: str | None = None,
        progress: bool | None = None,
    ) -> Source:
        """All images of a data set object, in memory: torch's and torchvision's datasets, `datasets.Dataset`, a list.

        Args:
            dataset: has a length and items by number: (image, label, ...), a dict with an image and perhaps a label, or
                images. An image is a PIL image, the bytes of an image file, or an array or tensor, (C, H, W),
                (H, W, C) or (H, W), uint8 or floats in the working scale.
            hflip, classes, limit, resolution, progress: as in `open`.
            name: short name; None takes that of the data set's class.

        Raises:
            InputError: no length, no items, items of another kind, several sizes, labels that are not classes.
            EnvironmentFailure: too many for the memory.
        """
        source = cls._of_stored(stored_of(dataset, resolution, name, progress), hflip, classes, limit)
        source._warn_of_scale(str(source.name))
        return source

    @classmethod
    def _of_stored(
        cls, stored: Stored, hflip: bool, classes: str | int | Iterable[str | int] | None, limit: int | None
    ) -> Source:
        source = cls.__new__(cls)._set(
            stored.images,
            stored.labels,
            hflip,
            stored.class_names,
            stored.name,
            stored.skipped,
            stored.origin,
            stored.sums,
            stored.files,
        )
        if classes is not None:
            source = source.subset(class_indices(source.labels, source.class_names, classes))
        chosen = None if limit is None else limit_indices(len(source), limit)
        return source if chosen is None else source.subset(chosen)

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def __getitem__(self, index: Any) -> torch.Tensor:
        """Images in the working scale: (C, H, W) for one integer, else (n, C, H, W); see `working`."""
        images = self.working(index)
        return images[0] if np.ndim(index) == 0 and not isinstance(index, slice) and index is not None else images

    def __iter__(self) -> Iterator[torch.Tensor]:
        """The images, (C, H, W) each, in the working scale."""
        return (self[number] for number in range(len(self)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        _, c, h, w = self.images.shape
        return int(c), int(h), int(w)

    @property
    def num_classes(self) -> int | None:
        """Number of classes (names, or the largest label + 1), whatever a filter left out; None without labels."""
        if self.labels is None:
            return None
        return len(self.class_names) if self.class_names is not None else int(self.labels.max()) + 1

    def working(self, index: Any = None) -> torch.Tensor:
        """Images in the working scale: u8 / 127.5 - 1; float images as they are. Flips are not in it.

        Args:
            index: None for all, an integer, a slice, or an array of integers or booleans.

        Returns:
            (n, C, H, W) float32 on the CPU, a copy.

        Raises:
            InputError: an index out of range.
        """
        values = np.array(self.images[to_indexer(index, len(self))], dtype=np.float32)
        return torch.from_numpy(_to_working(values) if self.images.dtype == np.uint8 else values)

    def subset(self, indices: Any) -> Source:
        """The source of some of the images, in the order given; a contiguous run stays a view of the same array.

        Args:
            indices: a slice, or an array of integers or booleans.

        Raises:
            InputError: none, or out of range.
            EnvironmentFailure: too many to copy into memory.
        """
        index = to_indexer(indices, len(self))
        if isinstance(index, slice):
            images = self.images[index]
        else:
            shape = (len(index), *self.shape)
            images = allocate(shape, self.images.dtype, f"a copy of {shape[0]} images")
            np.take(self.images, index, axis=0, out=images, mode="clip")  # checked already; "raise" would buffer
            images.flags.writeable = self.images.flags.writeable
        if not len(images):
            raise InputError("a source needs at least one image; the indices choose none")
        parts = (self.labels, self._sums, self.files)
        labels, sums, files = (None if array is None else array[index] for array in parts)
        new = type(self).__new__(type(self))
        return new._set(images, labels, self.hflip, self.class_names, self.name, self.skipped, self.origin, sums, files)

    def with_hflip(self, hflip: bool) -> Source:
        """The same images, with horizontal flips counted in or not."""
        new = type(self).__new__(type(self))
        known = (self.class_names, self.name, self.skipped, self.origin, self._sums, self.files)
        new._set(self.images, self.labels, hflip, *known)
        new._range, new._fingerprint = self._range, self._fingerprint
        return new

    def stored_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Per-pixel minimum and maximum over the stored images (not their flips), each (C, H, W), in stored units."""
        if self._range is None:
            low = np.array(self.images[0])
            high = low.copy()
            for block in blocks(self.images.shape, self.images.itemsize):
                np.minimum(low, self.images[block].min(axis=0), out=low)
                np.maximum(high, self.images[block].max(axis=0), out=high)
            self._range = (low, high)
        return self._range

    def pixel_range(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Per-pixel minimum and maximum over the images and, with hflip, their flips.

        Returns:
            (lo, hi), each (C, H, W) float32, working scale.
        """
        low, high = self.stored_range()
        if self.hflip:
            low, high = np.minimum(low, low[..., ::-1]), np.maximum(high, high[..., ::-1])
        low, high = np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)
        if self.images.dtype == np.uint8:
            low, high = _to_working(low), _to_working(high)
        return torch.from_numpy(low), torch.from_numpy(high)

    def fingerprint(self) -> str:
        """Identity of the content: sha256 hex of dtype, shape, pixels and labels (not of names, nor of hflip).

        Images that come from the cache are compared with their checksums on the way.

        Raises:
            EnvironmentFailure: the cached images were damaged; the entry is thrown away, and opening makes it again.
        """
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.images, self.labels, self._compare)
        return self._fingerprint

    def verify(self) -> bool:
        """Read every image and compare it with its checksum of when it was cached.

        Returns:
            Whether there was something to compare with: a file that is used as it is, and arrays, have no checksums.

        Raises:
            EnvironmentFailure: an image was damaged; the entry is thrown away, and opening makes it again.
        """
        for block in blocks(self.images.shape, self.images.itemsize):
            self._compare(block.start, self.images[block])
        return self._sums is not None

    def _compare(self, first: int, images: np.ndarray) -> None:
        """Compare `images`, of which the first is number `first`, with their checksums."""
        if self._sums is None:
            return
        bad = damaged_image(images, self._sums[first : first + len(images)])
        if bad is not None:
            folder = None if self.origin is None else self.origin.cache
            if folder is not None:
                forget(folder)
            raise EnvironmentFailure(
                f"image {first + bad} of {self.name} was damaged in the cache ({folder}), which is now cleared of it; "
                "run this again: the images are decoded anew"
            )

    def __repr__(self) -> str:
        parts = [repr(self.name)] if self.name is not None else []
        parts.append(f"{len(self)} x {'x'.join(map(str, self.shape))} {self.images.dtype}")
        if self.num_classes is not None:
            parts.append(f"{self.num_classes} class{'es' * (self.num_classes != 1)}")
        return f"Source({', '.join(parts)}, hflip={self.hflip})"


def _to_working(values: np.ndarray) -> np.ndarray:
    """float32 values from 0 to 255, in place, to [-1, 1]."""
    values /= np.float32(127.5)
    values -= np.float32(1)
    return values


def _to_numpy(values: Any, what: str) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        if values.layout != torch.strided or values.is_meta:
            kind = "on the meta device, where tensors have no values" if values.is_meta else "sparse"
            raise InputError(f"{what} are {kind}; give a dense array")
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if isinstance(values, np.ndarray):
        return values
    raise InputError(f"{what} must be a NumPy array or a torch tensor, not {type(values).__name__}")


def _labels(labels: Any, count: int) -> np.ndarray:
    try:
        array = _to_numpy(labels if isinstance(labels, torch.Tensor) else np.asarray(labels), "labels")
    except ValueError as error:
        raise InputError(f"labels are ragged ({error}); give one integer class an image") from error
    if array.ndim != 1:
        raise InputError(f"labels have shape {array.shape} for {count} images; give one integer class an image")
    return check_labels_array(array, count)


def _class_names(names: Sequence[str], labels: np.ndarray | None) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InputError("class_names must be a list of text, one a class")
    if labels is None:
        raise InputError("class_names were given without labels; give both or neither")
    if int(labels.max()) >= len(names):
        raise InputError(f"label {int(labels.max())} has no name: there are {len(names)} class_names")
    return tuple(names)
