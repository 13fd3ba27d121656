"""The weights' file of a diffusers model: read only after its names and shapes have been compared with the network's."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from smalti.core.errors import InputError

__all__ = ["first_line", "read_weights"]

WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLES = ("diffusion_pytorch_model.bin", "pytorch_model.bin")
# names of attention's parameters before diffusers 0.15, which its own loader also still takes
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def read_weights(where: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The tensors of the weights' file in the folder `where`, in float32; their names and shapes are exactly `shapes`.

    Raises:
        InputError: no such file (a pickle is not opened), a damaged one, other names or shapes, NaN.
    """
    path = where / WEIGHTS
    if not path.is_file():
        raise InputError(_no_weights(where))
    safetensors = importlib.import_module("safetensors")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            names = {_current(name): name for name in file.keys()}  # noqa: SIM118 (not a dict)
            found = {name: tuple(file.get_slice(stored).get_shape()) for name, stored in names.items()}
            _compare(path, found, shapes)
            return {name: _finite(path, name, file.get_tensor(stored)) for name, stored in names.items()}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({first_line(error)}); download or save it again") from error


def _finite(path: Path, name: str, value: torch.Tensor) -> torch.Tensor:
    if not value.dtype.is_floating_point or not bool(torch.isfinite(value.float()).all()):
        raise InputError(f"{path}: {name} has NaN, infinite or non-float values; download or save it again")
    return value.float()


def _current(name: str) -> str:
    parts = name.split(".")
    if len(parts) > 2 and "attentions" in parts:
        parts[-2] = OLD_ATTENTION.get(parts[-2], parts[-2])
    return ".".join(parts)


def _compare(path: Path, found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> None:
    problems = [
        *(f"{name} is missing" for name in wanted if name not in found),
        *(f"{name} is not part of the network" for name in found if name not in wanted),
        *(f"{n} has shape {found[n]}, not {wanted[n]}" for n in wanted if n in found and found[n] != wanted[n]),
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise InputError(
            f"{path} is not of the network in its config.json: {problems[0]}{more}; check that they belong together"
        )


def _no_weights(where: Path) -> str:
    for name in PICKLES:
        if (where / name).is_file():
            folder = repr(str(where))
            code = f"U.from_pretrained({folder}, use_safetensors=False).save_pretrained({folder})"
            return (
                f"{where} has its weights in {name}, a pickle, which smalti does not open; if you trust it, convert it: "
                f'python -c "from diffusers import UNet2DModel as U; {code}"'
            )
    others = sorted(file.name for file in where.glob("*.safetensors*"))[:3]
    seen = f" (it has {', '.join(others)})" if others else ""
    return (
        f"{where} has no {WEIGHTS}{seen}; save the model again with save_pretrained, in one file and without a variant"
    )


def first_line(error: BaseException) -> str:
    """What `error` says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200] or type(error).__name__
