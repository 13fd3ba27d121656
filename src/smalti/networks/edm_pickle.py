"""NVIDIA's EDM pickles (Karras et al. 2022; edm-cifar10-32x32-uncond-vp.pkl and kin) as checkpoints, without running their code.

The file holds a dict with "ema", a preconditioning around a network. Their records name the classes and the constructors' arguments;
smalti builds its own `UNet` (SongUNet: DDPM++, NCSN++) or `ADM` (DhariwalUNet) from these, which have the same parameter names, under
EDMPrecond, VPPrecond, VEPrecond or iDDPMPrecond. Everything else in the file (source text, loss, augmentation) is passed over.

An object of a class with EDM's persistence decorator is pickled as a call, _reconstruct_persistent_obj({type, version, module_src,
class_name, state}), and their loader compiles and runs module_src. Here the call makes a `ModuleRecord`, and module_src is text.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from smalti.core.errors import InputError
from smalti.core.pickles import Attributed, Budget, Inert, Names, Record, RefusedError, printable, refusals
from smalti.core.torch_streams import TensorRecord, check_shares, read_tree
from smalti.networks.checkpoint import Checkpoint, read_whole
from smalti.source.pickles import ARRAY_NAMES

__all__ = [
    "ModuleRecord",
    "checkpoint_of_records",
    "edm_names",
    "find_network",
    "modules_of",
    "read_edm_pickle",
    "tensors_of",
]

PERSISTENCE = 6  # the version of the decorator in EDM, and the only one that its own loader takes
CONTAINERS = ("ModuleDict", "ModuleList", "Sequential")
MAX_DEPTH, MAX_MODULES, MAX_MEMBERS = 16, 5_000, 1_000  # the largest network of EDM's has some 700 modules


@dataclass(eq=False)
class ModuleRecord(Record):
    """An object: the name of its class, its attributes, and the source text that came with it, which is never compiled."""

    class_name: str
    state: dict[Any, Any] = field(default_factory=dict)
    source: str = ""

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("a module without a state")
        self.state = state

    def table(self, name: str) -> dict[str, Any]:
        """One of torch's tables of a module: "_parameters", "_buffers" or "_modules"."""
        found = self.state.get(name, {})
        plain = isinstance(found, dict) and len(found) <= MAX_MEMBERS
        if not plain or not all(isinstance(key, str) and len(key) <= 200 for key in found):
            raise ValueError(f"an object of {printable(self.class_name, 60)} without {name}")
        return found


def edm_names(budget: Budget) -> Names:
    """The names that EDM's pickles have besides those of tensors."""

    def persistent(arguments: tuple[Any, ...]) -> ModuleRecord:
        (meta,) = arguments
        if not isinstance(meta, dict) or meta.get("type") != "class":
            raise RefusedError("it has a persistent object that is not of a class")
        version, source, name, state = (meta.get(key) for key in ("version", "module_src", "class_name", "state"))
        if type(version) is not int or version != PERSISTENCE:
            raise RefusedError(f"it is of another version of the persistence decorator than {PERSISTENCE}")
        if not isinstance(source, str) or not isinstance(name, str) or not isinstance(state, dict):
            raise ValueError("a persistent object that is not whole")
        return ModuleRecord(name, state, source)

    def made_set(arguments: tuple[Any, ...]) -> set[str]:
        (items,) = arguments
        if not isinstance(items, list):
            raise RefusedError("it makes a set of something else than a list")
        budget.step(len(items))
        if not all(isinstance(item, str) for item in items):
            raise RefusedError("it makes a set of something else than text")
        return set(items)

    def container(kind: str) -> Callable[[tuple[Any, ...]], ModuleRecord]:
        return lambda arguments: ModuleRecord(kind)

    return {
        **ARRAY_NAMES,
        ("numpy.core.multiarray", "scalar"): lambda arguments: Inert("number"),
        ("numpy._core.multiarray", "scalar"): lambda arguments: Inert("number"),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): persistent,
        ("dnnlib.util", "EasyDict"): lambda arguments: Attributed(),
        ("builtins", "set"): made_set,
        ("__builtin__", "set"): made_set,
        **{("torch.nn.modules.container", kind): container(kind) for kind in CONTAINERS},
    }


def modules_of(root: ModuleRecord) -> Iterator[tuple[str, ModuleRecord]]:
    """The modules in `root` and itself, each with the prefix of its parameters' names ("model.enc.").

    Raises:
        ValueError: modules nested too deep (or in a circle), or too many.
    """
    left = [("", root, 0)]
    count = 0
    while left:
        prefix, module, depth = left.pop()
        yield prefix, module
        for name, child in module.table("_modules").items():
            count += 1
            if depth == MAX_DEPTH or count > MAX_MODULES:
                raise ValueError("modules without end")
            if isinstance(child, ModuleRecord):
                left.append((f"{prefix}{name}.", child, depth + 1))
            elif child is not None:
                raise ValueError(f"a module that is a {type(child).__name__}")


def tensors_of(root: ModuleRecord) -> dict[str, TensorRecord]:
    """The state dict of `root`: parameters and persistent buffers by their full name."""
    found: dict[str, TensorRecord] = {}
    for prefix, module in modules_of(root):
        temporary = module.state.get("_non_persistent_buffers_set", ())
        for table in ("_parameters", "_buffers"):
            for name, value in module.table(table).items():
                if value is None or (table == "_buffers" and isinstance(temporary, set) and name in temporary):
                    continue
                if not isinstance(value, TensorRecord):
                    raise ValueError(f"a parameter that is a {type(value).__name__}")
                found[prefix + name] = value
    return found


ADMITTED = "tensors, plain containers and EDM's records of its classes"
ENTRIES = ("ema", "net")  # of a snapshot; of a dump of the training's state

# arguments in order, with NVIDIA's defaults; None where they have to be given
_DATA: dict[str, Any] = {
    "img_resolution": None,
    "in_channels": None,
    "out_channels": None,
    "label_dim": 0,
    "augment_dim": 0,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "SongUNet": {
        **_DATA,
        "model_channels": 128,
        "channel_mult": [1, 2, 2, 2],
        "channel_mult_emb": 4,
        "num_blocks": 4,
        "attn_resolutions": [16],
        "dropout": 0.1,
        "label_dropout": 0,
        "embedding_type": "positional",
        "channel_mult_noise": 1,
        "encoder_type": "standard",
        "decoder_type": "standard",
        "resample_filter": [1, 1],
    },
    "DhariwalUNet": {
        **_DATA,
        "model_channels": 192,
        "channel_mult": [1, 2, 3, 4],
        "channel_mult_emb": 4,
        "num_blocks": 3,
        "attn_resolutions": [32, 16, 8],
        "dropout": 0.1,
        "label_dropout": 0,
    },
}
OURS = {
    "img_resolution": "resolution",
    "in_channels": "channels",
    "model_channels": "model_channels",
    "channel_mult": "multipliers",
    "num_blocks": "blocks",
    "attn_resolutions": "attention",
    "dropout": "dropout",
    "label_dim": "num_classes",
    "augment_dim": "augmentation",
    "embedding_type": "noise_embedding",
    "channel_mult_noise": "noise_multiplier",
    "encoder_type": "encoder",
    "resample_filter": "taps",
}
FORMS = {
    "embedding_type": ("positional", "fourier"),
    "encoder_type": ("standard", "residual"),
    "decoder_type": ("standard",),
}
ARCHITECTURES = {"SongUNet": "unet", "DhariwalUNet": "adm"}
# EDM's classes, with the constants that they are built for
PRECONDITIONINGS: dict[str, tuple[str, dict[str, float]]] = {
    "EDMPrecond": ("edm", {}),
    "VPPrecond": ("vp", {"beta_d": 19.9, "beta_min": 0.1, "M": 1000}),
    "VEPrecond": ("ve", {}),
    "iDDPMPrecond": ("iddpm", {"C_1": 0.001, "C_2": 0.008, "M": 1000}),
}
LISTS = ("channel_mult", "attn_resolutions", "resample_filter")
NUMBERS = ("dropout", "label_dropout")


def read_edm_pickle(path: str | os.PathLike[str]) -> Checkpoint:
    """Read an EDM pickle, or a dump of EDM's training state (training-state-*.pt).

    Returns:
        A checkpoint; `about` says what was read and what was passed over.

    Raises:
        InputError: a name that is not admitted, damage, or a network that smalti does not build, which is named.
        EnvironmentFailure: it may not be read, or does not fit in memory.
    """
    data, what = read_whole(path), str(path)
    budget = Budget.of(len(data))
    with refusals(what, ADMITTED, "EDM pickle"):
        return checkpoint_of_records(read_tree(data, edm_names(budget), budget), what, len(data))


def find_network(tree: Any) -> tuple[str | None, ModuleRecord] | None:
    """The network in what a file holds, with the entry of the dict that it was found under (None: it is the whole)."""
    if isinstance(tree, ModuleRecord):
        return None, tree
    if isinstance(tree, dict):
        for entry in ENTRIES:
            if isinstance(tree.get(entry), ModuleRecord):
                return entry, tree[entry]
    return None


def checkpoint_of_records(tree: Any, what: str, size: int) -> Checkpoint:
    """The checkpoint in a tree of records; see `read_edm_pickle`.

    Args:
        tree: what the file holds.
        what: its name, for messages.
        size: its bytes.
    """
    found = find_network(tree)
    if found is None:
        raise InputError(f"{what} has no network under {' or '.join(map(repr, ENTRIES))}; give an EDM network snapshot")
    entry, outer = found
    inner = _inner(outer, what)
    arguments = _arguments(inner, what)
    mapped = {ours: arguments[theirs] for theirs, ours in OURS.items() if theirs in arguments}
    kind = PRECONDITIONINGS[outer.class_name][0]
    around = {"sigma_data": _sigma_data(outer, what)} if kind == "edm" else {"preconditioning": kind}
    config = {"architecture": ARCHITECTURES[inner.class_name], **around, **mapped}
    if config["architecture"] == "adm":
        config["outputs"] = arguments["out_channels"] // arguments["in_channels"]
    records = tensors_of(outer)
    check_shares(records, size)
    state = {name: record.to_tensor() for name, record in records.items()}
    return Checkpoint(config, state, _about(tree, entry, outer, inner, arguments, records))


def _inner(outer: ModuleRecord, what: str) -> ModuleRecord:
    """The network inside the preconditioning, where both are of the classes that smalti builds."""
    name = printable(outer.class_name, 60)
    if outer.class_name in ARCHITECTURES:
        raise InputError(
            f"{what} holds a bare {name} without its preconditioning; give the snapshot that EDM's training wrote"
        )
    inner = outer.table("_modules").get("model")
    within = printable(inner.class_name, 60) if isinstance(inner, ModuleRecord) else "nothing"
    if outer.class_name not in PRECONDITIONINGS:
        known = ", ".join(PRECONDITIONINGS)
        raise InputError(f"{what} holds {name} around {within}, a class that smalti does not know; it reads {known}")
    if not isinstance(inner, ModuleRecord) or inner.class_name not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES)
        raise InputError(f"{what} holds {name} around {within}, which smalti does not know; it reads {known}")
    for constant, value in PRECONDITIONINGS[outer.class_name][1].items():
        found = outer.state.get(constant, value)
        if type(found) not in (int, float) or found != value:
            raise InputError(f"{what} has another {constant} than {value:g} in its {name}, which smalti does not build")
    return inner


def _sigma_data(outer: ModuleRecord, what: str) -> float:
    value = outer.state.get("sigma_data", 0.5)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InputError(f"{what} has a sigma_data that is not a number; it is damaged")
    return float(value)


def _arguments(inner: ModuleRecord, what: str) -> dict[str, Any]:
    """The network's arguments as given to its constructor, with its defaults: checked plain values."""
    kind, known = inner.class_name, ARGUMENTS[inner.class_name]
    given, named = inner.state.get("_init_args"), inner.state.get("_init_kwargs")
    if not isinstance(given, (tuple, list)) or not isinstance(named, dict) or len(given) > len(known):
        raise InputError(f"{what} does not say how its {kind} was made; give the snapshot that EDM's training wrote")
    found = dict(zip(known, given, strict=False))
    unknown = [key for key in named if key not in known or key in found]
    if unknown:
        shown = printable(str(unknown[0])[:100] if isinstance(unknown[0], str) else type(unknown[0]).__name__, 60)
        raise InputError(f"the {kind} in {what} has the argument {shown}, which smalti does not know")
    found = {**known, **found, **named}
    for name, value in found.items():
        if not _fits(name, value):
            raise InputError(
                f"the {kind} in {what} has an unusable {name}; the file is damaged or of another version of EDM"
            )
    for name, forms in FORMS.items():
        if name in found and found[name] not in forms:
            shown = printable(found[name], 40)
            raise InputError(f"the {kind} in {what} has {name} {shown!r}; smalti builds {' and '.join(forms)}")
    twice = kind == "DhariwalUNet" and found["out_channels"] == 2 * found["in_channels"]
    if found["channel_mult_emb"] != 4 or not (twice or found["in_channels"] == found["out_channels"]):
        raise InputError(
            f"the {kind} in {what} has another embedding width or other outputs than inputs, which smalti does not build"
        )
    return {name: list(value) if name in LISTS else value for name, value in found.items()}


def _fits(name: str, value: Any) -> bool:
    if name in FORMS:
        return isinstance(value, str)
    if name in LISTS:
        plain = isinstance(value, (list, tuple)) and len(value) <= 16
        return plain and all(_small(side, float if name == "resample_filter" else int) for side in value)
    return _small(value, float if name in NUMBERS else int)


def _small(value: Any, kind: type) -> bool:
    return type(value) in (int, kind) and abs(value) < 1 << 31  # NaN is not


def _about(
    tree: Any,
    entry: str | None,
    outer: ModuleRecord,
    inner: ModuleRecord,
    arguments: Mapping[str, Any],
    records: Mapping[str, TensorRecord],
) -> dict[str, Any]:
    modules = [module for _, module in modules_of(outer)]
    keys = itertools.islice(tree, 20) if isinstance(tree, dict) else ()
    others = [key for key in keys if isinstance(key, str) and key != entry]
    fp16 = "use_fp16" if outer.state.get("use_fp16") is True else None
    dropped = "label_dropout" if arguments["label_dropout"] else None
    source = sum(len(text) for text in {module.source for module in modules})
    return {
        "format": "EDM pickle",
        "entry": entry,
        "preconditioning": outer.class_name,
        "model": inner.class_name,
        "arguments": dict(arguments),
        "classes": dict(sorted(Counter(printable(module.class_name, 60) for module in modules).items())),
        "tensors": len(records),
        "parameters": sum(record.elements for record in records.values()),
        "label_dim": arguments["label_dim"],
        "ignored": [printable(name, 40) for name in (*others, fp16, dropped) if name],
        "source_text": f"{source} characters of source code in the file, not run",
    }
