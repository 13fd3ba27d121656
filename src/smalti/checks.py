"""Properties that every denoiser in the family has, as one suite that runs on anyone's: `check_denoiser(d)`.

A denoiser that lacks a property says so in `opt_outs`, with the reason; the suite then checks that it really fails there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.noise import standard_normal
from smalti.core.schedule import edm_sigmas
from smalti.core.validation import shown
from smalti.engine import PosteriorMeanCollection, SamePlace
from smalti.engine.backends import backend_refuses
from smalti.engine.elements import Block, blocks
from smalti.engine.threads import get_threads, set_threads
from smalti.source import Source

__all__ = ["CHECKS", "CheckFailure", "CheckResult", "check_denoiser"]

LARGEST_SOURCE = 300  # images; larger sources are thinned out for the suite
EXACT = 1e-5  # in the working scale: what only the order of float32 sums may change
AGAINST_FLOAT64 = 1e-4
EQUAL = 1e-12  # distances that differ by less are equal


class CheckFailure(AssertionError):
    """Some property does not hold; the message has a line for each."""


class NotApplicable(Exception):
    """This denoiser does not offer what the property is about."""


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check: `status` is "passed", "failed", "opted out" or "not applicable"."""

    name: str
    status: str
    detail: str = ""


CHECKS: dict[str, Callable[[Subject], None]] = {}


def check(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
    """Add a property to the suite; it raises AssertionError where the property does not hold."""
    CHECKS[function.__name__] = function
    return function


def check_denoiser(
    denoiser: Denoiser, seed: int = 0, fail: bool = True, verify_opt_outs: bool = True
) -> list[CheckResult]:
    """Run every property on a denoiser.

    Args:
        denoiser: anything with `shape` and the call `denoiser(z, sigma, labels=None)`. With `source` and `with_source` (as every
            `smalti.Denoiser` has) the properties about the source are checked too, on at most 300 images of it.
        seed: of the noisy images.
        fail: raise if a property does not hold.
        verify_opt_outs: count it as a failure when a property holds that the denoiser opts out of. Say False for degenerate data (one
            image, constant images), on which it may.

    Returns:
        One result per property.

    Raises:
        InputError: no denoiser.
        CheckFailure: a property fails, or holds although the denoiser opts out of it.
    """
    if not callable(denoiser) or isinstance(denoiser, type) or getattr(denoiser, "shape", None) is None:
        raise InputError(f"a denoiser is needed, called as denoiser(z, sigma) and with .shape, not {shown(denoiser)}")
    subject = Subject(denoiser, seed)
    opt_outs = dict(getattr(denoiser, "opt_outs", {}))
    results = [_run(name, function, subject, opt_outs, verify_opt_outs) for name, function in CHECKS.items()]
    unknown = set(opt_outs) - set(CHECKS)
    results += [CheckResult(name, "failed", "opted out, but there is no such property") for name in sorted(unknown)]
    failures = [f"{r.name}: {r.detail}" for r in results if r.status == "failed"]
    if failures and fail:
        raise CheckFailure(
            f"{denoiser!r} fails {len(failures)} of {len(results)} properties:\n  " + "\n  ".join(failures)
        )
    return results


def _run(
    name: str, function: Callable[[Subject], None], subject: Subject, opt_outs: dict[str, str], verify: bool
) -> CheckResult:
    try:
        function(subject)
    except NotApplicable as reason:
        return CheckResult(name, "not applicable", str(reason))
    except AssertionError as failure:
        if name in opt_outs:
            return CheckResult(name, "opted out", opt_outs[name])
        return CheckResult(name, "failed", str(failure).split("\n")[0])
    except Exception as error:
        return CheckResult(name, "failed", f"it raises {type(error).__name__}: {error}")
    if name in opt_outs and not verify:
        return CheckResult(name, "opted out", opt_outs[name])
    if name in opt_outs:
        return CheckResult(name, "failed", f"opted out ({opt_outs[name]}), but the property holds")
    return CheckResult(name, "passed")


class Subject:
    """A denoiser under test, with noisy images to try it on."""

    def __init__(self, denoiser: Denoiser, seed: int) -> None:
        self.given, self.seed = denoiser, seed
        source = getattr(denoiser, "source", None)
        self.rebuildable = isinstance(source, Source) and callable(getattr(denoiser, "with_source", None))
        self.denoiser = denoiser
        if self.rebuildable and source is not None and len(source) > LARGEST_SOURCE:
            self.denoiser = denoiser.with_source(
                source.subset(np.linspace(0, len(source) - 1, LARGEST_SOURCE).astype(int))
            )

    @cached_property
    def source(self) -> Source:
        if not self.rebuildable:
            raise NotApplicable("it is not made from a source")
        return self.denoiser.source  # type: ignore[attr-defined,no-any-return]

    def on(self, source: Source) -> Denoiser:
        """The denoiser on another source."""
        assert self.source is not None
        return self.denoiser.with_source(source)

    def collection(self, sigma: float) -> PosteriorMeanCollection:
        if not self.rebuildable or not hasattr(self.denoiser, "collection"):
            raise NotApplicable("it is not a collection of posterior means")
        return self.denoiser.collection(sigma)  # type: ignore[no-any-return]

    def z(self, sigma: float, count: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Noisy images: of the source where there is one, else of smooth random images."""
        noise = standard_normal(self.seed, range(count), self.denoiser.shape)
        if self.rebuildable:
            chosen = [(7 * j + self.seed) % len(self.source) for j in range(count)]
            clean = self.source.working(np.array(chosen)).double()
        else:
            clean = standard_normal(self.seed + 1, range(count), self.denoiser.shape).clamp(-1, 1)
        return (clean + sigma * noise).to(dtype)

    def levels(self) -> Iterator[float]:
        """A low, a middle and a high noise level."""
        yield from (0.02, 0.6, 3.0, 40.0)


def _close(a: torch.Tensor, b: torch.Tensor, tolerance: float, what: str) -> None:
    error = float((a.double() - b.double()).abs().max())
    assert error <= tolerance, f"{what}: they differ by {error:.2g}, more than {tolerance:g}"


# ------------------------------------------------------------------------------------------------------------- the call


@check
def keeps_shape_and_dtype(subject: Subject) -> None:
    """(B, C, H, W) in, the same out, in z's dtype; an empty batch stays empty."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        z = subject.z(1.0, 2, dtype)
        out = subject.denoiser(z, 1.0)
        assert out.shape == z.shape, f"shape {tuple(out.shape)} for z of {tuple(z.shape)}"
        assert out.dtype == dtype, f"{out.dtype} for z of {dtype}"
    assert subject.denoiser(subject.z(1.0)[:0], 1.0).shape[0] == 0, "an empty batch does not stay empty"


@check
def refuses_bad_input(subject: Subject) -> None:
    """NaN and infinite z, a wrong shape, an integer z, sigma <= 0 or NaN raise ValueError."""
    z = subject.z(1.0)
    bad = z.clone()
    bad[1, 0, 0, 0] = float("nan")
    cases: list[tuple[Any, Any, str]] = [
        (bad, 1.0, "a NaN in z"),
        (torch.full_like(z, float("inf")), 1.0, "an infinite z"),
        (z[..., :-1] if z.shape[-1] > 1 else z[:, :, 0], 1.0, "a z of the wrong shape"),
        (z.long(), 1.0, "an integer z"),
        (z, 0.0, "sigma = 0"),
        (z, -1.0, "a negative sigma"),
        (z, float("nan"), "a NaN sigma"),
        (z, torch.ones(len(z) + 1), "more sigmas than z"),
    ]
    for point, sigma, what in cases:
        try:
            subject.denoiser(point, sigma)
        except ValueError:
            continue
        raise AssertionError(f"{what} is accepted")


@check
def repeats_to_the_bit(subject: Subject) -> None:
    """The same call gives the same bits, whatever the number of threads."""
    before = get_threads()
    for sigma in subject.levels():
        z = subject.z(sigma)
        first = subject.denoiser(z, sigma)
        assert torch.equal(first, subject.denoiser(z, sigma)), f"two calls at sigma {sigma:g} differ"
        try:
            for count in (1, 3):
                set_threads(count)
                assert torch.equal(first, subject.denoiser(z, sigma)), (
                    f"{count} threads change the result at sigma {sigma:g}"
                )
        finally:
            set_threads(before)


@check
def batch_equals_single_calls(subject: Subject) -> None:
    """A batch gives what single calls give."""
    for sigma in subject.levels():
        z = subject.z(sigma)
        singles = torch.cat([subject.denoiser(one[None], sigma) for one in z])
        _close(subject.denoiser(z, sigma), singles, EXACT, f"batch against single calls at sigma {sigma:g}")


@check
def sigma_per_image_equals_scalar_calls(subject: Subject) -> None:
    """A (B,) sigma gives what scalar calls give."""
    sigmas = list(subject.levels())
    z = torch.cat([subject.z(sigma, 1) for sigma in sigmas])
    singles = torch.cat([subject.denoiser(z[i : i + 1], sigma) for i, sigma in enumerate(sigmas)])
    mixed = subject.denoiser(z, torch.tensor(sigmas, dtype=torch.float64))
    _close(mixed, singles, EXACT, "mixed sigmas against scalar calls")


# ----------------------------------------------------------------------------------------------------------- the source


@check
def stays_in_range(subject: Subject) -> None:
    """Output within the source's range: per pixel at the same place, over all pixels where places may move."""
    low, high = (bound.double() for bound in subject.source.pixel_range())
    for sigma in subject.levels():
        try:
            same_place = type(subject.collection(sigma).match) is SamePlace
        except NotApplicable:
            same_place = True
        a, b = (low, high) if same_place else (low.min(), high.max())
        out = subject.denoiser(subject.z(sigma), sigma)
        excess = float(torch.maximum(a - out, out - b).max())
        assert excess <= EXACT, f"the output leaves the source's range by {excess:.2g} at sigma {sigma:g}"


@check
def order_of_the_source_does_not_matter(subject: Subject) -> None:
    """A permuted source gives the same."""
    order = np.random.default_rng(subject.seed).permutation(len(subject.source))
    other = subject.on(subject.source.subset(order))
    for sigma in subject.levels():
        z = subject.z(sigma)
        _close(subject.denoiser(z, sigma), other(z, sigma), EXACT, f"permuted source at sigma {sigma:g}")


@check
def duplicated_source_changes_nothing(subject: Subject) -> None:
    """Every image twice gives the same."""
    twice = subject.source.subset(np.repeat(np.arange(len(subject.source)), 2))
    other = subject.on(twice)
    for sigma in subject.levels():
        z = subject.z(sigma)
        _close(subject.denoiser(z, sigma), other(z, sigma), EXACT, f"duplicated source at sigma {sigma:g}")


@check
def answers_for_its_sigma(subject: Subject) -> None:
    """The answer is the composite of its collection, at the sigma that was asked for."""
    for sigma in subject.levels():
        z, collection = subject.z(sigma), subject.collection(sigma)
        out = subject.denoiser(z, sigma).double()

        def error(factor: float, z=z, collection=collection, sigma=sigma, out=out) -> float:  # type: ignore[no-untyped-def]
            return float((collection(z, sigma * factor) - out).abs().max())

        here = error(1.0)
        if here <= EXACT:
            continue
        factor = min((2 ** (k / 8) for k in range(-24, 25)), key=error)
        for width in (0.1, 0.01, 0.001):
            factor = min((factor * (1 + width * k / 10) for k in range(-10, 11)), key=error)
        assert error(factor) > here / 10, (
            f"sigma looks wrong: asked for sigma {sigma:g}, it answers for sigma {sigma * factor:.4g}, "
            f"{factor:.4g} times as much"
        )
        raise AssertionError(f"the answer is not the composite of its collection at sigma {sigma:g}: off by {here:.2g}")


@check
def parts_merge_to_the_whole(subject: Subject) -> None:
    """Normalisers of parts merge by log-add-exp, numerators by addition, into what the whole source gives."""
    count = len(subject.source)
    if count < 2:
        raise NotApplicable("one image cannot be split")
    parts = [slice(0, count // 3 + 1), slice(count // 3 + 1, count)]
    for sigma in subject.levels():
        z, collection = subject.z(sigma), subject.collection(sigma)
        normalisers = [collection.log_normalisers(z, sigma, images=part) for part in parts]
        merged = torch.logaddexp(normalisers[0], normalisers[1])
        numerator = sum(collection.numerator(z, sigma, merged, images=part) for part in parts)
        assert isinstance(numerator, torch.Tensor)
        whole = collection(z, sigma)
        _close(whole, collection.divide(numerator), EXACT, f"merged parts at sigma {sigma:g}")


@check
def flips_commute(subject: Subject) -> None:
    """On a source that is closed under flips, D(flip z) = flip D(z)."""
    denoiser = subject.on(subject.source.with_hflip(True))
    for sigma in subject.levels():
        z = subject.z(sigma)
        _close(denoiser(z.flip(-1), sigma), denoiser(z, sigma).flip(-1), EXACT, f"flips at sigma {sigma:g}")


@check
def flips_are_images(subject: Subject) -> None:
    """A source with flips gives what the source with its flipped images added gives."""
    source = subject.source
    images = np.asarray(source.images)
    labels = None if source.labels is None else np.concatenate([source.labels, source.labels])
    written_out = Source(
        np.concatenate([images, images[..., ::-1]]), labels, class_names=source.class_names, layout="nchw"
    )
    denoiser, other = subject.on(source.with_hflip(True)), subject.on(written_out)
    for sigma in subject.levels():
        z = subject.z(sigma)
        _close(denoiser(z, sigma), other(z, sigma), EXACT, f"flips written out at sigma {sigma:g}")


@check
def labels_select_images(subject: Subject) -> None:
    """With labels, each z sees the images of its class only."""
    source = subject.source
    if source.labels is None or not subject.denoiser.num_classes:
        raise NotApplicable("it has no classes")
    classes = np.unique(source.labels)[[0, -1]]
    for sigma in subject.levels():
        z = subject.z(sigma, 2)
        out = subject.denoiser(z, sigma, labels=torch.from_numpy(classes.astype(np.int64)))
        for j, label in enumerate(classes):
            alone = subject.on(source.subset(np.flatnonzero(source.labels == label)))
            _close(out[j : j + 1], alone(z[j : j + 1], sigma), EXACT, f"class {label} at sigma {sigma:g}")


# ---------------------------------------------------------------------------------------------------------------- limits


@check
def large_sigma_gives_the_mean(subject: Subject) -> None:
    """sigma -> infinity: each posterior is its prior, the composite the mean (over admitted elements)."""
    sigma = 1e6
    out = subject.denoiser(subject.z(1.0), sigma)
    try:
        expected = _composite_of(subject.collection(sigma), None)
    except NotApplicable:
        images = subject.source.working().double()
        if subject.source.hflip:
            images = torch.cat([images, images.flip(-1)])
        expected = images.mean(0)
    _close(out, expected.expand_as(out), EXACT, "against the mean")


@check
def small_sigma_gives_the_nearest(subject: Subject) -> None:
    """sigma -> 0: each posterior is the element that is nearest under its query (or what the denoiser's own `limit` says)."""
    sigma = 1e-4
    z = subject.z(0.5)
    out = subject.denoiser(z, sigma)
    limit = getattr(subject.denoiser, "limit", None)
    if limit is not None:
        _close(out, limit(z, sigma), AGAINST_FLOAT64, "against the limit")
        return
    for j, point in enumerate(z):
        try:
            expected = _composite_of(subject.collection(sigma), point)
        except NotApplicable:
            images = subject.source.working().double()
            if subject.source.hflip:
                images = torch.cat([images, images.flip(-1)])
            expected = images[(images - point).square().flatten(1).sum(1).argmin()]
        _close(out[j], expected, AGAINST_FLOAT64, "against the nearest elements")


def _composite_of(collection: PosteriorMeanCollection, point: torch.Tensor | None) -> torch.Tensor:
    """The composite of posteriors that are their priors (no point), or sit on the elements nearest to `point` (on all that are equally
    near, by their priors); float64, by definition."""
    shape = collection.shape
    queries = collection.queries.masks(shape).expand(-1, shape[0], -1, -1)
    responses = collection.responses.masks(shape).expand(-1, shape[0], -1, -1)
    selection = collection._selection(None, None)

    def elements() -> Iterator[tuple[Block, torch.Tensor]]:
        """Blocks, with the distances (K, n) of their elements."""
        for block in blocks(collection.problem, selection, 32, torch.float64, torch.device("cpu")):
            admitted = torch.ones(len(queries), dtype=torch.bool) if block.admitted is None else block.admitted
            distances = torch.zeros(len(queries), len(block.images), dtype=torch.float64)
            if point is not None:
                distances = torch.einsum("kchw,ichw->ki", queries, (point - block.images).square())
            yield block, distances.masked_fill(~admitted[:, None], torch.inf)

    nearest = torch.stack([distances.amin(1) for _, distances in elements()]).amin(0)
    total = torch.zeros((len(queries), *shape), dtype=torch.float64)
    mass = torch.zeros(len(queries), dtype=torch.float64)
    for block, distances in elements():
        weights = (distances <= nearest[:, None] * (1 + EQUAL) + EQUAL) * block.log_priors.exp()
        total += torch.einsum("ki,ichw->kchw", weights, block.images)
        mass += weights.sum(1)
    means = total / mass[:, None, None, None]
    return (responses * means).sum(0) / responses.sum(0)


@check
def weights_sum_to_one(subject: Subject) -> None:
    """The weights of a posterior sum to one, and the means they give are the posterior means."""
    for sigma in subject.levels():
        z, collection = subject.z(sigma, 2), subject.collection(sigma)
        chosen = sorted({0, collection.count // 2, collection.count - 1})
        elements = len(subject.source) * len(collection.shifts) * (2 if subject.source.hflip else 1)
        found = collection.posterior(z, sigma, chosen, top=elements)
        _close(found.weights.sum(-1), torch.ones(()), 1e-9, f"sum of the weights at sigma {sigma:g}")
        normalisers = collection.log_normalisers(z, sigma)[:, chosen].cpu()
        scale = float(normalisers.abs().max()) * 1e-6 + 1e-4
        _close(found.log_normaliser, normalisers, scale, f"log-normalisers at sigma {sigma:g}")


# ------------------------------------------------------------------------------------------------ backends, derivatives


def _backends(subject: Subject) -> list[tuple[str, Denoiser]]:
    """The denoiser on every fast backend that covers it; there is at least one."""
    found = []
    for name in ("numba", "torch"):
        other = type(subject.denoiser)(**{**subject.denoiser.parameters_shown(), "backend": name})
        refusals = {backend_refuses(other.collection(sigma).problem, name) for sigma in edm_sigmas().tolist()}  # type: ignore[attr-defined]
        if refusals == {None}:
            found.append((name, other))
    assert found, "no fast backend covers it"
    return found


def _reference(subject: Subject) -> Denoiser:
    if "backend" not in subject.denoiser.parameters_shown():
        raise NotApplicable("it has no backends")
    return type(subject.denoiser)(**{**subject.denoiser.parameters_shown(), "backend": "reference"})


@check
def backends_match_the_reference(subject: Subject) -> None:
    """Every backend is within 1e-4 of the float64 reference at all 18 levels."""
    subject.collection(1.0)
    reference = _reference(subject)
    for name, other in _backends(subject):
        for sigma in edm_sigmas().tolist():
            z = subject.z(sigma, 2)
            _close(
                other(z, sigma), reference(z, sigma), AGAINST_FLOAT64, f"{name} against float64 at sigma {sigma:.3g}"
            )


@check
def gradients_match_the_reference(subject: Subject) -> None:
    """Vector-Jacobian products equal those of autograd through the float64 reference."""
    subject.collection(1.0)
    reference = _reference(subject)
    for name, other in _backends(subject):
        for sigma in (0.05, 0.6, 5.0):
            z = subject.z(sigma, 2)
            direction = standard_normal(subject.seed + 2, range(2), subject.denoiser.shape)
            ours, exact = (_gradient(d, z, sigma, direction) for d in (other, reference))
            scale = max(1.0, float(exact.abs().max()))
            _close(ours / scale, exact / scale, AGAINST_FLOAT64, f"gradient of {name} at sigma {sigma:g} (relative)")


@check
def gradients_match_finite_differences(subject: Subject) -> None:
    """A z that requires grad gets the derivative, never a silent zero: against central differences, in float64."""
    try:
        denoiser = _reference(subject)
    except NotApplicable:
        denoiser = subject.denoiser
    sigma = 1.0
    z = subject.z(sigma, 2)
    direction = standard_normal(subject.seed + 3, range(2), subject.denoiser.shape)
    gradient = _gradient(denoiser, z, sigma, direction)
    along = standard_normal(subject.seed + 4, range(2), subject.denoiser.shape)
    along /= along.flatten(1).norm(dim=1)[:, None, None, None]
    step = 1e-3
    difference = (
        (denoiser(z + step * along, sigma) - denoiser(z - step * along, sigma)) / (2 * step) * direction
    ).sum()
    expected = float((gradient * along).sum())
    error = abs(float(difference) - expected)
    assert error <= 1e-2 * max(1.0, abs(expected)), (
        f"derivative {expected:.4g}, by central differences {float(difference):.4g}"
    )


def _gradient(denoiser: Denoiser, z: torch.Tensor, sigma: float, direction: torch.Tensor) -> torch.Tensor:
    point = z.clone().requires_grad_()
    (denoiser(point, sigma) * direction).sum().backward()
    assert point.grad is not None, "z requires grad, but got no gradient"
    return point.grad
