"""What both papers claim, and by which rule each claim is tested.

The rules are in `smalti.experiments.rules`, by subject; `evidence.py` says how intervals become readings and verdicts, and `claims.py`
applies the rules. W is the workshop paper, A the article on the full paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from smalti.experiments.rules import distances, generalisation, networks, patches, samples
from smalti.experiments.rules.reading import Rule

__all__ = ["CLAIMS", "Claim"]


@dataclass(frozen=True)
class Claim:
    """What a paper says, and how it is tested.

    Attributes:
        key: short and stable: "error-in-the-middle".
        text: the claim, one sentence.
        source: where it is made.
        rule: from tables and setting to parts; raises NotTested where it lacks something.
    """

    key: str
    text: str
    source: str
    rule: Rule


CLAIMS = (
    Claim(
        "error-in-the-middle",
        "Networks are far from the optimal denoiser in a middle range of sigma, and near to it at both ends.",
        "W sec. 4, Fig. 2; A Fig. 2",
        networks.error_in_the_middle,
    ),
    Claim(
        "networks-err-alike",
        "Networks of different architectures deviate from the optimal denoiser in the same way.",
        "W sec. 4, Fig. 2; A Fig. 2",
        networks.networks_err_alike,
    ),
    Claim(
        "transformed-answers",
        "To a transformed z networks give a transformed answer, changed locally; the optimal denoiser does not.",
        "W sec. 4, Fig. 3",
        networks.transformed_answers,
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
    ),
    Claim(
        "patches-equal-optimal",
        "Over forward z, patch posterior means equal the optimal denoiser's patches at small and at large sigma, whatever the side.",
        "W sec. 5, Fig. 5 left",
        patches.patches_equal_optimal,
    ),
    Claim(
        "larger-patches-needed",
        "Over forward z, larger patches are needed to be near to the optimal denoiser as sigma grows.",
        "W sec. 5, Fig. 5 left",
        patches.larger_patches_needed,
    ),
    Claim(
        "patches-nearer-than-optimal",
        "Over reverse z, below sigma 3 to 5, patches of every side are nearer to the network than the optimal denoiser is.",
        "W sec. 5, Fig. 5 right",
        patches.patches_nearer_than_optimal,
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
    ),
    Claim(
        "pspc-nearer-than-gaussian",
        "For sigma from 0.3 to 3 PSPC is nearer to the network than the Gaussian denoiser is.",
        "A sec. 6, Fig. 7",
        distances.pspc_nearer_than_gaussian,
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
    ),
    Claim(
        "structure-kept",
        "From shared noise, samples of PSPC keep the structure (colours, layout) of the network's.",
        "A sec. 6, Fig. 8",
        samples.structure_kept,
    ),
    Claim(
        "flex-nearer-in-similarity",
        "From shared noise, samples of PSPC-Flex are more similar to networks' than those of Optimal, CFDM and Gaussian are.",
        "A sec. 6, Fig. 9",
        samples.flex_nearer_in_similarity,
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
    ),
    Claim(
        "halves-agree",
        "Where networks deviate from the optimal denoiser, those trained on disjoint halves agree more with each other than each does "
        "with the optimal denoiser of its own half.",
        "W sec. 1 (Kadkhodaie et al. 2023)",
        generalisation.halves_agree,
    ),
    Claim(
        "optimal-copies",
        "Sampling with the optimal denoiser only copies training images.",
        "W sec. 1; A, the paradox of the optimal denoiser",
        generalisation.optimal_copies,
    ),
)
