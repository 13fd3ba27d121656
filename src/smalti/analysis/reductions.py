"""How the derivatives of one output pixel become one number for each input pixel, by name.

All take rows of the Jacobian at single z, (B, p, C, C, H, W), output channel before input channel, and give (B, p, H, W); the
heatmap is the mean over z of what they give.

    same-channel    sum_c |dD_c/dz_c|                      the full paper's Eq. 8
    all-channels    sum_c sum_c' |dD_c/dz_c'|
    l2              sqrt(sum_c sum_c' (dD_c/dz_c')^2)
    signed          sum_c dD_c/dz_c                        no absolute value: positive and negative cancel in the mean
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from smalti.core.errors import InputError, did_you_mean

__all__ = ["REDUCTIONS", "find_reduction"]

Reduction = Callable[[torch.Tensor], torch.Tensor]


def _same_channel(rows: torch.Tensor) -> torch.Tensor:
    return rows.diagonal(dim1=2, dim2=3).abs().sum(-1)


def _all_channels(rows: torch.Tensor) -> torch.Tensor:
    return rows.abs().sum((2, 3))


def _l2(rows: torch.Tensor) -> torch.Tensor:
    return rows.square().sum((2, 3)).sqrt()


def _signed(rows: torch.Tensor) -> torch.Tensor:
    return rows.diagonal(dim1=2, dim2=3).sum(-1)


REDUCTIONS: dict[str, Reduction] = {
    "same-channel": _same_channel,
    "all-channels": _all_channels,
    "l2": _l2,
    "signed": _signed,
}


def find_reduction(name: str) -> Reduction:
    """The reduction called `name`; InputError, with the nearest name, if there is none."""
    if name not in REDUCTIONS:
        raise InputError(
            f"no reduction is called {name!r}{did_you_mean(str(name), REDUCTIONS)} ({', '.join(REDUCTIONS)})"
        )
    return REDUCTIONS[name]
