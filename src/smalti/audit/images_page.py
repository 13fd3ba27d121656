"""What an audit of images says, in words and pictures: its verdicts, its exhibits, what it knows and what it does not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.audit.images import ImagesAudit, called
from smalti.audit.limits import CONFIDENCE, needed
from smalti.audit.patches import NONE, step_of
from smalti.core.text import counted
from smalti.report.audit_page import AuditSection, Dots, Exhibit, Panel, Verdict, panel
from smalti.source import Source

__all__ = [
    "images_facts",
    "images_knows",
    "images_limits",
    "images_record",
    "images_sections",
    "images_verdicts",
    "percent",
    "repeats",
]

SHOWN = 60  # images that the page shows; the table has all
DOTTED = 200  # images in a figure
LISTED = 5  # names in a sentence
SURPRISING = 0.05  # chance above which so many near images are said to be no more than false alarms
TITLES = {
    "patches": "Its parts: how unlike training patches they are",
    "whole": "The whole image: RMS difference from the nearest training image",
    "features": "Features: distance from the nearest training image",
}
BY = {"patches": "its parts", "whole": "the whole image", "features": "its features"}
MARKS = {"identical": "no", "near": "no", "not near": "yes", "not known": "none"}
LABELS = {
    "identical": "a training image",
    "near": "near-copy",
    "parts": "near-copies of parts",
    "not near": "not nearer than the limits",
    "not known": "not known",
}


def percent(share: float) -> str:
    """A share with two significant digits, "2.6 %"."""
    number = f"{100 * share:.2g}" if share < 0.995 else f"{100 * share:.0f}"
    return f"{number} %"


def images_verdicts(audit: ImagesAudit) -> list[Verdict]:
    """The findings, the most important first."""
    same = [n for n in audit.order() if audit.identical[n]]
    found = [_identical(audit, same)] if same else []
    if audit.limits is None:
        return [*found, _unknown(len(audit))]
    near = [n for n in audit.order() if audit.verdict(n) == "near"]
    if near:
        found.append(_near(audit, near))
    elif not same:
        found.append(_not_near(audit))
    if not audit.limits.enough:
        found.append(_too_few(audit))
    return found


def _identical(audit: ImagesAudit, same: Sequence[int]) -> Verdict:
    sentence = "Pixel for pixel, or mirrored, at the size at which they were compared. This needs no held-out images."
    if len(audit) == 1:
        return Verdict("no", "The image is a training image", sentence)
    are = "is a training image" if len(same) == 1 else "are training images"
    return Verdict("no", f"{len(same)} of {len(audit)} {are}", f"{_listed(audit, same)} {sentence}")


def _unknown(total: int) -> Verdict:
    what = "it is a copy" if total == 1 else "they are copies"
    return Verdict(
        "none",
        f"Whether {what} cannot be known from this",
        "How near is too near is learnt from held-out images: images of the same kind that are surely no training images. None were given, "
        "and training images cannot stand in for them: each has itself among the training images, and often its neighbours from "
        "one series. "
        "So only distances are shown. Give held-out images with --held-out.",
    )


def _near(audit: ImagesAudit, near: Sequence[int]) -> Verdict:
    assert audit.limits is not None
    total, rate = len(audit), percent(audit.limits.realised)
    different, copies = audit.different
    chance = audit.limits.chance(copies, different)
    said = percent(chance) if chance >= 1e-4 else "less than 0.01 %"
    parts = sum(_by_parts(audit, n) for n in near)
    what = "near-copies of parts of training images"
    if total == 1:
        label = f"The image holds {what}" if parts else "The image is a near-copy of a training image"
        sentence = (
            f"It is nearer to the training images than all but about {rate} of held-out images. An image that has no more to do with the "
            f"training images than they have would be called so with a chance of {said}."
        )
        if chance > SURPRISING:
            return Verdict(
                "partly", "The image is nearer to the training images than the limits, which may be chance", sentence
            )
        return Verdict("no", label, sentence)
    one = len(near) == 1
    if parts == len(near):
        label = f"{len(near)} of {total} {'holds' if one else 'hold'} {what}"
    elif parts:
        label = f"{len(near)} of {total} are near-copies of training images, or of parts of them"
    else:
        label = f"{len(near)} of {total} {'is a near-copy of a training image' if one else 'are near-copies of training images'}"
    if chance > SURPRISING:
        label = f"{len(near)} of {total} {'is' if one else 'are'} nearer to the training images than the limits, which may be chance"
    many = f"{copies} or more" if copies < different else f"all {different}"
    those = f"{total} images" if different == total else f"{different} images that differ from each other"
    if different == 1:
        many, those = "they", "images, which are all one,"
    sentence = (
        f"{_listed(audit, near)} {'It is' if one else 'They are'} nearer to the training images than all but about {rate} of "
        f"held-out images. "
        f"If the {those} had no more to do with the training images than held-out ones have, {many} would be called so "
        f"with a chance of {said}."
    )
    return Verdict("partly" if chance > SURPRISING else "no", label, sentence)


def _not_near(audit: ImagesAudit) -> Verdict:
    assert audit.limits is not None
    one = len(audit) == 1
    label = "The image is" if one else f"None of the {len(audit)} images is"
    return Verdict(
        "yes",
        f"{label} {'not ' * one}nearer to the training images than the limits",
        f"The limits call about {percent(audit.limits.realised)} of held-out images near. This is no proof that "
        f"{'it has' if one else 'they have'} "
        "nothing to do with the training images: see below what is not looked for.",
    )


def _too_few(audit: ImagesAudit) -> Verdict:
    assert audit.limits is not None
    limits = audit.limits
    return Verdict(
        "partly",
        f"Too few held-out images for a rate of {percent(limits.rate)}",
        f"{counted(limits.held_out, 'held-out image')} {'allows' if limits.held_out == 1 else 'allow'} no stricter limit than one "
        f"that calls {percent(limits.realised)} of unrelated images near on "
        f"average (at most {percent(limits.upper)}, with 95 % confidence). For {percent(limits.rate)}, at least "
        f"{needed(limits.rate)} have to be given and to count (--reference), and "
        f"{needed(limits.rate, len(audit.looks))} for a limit of every look.",
    )


def _listed(audit: ImagesAudit, numbers: Sequence[int]) -> str:
    names = [audit.names[n] for n in numbers[:LISTED]]
    more = len(numbers) - len(names)
    return ", ".join(names) + (f" and {more} more." if more else ".")


def _by_parts(audit: ImagesAudit, number: int) -> bool:
    """Whether it is near by its parts alone, and these are not for the most part of one training image."""
    others = [look for name, look in audit.looks.items() if name != "patches"]
    if any(look.limit is not None and look.distances[number] < look.limit for look in others):
        return False
    owners = audit.owners(number, 1)
    return not owners or owners[0][1] < 0.5


def images_sections(audit: ImagesAudit, table: str = "images.csv") -> list[AuditSection]:
    """How near they are, image by image, and the table, whose file is called `table`."""
    order = audit.order()
    left = len(order) - SHOWN
    dots = [
        Dots(
            TITLES[name],
            () if look.held_out is None else look.held_out.tolist(),
            [
                (
                    audit.names[n],
                    float(look.distances[n]),
                    look.limit is not None and bool(look.distances[n] < look.limit),
                )
                for n in order[:DOTTED]
            ],
            look.limit,
            _dots_note(audit, name),
        )
        for name, look in audit.looks.items()
    ]
    line = "" if audit.limits is None else " The line is the limit: what lies left of it is called near."
    return [
        AuditSection(
            "images",
            "Image by image",
            exhibits=[_exhibit(audit, number) for number in order[:SHOWN]],
            note=f"{left} more images are in {table}; they are no nearer than these." if left > 0 else "",
        ),
        AuditSection(
            "distances",
            "How near, against images that are surely not training images",
            [f"Each dot is an image; the further left, the nearer it is to the training images.{line}"],
            dots=dots,
            tables=[("of the images", audit.table(), table)],
        ),
    ]


def _dots_note(audit: ImagesAudit, name: str) -> str:
    look = audit.looks[name]
    if audit.limits is None:
        return "No held-out images were given: there is no limit."
    held_out = counted(audit.limits.held_out, "held-out image")
    if look.limit is None:
        return f"No limit: {held_out} are too few for one of every look at this rate."
    return f"Limit {look.limit:.4g}, from {held_out}."


def _exhibit(audit: ImagesAudit, number: int) -> Exhibit:
    image, source = audit.images[number], audit.source
    verdict = audit.verdict(number)
    whole = audit.looks["whole"]
    nearest = int(whole.nearest[number])
    training = source.working([nearest])[0]
    training = training.flip(-1) if audit.mirrored[number] else training
    name = called(source, nearest) + ", mirrored" * bool(audit.mirrored[number])
    rows: list[tuple[str, Sequence[Panel]]] = [
        (
            "The whole image",
            [
                panel("asked about", image),
                panel("nearest training image", training, name),
                panel("difference (grey: none)", (image - training) / 2, f"RMS {whole.distances[number]:.3f}"),
            ],
        )
    ]
    facts = [_whole_fact(audit, number)]
    if (audit.patches.images[number] != NONE).any():
        rows.append(("Its parts", _parts(audit, number)))
        facts += _patch_facts(audit, number)
    if "features" in audit.looks:
        facts.append(_features_fact(audit, number))
    label = LABELS["parts" if verdict == "near" and _by_parts(audit, number) else verdict]
    return Exhibit(audit.names[number], Verdict(MARKS[verdict], label, _sentence(audit, number)), rows, facts)


def _sentence(audit: ImagesAudit, number: int) -> str:
    verdict = audit.verdict(number)
    if verdict == "identical":
        return "Its pixels are those of a training image."
    if verdict == "not known":
        return "Without held-out images there is no limit to compare its distances with."
    if verdict == "not near":
        return "By no look nearer to the training images than the limit."
    by = [
        BY[name] for name, look in audit.looks.items() if look.limit is not None and look.distances[number] < look.limit
    ]
    area = ""
    if audit.covered is not None and audit.covered[number] > 0:
        owners = audit.owners(number, 1)
        most = f", {percent(owners[0][1])} from {called(audit.source, owners[0][0])}" if owners else ""
        area = f" {percent(audit.covered[number])} of its area is nearer than the limit{most}."
    return f"Nearer to the training images than the limit, by {' and by '.join(by)}.{area}"


def _counts(audit: ImagesAudit, name: str, number: int) -> str:
    look = audit.looks[name]
    nearer = look.nearer(number)
    if nearer is None or audit.limits is None:
        return ""
    limit = "" if look.limit is None else f" (limit {look.limit:.3f})"
    return f"{limit}; {nearer} of {audit.limits.held_out} held-out images {'is' if nearer == 1 else 'are'} as near or nearer"


def _whole_fact(audit: ImagesAudit, number: int) -> str:
    distance = audit.looks["whole"].distances[number]
    return f"Whole image: RMS difference {distance:.3f}, of 2 from black to white{_counts(audit, 'whole', number)}."


def _features_fact(audit: ImagesAudit, number: int) -> str:
    look = audit.looks["features"]
    nearest = called(audit.source, int(look.nearest[number]))
    counts = _counts(audit, "features", number)
    return f"Features ({audit.features}): distance {look.distances[number]:.3f} from {nearest}{counts}."


def _patch_facts(audit: ImagesAudit, number: int) -> list[str]:
    patches, look = audit.patches, audit.looks["patches"]
    side, nearer, compared = patches.side, look.nearer(number), ""
    if audit.limits is not None and nearer is not None:
        limit = "" if look.limit is None else f" (limit {1 - look.limit:.3f})"
        compared = f"{limit}; {nearer} of {audit.limits.held_out} held-out images reach that"
    facts = [
        f"Parts: a tenth of its {side} x {side} patches have a likeness of {1 - look.distances[number]:.3f} or more to a training "
        f"patch{compared}."
    ]
    owners = ", ".join(f"{called(audit.source, image)} ({percent(share)})" for image, share in audit.owners(number))
    if audit.covered is not None:
        by = f", by training image: {owners}" if owners else ""
        facts.append(
            f"{percent(audit.covered[number])} of its area lies in patches that are more alike than the limit{by}."
        )
    elif owners:
        facts.append(f"The training images whose patches are most alike, by area: {owners}.")
    r, k = patches.best(number)
    row, column = (int(v) for v in patches.places[number, r, k])
    name = called(audit.source, int(patches.images[number, r, k]))
    facts.append(
        f"The most alike patch: rows {_span(patches.rows[r], side)}, columns {_span(patches.columns[k], side)} of it, and rows "
        f"{_span(row, side)}, "
        f"columns {_span(column, side)} of {name}{', mirrored' * bool(patches.mirrored[number, r, k])}; likeness "
        f"{patches.likeness[number, r, k]:.4f}."
    )
    return facts


def _span(first: int, side: int) -> str:
    return f"{int(first)}\N{EN DASH}{int(first) + side - 1}"


def _parts(audit: ImagesAudit, number: int) -> list[Panel]:
    patches, image = audit.patches, audit.images[number]
    limit, side = audit.looks["patches"].limit, patches.side
    r, k = patches.best(number)
    top, left = int(patches.rows[r]), int(patches.columns[k])
    row, column = (int(v) for v in patches.places[number, r, k])
    holder = int(patches.images[number, r, k])
    training = audit.source.working([holder])[0]
    mirrored = bool(patches.mirrored[number, r, k])
    theirs = training[:, row : row + side, column : column + side]
    panels = [
        panel("asked about: its most alike patch", image, boxes=[(left, top, side, side)]),
        panel("the training image with it", training, called(audit.source, holder), [(column, row, side, side)]),
        panel(
            "the patch asked about",
            image[:, top : top + side, left : left + side],
            f"rows {_span(top, side)}, columns {_span(left, side)}",
        ),
        panel(
            "the training patch" + ", mirrored" * mirrored,
            theirs.flip(-1) if mirrored else theirs,
            f"likeness {patches.likeness[number, r, k]:.4f}",
        ),
    ]
    collage, how = patches.rebuilt(number, audit.source), "the most alike ones, in their places"
    if limit is None or audit.covered is None:
        return [*panels, panel("rebuilt out of training patches", collage, how)]
    outside = ~patches.covered(number, 1 - limit)
    area = f"{percent(audit.covered[number])} of its area; the rest is faint"
    return [
        *panels,
        panel("what is nearer than the limit", image, area, dimmed=outside),
        panel("the same area, out of training patches", collage, how, dimmed=outside),
    ]


def images_knows(audit: ImagesAudit) -> list[str]:
    """What is certain."""
    side = audit.patches.side
    known = [
        f"The nearest of {len(audit.source):,} training images, mirrored or not, for each image: exactly.",
        f"The most alike training patch for {side} x {side} patches all over each image, up to {audit.shift} pixels beside its "
        f"place, mirrored "
        "or not, whatever its brightness and contrast.",
    ]
    if audit.limits is not None:
        limits = audit.limits
        known.append(
            f"How often unrelated images are called near: {percent(limits.realised)} on average; by these {limits.held_out} "
            f"held-out images at "
            f"most {percent(limits.upper)}, with {100 * CONFIDENCE:.0f} % confidence (one-sided, exact). Of "
            f"{counted(len(audit), 'image')} like "
            f"the held-out ones, about {limits.realised * len(audit):.2g} would be called near by chance."
        )
    return known


def images_limits(audit: ImagesAudit) -> list[str]:
    """What it cannot say."""
    height, width = audit.source.shape[1:]
    said = []
    if audit.limits is None:
        said.append("How near is too near: that needs held-out images.")
    else:
        said.append(
            "How often images of another kind are called near. The rate holds for images like the held-out ones; another camera, "
            "drawings or "
            "generated pictures may be called near more often or less often, and blurred and simple images are nearer to everything."
        )
        if audit.contained:
            are = "is a training image" if audit.contained == 1 else "are training images"
            said.append(
                f"Whether the held-out images are all held out. {audit.contained} of those looked at {are}, pixel for pixel, and did "
                f"not count. Others "
                "may be near-copies of training images; then the limits are too strict, and fewer images are called near."
            )
        if audit.repeated:
            said.append(repeats(audit.repeated))
        if audit.looks["patches"].limit == 0:
            side = audit.patches.side
            said.append(
                f"Whether images are near by their parts: held-out images have {side} x {side} patches that are exact copies of training "
                "patches too, so that nothing can be nearer. Larger patches (--patch) tell more."
            )
        missing = [BY[name] for name, look in audit.looks.items() if look.limit is None]
        if missing:
            enough = needed(audit.limits.rate, len(audit.looks))
            said.append(
                f"A limit for {' and '.join(missing)}: that takes {enough} held-out images at this rate of false alarms."
            )
    return [
        *said,
        "Whether an image that is not near is unrelated. Copies that were turned, scaled, redrawn, cut otherwise, or moved "
        "further than the shift "
        "are not looked for; nor are style, subject, or the likeness of a person.",
        "Whether the images asked about have to do with each other. How many would be called near by chance is said of unrelated ones; "
        "those of one series are called near together.",
        "Why an image is near. Two photographs of one scene are near and no copies of each other; a near image is a reason to "
        "look at the pictures.",
        "Anything about training images that were not given. What is missing here cannot be found.",
        f"Details finer than {height} x {width} pixels: all images were compared at that size.",
        "How an image was made, by whom, and who owns what. These are no questions about pixels.",
    ]


def repeats(count: int) -> str:
    """What is said of held-out images that were left out as they were there already."""
    one = count == 1
    return (
        f"Whether the held-out images have nothing to do with each other, as the rate supposes. {count} {'was' if one else 'were'} there "
        f"already, pixel for pixel or mirrored, and did not count; of a series, near-copies may be left."
    )


def images_facts(found: ImagesAudit, source: Source, others: Source | None) -> list[tuple[str, str]]:
    """How it was made: (heading, text) each; first two lines on the training images, then those on the held-out images, if given."""
    height, width = source.shape[1:]
    side = found.patches.side
    facts = [
        (
            "training images",
            f"{len(source):,} of {source.name or 'the data'}, mirrored ones counted in, compared at {height} x {width}",
        ),
        ("digest of the training images", source.fingerprint()),
    ]
    if others is not None and found.limits is not None:
        facts += [
            ("held-out images", f"{found.limits.held_out:,} of {len(others):,} of {others.name or 'the data'}"),
            ("digest of the held-out images", others.fingerprint()),
        ]
    if found.limits is not None:
        cut = f"{found.limits.rate:g} asked for; {counted(found.limits.cuts, 'held-out image')} cut off, the looks in turn"
        facts.append(("rate of false alarms", cut))
    facts += [
        ("patches", f"{side} x {side}, every {counted(step_of(side), 'pixel')}, shifts up to {found.shift}"),
        (
            "likeness of patches",
            "correlation of the pixels, each channel less its mean; patches with a standard deviation below 0.1 (13 of 255 grey "
            "levels) count "
            "the less the flatter they are",
        ),
    ]
    if found.features is not None:
        facts.append(("features", found.features))
    return facts


def images_record(audit: ImagesAudit) -> dict[str, Any]:
    """The audit as plain JSON values."""
    limits = audit.limits
    rows = []
    for number, row in enumerate(audit.table().rows):
        pixels = np.ascontiguousarray(audit.images[number].numpy())
        rows.append(dict(row) | {"pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest()})
    used = 0 if limits is None else limits.held_out
    return {
        "verdicts": [[verdict.label, verdict.sentence] for verdict in images_verdicts(audit)],
        "copies": audit.copies,
        "images": rows,
        "training_images": len(audit.source),
        "training_fingerprint": audit.source.fingerprint(),
        "held_out": {
            "given": audit.held_out,
            "used": used,
            "training_images_among_them": audit.contained,
            "repeated": audit.repeated,
        },
        "limits": None
        if limits is None
        else {
            "rate_asked_for": limits.rate,
            "rate": limits.realised,
            "rate_at_most": limits.upper,
            "confidence": CONFIDENCE,
            "enough_held_out_images": limits.enough,
            "expected_by_chance": limits.realised * len(audit),
            "chance_of_as_many": limits.chance(audit.different[1], audit.different[0]),
            **limits.limits,
        },
        "patch": audit.patches.side,
        "share_of_patches": audit.share,
        "shift": audit.shift,
        "features": audit.features,
        "knows": images_knows(audit),
        "does_not_know": images_limits(audit),
    }
