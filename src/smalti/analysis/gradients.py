"""Rows of the Jacobian of any denoiser: by the denoiser's own closed form where it has one, else by autograd.

A denoiser offers a closed form as a method `jacobian_rows(z, sigma, pixels, labels)` with the arguments and results of the function
here; its first axis may be 1 where the rows are the same at every z.

How the derivatives of one output pixel become one number for each input pixel, by name. All reductions take rows of the Jacobian at
single z, (B, p, C, C, H, W), output channel before input channel, and give (B, p, H, W); the heatmap is the mean over z of what they
give.


    same-channel    sum_c |dD_c/dz_c|                      the full paper's Eq. 8
    all-channels    sum_c sum_c' |dD_c/dz_c'|
    l2              sqrt(sum_c sum_c' (dD_c/dz_c')^2)
    signed          sum_c dD_c/dz_c                        no absolute value: positive and negative cancel in the mean
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, did_you_mean

__all__ = ["REDUCTIONS", "find_reduction", "jacobian_rows"]


def jacobian_rows(
    denoiser: Denoiser, z: torch.Tensor, sigma: float, pixels: torch.Tensor, labels: torch.Tensor | None = None
) -> Iterator[torch.Tensor]:
    """The derivatives of chosen output pixels with respect to all of z.

    Args:
        denoiser: any.
        z: (B, C, H, W).
        sigma: noise level > 0, of all z.
        pixels: (P, 2) int64, (row, column).
        labels: (B,) classes, or None.

    Yields:
        (B or 1, p, C, C, H, W) float64: dD[b, c, pixel]/dz[b, c', i, j], for p pixels after another, P in all.

    Raises:
        InputError: the output does not depend on z as far as autograd knows.
    """
    own = getattr(denoiser, "jacobian_rows", None)
    return _by_autograd(denoiser, z, sigma, pixels, labels) if own is None else own(z, sigma, pixels, labels)


def _by_autograd(
    denoiser: Denoiser, z: torch.Tensor, sigma: float, pixels: torch.Tensor, labels: torch.Tensor | None
) -> Iterator[torch.Tensor]:
    """One vector-Jacobian product for each output entry, of the sum over the batch: each z's gradient is its own."""
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        x0 = denoiser(z, sigma, labels=labels)
    if not x0.requires_grad:
        raise InputError(
            f"{type(denoiser).__name__} gives no gradient; its denoise must not detach z nor run under torch.no_grad"
        )
    for y, x in pixels.tolist():
        rows = [
            torch.autograd.grad(x0[:, channel, y, x].sum(), z, retain_graph=True)[0] for channel in range(z.shape[1])
        ]
        yield torch.stack(rows, 1)[:, None].to("cpu", torch.float64)


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
