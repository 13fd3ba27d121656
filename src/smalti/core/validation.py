"""Checks of what users pass in: a tensor of noisy images, noise levels, classes. Each failure is one line."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch

from smalti.core.errors import InputError
from smalti.core.text import printable, shortened

__all__ = [
    "LARGEST",
    "SMALLEST_SIGMA",
    "check_count",
    "check_flag",
    "check_integer",
    "check_labels",
    "check_number",
    "check_sigma",
    "check_z",
    "shown",
]

# beyond these, float64 distances say nothing: squares and their differences are lost to rounding
LARGEST = 1e9
SMALLEST_SIGMA = 1e-12


def shown(value: Any) -> str:
    """A value as messages quote it: at most 80 letters."""
    try:
        return shortened(printable(repr(value)))
    except ValueError:  # an int of more digits than Python prints
        return "a number of thousands of digits"


def check_number(what: str, value: Any) -> float:
    """`value` as a float; numpy's and torch's numbers count.

    Raises:
        InputError: anything else, text, bools and NaN included.
    """
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"{what} must be a number, not {shown(value)}") from None
    if number != number:
        raise InputError(f"{what} must be a number, not NaN")
    return number


def check_integer(what: str, value: Any) -> int:
    """`value` as an int; numpy's and torch's integers count.

    Raises:
        InputError: anything else, fractions and bools included; what 64 bits do not hold.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{what} must be a whole number, not {shown(value)}") from None
    if abs(number) >= 2**64:
        raise InputError(f"{what} is too large: {shown(number)}")
    return number


def check_flag(what: str, value: Any) -> bool:
    """`value`, if it is True or False, or InputError: a text would count as True."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise InputError(f"{what} must be True or False, not {shown(value)}")


def check_count(what: str, value: Any) -> int:
    """`value` as an int of at least 1, or InputError."""
    count = check_integer(what, value)
    if count < 1:
        raise InputError(f"{what} must be at least 1, not {shown(count)}")
    return count


def check_z(z: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Raise InputError unless z is a finite floating (B, C, H, W) tensor with (C, H, W) = `shape`."""
    if not isinstance(z, torch.Tensor):
        raise InputError(f"z must be a torch tensor, not {type(z).__name__}; torch.from_numpy turns an array into one")
    _has_values("z", z)
    if z.ndim != 4 or tuple(z.shape[1:]) != tuple(shape):
        wanted = ", ".join(map(str, shape))
        raise InputError(f"z has shape {tuple(z.shape)}; this denoiser takes (B, {wanted})")
    if not z.dtype.is_floating_point:
        raise InputError(f"z has dtype {z.dtype}; give a floating tensor in the working scale (images in [-1, 1])")
    if not bool(torch.isfinite(z).all()):
        bad = int((~torch.isfinite(z)).flatten(1).any(1).nonzero()[0])
        raise InputError(f"z[{bad}] has NaN or infinite values; check what produced it")
    largest = float(z.detach().abs().max()) if z.numel() else 0.0
    if largest > LARGEST:
        raise InputError(f"z has values up to {largest:.3g}; in the working scale images are in [-1, 1]")


def _has_values(what: str, tensor: torch.Tensor) -> None:
    """Raise InputError for tensors whose values cannot be looked at."""
    if tensor.is_meta:
        raise InputError(f"{what} is on the meta device, where tensors have no values; give real ones")
    try:
        bool(tensor.detach().flatten()[:1].isfinite().all())
    except RuntimeError as error:  # torch.vmap's word, and that of fake tensors
        if not ("vmap" in str(error) or "fake" in str(error).lower() or "data-dependent" in str(error)):
            raise
        raise InputError(
            f"{what} has no values here: denoisers do not go through torch.vmap or fake tensors; "
            "give a batch z (B, C, H, W) instead"
        ) from None


def check_sigma(sigma: float | torch.Tensor, batch: int) -> torch.Tensor:
    """`sigma` (a float, a 0-d, a (B,) or a (B, 1, 1, 1) tensor) as a (B,) float64 CPU tensor.

    Raises:
        InputError: another shape; a value that is not finite and positive; a sigma that requires grad.
    """
    try:
        values = sigma if isinstance(sigma, torch.Tensor) else torch.as_tensor(sigma, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"sigma must be a number or one number per z, not {shown(sigma)}") from None
    _has_values("sigma", values)
    if values.dtype.is_complex or values.dtype == torch.bool:
        raise InputError(f"sigma must be a number or one number per z, not {values.dtype}")
    if values.requires_grad:
        raise InputError("the gradient with respect to sigma is not available; pass sigma.detach()")
    values = values.to("cpu", torch.float64)
    if values.ndim > 1 and values.numel() == values.shape[0]:  # (B, 1, 1, 1), as losses pass it
        values = values.flatten()
    if values.ndim > 1 or (values.ndim == 1 and values.shape[0] not in (1, batch)):
        raise InputError(f"sigma has shape {tuple(values.shape)}; give one number or one per z ({batch},)")
    wrong = ~((values >= SMALLEST_SIGMA) & (values <= LARGEST))  # NaN too
    if bool(wrong.any()):
        first = float(values[wrong][0])
        limits = f"finite and greater than 0 (from {SMALLEST_SIGMA:g} to {LARGEST:g})"
        raise InputError(f"sigma must be {limits}, not {first:g}")
    return values.expand(batch).clone()


def check_labels(
    labels: torch.Tensor | Sequence[int] | int | None, batch: int, num_classes: int | None
) -> torch.Tensor | None:
    """`labels` (one class per z, or one for all) as a (B,) int64 CPU tensor, or None.

    Raises:
        InputError: labels for a denoiser without classes, a wrong length, or a class out of range.
    """
    if labels is None:
        return None
    if num_classes is None:
        raise InputError(
            "labels were given, but this denoiser has no classes; open the data with classes or leave labels out"
        )
    try:
        values = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"labels must be one integer class per z, not {shown(labels)}") from None
    if values.dtype.is_floating_point or values.dtype == torch.bool or values.ndim > 1:
        raise InputError(f"labels must be one integer class per z, not {values.dtype} of shape {tuple(values.shape)}")
    if values.ndim == 1 and values.shape[0] != batch:
        raise InputError(f"{values.shape[0]} labels for {batch} z; give one class per z")
    values = values.to("cpu", torch.int64).expand(batch).clone()
    if batch and not (int(values.min()) >= 0 and int(values.max()) < num_classes):
        raise InputError(f"labels must be from 0 to {num_classes - 1}; got {int(values.min())} to {int(values.max())}")
    return values
