"""What the kernels take together: each record is unpacked where a kernel begins, so that loops see plain arrays.

B is the number of z (with their flips), K that of windows, N of stored images, n of those of a chunk. `real` is float32, or float64 where
float32 distances would not do: the type of the arrays decides. Logarithms are in base 2. A call takes about 10 us for each record, which is
why the kernel that is called for the least work, `kernels.bounded_distances`, has none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "EDGE",
    "Box",
    "BoxLayout",
    "Candidates",
    "Chunk",
    "Comparison",
    "Directions",
    "Heaviest",
    "Inner",
    "MaskShares",
    "MaskSums",
    "Means",
    "Moments",
    "Noisy",
    "Normaliser",
    "Picture",
    "Places",
    "Product",
    "Shares",
    "ShiftShares",
    "Shifts",
    "Sketched",
    "States",
    "Terms",
    "Tree",
]


# ------------------------------------------------------------------------------------------------------------- all kernels


class Chunk(NamedTuple):
    """Some images of the source.

    Attributes:
        images: (N, C, H W) or (N, D) uint8 or float32, the stored source.
        offset: real, what is subtracted from stored values: 127.5, or 0 for float32 sources.
        elements: (n,) int64, indices of the chunk's images.
        log_priors: (n,) real, or float64 where logits are: log2 of the prior.
    """

    images: np.ndarray
    offset: Any
    elements: np.ndarray
    log_priors: np.ndarray


class Noisy(NamedTuple):
    """The z of a call and their levels, in stored units.

    Attributes:
        z: (B, ...) real, laid out as the kernel says; doubled where relative.
        relative: (B,) bool: distances are taken less |z|^2, as sum v (v - 2 z); logits are then relative to the windows' sums of it.
        scales: (B,) real, or float64 where logits are: log2(e) / (2 sigma^2).
    """

    z: np.ndarray
    relative: np.ndarray
    scales: np.ndarray


class Normaliser(NamedTuple):
    """log2 of the sums that weights are divided by, in two parts, reference - log2(correction); +infinity and 0 where there is no window.

    Attributes:
        references: (B, K) real.
        corrections: (B, K) real.
    """

    references: np.ndarray
    corrections: np.ndarray


class Means(NamedTuple):
    """Posterior means of a few entries of every window, in running form: results.

    Attributes:
        highest: (B, K), the largest logit.
        totals: (B, K), the sum of 2^(logit - highest).
        sums: (B, M, K) float64, the same sum times each of the M entries, in the units of the stored images.
    """

    highest: np.ndarray
    totals: np.ndarray
    sums: np.ndarray


# ------------------------------------------------------------------------------------------------------------------- boxes


class BoxLayout(NamedTuple):
    """Where boxes lie on the canvas, see `kernels`.

    Attributes:
        height, width: of the images.
        stride: length of the canvas's rows.
        first: where pixel 0 is on the canvas.
        row: entries of the canvas.
        box_height, box_width: of the windows.
        box_first: where the first anchor's box begins on the canvas.
        windows: entries of a row of logits, those between the rows of windows counted.
    """

    height: int
    width: int
    stride: int
    first: int
    row: int
    box_height: int
    box_width: int
    box_first: int
    windows: int


class Box(NamedTuple):
    """The boxes that collect weights, transposed (see `Geometry.outer`).

    Attributes:
        height, width: of a box.
        lead, before: how far pixel 0 lies after, or before, the first place that window 0's weight is spread to.
    """

    height: int
    width: int
    lead: int
    before: int


class Inner(NamedTuple):
    """The boxes of an inner product with images.

    Attributes:
        height, width: of a box.
        first: where the first window's begins on the canvas.
    """

    height: int
    width: int
    first: int


class Product(NamedTuple):
    """A product with posterior covariances: sum_k outer_k * Cov_k(x, x) (inner_k * direction).

    Attributes:
        inner: boxes of the inner product.
        outer: boxes that collect the result.
        direction: (B, C, plane) float64.
    """

    inner: Inner
    outer: Box
    direction: np.ndarray


class Moments(NamedTuple):
    """Sums over images of a window's weights, and of its weights times its inner product, (B, windows) float64.

    Attributes:
        mass: sum_i w_k^i.
        means: sum_i w_k^i u_k^i, or, once it is known, the mean.
    """

    mass: np.ndarray
    means: np.ndarray


class Shares(NamedTuple):
    """The largest shares of images in some pixels, and the entropy of all of them: P pixels of B z; results, which begin with 0.

    Attributes:
        kept: (B, top, P) float32, the largest shares, descending.
        numbers: (B, top, P) int64, 2 times the index of their image, plus 1 if it is mirrored.
        entropy: (B, P) float32, - sum over images of share log2(share), the flips of an image together.
        lowest: (B, P) float32, given: shares up to here are not kept; 0, or more where larger ones are known.
    """

    kept: np.ndarray
    numbers: np.ndarray
    entropy: np.ndarray
    lowest: np.ndarray


# ------------------------------------------------------------------------------------------------------------------- masks


class MaskSums(NamedTuple):
    """Windows, or responses, of any form: K masks in G groups, whose sums are made of atoms (see `mask_kernels`).

    Attributes:
        groups: (G, 4) int64: first query, number of queries, first atom, atom after the last.
        atoms: (A + 1,) int64: where the entries of each atom begin.
        places: (E,) int64: entry number times LANES.
        values: (E,) real: weight of the entry.
        member_starts: (A + 1,) int64: where the queries of each atom begin.
        members: (M,) int64: queries.
        largest: most queries of a group.
        channels: how many an entry stands for: C where masks are the same in all (then entries are pixels), else 1.
    """

    groups: np.ndarray
    atoms: np.ndarray
    places: np.ndarray
    values: np.ndarray
    member_starts: np.ndarray
    members: np.ndarray
    largest: int
    channels: int


class MaskShares(NamedTuple):
    """As `Shares`, of responses that may differ between C' channels (1 where they do not); results, which begin with 0.

    Attributes:
        ranks: (B, top, P) float32, the largest shares, means over channels, descending.
        kept: (B, top, P, C') float32, the shares in each channel.
        numbers: (B, top, P) int64, 2 times the index of their image, plus 1 if it is mirrored.
        entropy, lowest: as of `Shares`.
    """

    ranks: np.ndarray
    kept: np.ndarray
    numbers: np.ndarray
    entropy: np.ndarray
    lowest: np.ndarray


class Tree(NamedTuple):
    """Masks as a tree of small changes (see `smalti.engine.programs.mask_tree`).

    Attributes:
        places: (K, 2) int64: where the sum lies that each begins from, and where its own goes.
        starts: (K, 3) int64: entries from the first to the second are added, from the second to the third subtracted.
        entries: (E,) unsigned, numbers of entries.
        rows: number of places.
    """

    places: np.ndarray
    starts: np.ndarray
    entries: np.ndarray
    rows: int


class Terms(NamedTuple):
    """What the sums over masks are made of, in whole quanta: P = D entries, or pixels of C entries.

    A term is factor sum_c x (x + slope) + constant, rounded.

    Attributes:
        origins: (B, n) int32 or float64, whole: the sum of the empty mask, -log2(prior).
        slopes: (B, D) float64.
        constants: (B, P) float64.
        factors: (B,) float64.
        bits: (B,) float32, of a quantum.
    """

    origins: np.ndarray
    slopes: np.ndarray
    constants: np.ndarray
    factors: np.ndarray
    bits: np.ndarray


# -------------------------------------------------------------------------------------------------- centred boxes, all shifts


class Shifts(NamedTuple):
    """Which rows and columns are looked at over all shifts, FOUR shifts of the rows at a time.

    Attributes:
        x_layout: integers (H, W, radius, top margin, left margin, row, plane) of the images' canvas.
        z_layout: integers (row, plane) of z's.
        row_groups: (G, 4) integers: first row of the windows, their number (rows below H continue from 0), the row of z's and of the
            images' canvas where the first window's box begins, for the first of FOUR shifts.
        row_penalties: (G, rows, FOUR) float32, 0 or NOWHERE.
        column_jobs: (J, 5) integers, one for each shift of the columns: columns [low, high) of the images' canvas that are looked at,
            whole vectors; what is to be added to a position for z's canvas; its segments [first, last).
        segments: (S, 3) integers: column of the images' canvas where the first window's box begins, windows, column of the first's state.
        ends: (W + vectors) float32: W zeros, then NOWHERE.
    """

    x_layout: tuple[int, ...]
    z_layout: tuple[int, int]
    row_groups: np.ndarray
    row_penalties: np.ndarray
    column_jobs: np.ndarray
    segments: np.ndarray
    ends: np.ndarray


class States(NamedTuple):
    """Running posterior means of the windows' pixels over all shifts: planes of maximum, total and totals of pixels.

    Attributes:
        layout: integers (row, plane).
        one: (B, (2 + C) planes) float32, of one image. Begins with logits that were seen, or at LOWEST_LOGIT, and with zeros.
        all: the same, float64, of all images: the result. Begins at LOWEST_LOGIT, 0, 0.
    """

    layout: tuple[int, int]
    one: np.ndarray
    all: np.ndarray


class ShiftShares(NamedTuple):
    """What is known of the windows whose shares are asked for, at their states' places (see `States`).

    Attributes:
        step: entries of a row of states.
        references, exact_references: (B, plane) float32 and float64: their normalisers are reference - log2(correction), as `Normaliser`.
        corrections: (B, plane) float32.
        slots: (flips, plane) int64, which of the P pixels a state belongs to, or -1.
        copies: (P, M) int64, the states of each pixel: flip times plane, plus the place.
    """

    step: int
    references: np.ndarray
    exact_references: np.ndarray
    corrections: np.ndarray
    slots: np.ndarray
    copies: np.ndarray


class Directions(NamedTuple):
    """What windows are sketched along (see `smalti.engine.programs.sketches`).

    Attributes:
        filters: (frequencies, p) float64, orthonormal rows.
        axes: (C, C) float64, orthonormal rows.
        passes: (P, 2) int64: an axis, and the filter along rows.
        directions: (F, 2) int64: a pass, and the filter down columns.
    """

    filters: np.ndarray
    axes: np.ndarray
    passes: np.ndarray
    directions: np.ndarray


class Places(NamedTuple):
    """Where the windows of an image lie, and which slots of z are compared with them (see `search_kernels`).

    Attributes:
        layout: integers (H, W, margin, row, plane) of the images' canvas.
        grid: integers: rows and columns of the canvas, with its margins; rows and columns of places.
        rows: (C p,) int64: where the rows of a window lie on the canvas, from its first pixel on.
        entries: (E,) int64 places, -1 where there is none.
        classes: (M, 4) integers: first entry, number of entries, first slot, slot after the last.
        slots: (S,) int64 queries, -1 where there is none.
    """

    layout: tuple[int, ...]
    grid: tuple[int, ...]
    rows: np.ndarray
    entries: np.ndarray
    classes: np.ndarray
    slots: np.ndarray


class Sketched(NamedTuple):
    """The windows of z that are searched for.

    Attributes:
        coarse: (B, COARSE S) float32 short sketches of the slots.
        fine: (B, S FINE) float32 long ones.
        narrow, exact: (B, ...) float32 and float64, z on its canvas.
        rows: (C p,) int64: where the rows of a window lie on it, from its first pixel on.
        starts: (K,) int64: where the queries' windows begin on it.
        scales: (B,) float64, log2(e) / (2 sigma^2).
        gaps: (B,) float64 bits: what lies further below the best is left out.
        roundings: (B, 2): how far a computed sketch or window may lie from the exact one, as a distance; and 1 + the relative error of a
            sum of squares.
    """

    coarse: np.ndarray
    fine: np.ndarray
    narrow: np.ndarray
    exact: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    scales: np.ndarray
    gaps: np.ndarray
    roundings: np.ndarray


# ----------------------------------------------------------------------------------------------------------------- pictures


EDGE = 64  # numbers beyond the ends of rows: kernels take whole vectors


class Picture(NamedTuple):
    """A picture, or z on its canvas.

    Attributes:
        pixels: float32 or float64; as many as `lead` lie before the first and after the last.
        lead: two rows and EDGE numbers, at least.
        shape: (C, H, W).
    """

    pixels: np.ndarray
    lead: int
    shape: tuple[int, ...]


class Comparison(NamedTuple):
    """Which crops of z and which patches of a picture are compared, and how.

    Attributes:
        side: p.
        shifts: (n,) int64: row of the picture less row of the canvas; each, and the next one. Of the columns all shifts are compared.
        scale: log2(e) / (2 sigma^2).
        gap: bits below its window's maximum at which a logit may be left out.
    """

    side: int
    shifts: np.ndarray
    scale: float
    gap: float


class Candidates(NamedTuple):
    """Pairs of a window of z and a patch of a picture that may weigh.

    Attributes:
        windows: (n,) int32, the window's number, row by row.
        places: (n,) int32, the pixel of the picture at which the patch begins, row by row.
        logits: (n,) float64, in bits; or weights.
    """

    windows: np.ndarray
    places: np.ndarray
    logits: np.ndarray


class Heaviest(NamedTuple):
    """What weighs most at each pixel of the canvas (h, w), results; (0, 0) where it is not asked for.

    Attributes:
        weights: (h, w) float32, the largest sum of R_k w_k of one shift so far.
        places: (2, h, w) int64, the row and column of the picture that it comes from.
    """

    weights: np.ndarray
    places: np.ndarray
