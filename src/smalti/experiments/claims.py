"""The claims of both papers, the rule by which each is tested, and what it says of the tables of a report.

Verdicts are written by rules from numbers: the same rules can support a claim on one data set and not on another, and what the tables
do not hold is "not tested here", with the reason. The rules are in `smalti.experiments.rules`, by subject; `evidence.py` says how
intervals become readings and verdicts. W is the workshop paper, A the article on the full paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from smalti.core.errors import InputError
from smalti.experiments.evidence import NOT_TESTED, NotTested, Setting, Standing, Tables, said_of_n, together
from smalti.experiments.rules import distances, generalisation, networks, patches, samples
from smalti.experiments.rules.reading import MIDDLE, PROCESSES, Rule

__all__ = ["CLAIMS", "Claim", "Effect", "Verdict", "as_markdown", "evaluate"]


def everywhere(setting: Setting) -> str:
    """All levels that were measured."""
    return "all sigma"


def up_to(high: float, low: float = 0.0) -> Callable[[Setting], str]:
    """A range of sigma at 32 x 32, whose upper bound scales with the image."""

    def scope(setting: Setting) -> str:
        start = f"{low:g} to " if low else "up to "
        here = f", at {setting.side} x {setting.side} {start}{high * setting.scale:.2g}" if setting.scale != 1 else ""
        return f"sigma {start}{high:g} at 32 x 32{here}"

    return scope


def ends(low: float, high: float) -> Callable[[Setting], str]:
    """The levels below one and above another, which scales with the image."""

    def scope(setting: Setting) -> str:
        here = f", at {setting.side} x {setting.side} {high * setting.scale:.2g}" if setting.scale != 1 else ""
        return f"sigma below {low:g} and above {high:g} at 32 x 32{here}"

    return scope


MIDDLE_OF = up_to(MIDDLE[1], MIDDLE[0])


@dataclass(frozen=True)
class Claim:
    """What a paper says, and how it is tested.

    Attributes:
        key: short and stable: "error-in-the-middle".
        text: the claim, one sentence.
        source: where it is made.
        rule: from tables and setting to parts; raises NotTested where it lacks something.
        facets: its parts, where it says "and"; it is undecided while one is not tested.
        universal: whether it says "every", "all", "only" or "and": one exception refutes it as stated.
        scope: the range of sigma that it is about, here: from the setting.
    """

    key: str
    text: str
    source: str
    rule: Rule
    facets: tuple[str, ...] = ()
    universal: bool = False
    scope: Callable[[Setting], str] = everywhere


CLAIMS = (
    Claim(
        "error-in-the-middle",
        "Networks are far from the optimal denoiser in a middle range of sigma, and near to it at both ends.",
        "W sec. 4, Fig. 2; A Fig. 2",
        networks.error_in_the_middle,
        facets=networks.ENDS,
        universal=True,
        scope=MIDDLE_OF,
    ),
    Claim(
        "networks-err-alike",
        "Networks of different architectures deviate from the optimal denoiser in the same way.",
        "W sec. 4, Fig. 2; A Fig. 2",
        networks.networks_err_alike,
        scope=MIDDLE_OF,
    ),
    Claim(
        "transformed-answers",
        "To a transformed z networks give a transformed answer, changed locally; the optimal denoiser does not.",
        "W sec. 4, Fig. 3",
        networks.transformed_answers,
        facets=networks.CHANGES,
        universal=True,
        scope=lambda setting: f"sigma 2, and as strong beside the image at {2 * setting.scale:.2g}",
    ),
    Claim(
        "area-grows",
        "The area that a pixel is sensitive to grows with sigma.",
        "W Fig. 4; A Fig. 3",
        networks.area_grows,
    ),
    Claim(
        "gradient-is-local",
        "At every sigma most of the gradient lies within 15 x 15 pixels (of 32 x 32).",
        "W Fig. 4",
        networks.gradient_is_local,
        universal=True,
    ),
    Claim(
        "patches-equal-optimal",
        "Over forward z, patch posterior means equal the optimal denoiser's patches at small and at large sigma, whatever the side.",
        "W sec. 5, Fig. 5 left",
        patches.patches_equal_optimal,
        facets=patches.ENDS,
        universal=True,
        scope=ends(patches.LOW, patches.HIGH),
    ),
    Claim(
        "larger-patches-needed",
        "Over forward z, larger patches are needed to be near to the optimal denoiser as sigma grows.",
        "W sec. 5, Fig. 5 left",
        patches.larger_patches_needed,
        scope=up_to(MIDDLE[1]),
    ),
    Claim(
        "patches-nearer-than-optimal",
        "Over reverse z, below sigma 3 to 5, patches of every side are nearer to the network than the optimal denoiser is.",
        "W sec. 5, Fig. 5 right",
        patches.patches_nearer_than_optimal,
        universal=True,
        scope=up_to(patches.NEARER),
    ),
    Claim(
        "best-side-shrinks",
        "Over reverse z, the side of patches that is nearest to the network shrinks as sigma falls.",
        "W sec. 5, Fig. 5 right",
        patches.best_side_shrinks,
    ),
    Claim(
        "pspc-nearer-than-optimal",
        "At every sigma, forward and reverse, PSPC is nearer to the network than the optimal denoiser is.",
        "W sec. 5, Fig. 6; A Fig. 7",
        distances.pspc_nearer_than_optimal,
        facets=PROCESSES,
        universal=True,
    ),
    Claim(
        "pspc-nearer-than-gaussian",
        "For sigma from 0.3 to 3 PSPC is nearer to the network than the Gaussian denoiser is.",
        "A sec. 6, Fig. 7",
        distances.pspc_nearer_than_gaussian,
        scope=up_to(distances.NEARER_THAN_GAUSSIAN[1], distances.NEARER_THAN_GAUSSIAN[0]),
    ),
    Claim(
        "pspc-nearer-than-cfdm",
        "PSPC is nearer to the network than closed-form diffusion is.",
        "A sec. 6, Fig. 7",
        distances.pspc_nearer_than_cfdm,
    ),
    Claim(
        "flex-nearer-than-square",
        "PSPC-Flex is nearer to the network than PSPC-Square is.",
        "A sec. 6, Fig. 7",
        distances.flex_nearer_than_square,
    ),
    Claim(
        "flex-nearest-in-reverse",
        "Over reverse z PSPC-Flex is nearer to the network than every other training-free denoiser of the paper.",
        "A sec. 6, Fig. 7",
        distances.flex_nearest_in_reverse,
        facets=distances.RIVALS,
        universal=True,
    ),
    Claim(
        "networks-nearer-than-pspc",
        "Other networks are nearer to the network than PSPC is.",
        "A sec. 6, Fig. 7",
        distances.networks_nearer_than_pspc,
    ),
    Claim(
        "errors-compound",
        "Samples of PSPC drift from the network's: errors from the middle of the trajectory compound.",
        "A sec. 6, Fig. 8",
        samples.errors_compound,
        facets=samples.COMPOUND,
        universal=True,
        scope=MIDDLE_OF,
    ),
    Claim(
        "structure-kept",
        "From shared noise, samples of PSPC keep the structure (colours, layout) of the network's.",
        "A sec. 6, Fig. 8",
        samples.structure_kept,
        facets=samples.STRUCTURE,
        universal=True,
    ),
    Claim(
        "flex-nearer-in-similarity",
        "From shared noise, samples of PSPC-Flex are more similar to networks' than those of Optimal, CFDM and Gaussian are.",
        "A sec. 6, Fig. 9",
        samples.flex_nearer_in_similarity,
        facets=samples.RIVALS,
        universal=True,
    ),
    Claim(
        "flex-nearer-to-gaussian",
        "Samples of PSPC-Flex are more similar to the Gaussian denoiser's than to networks'.",
        "A Fig. 9",
        samples.flex_nearer_to_gaussian,
    ),
    Claim(
        "networks-nearer-to-each-other",
        "Samples of networks are more similar to each other than samples of PSPC are to any network's.",
        "A Fig. 9",
        samples.networks_nearer_to_each_other,
        universal=True,
    ),
    Claim(
        "halves-agree",
        "Where networks deviate from the optimal denoiser, those trained on disjoint halves agree more with each other than each does "
        "with the optimal denoiser of its own half.",
        "W sec. 1 (Kadkhodaie et al. 2023)",
        generalisation.halves_agree,
        facets=generalisation.HALVES,
        universal=True,
        scope=MIDDLE_OF,
    ),
    Claim(
        "optimal-copies",
        "Sampling with the optimal denoiser only copies training images.",
        "W sec. 1; A, the paradox of the optimal denoiser",
        generalisation.optimal_copies,
        universal=True,
    ),
)


class Effect(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What the tables say of a claim.

    Attributes:
        key, claim, source: of the claim.
        verdict: "supported", "partly", "undecided", "not supported" or "not tested here".
        evidence: the numbers behind it, or why it was not tested.
        effect: with its 95 % interval, or None; positive where the claim holds unless the evidence names another number.
        statistic: what the effect is: "mean difference of MSE"; empty where there is none.
        scope: the range of sigma that it was judged in, how that scales with the image, and n; empty where it was not tested.
    """

    key: str
    claim: str
    source: str
    verdict: Standing
    evidence: str
    effect: Effect | None = None
    statistic: str = ""
    scope: str = ""


def evaluate(tables: Tables, setting: Mapping[str, Any]) -> list[Verdict]:
    """A verdict on each of `CLAIMS`, in their order.

    Args:
        tables: by the names of their CSV files ("w2-error"); any may be missing.
        setting: what they are about: "shape", (C, H, W) of the images; "networks", the names of networks in the tables, without those
            of halves; "reference", the network that denoisers are held against, or None; "limited", denoisers that were made on fewer
            images -> how many. Other entries are not read.

    Raises:
        InputError: the setting has no shape.
    """
    shape = tuple(setting.get("shape") or ())
    if len(shape) != 3:
        raise InputError(
            f"claims need the shape of the images, (C, H, W), in their setting, not {setting.get('shape')!r}"
        )
    networks, limited = tuple(setting.get("networks") or ()), dict(setting.get("limited") or {})
    about = Setting(int(min(shape[1:])), networks, setting.get("reference"), limited)
    return [_verdict(claim, tables, about) for claim in CLAIMS]


def as_markdown(verdicts: Sequence[Verdict] | Mapping[str, Sequence[Verdict]]) -> str:
    """A table for a README: claim, source, verdict, effect and evidence; or, short, of several data sets by name: claim, source, and a
    column of verdicts and effects for each. Effects are with their 95 % intervals."""
    if isinstance(verdicts, Mapping):
        of = {name: {it.key: it for it in found} for name, found in verdicts.items()}
        every = {it.key: it for found in verdicts.values() for it in found}
        lines = [["claim", "source", *of], ["---"] * (2 + len(of))]
        for key, it in every.items():
            lines.append([it.claim, it.source, *(_short(found[key]) if key in found else "" for found in of.values())])
    else:
        lines = [["claim", "source", "verdict", "effect", "evidence"], ["---"] * 5]
        lines += [[it.claim, it.source, f"**{it.verdict}**", _effect(it), it.evidence] for it in verdicts]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _short(verdict: Verdict) -> str:
    """ "**supported**: mean cosine 0.81 (0.78 to 0.84)"."""
    effect = _effect(verdict)
    return f"**{verdict.verdict}**" + (f": {effect}" if effect else "")


def _effect(verdict: Verdict) -> str:
    if verdict.effect is None:
        return ""
    value, low, high = verdict.effect
    return f"{verdict.statistic} {value:.2g} ({low:.2g} to {high:.2g})".strip()


def _verdict(claim: Claim, tables: Tables, setting: Setting) -> Verdict:
    try:
        found = together(list(claim.rule(tables, setting)), claim.facets, claim.universal)
    except NotTested as reason:
        return Verdict(claim.key, claim.text, claim.source, NOT_TESTED, str(reason))
    it = found.effect
    effect = None if it is None else Effect(it.value, it.low, it.high)
    said = "" if found.standing == NOT_TESTED else f"{claim.scope(setting)}; {said_of_n(found.n)}"
    return Verdict(claim.key, claim.text, claim.source, found.standing, found.text, effect, found.statistic, said)
