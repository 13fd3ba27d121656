"""Workshop Fig. 7, article Figs. 5-6: how a patch posterior composite is made, on one real image; PSPC-Flex's masks by noise level.

The image is the first one drawn from the held-out images (from the source where none are held out), with noise of a level near 1.1 at
which PSPC-Square looks at patches. The framed patch is the one with the most contrast in the clean image.

Tables
    w7-matches   rank (from 1), image (its number in pspc-square's own source), flip, weight, cumulative: of the framed patch's posterior
    w7-outputs   output, mse_to_clean, mse_to_network (None without a network): of the same z
    w7-masks     place ("central", "edge"), row, column, sigma, n (pixels in the mask), share (of the heat that it holds at least)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from smalti.analysis.forward import forward_batch
from smalti.analysis.identity import source_identity
from smalti.analysis.pixels import centre_and_edge
from smalti.core.pixels import shown_noisy
from smalti.core.table import Table
from smalti.denoisers import PSPCFlex, PSPCSquare
from smalti.engine.windows import Crops
from smalti.experiments.captions import label_of, runs, significant
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.steps import Arrays, Results, Step, Work
from smalti.report.composite_figure import CompositeParts, composite_figure, masks_figure
from smalti.report.image_grid import broken

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["HowACompositeIsMade"]

SQUARE, FLEX = "pspc-square", "pspc-flex"
WANTED = 1.1  # noise level; the nearest with patches is taken
MATCHES = 6
PATCHES = 5  # along a side of the image, at most, that are drawn apart


class HowACompositeIsMade(Exhibit):
    """The patches of a noisy image, their posterior means, the composite; what Flex looks at instead of squares."""

    key: ClassVar[str] = "w7"
    title: ClassVar[str] = "How a composite of patches is made"
    origin: ClassVar[str] = "Workshop Fig. 7, article Figs. 5-6"
    share: ClassVar[float] = 0.1

    def missing(self, lab: Laboratory) -> str | None:
        found = [name for name in (SQUARE, FLEX) if name in lab.denoisers]
        return None if len(found) == 2 else "needs pspc-square and pspc-flex"

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        return _composite_step(lab), _masks_step(lab)

    def show(self, lab: Laboratory, results: Results) -> Shown:
        pictures: list[Picture] = []
        tables: dict[str, Table] = {}
        notes: list[str] = []
        parts = results["composite/square"]
        if len(parts):
            picture, found = _shown_composite(lab, parts)
            pictures.append(picture)
            tables |= found
        else:
            notes.append("pspc-square looks at whole images at every noise level: there are no patches to show.")
        picture, table = _shown_masks(lab, results["composite/masks"])
        return Shown([*pictures, picture], tables | {"w7-masks": table}, notes)


def _level_of(lab: Laboratory) -> tuple[float, int] | None:
    """The noise level nearest to the wanted one at which PSPC-Square has patches, and their side."""
    square = lab.denoisers[SQUARE]
    assert isinstance(square, PSPCSquare)
    for sigma in sorted(lab.sigmas.tolist(), key=lambda sigma: abs(math.log(sigma / WANTED))):
        queries = square.collection(sigma).queries
        if isinstance(queries, Crops):
            return sigma, int(max(np.atleast_1d(queries.size)))
    return None


def _composite_step(lab: Laboratory) -> Step:
    """Images, patches and means of one z; empty where there are no patches."""
    square, chosen = lab.denoisers[SQUARE], _level_of(lab)
    shown_from = lab.held_out or lab.source
    parameters = {
        "denoisers": [
            lab.identity(name) for name in (SQUARE, FLEX, "optimal", *([lab.reference] if lab.reference else []))
        ],
        "images": source_identity(shown_from),
        "seed": lab.seed,
        "level": chosen,
    }

    def compute(work: Work) -> Arrays:
        if chosen is None:
            return {}
        assert isinstance(square, PSPCSquare)
        sigma, side = chosen
        drawn = forward_batch(shown_from, sigma, lab.seed, 0, [0])
        z, clean = drawn.z, drawn.clean[0]
        collection = square.collection(sigma)
        anchors = collection.anchors.numpy()
        contrast = [float(clean[:, y : y + side, x : x + side].std()) for y, x in anchors]
        query = int(np.argmax(contrast))
        corners = _tiling(anchors, clean.shape[1:], side)
        numbers = [anchors.tolist().index(corner) for corner in corners.tolist()]
        means = collection.means(z, sigma, [query, *numbers])[0].numpy()
        posterior = collection.posterior(z, sigma, [query], MATCHES)
        images, flips = posterior.images[0, 0].numpy(), posterior.flips[0, 0].numpy()
        matched = square.source.working(images).numpy()  # its own images: fewer where it is limited
        matched[flips] = matched[flips][..., ::-1]
        noisy = shown_noisy(z[0], sigma)
        outputs = {"composite": square(z, sigma), FLEX: lab.denoisers[FLEX](z, sigma)}
        outputs["optimal"] = lab.denoisers["optimal"](z, sigma)
        if lab.reference is not None:
            outputs[lab.reference] = lab.networks[lab.reference](z, sigma)
        return {
            "clean": clean.numpy(),
            "noisy": noisy,
            "names": np.array(list(outputs)),
            "outputs": torch.cat([output.detach() for output in outputs.values()]).numpy(),
            "corners": corners,
            "patches": np.stack([_cut(noisy, corner, side) for corner in corners]),
            "means": np.stack([_cut(mean, corner, side) for mean, corner in zip(means[1:], corners, strict=True)]),
            "query": anchors[query],
            "query_mean": _cut(means[0], anchors[query], side),
            "matches": np.stack([_cut(image, anchors[query], side) for image in matched]),
            "weights": posterior.weights[0, 0].numpy(),
            "match_images": images,
            "match_flips": flips,
            "effective": posterior.effective_number[0, 0].numpy(),
            "count": np.array(collection.count),
            "sigma": np.array(sigma),
            "side": np.array(side),
        }

    seconds = 0.3 + 2e-6 * len(lab.source) * math.prod(lab.source.shape) / 8
    return Step("composite/square", compute, parameters, seconds=seconds)


def _tiling(anchors: np.ndarray, size: tuple[int, ...], side: int) -> np.ndarray:
    """First pixels of patches that cover the image with little overlap, at most 5 along a side: (M, 2) int."""
    axes = []
    for length in size:
        count = min(PATCHES, -(-length // side))
        axes.append(sorted({round(place) for place in np.linspace(0, length - side, count)}))
    known = set(map(tuple, anchors.tolist()))
    return np.array([(y, x) for y in axes[0] for x in axes[1] if (y, x) in known])


def _cut(image: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    y, x = (int(value) for value in corner)
    return np.array(image[:, y : y + side, x : x + side])


def _masks_step(lab: Laboratory) -> Step:
    """{"masks": (2, L, H, W) bool, "pixels": (2, 2), "shares": (L,)}."""
    flex = lab.denoisers[FLEX]
    sigmas = lab.sigmas.tolist()

    def compute(work: Work) -> Arrays:
        assert isinstance(flex, PSPCFlex)
        _, height, width = lab.source.shape
        pixels = centre_and_edge(height, width)
        masks = np.ones((len(pixels), len(sigmas), height, width), bool)
        shares = np.ones(len(sigmas))
        assert flex.levels is not None
        for number, sigma in enumerate(sigmas):
            collection = flex.collection(sigma)
            level = int(np.abs(np.array(flex.levels) - sigma).argmin())
            shares[number] = flex.shares[level]
            if collection.count > 1:
                queries = torch.tensor([y * width + x for y, x in pixels])
                masks[:, number] = collection.queries.some_masks(lab.source.shape, queries)[:, 0].numpy() > 0
            work.advance(1 / len(sigmas))
        return {"masks": masks, "pixels": np.array(pixels), "shares": shares}

    parameters = {"denoiser": lab.identity(FLEX), "sigmas": sigmas}
    return Step("composite/masks", compute, parameters, seconds=0.2)


# --------------------------------------------------------------------------------------------------------------- showing


def _shown_composite(lab: Laboratory, found: Arrays) -> tuple[Picture, dict[str, Table]]:
    sigma, side, names = float(found["sigma"]), int(found["side"]), found["names"].tolist()
    outputs = dict(zip(names, found["outputs"], strict=True))
    clean, network = found["clean"], outputs.get(lab.reference or "")
    images = {"image": clean, "noisy": found["noisy"], "composite": outputs["composite"]}
    images |= {
        broken(label_of(lab, name)): outputs[name] for name in (FLEX, lab.reference or "", "optimal") if name in outputs
    }
    y, x = found["query"].tolist()
    parts = CompositeParts(
        images=images,
        side=side,
        corners=found["corners"],
        noisy=found["patches"],
        means=found["means"],
        query=found["query"],
        query_noisy=_cut(found["noisy"], found["query"], side),
        query_mean=found["query_mean"],
        matches=found["matches"],
        weights=found["weights"],
        count=int(found["count"]),
    )
    rows = []
    for name, output in outputs.items():
        to_clean = float(np.mean((output - clean) ** 2))
        to_network = None if network is None else float(np.mean((output - network) ** 2))
        shown_name = SQUARE if name == "composite" else name
        rows.append({"output": shown_name, "mse_to_clean": to_clean, "mse_to_network": to_network})
    of_network = {row["output"]: row["mse_to_network"] for row in rows}
    held = float(found["weights"].sum())
    trained_on = getattr(lab.denoisers[SQUARE], "source", lab.source)
    words = (
        f"At sigma {significant(sigma)} the image has {int(found['count'])} overlapping patches of side {side}. The heaviest "
        f"{len(found['weights'])} of {len(trained_on):,} training patches hold {held:.0%} of the framed patch's posterior, which rests on "
        f"{float(found['effective']):.1f} images (effective number)."
    )
    if network is not None:
        words += f" MSE to {lab.reference} on this z: " + ", ".join(
            f"{label_of(lab, str(name))} {value:.3g}"
            for name, value in of_network.items()
            if value and name != lab.reference
        )
        words += "."
    images_of = f"{len(trained_on):,} of the {len(lab.source):,}" if SQUARE in lab.limited else "all"
    origin = "held-out image" if lab.held_out is not None else "training image"
    picture = Picture(
        "w7-composite",
        composite_figure(parts),
        f"A noisy image is cut into patches; the posterior mean of each patch is drawn, and their average, the composite. {words}",
        f"How {label_of(lab, SQUARE)} denoises a {origin} (noise shown as z / sqrt(1 + sigma^2)): cut z into overlapping patches, replace "
        f"each by its posterior mean over the same place in {images_of} training images, average where they overlap. Above training "
        f"patches: their weights. {words}",
        vector=False,
    )
    matches = [
        {"rank": rank, "image": int(image), "flip": bool(flip), "weight": float(weight), "cumulative": float(total)}
        for rank, (image, flip, weight, total) in enumerate(
            zip(found["match_images"], found["match_flips"], found["weights"], found["weights"].cumsum(), strict=True),
            1,
        )
    ]
    return picture, {
        "w7-matches": Table(
            ("rank", "image", "flip", "weight", "cumulative"),
            matches,
            f"framed patch, row {y}, column {x}; numbers are of the {len(trained_on):,} images of {SQUARE}",
        ),
        "w7-outputs": Table(("output", "mse_to_clean", "mse_to_network"), rows, "of one z"),
    }


def _shown_masks(lab: Laboratory, found: Arrays) -> tuple[Picture, Table]:
    sigmas, places = lab.sigmas.tolist(), ("central", "edge")
    masks, pixels, shares = found["masks"], found["pixels"].tolist(), found["shares"].tolist()
    rows = [
        {"place": place, "row": y, "column": x, "sigma": sigma, "n": int(mask.sum()), "share": share}
        for place, (y, x), of_pixel in zip(places, pixels, masks, strict=False)
        for sigma, share, mask in zip(sigmas, shares, of_pixel, strict=True)
    ]
    total = int(np.prod(masks.shape[2:]))
    whole = [sigma for sigma, mask in zip(sigmas, masks[0], strict=True) if mask.all()]
    shown = [i for i, sigma in enumerate(sigmas) if sigma not in whole[:-1]]
    least = min(rows, key=lambda row: row["n"])
    words = (
        f"All {total} pixels are looked at, at {runs(sigmas, whole)}; " if whole else ""
    ) + f"the smallest mask has {least['n']} (the {least['place']} pixel's at sigma {significant(least['sigma'])})."
    picture = Picture(
        "w7-masks",
        masks_figure(
            [of_pixel[shown] for of_pixel in masks],
            [(place, y, x) for place, (y, x) in zip(places, pixels, strict=False)],
            [sigmas[i] for i in shown],
        ),
        f"Masks of two output pixels by noise level. {words}",
        "What PSPC-Flex looks at for a central and an edge pixel (framed), by noise level: the input pixels of most heat that hold the "
        f"share of the heat its schedule asks for. {words}",
        vector=False,
    )
    return picture, Table(("place", "row", "column", "sigma", "n", "share"), rows, "n: pixels in the mask")
