"""The page that shows which training pixels made a picture's pixels: one HTML file, which needs nothing from elsewhere.

All text that comes from data (file names, classes) reaches the page as text, never as markup.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup
from PIL import Image

from smalti.core.pixels import shown_noisy, to_u8
from smalti.provenance.explanation import Explanation
from smalti.report.audit_page import Panel

__all__ = ["CopyMap", "ExplanationPage", "render_explanation"]

PICTURED = 4000  # training images that the page holds at most: those with the largest shares
LOSSLESS = 1 << 20  # bytes of training images up to which they are kept exactly
VIEWS = (
    ("denoised", "denoised"),
    ("noisy", "noisy image"),
    ("effective", "number of images"),
    ("share", "largest share"),
)


@dataclass(frozen=True)
class CopyMap:
    """The most alike training patch at every pixel, (H, W) each.

    Attributes:
        likeness: 0 to 1.
        images: stored images, -1 where nothing is alike.
        tops, lefts: where the patch begins in the picture.
        rows, columns: where its partner begins in the training image.
        mirrored: whether it is alike after a horizontal flip.
        side: of the patches.
        near: likeness from which a patch is called a near-copy.
        texts, panels: what the page says and shows of it.
    """

    likeness: np.ndarray
    images: np.ndarray
    tops: np.ndarray
    lefts: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    mirrored: np.ndarray
    side: int
    near: float
    texts: Sequence[str] = ()
    panels: Sequence[Panel] = ()


@dataclass(frozen=True)
class ExplanationPage:
    """What the page says beside its numbers.

    Attributes:
        title, lead: heading, and what this is in sentences.
        explanation: the numbers.
        names: stored number -> what to call it: a file's name, a class.
        training: (N, C, H, W) stored images, uint8 or working scale; only those that are shown are read.
        pixel: (row, column) that is chosen at first.
        start: the level that is shown at first.
        limits: sentences on what the page does not know.
        facts: (name, value) pairs.
        version: of smalti.
        copies: the most alike training patches of a picture, or None.
    """

    title: str
    lead: Sequence[str]
    explanation: Explanation
    names: Mapping[int, str]
    training: np.ndarray
    pixel: tuple[int, int]
    start: int = 0
    limits: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    version: str = ""
    copies: CopyMap | None = None


def render_explanation(page: ExplanationPage) -> str:
    """The page as one HTML text."""
    shown = page.explanation
    shares, images = shown.shares.numpy(), shown.images.numpy()
    copies = page.copies
    ranked = [row.number for row in shown.ranking]
    ranked += [] if copies is None else np.unique(copies.images[copies.images >= 0]).tolist()
    numbers, slots = _slots(images, shares, ranked)
    pictured = min(len(numbers), PICTURED)
    columns = max(1, math.ceil(math.sqrt(pictured)))
    height, width = shown.denoised.shape[-2:]
    called = {int(number): page.names.get(int(number), f"image {int(number)}") for number in numbers}
    everyone = max(2, len(page.training))
    data = {
        "height": height,
        "width": width,
        "top": shares.shape[-1],
        "sigmas": [float(sigma) for sigma in shown.sigmas],
        "sizes": None if shown.sizes is None else [f"{height} x {width}" for height, width in shown.sizes],
        "pixel": list(page.pixel),
        "columns": columns,
        "pictured": pictured,
        "names": list(called.values()),
        "images": _packed(slots, np.uint32),
        "shares": _packed(shares, np.float32),
        "errors": None if shown.errors is None else _packed(shown.errors.numpy(), np.float32),
        "places": _packed(shown.places.numpy(), np.int16),
        "rest": _packed(shown.rest.numpy(), np.float32),
        "effective": _packed(shown.effective.numpy(), np.float32),
        "sprite": _sprite(page.training, numbers[:pictured], columns),
        "frames": {
            "denoised": _strip(_coloured(shown.denoised.numpy())),
            "noisy": _strip(_coloured(shown_noisy(shown.noisy, np.array(shown.sigmas)))),
            "effective": _strip(_mapped(np.log(shown.effective.numpy()) / math.log(everyone), height)),
            "share": _strip(_mapped(shares[..., 0], height)),
        },
        "legends": {
            "denoised": "What the denoiser makes of the noisy image at this level.",
            "noisy": "The noisy image that it is given.",
            "effective": f"How many training images share a pixel: dark is one, bright all {len(page.training):,} (logarithmic).",
            "share": "The largest share that any one training image has in a pixel: dark is 0, bright is 100 %.",
        },
    }
    if copies is not None:
        data["copies"] = _copies(copies, numbers)
        data["frames"]["copies"] = _strip(_mapped(copies.likeness.reshape(1, -1), height))  # type: ignore[index]
        data["legends"]["copies"] = (  # type: ignore[index]
            "How alike the most alike training patch at each pixel is: dark is 0, bright is a copy. It is of the picture itself, the same "
            "at every level."
        )
    slot_of = {number: slot for slot, number in enumerate(called)}
    ranking = [{"slot": slot_of[row.number], "name": called[row.number], "row": row} for row in shown.ranking]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("smalti.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("explain.html").render(
        page=page,
        shown=shown,
        views=VIEWS + (("copies", "likeness to training patches"),) * (copies is not None),
        copies=copies,
        ranking=ranking,
        counterfactuals=sum(row.counterfactual is not None for row in shown.ranking),
        data=Markup(json.dumps(data).replace("<", "\\u003c")),  # no end of the script within
    )


def _slots(images: np.ndarray, shares: np.ndarray, ranked: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The training images that are named, by their shares in all, those of the ranking first; and each element's place among them."""
    present = shares > 0
    listed = np.where(present, images, images[..., :1])
    numbers = np.union1d(listed, np.array(ranked, np.int64))
    places = np.searchsorted(numbers, listed)
    weight = np.bincount(places.ravel(), np.where(present, shares, 0).ravel(), len(numbers))
    weight[np.isin(numbers, ranked)] += weight.sum() + 1
    order = np.argsort(-weight, kind="stable")
    slot = np.empty(len(numbers), np.int64)
    slot[order] = np.arange(len(numbers))
    return numbers[order], slot[places]


def _copies(copies: CopyMap, numbers: np.ndarray) -> dict[str, object]:
    """For the page's script: slots (one more than all where nothing is alike), places and likeness, pixel by pixel."""
    order = np.argsort(numbers)
    found = order[np.searchsorted(numbers[order], np.maximum(copies.images, numbers.min())).clip(0, len(order) - 1)]
    slots = np.where(copies.images < 0, len(numbers), found)
    places = [copies.tops, copies.lefts, copies.rows, copies.columns, copies.mirrored]
    return {
        "side": copies.side,
        "near": copies.near,
        "picture": copies.panels[0].uri if copies.panels else "",
        "slots": _packed(slots, np.uint32),
        "places": _packed(np.stack(places, -1), np.int16),
        "likeness": _packed(copies.likeness, np.float32),
    }


def _packed(values: np.ndarray, dtype: type) -> str:
    return base64.b64encode(np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def _coloured(images: np.ndarray) -> np.ndarray:
    """(n, C, H, W) working scale or uint8 -> (n, H, W, 3) uint8."""
    pixels = to_u8(images)
    pixels = pixels if pixels.shape[1] == 3 else np.repeat(pixels[:, :1], 3, axis=1)
    return pixels.transpose(0, 2, 3, 1)


def _mapped(values: np.ndarray, height: int) -> np.ndarray:
    """(L, H W) of 0 to 1 -> (L, H, W, 3) uint8, perceptually even and readable without colour."""
    colours = matplotlib.colormaps["viridis"](np.clip(values, 0, 1))[..., :3]
    return np.rint(255 * colours).astype(np.uint8).reshape(len(values), height, -1, 3)


def _strip(pictures: np.ndarray) -> str:
    """Pictures one below another, as a data URI."""
    return _uri(pictures.reshape(-1, *pictures.shape[2:]), lossless=True)


def _sprite(training: np.ndarray, numbers: np.ndarray, columns: int) -> str:
    """Training images side by side, `columns` in a row, as a data URI."""
    tiles = _coloured(np.asarray(training[np.sort(numbers)]))[np.argsort(np.argsort(numbers))]
    rows = math.ceil(len(tiles) / columns)
    sheet = np.zeros((rows * columns, *tiles.shape[1:]), np.uint8)
    sheet[: len(tiles)] = tiles
    height, width = tiles.shape[1:3]
    sheet = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    return _uri(sheet, lossless=tiles.nbytes <= LOSSLESS)


def _uri(picture: np.ndarray, lossless: bool) -> str:
    stream = io.BytesIO()
    image = Image.fromarray(picture)
    if lossless:
        image.save(stream, "PNG", optimize=True)
    else:
        image.save(stream, "WEBP", quality=85, method=4)
    return f"data:image/{'png' if lossless else 'webp'};base64,{base64.b64encode(stream.getvalue()).decode()}"
