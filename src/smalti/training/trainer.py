"""The training loop.

Step s draws its images, noise levels, noise and dropout from (seed, s) alone and computes on a fixed number of threads, so a training that
was killed goes on from its last state to the same bits (on a CPU; a GPU's sums are not ordered).
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smalti.core.errors import InputError, SmaltiError, from_os_error
from smalti.core.files import atomic_write, remove_leftovers
from smalti.core.folder_lock import FolderLock
from smalti.core.pickles import printable
from smalti.core.progress import progress as show_progress
from smalti.core.validation import check_count
from smalti.networks.architectures import build
from smalti.networks.network import Network
from smalti.source import Source
from smalti.training.batches import Batches, seed_of
from smalti.training.loss import MOST, Validation, edm_loss
from smalti.training.recipe import Recipe
from smalti.training.state import FILE, PREVIOUS, load_state, restore, save_state

__all__ = ["LOG", "NETWORK", "Training", "TrainingDivergedError", "deferred_interrupt", "train", "training_device"]


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within the block a first Ctrl-C is only noted: yields `wanted()`, which says whether there was one. A second ends the block at once.

    Only the main thread gets signals; elsewhere, and where someone else handles them, nothing is changed.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: False
        return
    noted = False

    def note(number: int, frame: Any) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


NETWORK, LOG = "network.safetensors", "loss.csv"
LOGGED = 50  # steps per row of the log
EARLY = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40)  # further rows, so that a short training has a curve
CHECKED_ON_GPU = 50  # steps between looks at the loss where looking makes the device wait


class TrainingDivergedError(SmaltiError):
    """The loss became NaN or infinite; the last good state is kept."""


@dataclass(frozen=True)
class Training:
    """How a training ended.

    Attributes:
        network: with the averaged weights.
        steps: optimiser steps done.
        complete: all steps were done.
        history: rows {"step", "loss"}, some with "validation": the mean loss since the row before, and on held-out images.
    """

    network: Network
    steps: int
    complete: bool
    history: list[dict[str, float]]


def train(
    source: Source,
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    init: Network | None = None,
    lock: FolderLock | None = None,
    device: str | torch.device = "cpu",
    precision: str = "auto",
    compile_network: bool | None = None,
    threads: int | None = None,
    checkpoint_every: int = 500,
    minutes: float | None = None,
    snapshot_every: int = 0,
    on_snapshot: Callable[[int, Network], None] | None = None,
    on_checkpoint: Callable[[int], None] | None = None,
    name: str | None = None,
    stored_as: torch.dtype = torch.float32,
    progress: bool | None = None,
) -> Training:
    """Train a network by EDM's loss (Karras et al. 2022) and keep it in a folder.

    Args:
        source: the images; flips, where counted in, are drawn with probability 1/2. The recipe's split is taken of them.
        recipe: everything else that determines the result.
        out: folder for network.safetensors (averaged weights, written with every state), state.safetensors (to go on from) and
            loss.csv.
        resume: go on from the state that is there; without one, start.
        overwrite: replace a training that is there.
        init: begin with the weights of this network, whose architecture is trained then (`recipe` names none); averaged weights
            begin with them too.
        lock: the folder's lock, where the caller has it; else it is taken here.
        device: "cpu", "cuda", ..., or "auto": a GPU where there is one.
        precision: "float32", "bfloat16" (autocast), or "auto": bfloat16 on a GPU.
        compile_network: torch.compile; None does on a GPU.
        threads: of torch on the CPU; None keeps its setting. Another number gives other rounding.
        checkpoint_every: steps between states.
        minutes: stop, resumably, after so long.
        snapshot_every: steps between calls of `on_snapshot`, 0 for none.
        on_snapshot: called with the number of steps done and the averaged network, on `device`.
        on_checkpoint: called with the number of steps done, after a state is written.
        name: of the network; None for the folder's.
        stored_as: type of the weights in network.safetensors: torch.float32, or torch.float16 for half the size.
        progress: True or False; None shows it where stderr is a terminal.

    Raises:
        InputError: a recipe that does not fit the images, or `init`; a training that is there and neither resumed nor overwritten;
            a state of another training, or a damaged one; a device that is not there; another process that writes there.
        TrainingDivergedError: a loss that is NaN or infinite; the last state is kept and the message says the step.
        EnvironmentFailure: the disk is full; the last state is kept.
        KeyboardInterrupt: Ctrl-C, after the step was finished and the state kept; a second Ctrl-C does not wait for that.
    """
    folder, device = Path(out), training_device(device)
    check_count("checkpoint_every", checkpoint_every)
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes must be above 0, not {minutes}")
    if resume and overwrite:
        raise InputError("overwrite starts again and resume goes on; give one of them")
    if threads is not None:
        torch.set_num_threads(check_count("the number of threads", threads))
    trained_on, held_out = recipe.split.training(source), recipe.split.validation(source, MOST)
    config = recipe.config(source.shape, source.num_classes, None if init is None else init.config or {})
    loop = _Loop(recipe, config, trained_on, held_out, device, precision, compile_network, init)
    begun = None if init is None else {"name": init.name, "digest": init.digest()}
    identity = {
        "recipe": recipe.as_dict(),
        "config": config,
        "data": _data(source, trained_on),
        "loop": loop.about(),
        "init": begun,
    }
    with contextlib.nullcontext() if lock is not None else FolderLock(folder):
        there = [name for name in (NETWORK, FILE, PREVIOUS) if (folder / name).exists()]
        if there and not (resume or overwrite):
            raise InputError(
                f"{folder} already has a training ({there[0]}); choose another folder, or resume=True to go on with it, or "
                "overwrite=True to replace it"
            )
        if overwrite:
            _remove(folder)
        stored = load_state(folder / FILE, identity) if resume else None
        if stored is not None:
            restore(stored, loop.model, loop.ema, loop.optimiser)
            loop.step, loop.history, loop.recent = stored.step, stored.history, stored.recent
        remove_leftovers(folder, (NETWORK, FILE, LOG))
        title = name or folder.resolve().name

        def network() -> Network:
            about = {
                "training_data": {**_data(source, trained_on), "split": asdict(recipe.split)},
                "recipe": recipe.as_dict(),
                **({"init": begun} if begun else {}),
                "steps": loop.step,
                "log": loop.history,
                "torch": torch.__version__,
            }
            module = build(config, {n: t.detach().cpu().clone() for n, t in loop.ema.state_dict().items()})
            return Network.from_module(module, config, title, about).to(device)

        def save() -> None:
            loop.check_weights()
            state = (loop.step, loop.model, loop.ema, loop.optimiser, loop.history, loop.recent)
            save_state(folder / FILE, *state, identity)
            network().save(folder / NETWORK, stored_as)  # with every state: what is stopped, or killed, leaves one too
            _write_log(folder / LOG, loop.history)
            if on_checkpoint:
                on_checkpoint(loop.step)

        def snapshot() -> None:
            if on_snapshot:
                on_snapshot(loop.step, network())

        try:
            every = (checkpoint_every, snapshot_every)
            _advance(loop, title, save, snapshot, every, minutes, progress)
        except TrainingDivergedError as error:
            at = load_state(folder / FILE, identity)
            kept = "no state was kept yet" if at is None else f"the state of step {at.step} is kept in {folder}"
            raise TrainingDivergedError(f"{error}; {kept}; try a lower learning rate or another seed") from None
        final = network().to("cpu")
        complete = loop.step == recipe.steps
        if not (folder / NETWORK).exists():  # a state of all steps, whose network was taken away
            final.save(folder / NETWORK, stored_as)
        if complete:
            (folder / PREVIOUS).unlink(missing_ok=True)
        return Training(final, loop.step, complete, loop.history)


def training_device(name: str | torch.device) -> torch.device:
    """The device of a name: "cpu", "cuda", "cuda:1", ..., or "auto": a GPU where there is one.

    Raises:
        InputError: it is not here, or cannot hold numbers.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shown = printable(str(name), 40)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = printable(" ".join(str(error).split()), 100)
        raise InputError(f"there is no device {shown!r} here ({reason}); use --device cpu") from None
    if device.type == "meta" or (device.type == "cpu" and device.index not in (None, 0)):
        raise InputError(f"there is no device {shown!r} here; use --device cpu")
    return device


def _advance(
    loop: _Loop,
    title: str,
    save: Callable[[], None],
    snapshot: Callable[[], None],
    every: tuple[int, int],
    minutes: float | None,
    progress: bool | None,
) -> None:
    """Steps until all are done, the minutes are over, or Ctrl-C."""
    steps, (checkpoint_every, snapshot_every) = loop.recipe.steps, every
    started = time.monotonic()
    shown = show_progress(f"training {title}", steps - loop.step, progress)
    with torch.random.fork_rng(), deferred_interrupt() as interrupted, shown as advance:
        while loop.step < steps:
            loop.advance()
            advance(1, loop.said)
            stops = interrupted() or (minutes is not None and time.monotonic() - started >= 60 * minutes)
            pictured = snapshot_every and loop.step % snapshot_every == 0 and loop.step < steps
            if pictured or stops or loop.step % checkpoint_every == 0 or loop.step == steps:
                loop.check()
                if pictured:  # before the state: a run that is killed in it makes it again
                    snapshot()
                save()
            if stops:
                break
        if interrupted():
            raise KeyboardInterrupt


def _remove(folder: Path) -> None:
    try:
        for name in (FILE, PREVIOUS, NETWORK, LOG):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, f"replace the training in {folder}") from error


class _Loop:
    """Model, averaged model and optimiser, and the steps on them."""

    def __init__(
        self,
        recipe: Recipe,
        config: Mapping[str, Any],
        trained_on: Source,
        held_out: Source | None,
        device: torch.device,
        precision: str,
        compile_network: bool | None,
        init: Network | None = None,
    ) -> None:
        on_gpu = device.type != "cpu"
        if precision not in ("auto", "float32", "bfloat16"):
            raise InputError(f"precision must be auto, float32 or bfloat16, not {precision!r}")
        self.recipe, self.device = recipe, device
        self.half = precision == "bfloat16" or (precision == "auto" and on_gpu)
        self.compiled = on_gpu if compile_network is None else compile_network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(recipe.seed, "weights", 0))
            self.model = build(config)
        if init is not None and isinstance(init.module, nn.Module):
            self.model.load_state_dict(init.module.state_dict())
        self.model.to(device)
        # convolutions are quicker so, on a CPU by a sixth
        self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.model.train()
        self.run: nn.Module = torch.compile(self.model) if self.compiled else self.model  # type: ignore[assignment]
        self.optimiser = torch.optim.Adam(self.model.parameters(), recipe.learning_rate, (0.9, 0.999), 1e-8, fused=True)
        self.batches = Batches(trained_on, recipe)
        self.validation = None if held_out is None else Validation(held_out, recipe)
        self.step, self.history = 0, list[dict[str, float]]()
        self.said = ""
        self.recent: list[float] = []
        self._waiting: list[torch.Tensor] = []
        self._since = (time.monotonic(), 0)

    def about(self) -> dict[str, Any]:
        """What else determines the bits."""
        return {
            "device": self.device.type,
            "bfloat16": self.half,
            "compiled": self.compiled,
            "threads": torch.get_num_threads(),
            "layout": "channels last",
        }

    def advance(self) -> None:
        """One step."""
        recipe = self.recipe
        batch = self.batches[self.step].to(self.device)
        batch.x, batch.noise = (t.contiguous(memory_format=torch.channels_last) for t in (batch.x, batch.noise))
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate_at(self.step)
        torch.manual_seed(seed_of(recipe.seed, "dropout", self.step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            losses = edm_loss(
                self.run, batch.x, batch.sigma, batch.noise, batch.classes, batch.augmentation, self.model.sigma_data
            )
        loss = losses.mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._waiting.append(loss.detach())
        if self.device.type == "cpu" or len(self._waiting) >= CHECKED_ON_GPU:
            self.check()
        self.optimiser.step()
        self._average(recipe.ema_decay_at(self.step))
        self.step += 1
        if self.step % LOGGED == 0 or self.step in EARLY or self.step == recipe.steps:
            self._log()

    def check(self) -> None:
        """Look at the losses of the steps since the last look.

        Raises:
            TrainingDivergedError: one is NaN or infinite.
        """
        if not self._waiting:
            return
        first = self.step - len(self._waiting) + (1 if self.device.type == "cpu" else 0)
        values = torch.stack(self._waiting).tolist()
        self._waiting.clear()
        for i, value in enumerate(values):
            if not math.isfinite(value):
                raise TrainingDivergedError(f"the loss is {value} at step {max(first, 0) + i}")
        self.recent += values

    def check_weights(self) -> None:
        """Look at the weights before they are kept.

        Raises:
            TrainingDivergedError: some are NaN or infinite, as after a gradient that overflowed.
        """
        for tensor in (*self.model.parameters(), *self.ema.parameters()):
            if not bool(torch.isfinite(tensor).all()):
                raise TrainingDivergedError(f"the weights are no longer finite after step {self.step}")

    def _average(self, decay: float) -> None:
        with torch.no_grad():
            averaged: list[torch.Tensor] = list(self.ema.parameters())
            current: list[torch.Tensor] = list(self.model.parameters())
            torch._foreach_lerp_(averaged, current, 1 - decay)
            for kept, now in zip(self.ema.buffers(), self.model.buffers(), strict=True):
                kept.copy_(now)

    def _log(self) -> None:
        self.check()
        row: dict[str, float] = {"step": self.step, "loss": sum(self.recent) / len(self.recent)}
        every = self.recipe.validate_every
        if self.validation and ((every and self.step % every == 0) or self.step == self.recipe.steps):
            row["validation"] = self.validation.loss(self.ema, self.model.sigma_data)
        self.recent.clear()
        self.history.append(row)
        start, step = self._since
        now = time.monotonic()
        speed = (self.step - step) * self.recipe.batch_size / max(now - start, 1e-9)
        self._since = (now, self.step)
        held = [r["validation"] for r in self.history if "validation" in r]
        self.said = (
            f"loss {row['loss']:.4f}" + (f", validation {held[-1]:.4f}" if held else "") + f", {speed:.0f} images/s"
        )


def _data(source: Source, trained_on: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "images": len(source),
        "shape": list(source.shape),
        "hflip": source.hflip,
        "fingerprint": source.fingerprint(),
        "trained_images": len(trained_on),
        "trained_fingerprint": trained_on.fingerprint(),
    }


def _write_log(path: Path, history: list[dict[str, float]]) -> None:
    text = io.StringIO()
    rows = csv.DictWriter(text, ["step", "loss", "validation"], restval="", lineterminator="\n")
    rows.writeheader()
    rows.writerows(history)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
