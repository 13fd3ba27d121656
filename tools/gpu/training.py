"""Three networks at once, each in a process of its own: they compile side by side, and small networks do not fill a card alone.

They are stopped (SIGSTOP) while something is timed, and go on afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.source import Source
from stages import Clock, Stage

__all__ = ["Trainings"]

# 7 to 8 million parameters at 32 x 32: their weights in float16 stay below 16 MB
NETWORKS: dict[str, dict[str, Any]] = {
    "ddpmpp": {"arch": "ddpmpp", "preset": "small", "changes": {}},
    "ncsnpp": {"arch": "ncsnpp", "preset": "small", "changes": {}},
    "dit": {"arch": "dit", "preset": "small", "changes": {"hidden": 224}},
}
HELD_OUT = 5000
EVALUATION = 70  # seconds, at the end
ENDING = 12  # seconds to collect what there is


class Trainings:
    """Trainer processes.

    Args:
        work: a folder for what they leave.
        out: where each keeps its network as soon as it is trained.
        source: the images; all of them share one decoded copy.
        device: that they train on.
        quick: one step each, of small networks.
        clock: they end before its end.
    """

    def __init__(self, work: Path, out: Path, source: Source, device: torch.device, quick: bool, clock: Clock) -> None:
        self.work, self.quick, self.clock = work, quick, clock
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        work.mkdir(parents=True, exist_ok=True)
        np.save(work / "images.npy", source.images)
        np.save(
            work / "labels.npy",
            np.asarray(source.labels if source.labels is not None else np.zeros(len(source), np.int64)),
        )
        self.finish = clock.start + clock.total - ENDING
        recipe = {
            "steps": 1 if quick else 10_000_000,
            "batch_size": 4 if quick else 512,
        }
        small = {"preset": "tiny", "changes": {}} if quick else {}
        for name, network in NETWORKS.items():
            folder = work / name
            folder.mkdir(exist_ok=True)
            network = {**network, **small}
            changes = network.pop("changes")
            settings = {
                "folder": str(folder), "network": str(out.resolve() / f"{name}.safetensors"), "device": str(device), "quick": quick,
                "images": str(work / "images.npy"), "labels": str(work / "labels.npy"), "threads": 1 if quick else 4,
                "held_out": max(2, len(source) // 4) if quick else HELD_OUT,
                "recipe": {**network, **recipe, "learning_rate": 1e-3 if name != "dit" else 5e-4}, "changes": changes,
                "compile": not quick, "train_until": self.finish - EVALUATION, "finish": self.finish,
            }  # fmt: skip
            (folder / "settings.json").write_text(json.dumps(settings))
            self._start(name, folder)

    def _start(self, name: str, folder: Path) -> None:
        trainer = Path(__file__).with_name("trainer.py")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with (folder / "log.txt").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, str(trainer), str(folder / "settings.json")],
                stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
            )  # fmt: skip

    def _signal(self, number: int) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, number)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Nothing is left running."""
        self.go_on()
        self._signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait()

    def stage(self, stage: Stage, out: Path) -> None:
        """Wait for them; collect networks, losses and samples."""
        while any(p.poll() is None for p in self.processes.values()) and time.time() < self.finish:
            time.sleep(0.5)
        for name, process in self.processes.items():
            if process.poll() is None:
                stage.note(f"{name} was ended by the clock")
        self.end()
        self._collect(stage, out)

    def _collect(self, stage: Stage, out: Path) -> None:
        losses, samples = ["network,step,loss\n"], {}
        for name, process in self.processes.items():
            folder = self.work / name
            said = json.loads(text) if (text := _text(folder / "evaluation.json")) else {}
            plain = {key: value for key, value in said.items() if not isinstance(value, (list, dict))}
            stage.row(network=name, exit=process.returncode, **{k: v for k, v in plain.items() if k != "arch"})
            for key in ("sigmas", "heldout_mse", "mse_to_optimal", "history"):
                if said.get(key):
                    stage.note(f"{name} {key}: {said[key]}")
            if process.returncode:
                stage.note(f"{name} ended with {process.returncode}: {_text(folder / 'log.txt')[-1500:]}")
            losses.append(_text(folder / "loss.csv"))
            if (folder / "samples.npy").exists():
                samples[name] = np.load(folder / "samples.npy")
        (out / "loss.csv").write_text("".join(losses))
        if samples:
            _grid(samples, out / "samples.png")


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _grid(samples: dict[str, np.ndarray], path: Path) -> None:
    """One block of rows a network."""
    from PIL import Image

    blocks = []
    for images in samples.values():
        images = images[: len(images) // 8 * 8] if len(images) >= 8 else images
        columns = min(8, len(images))
        tiles = images.reshape(-1, columns, *images.shape[1:]).transpose(0, 3, 1, 4, 2)
        blocks.append(tiles.reshape(tiles.shape[0] * tiles.shape[1], columns * tiles.shape[3], -1))
    picture = np.concatenate(blocks)
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(path)
