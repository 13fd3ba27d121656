"""The pictures of docs/idea.md and of the README's head, from the embedded digits:  .venv/bin/python docs/pictures/make.py."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

import smalti
from smalti.core.noise import standard_normal
from smalti.core.pixels import shown_noisy
from smalti.report.figures import save_figure, style
from smalti.report.pictures import NOISY_NOTE, labelled_grid, save_png, sigma_caption

HERE = Path(__file__).parent
IMAGE, SIGMA, SEED = 5, 0.585, 1
PIXEL = (3, 4)  # row, column
CROP = 3


def main() -> None:
    """Draw posterior.png and windows.png beside this file, and denoising.png above it."""
    source = smalti.Source.open("digits")
    x = source.working(slice(IMAGE, IMAGE + 1))
    z = x + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(SEED))
    with style():
        save_figure(posteriors(source, x, z), HERE / "posterior.png")
        save_figure(windows(source), HERE / "windows.png")
    save_png(denoising(source), HERE.parent / "denoising.png")


def denoising(source: smalti.Source) -> Image.Image:
    """Two digits under more and more noise, and what four denoisers make of them; one noise for a digit at all levels."""
    indices = [int(np.flatnonzero(source.labels == digit)[0]) for digit in (0, 4)]
    sigmas = smalti.edm_sigmas()[[4, 6, 7, 8, 9, 10, 11, 12, 13]]  # 19 to 0.14
    noise = standard_normal(0, range(len(indices)), source.shape)
    z = (
        source.working(indices).double() + sigmas[:, None, None, None, None] * noise
    ).float()  # (levels, digits, C, H, W)
    shown = {
        "Optimal": smalti.Optimal(source),
        "PSPC-Square": smalti.PSPCSquare(source),
        "LocalScore 3x3": smalti.LocalScore(source, window=3),
        "Gaussian": smalti.Gaussian(source),
    }
    x0 = [torch.stack([d(at, float(s)) for at, s in zip(z, sigmas, strict=True)]).numpy() for d in shown.values()]
    noisy = shown_noisy(z, sigmas)
    rows = [row for digit in range(len(indices)) for row in (noisy[:, digit], *(x[:, digit] for x in x0))]
    return labelled_grid(
        np.stack(rows),
        ["noisy", *shown] * len(indices),
        [sigma_caption(float(s)) for s in sigmas],
        "Four denoisers on the digits, from much noise (left) to little (right)",
        NOISY_NOTE,
        block=1 + len(shown),
    )


def posteriors(source: smalti.Source, x: torch.Tensor, z: torch.Tensor) -> Figure:
    """z; for the whole image and for one crop of it: the heaviest training images, and their mean; and the two denoisers."""
    crops = smalti.PosteriorMeanCollection(source, smalti.Crops(CROP))
    number = crops.anchors.tolist().index([PIXEL[0] - CROP // 2, PIXEL[1] - CROP // 2])
    whole = smalti.PosteriorMeanCollection(source, smalti.Full())
    figure = Figure((7, 2.4), layout="constrained")
    axes = figure.subplots(2, 7)
    rows = [("whole image", whole, 0, None), (f"{CROP} x {CROP} crop", crops, number, crops.anchors[number].tolist())]
    for line, (name, collection, query, corner) in zip(axes, rows, strict=True):
        found = collection.posterior(z, SIGMA, [query], top=4)
        show(line[0], z[0], f"z, {name}", corner)
        for axis, image, weight in zip(line[1:5], found.images[0, 0], found.weights[0, 0], strict=True):
            show(axis, source.working([int(image)])[0], f"w = {float(weight):.2f}", corner)
        many = float(found.effective_number[0, 0])
        show(line[5], collection.means(z, SIGMA, [query])[0, 0], f"mean of {many:.3g}", corner)
        show(line[6], collection(z, SIGMA)[0], "Optimal" if corner is None else "all crops")
    return figure


def windows(source: smalti.Source) -> Figure:
    """What the posterior that makes one pixel looks at, for six denoisers."""
    size = source.shape[1] * source.shape[2]
    number = PIXEL[0] * source.shape[2] + PIXEL[1]
    flex = smalti.PSPCFlex(source, thresholds=0.5).collection(SIGMA)
    heat = smalti.HeatmapWeighted(source).collection(SIGMA)
    families = {
        "Optimal": (smalti.Full(), 0),
        "PSPC-Square": (smalti.Crops(CROP), None),
        "LocalScore": (smalti.Centred(5), number),
        "PSPC-Flex": (flex.queries, number),
        "GaussianWindow": (smalti.GaussianWindows(1.2), number),
        "HeatmapWeighted": (heat.queries, number),
    }
    figure = Figure((7, 1.4), layout="constrained")
    for axis, (name, (family, query)) in zip(figure.subplots(1, len(families)), families.items(), strict=True):
        masks = family.masks(source.shape).double()
        if query is None:  # every crop that holds the pixel has a say
            holding = masks[masks[:, 0, PIXEL[0], PIXEL[1]] > 0]
            looks = holding.mean(0)[0]
        else:
            looks = masks[query, 0]
        assert looks.numel() == size
        axis.imshow(looks.numpy(), vmin=0, vmax=float(looks.max()), cmap="cividis")
        axis.add_patch(
            Rectangle((PIXEL[1] - 0.5, PIXEL[0] - 0.5), 1, 1, fill=False, edgecolor="#d55e00", linewidth=1.5)
        )
        bare(axis, name)
    return figure


def show(axis: Axes, image: torch.Tensor, title: str, corner: list[int] | None = None) -> None:
    """A grey image, with the crop framed."""
    axis.imshow(np.asarray(image[0]), vmin=-1, vmax=1, cmap="gray")
    if corner is not None:
        frame = Rectangle(
            (corner[1] - 0.5, corner[0] - 0.5), CROP, CROP, fill=False, edgecolor="#d55e00", linewidth=1.5
        )
        axis.add_patch(frame)
    bare(axis, title)


def bare(axis: Axes, title: str) -> None:
    """No ticks, no grid."""
    axis.set_title(title, fontsize=7.5)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)


if __name__ == "__main__":
    main()
