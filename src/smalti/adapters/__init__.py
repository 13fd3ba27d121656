"""Our denoisers in other people's programs: each adapter takes a denoiser and has the face that the other library asks for.

    smalti.adapters.diffusers_model(denoiser, scheduler)      a diffusers model: DDIMPipeline(unet=..., scheduler=...)
    smalti.adapters.edm_net(denoiser)                         what NVIDIA's EDM calls `net`
    smalti.adapters.azula_denoiser(denoiser, schedule)        an azula Denoiser

k-diffusion's samplers need none: they take our denoisers as they are. All of them say the same thing in other letters: with
x_t = alpha x + s noise, z = x_t / alpha and sigma = s / alpha. Anything with smalti's call may be adapted: denoisers, networks, functions
with a `shape`.
"""

from __future__ import annotations

from typing import Any

from smalti.adapters.edm import EDMNet
from smalti.core.errors import InputError
from smalti.core.text import printable, shortened

__all__ = ["EDMNet", "azula_denoiser", "diffusers_model", "edm_net"]


def diffusers_model(denoiser: Any, scheduler: Any) -> Any:
    """A diffusers model for the noise levels of `scheduler`; needs `pip install smalti[diffusers]`.

    Args:
        denoiser: a denoiser of smalti for images of (C, H, W).
        scheduler: of diffusers, with `alphas_cumprod` (DDIM, DDPM, DPM-Solver, Euler, ...); what its configuration says of
            `prediction_type` is what the model returns.

    Returns:
        A `smalti.adapters.diffusers.DiffusersModel`.

    Raises:
        InputError: diffusers is missing; a scheduler without such noise levels.
    """
    try:
        from smalti.adapters.diffusers import DiffusersModel
    except (ImportError, RuntimeError) as error:  # diffusers' own imports raise the latter
        raise _missing("diffusers", error) from None
    return DiffusersModel.around(denoiser, scheduler)


def edm_net(denoiser: Any) -> EDMNet:
    """What EDM's samplers and losses call `net`.

    Raises:
        InputError: no denoiser.
    """
    return EDMNet(denoiser)


def azula_denoiser(denoiser: Any, schedule: Any) -> Any:
    """An azula denoiser on a noise schedule; needs `pip install smalti[azula]`.

    Args:
        denoiser: a denoiser of smalti.
        schedule: of azula (`azula.noise.VPSchedule()`, say): t -> (alpha, sigma) with x_t = alpha x + sigma noise.

    Returns:
        A `smalti.adapters.azula.AzulaDenoiser`.

    Raises:
        InputError: azula is missing; no denoiser.
    """
    try:
        from smalti.adapters.azula import AzulaDenoiser
    except ImportError as error:
        raise _missing("azula", error) from None
    return AzulaDenoiser(denoiser, schedule)


def _missing(package: str, error: ImportError | RuntimeError) -> InputError:
    name = getattr(error, "name", None) or ""
    if name.partition(".")[0] != package:
        return InputError(f"{package} cannot be imported ({shortened(printable(str(error)))}); reinstall it")
    return InputError(f"this adapter needs {package}: pip install 'smalti[{package}]'")
