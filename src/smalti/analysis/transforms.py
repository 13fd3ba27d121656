"""`smalti.transforms`: how denoisers respond to changes of z (workshop paper, Fig. 3).

A denoiser that looks at a neighbourhood answers a local change locally, and a shift by a shift; the optimal denoiser's posterior is
over whole images, so that any change of z may change everything. With D(z) the output and T the transformation:

    shifts    D(T z) against T D(z), and against D(z), on the pixels that both images have
    box       D(T z) against D(z), inside the box and outside it

each as a mean squared error over z, channels and the region's pixels, and relative to that between the outputs for unrelated z
(z_j and z_{j+1}) on the same region: 0 is no difference at all, 1 is as if another image had been denoised.

The five transformations of z (workshop paper, Fig. 3), on one grid of images.

    identity        T z = z
    shift-x, -y     T z moves x *and its noise* by s pixels (to the right, down; negative: left, up). What enters is fresh noise
                    N(0, sigma^2 I) around the image's edge value, which is repeated: with z = x + sigma e,
                        (T z)(i, j) = z(i, j - s)                     where j - s is inside the image
                        (T z)(i, j) = x(i, edge) + sigma e'(i, j)     where it is not
    noise-inside    z inside a box is replaced by fresh noise N(0, sigma^2 I): no image is left in it
    noise-outside   z outside the box is

Where only z is known, x is estimated by what a given denoiser makes of z.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from smalti.analysis.forward import draw_noise, forward_batch
from smalti.analysis.identity import identity_of, pieces_of, source_identity
from smalti.analysis.intervals import RESAMPLES, Bootstrap
from smalti.analysis.subjects import Denoisers, check_images, evaluate, named
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.pieces import Arrays, Batch, Pieces
from smalti.core.progress import progress as show_progress
from smalti.core.table import Table
from smalti.core.validation import check_count, check_integer, check_sigma, check_z
from smalti.denoisers import Optimal
from smalti.source import Source

__all__ = [
    "TRANSFORMATIONS",
    "Box",
    "TransformResult",
    "box_of",
    "kept_by_shift",
    "replace",
    "shift_image",
    "shift_of",
    "shift_z",
    "transforms",
]

TRANSFORMATIONS = ("identity", "shift-x", "shift-y", "noise-inside", "noise-outside")
PUBLISHED_SHIFT, PUBLISHED_SIDE = 5, 32


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels.

    Attributes:
        top, left: its first row and column, from 0.
        height, width: its size in pixels, at least 1.
    """

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def central(cls, height: int, width: int) -> Box:
        """The default: half the height and width of an H x W image (at least a pixel), in its middle; 16 x 16 of 32 x 32."""
        h, w = max(1, round(height / 2)), max(1, round(width / 2))
        return cls((height - h) // 2, (width - w) // 2, h, w)

    def mask(self, height: int, width: int) -> torch.Tensor:
        """(H, W) bool, True inside.

        Raises:
            InputError: it does not lie inside an H x W image, or leaves nothing outside.
        """
        for what in ("top", "left"):
            if check_integer(f"the box's {what}", getattr(self, what)) < 0:
                raise InputError(f"the box's {what} must be at least 0, not {getattr(self, what)}")
        bottom = self.top + check_count("the box's height", self.height)
        right = self.left + check_count("the box's width", self.width)
        if bottom > height or right > width:
            raise InputError(
                f"the box goes to row {bottom} and column {right} of a {height} x {width} image; make it smaller"
            )
        if (self.height, self.width) == (height, width):
            raise InputError("the box is the whole image; leave something outside")
        inside = torch.zeros((height, width), dtype=torch.bool)
        inside[self.top : bottom, self.left : right] = True
        return inside


def box_of(box: Box | tuple[int, int, int, int] | None, height: int, width: int) -> Box:
    """A box, (top, left, height, width), or None for the central one, as a box that fits an H x W image.

    Raises:
        InputError: it does not fit.
    """
    found = Box.central(height, width) if box is None else box if isinstance(box, Box) else Box(*box)
    found.mask(height, width)
    return found


def shift_of(shift: int | tuple[int, int] | None, height: int, width: int) -> tuple[int, int]:
    """(dx, dy): a shift for both, (right, down), or None for 5 at 32 x 32 and round(5 min(H, W) / 32), at least 1, for other sizes.

    Raises:
        InputError: 0, or not smaller than both sides of the image.
    """
    side = min(height, width)
    if shift is None:
        shift = max(1, round(PUBLISHED_SHIFT * side / PUBLISHED_SIDE))
    right, down = shift if isinstance(shift, (tuple, list)) else (shift, shift)
    for pixels in (right, down):
        if not 0 < abs(check_integer("the shift", pixels)) < side:
            raise InputError(f"the shift must be from 1 to {side - 1} pixels (or negative), not {pixels}")
    return int(right), int(down)


def shift_image(x: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """(..., H, W) moved right by dx and down by dy; its edges are repeated."""
    height, width = x.shape[-2:]
    rows = (torch.arange(height) - dy).clamp(0, height - 1)
    columns = (torch.arange(width) - dx).clamp(0, width - 1)
    return x[..., rows[:, None], columns]


def kept_by_shift(height: int, width: int, dx: int, dy: int) -> torch.Tensor:
    """(H, W) bool: the pixels of a shifted image that were in the image before."""
    rows, columns = torch.arange(height) - dy, torch.arange(width) - dx
    return ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))


def shift_z(z: torch.Tensor, clean: torch.Tensor, sigma: float, fresh: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """z moved right by dx and down by dy; entering pixels are the edge values of `clean` with sigma times `fresh` noise.

    Args:
        z, clean, fresh: (n, C, H, W): x + sigma e, x (or an estimate of it), and unit noise.
        sigma: noise level.
        dx, dy: pixels.

    Returns:
        (n, C, H, W) in the dtype of z.
    """
    entering = shift_image(clean.double(), dx, dy) + sigma * fresh
    return torch.where(kept_by_shift(z.shape[-2], z.shape[-1], dx, dy), shift_image(z, dx, dy), entering.to(z.dtype))


def replace(z: torch.Tensor, mask: torch.Tensor, sigma: float, fresh: torch.Tensor) -> torch.Tensor:
    """z with the pixels of `mask` (H, W) replaced by sigma times `fresh` noise (n, C, H, W)."""
    return torch.where(mask, (sigma * fresh).to(z.dtype), z)


@dataclass(frozen=True, repr=False)
class TransformResult:
    """Transformed z and what denoisers make of them. T = 5, in the order of `names`.

    Attributes:
        names: ("identity", "shift-x", "shift-y", "noise-inside", "noise-outside").
        z: (T, n, C, H, W) float32.
        clean: (n, C, H, W) float32, the images x; where only z was given, the optimal denoiser's estimate.
        outputs: denoiser -> (T, n, C, H, W) float32.
        sigma: noise level.
        shift: (dx, dy), pixels to the right and down.
        box: where the noise is.
    """

    names: tuple[str, ...]
    z: torch.Tensor
    clean: torch.Tensor
    outputs: Mapping[str, torch.Tensor]
    sigma: float
    shift: tuple[int, int]
    box: Box

    def distances(self, resamples: int = RESAMPLES) -> Table:
        """The distances between outputs.

        Returns:
            A row for each transformation (but the identity), denoiser, comparison and region, with columns transform, denoiser,
            compared ("D(Tz), D(z)" or "D(Tz), TD(z)"), region ("kept", "inside", "outside"), n, and mse and relative, each with
            _low and _high (95 % interval over z) and _standard_error. relative and the intervals are NaN for n = 1.
        """
        rows = []
        for t, transform in enumerate(self.names):
            for name, outputs in self.outputs.items():
                for compared, target, region, mask in self._comparisons(transform, outputs[0]):
                    found = _distance(outputs[t], target, outputs[0], mask, resamples)
                    row = {"transform": transform, "denoiser": name, "compared": compared, "region": region}
                    rows.append(row | {"n": len(self.clean)} | found)
        numbers = [f"{s}{end}" for s in ("mse", "relative") for end in ("", "_low", "_high", "_standard_error")]
        return Table(("transform", "denoiser", "compared", "region", "n", *numbers), rows, self._note())

    def _comparisons(self, transform: str, plain: torch.Tensor) -> list[tuple[str, torch.Tensor, str, torch.Tensor]]:
        """What D(T z) is held against, on which region."""
        height, width = plain.shape[-2:]
        if transform.startswith("shift"):
            dx, dy = self._moved(transform)
            kept = kept_by_shift(height, width, dx, dy)
            return [("D(Tz), TD(z)", shift_image(plain, dx, dy), "kept", kept), ("D(Tz), D(z)", plain, "kept", kept)]
        if transform.startswith("noise"):
            inside = self.box.mask(height, width)
            return [("D(Tz), D(z)", plain, "inside", inside), ("D(Tz), D(z)", plain, "outside", ~inside)]
        return []

    def _moved(self, transform: str) -> tuple[int, int]:
        """(dx, dy) of a transformation."""
        return {"shift-x": (self.shift[0], 0), "shift-y": (0, self.shift[1])}.get(transform, (0, 0))

    def _note(self) -> str:
        box = f"box of {self.box.height} x {self.box.width} pixels at row {self.box.top}, column {self.box.left}"
        return f"sigma {self.sigma:g}, shifts by {self.shift[0]} and {self.shift[1]} pixels, {box}; 95 % bootstrap intervals over z"

    def __repr__(self) -> str:
        size = "x".join(map(str, self.clean.shape[1:]))
        return (
            f"TransformResult({len(self.clean)} z of {size}, {', '.join(self.outputs)}: {self._note().split(';')[0]})"
        )


def transforms(
    denoisers: Denoisers,
    source: Source,
    sigma: float = 2.0,
    n: int = 64,
    seed: int = 0,
    *,
    shift: int | tuple[int, int] | None = None,
    box: Box | tuple[int, int, int, int] | None = None,
    z: torch.Tensor | None = None,
    labelled: bool = False,
    batch_size: int = 64,
    keep: str | os.PathLike[str] | Pieces | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> TransformResult:
    """Transform z in the five ways of `smalti.analysis.transforms` and denoise all of them.

    Args:
        denoisers: by name, or a list; networks too.
        source: the images that forward z are made of; those that the networks were trained on. A denoiser that is about other
            images is warned of.
        sigma: noise level > 0; the paper's is 2.
        n: forward z, at least 1.
        seed: 0 to 2^64 - 1; images and all noise of z number j depend on (seed, j) alone.
        shift: pixels to the right and down, or (right, down); negative for left and up; None for 5 at 32 x 32, and
            round(5 min(H, W) / 32), at least 1, for other sizes.
        box: (top, left, height, width) in pixels; None for the middle half of the height and width.
        z: (n, C, H, W), noisy images of one's own (of the reverse process, say) instead of forward z. Their x is not known: the edge
            values that a shift repeats are then those of `Optimal(source)(z, sigma)`.
        labelled: condition every z on the class of its image; not with `z`.
        batch_size: z computed, and kept, together. It changes results only by rounding.
        keep: a folder (or Pieces) for finished batches, so that the same call goes on after a kill; None keeps nothing.
        progress: True or False; None shows it where stderr is a terminal; a function is called with numbers of evaluations.

    Raises:
        InputError: bad sigma, n, seed, shift, box or z; shapes that differ; a folder of another computation.
        SmaltiError: a denoiser returned NaN, infinities or another shape.
    """
    subjects = named(denoisers)
    check_images(subjects, source)
    sigma = float(check_sigma(sigma, 1))
    n, size = check_count("n", n), check_count("batch_size", batch_size)
    height, width = source.shape[1:]
    dx, dy = shift_of(shift, height, width)
    box = box_of(box, height, width)
    labels = None
    if labelled and (z is not None or source.labels is None):
        raise InputError("labelled needs forward z of a source with classes; leave it out")
    if z is None:
        drawn = forward_batch(source, sigma, seed, 0, range(n))
        z, clean, labels = drawn.z, drawn.clean, drawn.labels if labelled else None
    else:
        check_z(z, source.shape)
        z, n = z.detach().float().cpu(), len(z)
        clean = evaluate("optimal", Optimal(source), z, sigma)
    every = _transformed(z, clean, sigma, seed, dx, dy, box.mask(height, width))
    pieces = pieces_of(keep, __name__, lambda: {
        "transforms": [identity_of(subject) for subject in subjects.values()],
        "data": source_identity(source), "z": _digest(every), "sigma": sigma, "labelled": labelled,
    })  # fmt: skip

    outputs = {name: torch.empty_like(every) for name in subjects}
    with show_progress("transforms", len(subjects) * len(every) * n, progress) as advance:
        for number, (name, subject) in enumerate(subjects.items()):

            def compute(batch: Batch, name: str = name, subject: Denoiser = subject) -> Arrays:
                chosen = None if labels is None else labels[batch.rows]
                found = [evaluate(name, subject, version[batch.rows], sigma, chosen) for version in every]
                return {"x0": torch.stack(found).numpy()}

            for batch, arrays in pieces.batches(f"outputs-{number:03d}", n, size, compute, advance, units=len(every)):
                outputs[name][:, batch.rows] = torch.from_numpy(arrays["x0"])
    return TransformResult(TRANSFORMATIONS, every, clean, outputs, sigma, (dx, dy), box)


def _transformed(
    z: torch.Tensor, clean: torch.Tensor, sigma: float, seed: int, dx: int, dy: int, inside: torch.Tensor
) -> torch.Tensor:
    """(5, n, C, H, W). Inside and outside of the box are replaced by parts of the same fresh noise."""
    entering_x, entering_y, fresh = (draw_noise(seed, stream, range(len(z)), z.shape[1:]) for stream in (1, 2, 3))
    return torch.stack([
        z,
        shift_z(z, clean, sigma, entering_x, dx, 0),
        shift_z(z, clean, sigma, entering_y, 0, dy),
        replace(z, inside, sigma, fresh),
        replace(z, ~inside, sigma, fresh),
    ])  # fmt: skip


def _distance(
    a: torch.Tensor, b: torch.Tensor, plain: torch.Tensor, mask: torch.Tensor, resamples: int
) -> dict[str, float]:
    """MSE of a and b (n, C, H, W) on `mask`, and relative to that of unrelated outputs, for a row."""
    values = a.shape[1] * int(mask.sum())
    sums = [((x - y).double().square() * mask).flatten(1).sum(1) for x, y in ((a, b), (plain, plain.roll(-1, 0)))]
    bootstrap = Bootstrap(torch.stack(sums, 1), resamples)
    mse = bootstrap.interval(lambda means: means[..., 0] / values)
    relative = bootstrap.interval(
        lambda means: means[..., 0] / means[..., 1] if bootstrap.n > 1 else means[..., 0] * torch.nan
    )
    return mse.named("mse") | relative.named("relative")


def _digest(z: torch.Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(z.numpy(), "<f4").data).hexdigest()
