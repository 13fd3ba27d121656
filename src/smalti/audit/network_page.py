"""What an audit of a network says, in words and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from smalti.analysis.intervals import Interval
from smalti.audit.images_page import (
    images_knows,
    images_limits,
    images_record,
    images_sections,
    images_verdicts,
    percent,
    repeats,
)
from smalti.audit.membership import FEW
from smalti.audit.network import NetworkAudit
from smalti.core.pixels import shown_noisy
from smalti.core.text import printable
from smalti.report.audit_page import AuditSection, Exhibit, Panel, Verdict, panel
from smalti.report.curves import comparison_figure, sigma_axis
from smalti.report.figures import PALETTE, figure_bytes, style
from smalti.report.html import Drawn, data_uri

__all__ = ["network_knows", "network_limits", "network_record", "network_sections", "network_verdicts"]

CONTROL = "gaussian"
BRIGHT = 0.5  # standard deviation, working scale, that maps show as white


def network_verdicts(audit: NetworkAudit) -> list[Verdict]:
    """The findings: membership, samples, locality."""
    found = [_membership(audit)]
    if audit.samples is not None:
        found += [
            Verdict(verdict.mark, f"Its samples: {_lower(verdict.label)}", verdict.sentence)
            for verdict in images_verdicts(audit.samples)
        ]
    local = _locality(audit)
    return found if local is None else [*found, local]


def _membership(audit: NetworkAudit) -> Verdict:
    member = audit.membership
    if member is None:
        return Verdict(
            "none",
            "Whether it knows its training images cannot be known from this",
            "That is seen by comparing its errors on training images with those on held-out images: images of the same kind that "
            "it was surely "
            "not trained on. None were given; give them with --held-out.",
        )
    auc = f"AUC {_interval(member.overall)} over {member.n} training and {member.n} held-out images"
    if member.n < FEW:
        return Verdict(
            "none",
            f"Too few images to say whether it knows its training images: {member.n} on each side",
            f"{auc}; at least {FEW} on each side are needed.",
        )
    if member.telling:
        return Verdict(
            "no",
            "Its errors tell training images from held-out ones",
            f"Of a training and a held-out image, the training image has the smaller error in {percent(member.overall.value)} of "
            f"cases ({auc}; without "
            "any knowledge it would be half).",
        )
    if member.overall.high < 0.5:
        return Verdict(
            "partly",
            "Its errors are larger on training images than on held-out ones",
            f"{auc}. That is no sign of membership, but of images of two kinds: the held-out images are easier than the training "
            f"images, and "
            "membership cannot be judged by them.",
        )
    return Verdict(
        "yes",
        "Its errors do not tell training images from held-out ones",
        f"{auc}; without any knowledge of them it would be 0.5. This does not prove that it knows none of them: a few memorised "
        f"images, or what other "
        "tests would see, do not show here.",
    )


def _locality(audit: NetworkAudit) -> Verdict | None:
    """None where nothing that looks at patches was held against the network."""
    names = [name for name in audit.locality.distinct("denoiser") if name not in ("optimal", CONTROL)]
    if not names:
        return None
    levels = audit.locality.distinct("sigma")
    shares = {
        (row["sigma"], row["denoiser"]): row["fraction"] for row in audit.locality if not math.isnan(row["fraction"])
    }
    best = {
        sigma: max(((shares[sigma, name], name) for name in names if (sigma, name) in shares), default=None)
        for sigma in levels
    }
    known = {sigma: value for sigma, value in best.items() if value is not None}
    if not known:
        return Verdict(
            "no",
            "It does what the optimal denoiser does",
            "At every level its outputs are those of the optimal denoiser of the training images, which only memorises: there is "
            "no deviation "
            "to explain.",
        )
    sigma = max(known, key=lambda each: known[each][0])
    share, name = known[sigma]
    said = f"at most {percent(share)}, by {name} at sigma {sigma:.3g}" if share > 0 else "none, at any level"
    control = shares.get((sigma, CONTROL))
    beside = (
        ""
        if control is None
        else f"; the Gaussian denoiser, which looks at no image by itself, explains {percent(max(control, 0))} there"
    )
    return Verdict(
        "none",
        "How much of it is locality",
        f"Of what the network does otherwise than the optimal denoiser, which only memorises, denoisers that look at patches "
        f"explain {said}{beside}. "
        "The levels are below.",
    )


def network_sections(audit: NetworkAudit) -> list[AuditSection]:
    """Membership, samples, locality, maps."""
    found = []
    if audit.membership is not None:
        found.append(
            AuditSection(
                "membership",
                "Does it know its training images?",
                [
                    "Noise was added to training images and to held-out images, the same noise to both of a pair, and the "
                    "network denoised them. A network that "
                    "knows its training images makes smaller errors on them. The AUC is the share of pairs of a training and a "
                    "held-out image in "
                    "which the training image has the smaller error: 0.5 where the errors tell nothing, 1 where they tell "
                    "always. The verdict rests on "
                    "one number fixed beforehand, the AUC of the mean logarithm of the error over all levels: "
                    f"{_interval(audit.membership.overall)}."
                ],
                figures=[_auc_figure(audit)],
                tables=[("of the levels", audit.membership.table(), "membership.csv")],
            )
        )
    if audit.samples is not None:
        first, *rest = images_sections(audit.samples, "samples.csv")
        found.append(
            AuditSection(
                "images",
                "What it makes: sample by sample",
                ["These images were made by the network, from noise."],
                exhibits=first.exhibits,
                note=first.note,
            )
        )
        found += rest
    with style():
        svg = figure_bytes(comparison_figure(audit.locality, printable(audit.name)), "svg")
    found.append(
        AuditSection(
            "locality",
            "How it differs from the optimal denoiser",
            [
                "The optimal denoiser of the training images only memorises. What a network does otherwise may be explained by "
                "its looking at patches: "
                "then denoisers made of patches, without any training, do the same. The Gaussian denoiser is the control: it "
                "knows the mean and "
                "the covariance of the training images and nothing else. 1 is all of the deviation, 0 none of it, less than 0 is "
                "further from the "
                "network than the optimal denoiser is."
            ],
            figures=[
                Drawn(
                    "locality-by-level",
                    data_uri(svg, "svg"),
                    (384, 500),
                    "Mean squared error to the network, and share of its deviation explained, by noise level",
                    "Above: mean squared difference from the network. Below: share of its deviation from the optimal denoiser. "
                    "Bands: 95 %.",
                )
            ],
            tables=[("of the denoisers", audit.locality, "locality.csv")],
        )
    )
    return [*found, _map_section(audit)]


def _map_section(audit: NetworkAudit) -> AuditSection:
    maps = audit.maps
    rows: list[tuple[str, Sequence[Panel]]] = []
    for m, sigma in enumerate(maps.sigmas):
        error = (maps.network[m] - maps.clean.double()).abs().mean(0, keepdim=True)
        spread = maps.deviation[m].mean(0, keepdim=True)
        rows.append(
            (
                f"Noise level sigma {sigma:.3g}",
                [
                    panel("noisy", shown_noisy(maps.noisy[m], sigma)),
                    panel("the network makes of it", maps.network[m]),
                    panel("the optimal denoiser makes of it", maps.optimal[m]),
                    panel("posterior deviation", _bright(spread), f"mean {float(spread.mean()):.3f}"),
                    panel("error of the network", _bright(error), f"mean {float(error.mean()):.3f}"),
                ],
            )
        )
    return AuditSection(
        "maps",
        "What the training images leave open, pixel by pixel",
        [
            "The posterior deviation is the standard deviation of each pixel over the training images, weighted by how well they "
            "fit the noisy image: "
            f"black where they leave nothing open, white from {BRIGHT} up (black to white is 2). Where it is black the optimal "
            f"denoiser has "
            "decided for one training image; a network whose error is as dark on held-out images does otherwise.",
        ],
        exhibits=[
            Exhibit(
                "A held-out image" if audit.membership is not None else "A training image",
                Verdict("none", "example", "One image, at some of the levels."),
                rows,
            )
        ],
    )


def _bright(values: Any) -> Any:
    return (values / BRIGHT).clamp(0, 1) * 2 - 1


def _auc_figure(audit: NetworkAudit) -> Drawn:
    member = audit.membership
    assert member is not None
    sigmas = np.array(member.sigmas)
    order = np.argsort(sigmas)
    value, low, high = (
        np.array([getattr(each, name) for each in member.auc])[order] for name in ("value", "low", "high")
    )
    with style():
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0.5, color="#999999", linewidth=0.8, zorder=0)
        axes.plot(sigmas[order], value, "o-", color=PALETTE["vermillion"], markersize=3)
        axes.fill_between(sigmas[order], low, high, color=PALETTE["vermillion"], alpha=0.2, linewidth=0)
        sigma_axis(axes, list(member.sigmas))
        axes.set_ylim(min(0.4, float(np.nanmin([*low, *value])) - 0.02), 1.01)
        axes.set_ylabel("AUC")
        svg = figure_bytes(figure, "svg")
    return Drawn(
        "auc-by-level",
        data_uri(svg, "svg"),
        (500, 279),
        "AUC of membership by noise level",
        "How well errors at each noise level tell training images from held-out ones; bands: 95 %.",
    )


def network_knows(audit: NetworkAudit) -> list[str]:
    """What is certain."""
    known = []
    if audit.membership is not None:
        known.append(
            f"The network's errors on {audit.membership.n} training and {audit.membership.n} held-out images at "
            f"{len(audit.membership.sigmas)} noise levels."
        )
    if audit.recorded:
        known.append("The file of the network records that it was trained on these images.")
    known.append(
        "What the optimal denoiser and the others make of the same noisy images: exactly, on all training images."
    )
    return known + ([] if audit.samples is None else images_knows(audit.samples))


def network_limits(audit: NetworkAudit) -> list[str]:
    """What it cannot say."""
    said = []
    if not audit.recorded:
        said.append(
            "Whether the network was trained on these images. Its file does not record it; what is said of training images rests "
            "on the word of who gave them."
        )
    if audit.membership is None:
        said.append("Whether the network knows its training images: that needs held-out images.")
    else:
        said += [
            "Whether single images are memorised. An AUC of 0.5 is an average: a few memorised images among many do not move it.",
            "Whether the held-out images are of the same kind as the training images. If they are easier or harder for any "
            "network, the AUC shows that and "
            "not membership.",
        ]
        if audit.held_out[1]:
            said.append(
                f"Whether the held-out images are all held out: {audit.held_out[1]} of those looked at are training images, pixel "
                f"for pixel, and did not count."
            )
        if audit.repeated:
            said.append(repeats(audit.repeated))
        if audit.membership.n < 100:
            said.append(f"Weak signs: with {audit.membership.n} images on each side only strong ones show.")
    if audit.conditional is not None and not audit.labelled:
        said.append(
            f"What the network does when it is given classes. It has {audit.conditional}, and its errors were measured without; "
            f"what is memorised may "
            "show with them only (--labelled)."
        )
    if audit.samples is None:
        said.append("What the network makes: no samples were asked for.")
    else:
        said.append(
            f"What it makes at other times. {len(audit.samples)} samples are few; an image that is made once in a thousand is not "
            f"among them. Other "
            "samplers, prompts or classes make other images."
        )
    return said + ([] if audit.samples is None else images_limits(audit.samples))


def network_record(audit: NetworkAudit) -> dict[str, Any]:
    """The audit as plain JSON values."""
    member = audit.membership
    return {
        "verdicts": [[verdict.label, verdict.sentence] for verdict in network_verdicts(audit)],
        "copies": audit.copies,
        "network": audit.name,
        "training_images": audit.training,
        "recorded_in_the_network": audit.recorded,
        "held_out": {
            "given": audit.held_out[0],
            "training_images_among_them": audit.held_out[1],
            "repeated": audit.repeated,
        },
        "membership": None
        if member is None
        else {
            "pairs": member.n,
            "auc": member.overall.value,
            "auc_low": _finite(member.overall.low),
            "auc_high": _finite(member.overall.high),
            "telling": member.telling,
            "levels": [{name: _finite(value) for name, value in row.items()} for row in member.table()],
        },
        "locality": [{name: _finite(value) for name, value in row.items()} for row in audit.locality],
        "samples": None if audit.samples is None else images_record(audit.samples),
        "limits": None if audit.samples is None else images_record(audit.samples)["limits"],
        "knows": network_knows(audit),
        "does_not_know": network_limits(audit),
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _interval(interval: Interval) -> str:
    if math.isnan(interval.low):
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} (95 %: {interval.low:.3f} to {interval.high:.3f})"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
