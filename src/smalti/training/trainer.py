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

from smalti.core.errors import InputError, SmaltiError
from smalti.core.files import atomic_write
from smalti.core.progress import progress as show_progress
from smalti.core.validation import check_count
from smalti.networks.architectures import build
from smalti.networks.network import Network
from smalti.source import Source
from smalti.training.batches import Batches, seed_of
from smalti.training.loss import MOST, Validation, edm_loss
from smalti.training.recipe import Recipe
from smalti.training.state import FILE, load_state, restore, save_state

__all__ = ["LOG", "NETWORK", "Training", "TrainingDivergedError", "deferred_interrupt", "train"]


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
        device: "cpu", "cuda", ...
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
        InputError: a recipe that does not fit the images; a state of another training.
        TrainingDivergedError: a loss that is NaN or infinite; the last state is kept and the message says the step.
        EnvironmentFailure: the disk is full; the last state is kept.
        KeyboardInterrupt: Ctrl-C, after the step was finished and the state kept; a second Ctrl-C does not wait for that.
    """
    folder, device = Path(out), torch.device(device)
    check_count("checkpoint_every", checkpoint_every)
    if threads is not None:
        torch.set_num_threads(check_count("the number of threads", threads))
    trained_on, held_out = recipe.split.training(source), recipe.split.validation(source, MOST)
    config = recipe.config(source.shape, source.num_classes)
    loop = _Loop(recipe, config, trained_on, held_out, device, precision, compile_network)
    identity = {"recipe": recipe.as_dict(), "config": config, "data": _data(source, trained_on), "loop": loop.about()}
    state = folder / FILE
    if resume and state.exists():
        stored = load_state(state, identity)
        restore(stored, loop.model, loop.ema, loop.optimiser)
        loop.step, loop.history, loop.recent = stored.step, stored.history, stored.recent
    title = name or folder.resolve().name

    def network() -> Network:
        about = {
            "training_data": {**_data(source, trained_on), "split": asdict(recipe.split)},
            "recipe": recipe.as_dict(),
            "steps": loop.step,
            "log": loop.history,
            "torch": torch.__version__,
        }
        module = build(config, {n: t.detach().cpu().clone() for n, t in loop.ema.state_dict().items()})
        return Network.from_module(module, config, title, about).to(device)

    def save() -> None:
        loop.check_weights()
        save_state(state, loop.step, loop.model, loop.ema, loop.optimiser, loop.history, loop.recent, identity)
        network().save(
            folder / NETWORK, stored_as
        )  # with every state: what is stopped, or killed, leaves a network too
        _write_log(folder / LOG, loop.history)
        if on_checkpoint:
            on_checkpoint(loop.step)

    started = time.monotonic()
    shown = show_progress(f"training {title}", recipe.steps - loop.step, progress)
    with torch.random.fork_rng(), deferred_interrupt() as interrupted, shown as advance:
        try:
            while loop.step < recipe.steps:
                loop.advance()
                advance(1, loop.said)
                stops = interrupted() or (minutes is not None and time.monotonic() - started >= 60 * minutes)
                snapshot = snapshot_every and loop.step % snapshot_every == 0 and loop.step < recipe.steps
                if snapshot or stops or loop.step % checkpoint_every == 0 or loop.step == recipe.steps:
                    loop.check()
                    if snapshot and on_snapshot:  # before the state: a run that is killed in it makes it again
                        on_snapshot(loop.step, network())
                    save()
                if stops:
                    break
        except TrainingDivergedError as error:
            at = load_state(state, identity).step if state.exists() else None
            kept = "no state was kept yet" if at is None else f"the state of step {at} is kept in {folder}"
            raise TrainingDivergedError(f"{error}; {kept}; try a lower learning rate or another seed") from None
        if interrupted():
            raise KeyboardInterrupt
    final = network().to("cpu")
    if not (folder / NETWORK).exists():  # a state of all steps, whose network was taken away
        final.save(folder / NETWORK, stored_as)
    return Training(final, loop.step, loop.step == recipe.steps, loop.history)


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
    ) -> None:
        on_gpu = device.type != "cpu"
        if precision not in ("auto", "float32", "bfloat16"):
            raise InputError(f"precision must be auto, float32 or bfloat16, not {precision!r}")
        self.recipe, self.device = recipe, device
        self.half = precision == "bfloat16" or (precision == "auto" and on_gpu)
        self.compiled = on_gpu if compile_network is None else compile_network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(recipe.seed, "weights", 0))
            self.model = build(config).to(device)
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
        if self.step % LOGGED == 0 or self.step == recipe.steps:
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
