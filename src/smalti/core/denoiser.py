"""The one call that every denoiser has: `denoiser(z, sigma, labels=None) -> x0`.

`z` is a noisy image in the variance-exploding convention, z = x + sigma * noise with x in [-1, 1]; `x0` estimates E[x | z].
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch

from smalti.core.by_level import ByLevel
from smalti.core.surroundings import outside, undisturbed
from smalti.core.validation import check_labels, check_sigma, check_z

__all__ = ["Denoiser"]


class Denoiser:
    """Base of all denoisers. A subclass sets `shape` (and `num_classes`) and defines `denoise`.

    Constructor arguments are kept under their own names: `repr` shows them and `with_source` reuses them.

    Attributes:
        shape: (C, H, W) of the images.
        num_classes: number of classes that `labels` may name, or None.
        opt_outs: properties of the shared suite (`smalti.check_denoiser`) that this denoiser does not have, each with the
            reason. The suite checks that they really fail.
        name, paper: what lists call it, and where it is from.
        by_level: its parameter with one value for each noise level, which schedules and calibrations are about; None for none.
        ambient: whether torch's modes around a call (autocast, inference mode, TF32) apply to it, as to a network; else they do not
            change its answers (`smalti.core.surroundings`).
        kept_as: the path of a class that was moved, by which what was kept of it is found.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    opt_outs: ClassVar[Mapping[str, str]] = {}
    by_level: ClassVar[ByLevel | None] = None
    kept_as: ClassVar[str] = ""
    ambient: ClassVar[bool] = False

    shape: tuple[int, int, int]
    num_classes: int | None = None

    def __init_subclass__(cls, **named: Any) -> None:
        """What a denoiser keeps from its making is made outside of torch's modes (`smalti.core.surroundings`)."""
        super().__init_subclass__(**named)
        if "__init__" in vars(cls):
            cls.__init__ = _made_outside(cls.__init__)  # type: ignore[method-assign]

    def __call__(
        self, z: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | Sequence[int] | int | None = None
    ) -> torch.Tensor:
        """Denoise a batch.

        Args:
            z: (B, C, H, W), any floating dtype, any device, working scale.
            sigma: noise level > 0: a float, a 0-d, (B,) or (B, 1, 1, 1) tensor.
            labels: one class per z, (B,) integers; None for no condition.

        Returns:
            (B, C, H, W) in the dtype and on the device of z.

        Raises:
            InputError: a wrong shape or dtype, NaN or infinite z, sigma <= 0, unknown classes.
        """
        if torch.compiler.is_compiling():  # kernels are no graph: the call is run as it is, between two graphs
            return torch.compiler.disable(self._answer)(z, sigma, labels)
        return self._answer(z, sigma, labels)

    def _answer(
        self, z: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | Sequence[int] | int | None
    ) -> torch.Tensor:
        with undisturbed():
            check_z(z, self.shape)
            levels = check_sigma(sigma, z.shape[0])
            classes = check_labels(labels, z.shape[0], self.num_classes)
        if z.shape[0] == 0:
            return z.clone()
        with contextlib.nullcontext() if self.ambient else undisturbed():
            return self.denoise(z, levels, classes).to(device=z.device, dtype=z.dtype)

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The denoiser itself, on checked input: z (B, C, H, W), B >= 1; sigma (B,) float64; labels (B,) int64 or None."""
        raise NotImplementedError

    def parameters_shown(self) -> dict[str, Any]:
        """Constructor arguments and their values, in order (as scikit-learn's get_params)."""
        names = [p for p in inspect.signature(type(self).__init__).parameters if p != "self"]
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def with_source(self, source: Any) -> Denoiser:
        """The same denoiser on another source."""
        return type(self)(**{**self.parameters_shown(), "source": source})

    def __repr__(self) -> str:
        defaults = {k: p.default for k, p in inspect.signature(type(self).__init__).parameters.items()}
        shown = [
            repr(value) if name == "source" else f"{name}={_short(value)}"
            for name, value in self.parameters_shown().items()
            if name == "source" or value is not defaults.get(name)
        ]
        return f"{type(self).__name__}({', '.join([*shown, *self._says()])})"

    def _says(self) -> list[str]:
        """What `repr` shows beside the constructor's arguments: what they do not say."""
        return []

    def __dir__(self) -> list[str]:
        """Without what the library asks for and people do not."""
        return sorted(set(super().__dir__()) - {"opt_outs", "parameters_shown", "kept_as", "ambient"})


def _made_outside(constructor: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(constructor)
    def made(self: Any, *arguments: Any, **named: Any) -> None:
        outside(constructor, self, *arguments, **named)

    return made


def _short(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return (
            f"<tensor {tuple(value.shape)}>"
            if value.numel() > 24
            else str([round(v, 4) for v in value.flatten().tolist()])
        )
    return repr(value)
