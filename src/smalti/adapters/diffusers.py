"""A denoiser as a diffusers model: x_t and a timestep in, what the scheduler expects out.

    x_t = sqrt(abar_t) x + sqrt(1 - abar_t) noise

    epsilon         (x_t - sqrt(abar) D) / sqrt(1 - abar)
    v_prediction    sqrt(abar) epsilon - sqrt(1 - abar) D
    sample          D

A timestep between two levels (DPM-Solver and Euler ask for such) is interpolated linearly in ln sigma, as everywhere in smalti
(`smalti.networks.tables`).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput

from smalti.adapters.scale import check_denoiser, clean, spread, times
from smalti.core.errors import InputError
from smalti.core.validation import shown
from smalti.networks.tables import DiscreteTable

__all__ = ["DiffusersModel"]

PREDICTIONS = ("epsilon", "v_prediction", "sample")


class DiffusersModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A denoiser with the face of a `UNet2DModel`: what `DDIMPipeline` and its like call `unet`. Made by `around`.

    Its configuration has `sample_size`, `in_channels` and `out_channels`. It has no weights, and cannot be saved.
    """

    @register_to_config
    def __init__(
        self, sample_size: int | tuple[int, int], in_channels: int, out_channels: int, prediction_type: str
    ) -> None:
        super().__init__()
        self.register_buffer(
            "nothing", torch.zeros(1, dtype=torch.float32), persistent=False
        )  # has the dtype and device

    @classmethod
    def around(cls, denoiser: Any, scheduler: Any) -> DiffusersModel:
        """The model of `denoiser` for the noise levels of `scheduler`.

        Raises:
            InputError: no denoiser; a scheduler without `alphas_cumprod`, or with another prediction type.
        """
        channels, height, width = check_denoiser(denoiser)
        if isinstance(scheduler, type):
            raise InputError(f"give a scheduler, {scheduler.__name__}(), not its class")
        abar = getattr(scheduler, "alphas_cumprod", None)
        if abar is None:
            raise InputError(
                "the scheduler has no alphas_cumprod; variance-preserving ones such as DDIMScheduler have, "
                f"{type(scheduler).__name__} has not"
            )
        prediction = getattr(getattr(scheduler, "config", None), "prediction_type", "epsilon")
        if prediction not in PREDICTIONS:
            raise InputError(
                f"the scheduler's prediction_type is {shown(prediction)}; {', '.join(PREDICTIONS)} can be given"
            )
        variance = getattr(getattr(scheduler, "config", None), "variance_type", None)
        if isinstance(variance, str) and variance.startswith("learned"):
            raise InputError(
                f"the scheduler expects a variance of the network ({variance}); make it with variance_type='fixed_small'"
            )
        model = cls(height if height == width else (height, width), channels, channels, prediction)
        model.denoiser, model.table = denoiser, DiscreteTable(torch.as_tensor(abar))
        return model

    def save_pretrained(self, *_: Any, **__: Any) -> None:
        """A denoiser has no weights that a file could hold.

        Raises:
            InputError: always.
        """
        raise InputError(
            "a denoiser cannot be saved as a diffusers model; keep what it was made of, and make the model again"
        )

    @torch.compiler.disable
    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        class_labels: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """What the scheduler expects.

        Args:
            sample: x_t, (B, C, H, W).
            timestep: t, a number, 0-d or (B,); 0 is the least noise.
            class_labels: (B,) classes, or None.
            return_dict: a `UNet2DOutput`, or a tuple.

        Raises:
            InputError: a timestep outside of the table, or one of pure noise.
        """
        sigma = self._sigma(times(timestep))
        alpha = 1 / (1 + sigma**2).sqrt()
        s = sigma * alpha
        x = clean(self.denoiser, sample, alpha, s, class_labels)
        alpha, s = spread(alpha, sample), spread(s, sample)
        epsilon = (sample.double() - alpha * x) / s
        kind = self.config.prediction_type
        out = x if kind == "sample" else epsilon if kind == "epsilon" else alpha * epsilon - s * x
        out = out.to(sample.dtype)
        return UNet2DOutput(sample=out) if return_dict else (out,)

    def _sigma(self, t: torch.Tensor) -> torch.Tensor:
        """The noise level of timesteps, shaped as they are; float64."""
        t = t.detach().to("cpu", torch.float64)
        if not bool(((t >= 0) & (t <= len(self.table) - 1)).all()):
            raise InputError(f"timesteps are 0 to {len(self.table) - 1}, not {shown(t.tolist())}")
        if bool((t > self.table.known - 1).any()):
            raise InputError(
                "this timestep is pure noise (abar = 0), of which no denoiser can tell more than the mean; "
                "leave rescale_betas_zero_snr out"
            )
        logs = self.table.sigmas[: self.table.known].log()
        below = t.floor().to(torch.int64).clamp(max=max(0, self.table.known - 2))
        above = (below + 1).clamp(max=self.table.known - 1)
        return (logs[below] + (t - below) * (logs[above] - logs[below])).exp()
