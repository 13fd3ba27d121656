"""The pictures: grids of images, samples beside their nearest training images, trajectories.

All take images in the working scale (or uint8) as torch tensors or numpy arrays and return Pillow pictures; `save_png`
writes one. Small images are enlarged by a whole factor, each pixel repeated (8 x 8 digits eightfold), not interpolated.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from smalti.core.errors import InputError
from smalti.core.files import atomic_write
from smalti.core.pixels import as_array, channels_note, shown_noisy, tile
from smalti.report.mosaic import Captions, mosaic
from smalti.sampling import SampleResult

__all__ = [
    "NOISY_NOTE",
    "aligned_rows",
    "grid",
    "labelled_grid",
    "samples_with_neighbours",
    "save_png",
    "sigma_caption",
    "trajectory_strip",
]

Images = torch.Tensor | np.ndarray

TILE = 64  # tiles are enlarged to about this many pixels
NOISY_NOTE = "Noisy images z are shown as z / sqrt(1 + sigma^2)."


def grid(images: Images, columns: int | None = None, title: str = "") -> Image.Image:
    """Images row by row.

    Args:
        images: (n, C, H, W), n >= 1.
        columns: images per row; None for about as many as rows.
        title: written above.

    Raises:
        InputError: another shape, no images, columns < 1.
    """
    array = _batch(images, 4, "(n, C, H, W)")
    per_row = int(np.ceil(np.sqrt(len(array)))) if columns is None else columns
    if per_row < 1:
        raise InputError(f"columns must be at least 1, not {columns}")
    tiles = [tile(image, _scale(array)) for image in array]
    rows = [tiles[low : low + per_row] for low in range(0, len(tiles), per_row)]
    return mosaic(rows, Captions(title=title, note=channels_note(array.shape[1])))


def labelled_grid(
    images: Images,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    note: str = "",
    block: int = 0,
) -> Image.Image:
    """A table of images with captions.

    Args:
        images: (R, K, C, H, W): R rows of K images.
        rows, columns: R and K captions, or none.
        title, note: above and below.
        block: a wider gap after every `block` rows; 0 for none.

    Raises:
        InputError: another shape; a number of captions that does not fit.
    """
    array = _batch(images, 5, "(rows, columns, C, H, W)")
    for name, captions, length in (("row", rows, array.shape[0]), ("column", columns, array.shape[1])):
        if len(captions) not in (0, length):
            raise InputError(f"{len(captions)} {name} captions for {length} {name}s")
    cells = [[tile(image, _scale(array)) for image in row] for row in array]
    notes = " ".join(filter(None, (note, channels_note(array.shape[2]))))
    return mosaic(cells, Captions(title, notes, rows, columns), block)


def samples_with_neighbours(
    samples: Images,
    neighbours: Images,
    distances: Images,
    columns: int = 8,
    title: str = "Samples and their nearest training images",
) -> Image.Image:
    """Samples, and below each its nearest stored images, nearest first.

    Args:
        samples: (n, C, H, W).
        neighbours: (n, C, H, W), or (n, k, C, H, W) for k of them.
        distances: (n,) or (n, k) squared L2 distances, working scale, as `smalti.engine.neighbours.nearest` gives;
            shown as the root mean square over pixels and channels, sqrt(distance / (C H W)).
        columns: samples per row.

    Raises:
        InputError: shapes that do not fit together; columns < 1.
    """
    array = _batch(samples, 4, "(n, C, H, W)")
    n, shape = len(array), array.shape[1:]
    near, apart = as_array(neighbours), as_array(distances)
    near, apart = near[:, None] if near.ndim == 4 else near, apart[:, None] if apart.ndim == 1 else apart
    if near.ndim != 5 or (near.shape[0], *near.shape[2:]) != (n, *shape) or apart.shape != near.shape[:2]:
        raise InputError(
            f"neighbours {tuple(as_array(neighbours).shape)} and distances {tuple(as_array(distances).shape)} "
            f"do not fit samples {tuple(array.shape)}; give (n, k, C, H, W) and (n, k)"
        )
    numbers = [[f"{value:.3f}" for value in row] for row in np.sqrt(np.maximum(apart, 0) / np.prod(shape)).T]
    names = ["nearest", *(f"{i}. nearest" for i in range(2, near.shape[1] + 1))]
    rows = {"sample": array} | {name: near[:, i] for i, name in enumerate(names)}
    note = "Numbers: root mean square difference per pixel and channel, images in [-1, 1]."
    return aligned_rows(rows, columns, dict(zip(names, numbers, strict=True)), title, note)


def aligned_rows(
    rows: Mapping[str, Images],
    columns: int = 16,
    under: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
    note: str = "",
) -> Image.Image:
    """Several versions of each image, one below the other; after `columns` images a new block of rows begins.

    Args:
        rows: caption -> (n, C, H, W), the same n for all.
        columns: images in a block.
        under: caption -> n texts below that row's images.
        title, note: above and below.

    Raises:
        InputError: shapes that differ; no images; columns < 1.
    """
    arrays = {name: _batch(images, 4, "(n, C, H, W)") for name, images in rows.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1:
        raise InputError(f"rows must have one shape, not {', '.join(map(str, sorted(shapes)))}")
    if columns < 1:
        raise InputError(f"columns must be at least 1, not {columns}")
    (n, channels, *_), texts = shapes.pop(), under or {}
    cells, below, captions = [], [], []
    for low in range(0, n, columns):
        for name, array in arrays.items():
            cells.append([tile(image, _scale(array)) for image in array[low : low + columns]])
            below.append(list(texts.get(name, ()))[low : low + columns])
            captions.append(name)
    notes = " ".join(filter(None, (note, channels_note(channels))))
    return mosaic(cells, Captions(title, notes, captions, under=below), block=len(arrays))


def trajectory_strip(
    result: SampleResult,
    samples: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    title: str = "Trajectories from noise (left) to sample (right)",
    names: Sequence[str] = (),
) -> Image.Image:
    """Two rows per sample: the state z and its denoised image D(z, sigma), over chosen steps.

    Args:
        result: from `smalti.sample` with keep_states=True.
        samples: which samples; None for the first four.
        steps: which states, from 0 to the number of steps (the final image, which has no denoised one); None for up to
            ten, evenly.
        names: one per chosen sample; "sample j" if none.

    Raises:
        InputError: no states were kept; a sample or step that does not exist; names of another number.
    """
    if result.states is None or result.denoised is None:
        raise InputError("the result holds no states; sample with keep_states=True to draw trajectories")
    total, n = len(result.sigmas) - 1, len(result)
    chosen = list(range(min(4, n))) if samples is None else list(samples)
    shown = sorted({round(t) for t in np.linspace(0, total, min(10, total + 1))}) if steps is None else list(steps)
    if not chosen or not shown or not all(0 <= j < n for j in chosen) or not all(0 <= t <= total for t in shown):
        raise InputError(f"choose samples from 0 to {n - 1} and steps from 0 to {total}, at least one of each")
    if len(names) not in (0, len(chosen)):
        raise InputError(f"{len(names)} names for {len(chosen)} samples")
    sigmas, states, denoised = as_array(result.sigmas), as_array(result.states), as_array(result.denoised)
    scale = _scale(states)
    cells: list[list[np.ndarray | None]] = []
    rows: list[str] = []
    for name, j in zip(names or [f"sample {j}" for j in chosen], chosen, strict=True):
        cells.append([tile(shown_noisy(states[t, j], sigmas[t]), scale) for t in shown])
        cells.append([tile(denoised[t, j], scale) if t < total else None for t in shown])
        rows += [f"{name}: z", "D(z, sigma)"]
    notes = " ".join(filter(None, (NOISY_NOTE, channels_note(states.shape[2]))))
    return mosaic(cells, Captions(title, notes, rows, [sigma_caption(sigmas[t]) for t in shown]), block=2)


def sigma_caption(sigma: float) -> str:
    """A noise level for a caption, with two significant digits."""
    return f"sigma {float(f'{sigma:.2g}'):g}"


def save_png(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write `picture` to `path`, whole or not at all.

    Raises:
        EnvironmentFailure: the disk is full or the folder may not be written.
    """
    with atomic_write(path) as file:
        picture.save(file, format="PNG")


def _batch(images: Images, ndim: int, wanted: str) -> np.ndarray:
    array = as_array(images)
    if array.ndim != ndim or 0 in array.shape:
        raise InputError(f"images to show must be {wanted} and not empty, not of shape {tuple(array.shape)}")
    return array


def _scale(images: np.ndarray) -> int:
    """Whole enlargement that brings (..., H, W) near TILE pixels."""
    return max(1, round(TILE / max(images.shape[-2:])))
