"""The claims of both papers, each with the evidence for or against it in the tables of a report.

Verdicts are written by rules from numbers (`claim_rules.py`, `rules/`): the same rules can support a claim on one data set and not on
another, and what the tables do not hold is "not tested here", with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from smalti.core.errors import InputError
from smalti.experiments.claim_rules import CLAIMS, Claim
from smalti.experiments.evidence import NOT_TESTED, NotTested, Setting, Standing, Tables, together

__all__ = ["CLAIMS", "Claim", "Effect", "Verdict", "as_markdown", "evaluate"]


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
    """

    key: str
    claim: str
    source: str
    verdict: Standing
    evidence: str
    effect: Effect | None = None
    statistic: str = ""


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
        found = together(list(claim.rule(tables, setting)))
    except NotTested as reason:
        return Verdict(claim.key, claim.text, claim.source, NOT_TESTED, str(reason))
    it = found.effect
    effect = None if it is None else Effect(it.value, it.low, it.high)
    return Verdict(claim.key, claim.text, claim.source, found.standing, found.text, effect, found.statistic)
