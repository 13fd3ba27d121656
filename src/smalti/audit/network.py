"""`smalti.audit_network`: does a network know its training images, and does it make them again?

Three questions, each with its own answer:

    membership   are its errors smaller on training images than on held-out ones? (`smalti.audit.membership`)
    locality     how much of its deviation from the optimal denoiser, which only memorises, do denoisers explain that look at patches?
                 1 - |net - local|^2 / |net - optimal|^2, with the Gaussian denoiser beside them (`smalti.compare`)
    samples      are images that it makes training images? (`smalti.audit_images`)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from smalti.analysis.compare import compare
from smalti.analysis.forward import draw_noise, forward_z
from smalti.analysis.identity import identity_of, pieces_of, plain, source_identity
from smalti.analysis.subjects import evaluate
from smalti.analysis.z_sets import check_levels
from smalti.audit.images import REFERENCE, ImagesAudit, audit_images, firsts, fitted, held_outside
from smalti.audit.images import work as images_work
from smalti.audit.limits import RATE, check_rate
from smalti.audit.membership import Membership, membership
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.pieces import Arrays, Pieces
from smalti.core.progress import progress as show_progress
from smalti.core.schedule import edm_sigmas
from smalti.core.table import Table
from smalti.core.validation import check_count
from smalti.denoisers import Gaussian, LocalScore, Optimal, PSPCSquare
from smalti.quality.features import Features
from smalti.sampling.sampler import sample
from smalti.source import Source
from smalti.source.indexing import limit_indices

__all__ = ["Maps", "NetworkAudit", "audit_network", "default_sigmas", "posterior_deviation", "work"]

STREAM = 1 << 21  # of the noise of the maps
MAPPED = 4  # levels


@dataclass(frozen=True)
class Maps:
    """One image at M noise levels, each (M, C, H, W) float64 but for the first.

    Attributes:
        sigmas: (M,) noise levels.
        clean: (C, H, W), the image.
        noisy, network, optimal: the noisy image, and what the network and the optimal denoiser make of it.
        deviation: standard deviation of each pixel under the optimal denoiser's posterior: what the training images leave open.
    """

    sigmas: tuple[float, ...]
    clean: torch.Tensor
    noisy: torch.Tensor
    network: torch.Tensor
    optimal: torch.Tensor
    deviation: torch.Tensor


@dataclass(frozen=True)
class NetworkAudit:
    """What an audit of a network found.

    Attributes:
        name: of the network.
        membership: errors on training and held-out images; None without held-out images.
        locality: the table of `smalti.compare`: denoisers against the network, level by level.
        samples: the audit of images that it made; None where none were asked for.
        maps: one image at some levels.
        conditional: number of classes that it can be conditioned on, or None.
        labelled: whether it was given the classes of images.
        recorded: whether its file says that it was trained on these images.
        training: number of training images.
        held_out: number of held-out images that were given, and of those looked at that are training images.
        repeated: how many of these were there already, mirrored or not, and did not count.
    """

    name: str
    membership: Membership | None
    locality: Table
    samples: ImagesAudit | None
    maps: Maps
    conditional: int | None
    labelled: bool
    recorded: bool
    training: int
    held_out: tuple[int, int]
    repeated: int = 0

    @property
    def copies(self) -> int:
        """Samples that are training images or near-copies."""
        return 0 if self.samples is None else self.samples.copies


def default_sigmas() -> list[float]:
    """The levels of the EDM schedule between 0.05 and 10: neither all noise nor none."""
    return [s for s in edm_sigmas().tolist() if 0.05 < s < 10]


def work(
    levels: int, pairs: int, draws: int, compared: int, denoisers: int, samples: int, steps: int, images: int
) -> int:
    """Units of progress: evaluations, steps of samples, and those of the audit of the samples, `images`."""
    return 2 * levels * pairs * draws + levels * compared * (denoisers + 1) + samples * steps + images


def audit_network(
    network: Denoiser,
    source: Source,
    held_out: Source | None = None,
    *,
    sigmas: torch.Tensor | Sequence[float] | None = None,
    pairs: int = 200,
    draws: int = 1,
    labelled: bool = False,
    denoisers: Mapping[str, Denoiser] | None = None,
    compared: int = 16,
    n: int = 16,
    steps: int = 18,
    solver: str = "heun",
    labels: Any = None,
    seed: int = 0,
    batch_size: int = 64,
    rate: float = RATE,
    patch: int | None = None,
    shift: int = 2,
    features: Features | None = None,
    reference: int = REFERENCE,
    keep: str | os.PathLike[str] | Pieces | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> NetworkAudit:
    """Does a network know its training images, and does it make them again?

    Args:
        network: any denoiser, `smalti.Network.load(...)` say.
        source: the images that it was trained on, or the data set that they are a recorded part of.
        held_out: images of the same kind that it was surely not trained on; without them membership cannot be judged.
        sigmas: noise levels; nine of the EDM schedule by default (`default_sigmas`).
        pairs: training and held-out images, at most, for membership; evenly spaced.
        draws: of noise for each pair and level.
        labelled: give every image's class as a label.
        denoisers: by name, what is held against the network beside Optimal; `PSPCSquare`, `LocalScore` and `Gaussian` by default.
        compared: noisy training images at each level for that.
        n, steps, solver, labels, seed: of the samples, as for `smalti.sample`; n = 0 for none. The seed is that of all noise.
        batch_size: images computed together.
        rate, patch, shift, features, reference: of the audit of the samples, as for `smalti.audit_images`.
        keep: a folder (or Pieces) for what is finished, so that the same call goes on after a kill.
        progress: True or False; None shows it where stderr is a terminal; a function is called with units (`work` in all).

    Raises:
        InputError: images of another shape; `labelled` without classes; what `smalti.compare` and `smalti.sample` refuse.
    """
    if tuple(network.shape) != source.shape:
        raise InputError(f"the network takes {tuple(network.shape)} images; the training images have {source.shape}")
    levels = default_sigmas() if sigmas is None else check_levels(sigmas).tolist()
    check_rate(rate)
    counts = check_count("pairs", pairs), check_count("draws", draws), check_count("compared", compared)
    if labelled and (source.labels is None or (held_out is not None and held_out.labels is None)):
        raise InputError("labelled=True needs images with classes, held-out ones too; leave it out")
    if labelled and held_out is not None and held_out.class_names != source.class_names:
        raise InputError(
            f"held-out images have the classes {held_out.class_names}, the training images {source.class_names}; give the same"
        )
    training, recorded = _trained_on(network, source)
    subjects = dict(denoisers) if denoisers is not None else default_denoisers(training)
    pieces = pieces_of(keep, __name__, lambda: {
        "audit": identity_of(network), "source": source_identity(training), "sigmas": levels, "counts": list(counts),
        "held_out": None if held_out is None else source_identity(held_out), "labels": plain(labels), "n": n, "steps": steps,
        "solver": solver, "seed": seed, "denoisers": {name: identity_of(each) for name, each in subjects.items()},
        "labelled": labelled, "images": [rate, patch, shift, reference, None if features is None else features.name],
    })  # fmt: skip
    chosen, inside, repeated, given = None, 0, 0, 0 if held_out is None else len(held_out)
    if held_out is not None:
        chosen, inside, repeated = _held_out(training, held_out, max(pairs, reference))
    size = min(pairs, len(training), 0 if chosen is None else len(chosen))
    used = 0 if chosen is None else min(reference, len(chosen))
    images = images_work(len(training), n, used, features is not None) if n else 0
    total = work(len(levels), size, draws, compared, len(subjects) + 1, n, steps, images)
    with show_progress("auditing", total, progress) as advance:
        member = None
        if chosen is not None:
            sides = _side(training, size, labelled), _side(chosen, size, labelled)
            member = membership(
                network, *sides, levels, draws, seed, batch_size, pieces.under("members"), advance
            )  # fmt: skip
        z_set = forward_z(training, levels, compared, seed, labelled=labelled)
        locality = compare(
            network, subjects, z_set, optimal=Optimal(training), batch_size=batch_size, keep=pieces, progress=advance
        )
        made = None
        if n:

            def draw() -> Arrays:
                run = sample(
                    network, n, steps, solver, seed, keep_states=False, labels=labels, batch_size=batch_size,
                    progress=advance,
                )  # fmt: skip
                return {"images": run.images.numpy()}

            done = pieces.get("samples") is not None
            found = torch.from_numpy(pieces.computed("samples", draw)["images"])
            if done:
                advance(n * steps)
            names = [f"sample {number}" for number in range(n)]
            made = audit_images(
                found, training, chosen, rate=rate, patch=patch, shift=shift, features=features, reference=reference,
                names=names, keep=pieces, progress=advance,
            )  # fmt: skip
    subject = training if chosen is None else chosen
    classes = network.num_classes
    return NetworkAudit(
        name=str(getattr(network, "name", "") or type(network).__name__),
        membership=member,
        locality=locality,
        samples=made,
        maps=_maps(network, training, subject, levels, seed, labelled),
        conditional=classes,
        labelled=labelled,
        recorded=recorded,
        training=len(training),
        held_out=(given, inside),
        repeated=repeated,
    )


def default_denoisers(source: Source) -> dict[str, Denoiser]:
    """What is held against a network beside Optimal: two that look at patches, and the Gaussian control."""
    return {"pspc-square": PSPCSquare(source), "local-score": LocalScore(source), "gaussian": Gaussian(source)}


def posterior_deviation(source: Source, z: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each pixel under the optimal denoiser's posterior over the training images.

    Args:
        source: the training images; mirrored ones count where they count in it.
        z: (C, H, W).
        sigma: its noise level.

    Returns:
        Two (C, H, W) float64.
    """
    elements = len(source) * (2 if source.hflip else 1)
    found = Optimal(source).collection(sigma).posterior(z[None], sigma, [0], top=elements)
    weights, numbers, flips = found.weights[0, 0], found.images[0, 0], found.flips[0, 0]
    mean, square = torch.zeros(2, *z.shape, dtype=torch.float64)
    for rows in (weights > 0).nonzero()[:, 0].split(1024):
        images = source.working(numbers[rows].numpy()).double()
        images = torch.where(flips[rows][:, None, None, None], images.flip(-1), images)
        mean += torch.einsum("i,ichw->chw", weights[rows], images)
        square += torch.einsum("i,ichw->chw", weights[rows], images.square())
    return mean, (square - mean.square()).clamp_min(0).sqrt()


def _trained_on(network: Denoiser, source: Source) -> tuple[Source, bool]:
    """The images that it was trained on, and whether its file says so."""
    trained = getattr(network, "training_source", None)
    if not callable(trained):
        return source, False
    said = getattr(network, "about", {}).get("training_data")
    known = isinstance(said, dict) and source.fingerprint() in (
        said.get("trained_fingerprint"),
        said.get("fingerprint"),
    )
    return trained(source), known


def _held_out(training: Source, held_out: Source, most: int) -> tuple[Source, int, int]:
    """Held-out images, evenly spaced, that are not training images, each once; how many were; how many were there already."""
    numbers = limit_indices(len(held_out), most)
    numbers = np.arange(len(held_out)) if numbers is None else numbers
    pixels = fitted(held_out.working(numbers), training.shape, "the held-out images")
    outside = held_outside(training, pixels)
    classes = None if held_out.labels is None else held_out.labels[numbers][outside]
    pixels = pixels[torch.from_numpy(outside)]
    first = firsts(pixels)
    classes = None if classes is None else classes[first]
    found = Source(pixels[torch.from_numpy(first)].numpy(), classes, class_names=held_out.class_names, layout="nchw")
    return found, int((~outside).sum()), int((~first).sum())


def _side(source: Source, count: int, labelled: bool) -> tuple[torch.Tensor, np.ndarray | None]:
    numbers = limit_indices(len(source), count)
    numbers = np.arange(len(source)) if numbers is None else numbers
    return source.working(numbers), source.labels[numbers] if labelled and source.labels is not None else None


def _maps(
    network: Denoiser, training: Source, subject: Source, levels: Sequence[float], seed: int, labelled: bool
) -> Maps:
    chosen = sorted({round(i) for i in np.linspace(0, len(levels) - 1, min(MAPPED, len(levels)))})
    clean = subject.working([0])
    labels = torch.from_numpy(subject.labels[:1].copy()) if labelled and subject.labels is not None else None
    rows = []
    for level in chosen:
        sigma = levels[level]
        z = clean.double() + sigma * draw_noise(seed, STREAM + level, [0], training.shape)
        made = evaluate("the network", network, z.float(), sigma, labels)[0].double()
        mean, deviation = posterior_deviation(training, z[0], sigma)
        rows.append((z[0], made, mean, deviation))
    noisy, made, mean, deviation = (torch.stack(each) for each in zip(*rows, strict=True))
    return Maps(tuple(levels[level] for level in chosen), clean[0], noisy, made, mean, deviation)
