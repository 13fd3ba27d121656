"""State dicts of published networks that do not say their architecture: what can be read off their names and shapes.

    improved-diffusion, guided-diffusion    input_blocks.0.0.weight, ...    as `ADM`; their tensors under EDM's names for it
    U-ViT                                   in_blocks.0.attn.qkv, ...       as `UViT`, whose names are theirs

What cannot be read off (the resolution, heads, the schedule) is asked for in one line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from smalti.core.errors import InputError

__all__ = ["recognised", "told"]

OPENAI, UVIT = "input_blocks.0.0.weight", "in_blocks.0.attn.qkv.weight"
ASKED = {  # what a state dict does not say
    OPENAI: "'resolution': 64, 'head_channels': 64 (or 'heads': 4), 'schedule': 'cosine' (or 'linear'), 'steps': 1000",
    UVIT: "'heads': 8",
}
RESIDUAL = {
    "in_layers.0": "norm0",
    "in_layers.2": "conv0",
    "emb_layers.1": "affine",
    "out_layers.0": "norm1",
    "out_layers.3": "conv1",
    "skip_connection": "skip",
}
ATTENTION = {"norm": "norm2", "qkv": "qkv", "proj_out": "proj"}
MOST = 1000  # blocks that are looked for

State = Mapping[str, torch.Tensor]

# state dicts that are not built, by names that they have; the first row that fits is said
OTHERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("attn2.to_k.weight", "down_blocks.0."), "diffusers' UNet2DConditionModel, which is conditional on text"),
    (
        ("down_blocks.0.", "conv_in.weight", "conv_norm_out.weight", "time_embedding.linear_1.weight"),
        "diffusers' UNet2DModel",
    ),
    (("cond_stage_model.",), "latent-diffusion, with an encoder of text"),
    (("quant_conv.weight", "decoder.conv_in.weight"), "an autoencoder (VAE), not a denoiser"),
    (("all_modules.0.",), "score_sde's NCSN++ or DDPM++"),
    (("temb.dense.0.weight", "down.0.block.0."), "the PyTorch port of DDPM (pesser, DDIM)"),
    (("x_embedder.proj.weight", "t_embedder.mlp.0.weight"), "facebookresearch's DiT or SiT, which work on latents"),
    (("downs.0.0.", "init_conv.weight", "ups.0.0."), "lucidrains' denoising-diffusion-pytorch"),
    (("emb_fourier.freqs", "out_gain"), "EDM2"),
)
DIFFUSERS = OTHERS[1][1]


def told(state: Iterable[str]) -> str | None:
    """Whose network a state dict of these names is, of those that are not built; None where that is unknown."""
    names = list(state)

    def there(part: str) -> bool:
        return any(name.startswith(part) or f".{part}" in name for name in names)

    return next((whose for parts, whose in OTHERS if all(map(there, parts))), None)


def recognised(
    state: State, given: Mapping[str, Any], what: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
    """The configuration and the tensors of a published network, under the names that `build` wants; None for any other.

    Args:
        state: tensors by their published names, perhaps behind a prefix.
        given: what the state dict does not say, without "architecture": resolution, heads or head_channels, schedule, steps;
            "attention_order": "new" for guided-diffusion's networks trained with use_new_attention_order.
        what: the name of the file, for messages.

    Raises:
        InputError: something that has to be given is missing, or the names are not whole.
    """
    for marker, read in ((OPENAI, _openai), (UVIT, _uvit)):
        heads = [name[: -len(marker)] for name in state if name.endswith(marker)]
        if len(heads) == 1:
            inner = {name[len(heads[0]) :]: t for name, t in state.items() if name.startswith(heads[0])}
            try:
                return read(inner, dict(given), what)
            except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"{what} lacks tensors of its architecture ({marker} is there); it is damaged"
                ) from error
    return None


def _asked(marker: str, given: Mapping[str, Any], *choices: tuple[str, ...]) -> None:
    missing = [" or ".join(names) for names in choices if not any(name in given for name in names)]
    if missing:
        raise InputError(
            f"this network's state dict does not say its {', '.join(missing)}; pass config={{{ASKED[marker]}}} with its own values"
        )


def _openai(state: State, given: dict[str, Any], what: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    _asked(OPENAI, given, ("resolution",), ("heads", "head_channels"), ("schedule",), ("steps",))
    for name in ("heads", "head_channels"):
        if type(given.get(name, 1)) is not int or given.get(name, 1) < 1:
            raise InputError(f"{name} must be a whole number from 1 on, not {str(given[name])[:20]}")
    order = given.pop("attention_order", "legacy")
    if order not in ("legacy", "new"):
        raise InputError(f"attention_order must be legacy or new, not {order!r}")
    width, channels = state["time_embed.0.weight"].shape[1], state[OPENAI].shape[1]
    outs = _count(state, "output_blocks")
    ups = {i: _up(state, i) for i in range(outs)}
    levels = 1 + sum(up is not None for up in ups.values())
    each = outs // levels
    if outs % levels or each < 2 or _count(state, "input_blocks") != outs:
        raise InputError(
            f"{what} has blocks that are no U-Net of improved-diffusion or guided-diffusion; it is damaged"
        )
    wide = [state[f"input_blocks.{1 + level * each}.0.out_layers.3.weight"].shape[0] for level in range(levels)]
    if any(w % width for w in wide):
        raise InputError(f"{what} has levels whose width is no multiple of {width}, which smalti does not build")
    convolution = any(up is not None and f"output_blocks.{i}.{up}.conv.weight" in state for i, up in ups.items())
    resolution = given["resolution"]
    if type(resolution) is not int or resolution < 1 or resolution % 2 ** (levels - 1):
        raise InputError(
            f"resolution must be a multiple of {2 ** (levels - 1)} for this network, not {str(resolution)[:20]}"
        )
    attends = [level for level in range(levels) if f"input_blocks.{1 + level * each}.1.qkv.weight" in state]
    config = {
        "architecture": "adm",
        "preconditioning": "ddpm",
        "channels": channels,
        "model_channels": width,
        "multipliers": [w // width for w in wide],
        "blocks": each - 1,
        "attention": [resolution >> level for level in attends],
        "num_classes": state["label_emb.weight"].shape[0] if "label_emb.weight" in state else 0,
        "outputs": state["out.2.weight"].shape[0] // channels,
        "group_size": 1,
        "scale_shift": state["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * wide[0],
        "resampling": "convolution" if convolution else "block",
        **given,
    }
    heads = (int(config.get("heads", 0)), int(config.get("head_channels", 64)))
    return config, _under_edms_names(state, config, each, ups, heads, order)


def _under_edms_names(
    state: State,
    config: Mapping[str, Any],
    each: int,
    ups: Mapping[int, int | None],
    heads: tuple[int, int],
    order: str,
) -> dict[str, torch.Tensor]:
    side, levels = config["resolution"], len(config["multipliers"])
    found: dict[str, torch.Tensor] = {}

    def size(level: int) -> str:
        return f"{side >> level}x{side >> level}"

    def take(theirs: str, ours: str) -> None:
        for kind in ("weight", "bias"):
            found[f"{ours}.{kind}"] = state[f"{theirs}.{kind}"]

    def block(theirs: str, ours: str, resampled: bool = False) -> None:
        for old, new in RESIDUAL.items():
            if f"{theirs}.{old}.weight" in state or old != "skip_connection":
                take(f"{theirs}.{old}", f"{ours}.{new}")
        if resampled:
            for name in ("conv0", "skip"):
                found[f"{ours}.{name}.resample_filter"] = torch.full((1, 1, 2, 2), 0.25)

    def attention(theirs: str, ours: str) -> None:
        if f"{theirs}.qkv.weight" not in state:
            return
        for old, new in ATTENTION.items():
            take(f"{theirs}.{old}", f"{ours}.{new}")
        channels = state[f"{theirs}.qkv.weight"].shape[1]
        number = heads[0] or channels // heads[1]
        rows = _rows(channels, number, order)
        found[f"{ours}.qkv.weight"] = state[f"{theirs}.qkv.weight"].flatten(1)[rows][:, :, None, None]
        found[f"{ours}.qkv.bias"] = state[f"{theirs}.qkv.bias"][rows]
        found[f"{ours}.proj.weight"] = state[f"{theirs}.proj_out.weight"].flatten(1)[:, :, None, None]

    take("time_embed.0", "map_layer0")
    take("time_embed.2", "map_layer1")
    if "label_emb.weight" in state:
        found["map_label.weight"] = state["label_emb.weight"].t().contiguous()
    take("input_blocks.0.0", f"enc.{size(0)}_conv")
    for level in range(levels):
        for number in range(each):
            theirs = f"input_blocks.{1 + level * each + number}"
            if number < each - 1:
                block(f"{theirs}.0", f"enc.{size(level)}_block{number}")
                attention(f"{theirs}.1", f"enc.{size(level)}_block{number}")
            elif level < levels - 1 and config["resampling"] == "convolution":
                take(f"{theirs}.0.op", f"enc.{size(level + 1)}_down")
            elif level < levels - 1:
                block(f"{theirs}.0", f"enc.{size(level + 1)}_down", True)
    block("middle_block.0", f"dec.{size(levels - 1)}_in0")
    attention("middle_block.1", f"dec.{size(levels - 1)}_in0")
    block("middle_block.2", f"dec.{size(levels - 1)}_in1")
    for i, up in ups.items():
        level = levels - 1 - i // each
        block(f"output_blocks.{i}.0", f"dec.{size(level)}_block{i % each}")
        attention(f"output_blocks.{i}.1", f"dec.{size(level)}_block{i % each}")
        if up is not None and config["resampling"] == "convolution":
            take(f"output_blocks.{i}.{up}.conv", f"dec.{size(level - 1)}_up")
        elif up is not None:
            block(f"output_blocks.{i}.{up}", f"dec.{size(level - 1)}_up", True)
    take("out.0", "out_norm")
    take("out.2", "out_conv")
    return {f"model.{name}": tensor for name, tensor in found.items()}


def _rows(channels: int, heads: int, order: str) -> torch.Tensor:
    """Where each row of EDM's qkv (head, channel, which of the three) stands among OpenAI's."""
    if not heads or channels % heads:
        raise InputError(f"{channels} channels do not divide into {heads} heads; correct heads or head_channels")
    numbers = torch.arange(3 * channels)
    if order == "new":  # which of the three, head, channel
        return numbers.reshape(3, heads, -1).permute(1, 2, 0).flatten()
    return numbers.reshape(heads, 3, -1).permute(0, 2, 1).flatten()


def _count(state: State, list_name: str) -> int:
    def there(i: int) -> bool:
        return (
            any(f"{list_name}.{i}.0.{name}.weight" in state for name in ("in_layers.0", "op"))
            or f"{list_name}.{i}.0.weight" in state
        )

    return next((i for i in range(MOST) if not there(i)), MOST)


def _up(state: State, i: int) -> int | None:
    """The position of what doubles the resolution among the modules of output block i."""
    return next(
        (k for k in (1, 2) if any(f"output_blocks.{i}.{k}.{n}.weight" in state for n in ("conv", "in_layers.0"))), None
    )


def _uvit(state: State, given: dict[str, Any], what: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    _asked(UVIT, given, ("heads",))
    hidden, channels, patch, _ = state["patch_embed.proj.weight"].shape
    classes = state["label_emb.weight"].shape[0] if "label_emb.weight" in state else 0
    tokens = state["pos_embed"].shape[1] - (2 if classes else 1)
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise InputError(f"{what} is for images that are not square, which smalti does not build")
    if "context_embed.weight" in state:
        raise InputError(f"{what} is conditional on text, which smalti does not build")
    config = {
        "architecture": "uvit",
        "preconditioning": "vp",
        "resolution": side * patch,
        "channels": channels,
        "patch": patch,
        "hidden": hidden,
        "depth": 2 * sum(1 for _ in _blocks(state)),
        "mlp_ratio": state["in_blocks.0.mlp.fc1.weight"].shape[0] / hidden,
        "qkv_bias": "in_blocks.0.attn.qkv.bias" in state,
        "time_mlp": "time_embed.0.weight" in state,
        "convolution": "final_layer.weight" in state,
        "num_classes": classes,
        **given,
    }
    return config, {f"model.{name}": tensor for name, tensor in state.items()}


def _blocks(state: State) -> Iterator[int]:
    return (i for i in range(MOST) if f"in_blocks.{i}.attn.qkv.weight" in state)
