"""The picture of docs/generation.md: images like one picture, a mosaic that is drawn here.

    .venv/bin/python docs/pictures/like.py

Takes about two minutes of processor time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import smalti
from smalti.report.pictures import save_png

HERE = Path(__file__).parents[1] / "generated"
SIDE, PATCH, ZOOM, GAP = 96, 13, 2, 8
HOLE = (slice(52, 80), slice(10, 38))


def mosaic(side: int) -> np.ndarray:
    """Tesserae along waves, dark joints between them: (3, side, side) uint8."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[:side, :side] + 0.5
    rows, columns = np.mgrid[-1 : side // 6 + 2, -1 : side // 6 + 2]
    cy = 6.0 * rows + 4 * np.sin(columns / 2.6) + random.uniform(-1, 1, rows.shape)
    cx = 6.0 * columns + 3 * (rows % 2) + random.uniform(-1, 1, rows.shape)
    distances = np.hypot(y[..., None] - cy.ravel(), x[..., None] - cx.ravel())
    order = np.argsort(distances, 2)[..., :2]
    first, second = (np.take_along_axis(distances, order[..., k : k + 1], 2)[..., 0] for k in (0, 1))
    band = (rows.ravel() // 2) % 4
    palette = np.array([[24, 82, 120], [214, 164, 58], [232, 226, 208], [150, 46, 40]])
    colours = palette[band] + random.integers(-18, 19, (len(band), 1)) + random.integers(-8, 9, (len(band), 3))
    pixels = colours[order[..., 0]] * np.clip((second - first) / 1.6, 0.25, 1)[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8).transpose(2, 0, 1)


def shown(image: np.ndarray | torch.Tensor) -> Image.Image:
    values = image if isinstance(image, np.ndarray) else ((image.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    picture = Image.fromarray(np.ascontiguousarray(values.transpose(1, 2, 0)))
    return picture.resize((picture.width * ZOOM, picture.height * ZOOM), Image.Resampling.NEAREST)


def main() -> None:
    picture = mosaic(SIDE)
    keep = np.ones((SIDE, SIDE), bool)
    keep[HOLE] = False
    holed = picture.copy()
    holed[:, ~keep] = 0

    def like(**options: object) -> torch.Tensor:
        return smalti.generate_like(picture, patch_size=PATCH, seed=0, **options).images[0]  # type: ignore[arg-type]

    tile = like(size=(SIDE // 2, SIDE // 2), tile=True)
    panels = [
        ("the picture", picture),
        ("like it", like()),
        ("wider", like(size=(SIDE, SIDE * 3 // 2))),
        ("a tile, four times", tile.repeat(1, 2, 2)),
        ("symmetric", like(symmetric="horizontal")),
        ("a hole", holed),
        ("filled", like(keep=keep)),
    ]
    pictures = [shown(image) for _, image in panels]
    height = pictures[0].height + 16
    sheet = Image.new("RGB", (sum(p.width for p in pictures) + GAP * (len(pictures) - 1), height), "white")
    left = 0
    for (says, _), each in zip(panels, pictures, strict=True):
        ImageDraw.Draw(sheet).text((left, 1), says, fill="black")
        sheet.paste(each, (left, 16))
        left += each.width + GAP
    save_png(sheet, HERE / "like.png")


if __name__ == "__main__":
    main()
