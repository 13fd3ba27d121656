"""One training, in a process of its own: train until a moment, then evaluate. Called by `training`, never by hand.

python trainer.py SETTINGS.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import smalti
from smalti.core.noise import standard_normal
from smalti.denoisers import Optimal
from smalti.networks.network import Network
from smalti.source import Source, Split
from smalti.training import Recipe, train


def main(path: str) -> None:
    settings: dict[str, Any] = json.loads(Path(path).read_text())
    folder, device, quick = Path(settings["folder"]), torch.device(settings["device"]), settings["quick"]
    torch.set_num_threads(settings["threads"])
    source = Source(np.load(settings["images"], mmap_mode="r"), np.load(settings["labels"]), hflip=True)
    held_out = settings["held_out"]
    recipe = Recipe(
        **settings["recipe"],
        changes=settings["changes"],
        split=Split(held_out=held_out),
        validate_every=0 if quick else 1000,
    )
    said: dict[str, Any] = {"arch": recipe.arch, "compiled": settings["compile"]}
    kept = folder / "evaluation.json"

    def write(**values: Any) -> None:
        said.update(values)
        kept.write_text(json.dumps(said))

    minutes = (settings["train_until"] - time.time()) / 60
    options = {"device": device, "minutes": max(minutes, 0.01), "progress": False, "checkpoint_every": 1_000_000}
    started = time.time()
    try:
        training = train(source, recipe, folder / "run", compile_network=settings["compile"], **options)
    except Exception as error:
        if not settings["compile"]:
            raise
        write(compiled=False, compile_error=str(error)[-500:])
        torch._dynamo.reset()
        options["minutes"] = max((settings["train_until"] - time.time()) / 60, 0.01)
        training = train(source, recipe, folder / "again", compile_network=False, **options)
    network = training.network
    network.save(settings["network"], torch.float16)
    images = training.steps * recipe.batch_size
    write(
        parameters=network.parameter_count(), steps=training.steps, images=images, epochs=images / (len(source) - held_out),
        seconds=time.time() - started, history=training.history[-1:],
    )  # fmt: skip
    (folder / "loss.csv").write_text(
        "".join(f"{recipe.arch},{row['step']},{row['loss']}\n" for row in training.history)
    )
    evaluate(network.to(device), source, recipe, write, settings)


def evaluate(network: Network, source: Source, recipe: Recipe, write: Any, settings: dict[str, Any]) -> None:
    """Samples first (they are what cannot be had later without a card), then error by level, then error to the optimal denoiser."""
    device, quick = torch.device(settings["device"]), settings["quick"]
    count, steps, many = (2, 2, 2) if quick else (32, 18, 512)
    result = smalti.sample(network, count, steps, "heun", 0, keep_states=False, batch_size=count, progress=False)
    samples = ((result.images + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    np.save(Path(settings["folder"]) / "samples.npy", samples)
    levels = smalti.edm_sigmas().tolist()[:: 9 if quick else 1]
    held = recipe.split.validation(source, many)
    trained = recipe.split.training(source)
    clean = held.working(range(min(many, len(held)))).to(device)
    noise = standard_normal(11, range(len(clean)), source.shape).float().to(device)
    errors, to_optimal = [], []
    for sigma in levels:
        if time.time() > settings["finish"]:
            return
        errors.append(float((_batched(network, clean + sigma * noise, sigma) - clean).square().mean()))
        write(sigmas=levels[: len(errors)], heldout_mse=errors)
    optimal = Optimal(trained)
    for sigma in levels:
        if time.time() > settings["finish"]:
            return
        z = (clean + sigma * noise)[: 2 if quick else 128]
        to_optimal.append(float((_batched(network, z, sigma) - _batched(optimal, z, sigma)).square().mean()))
        write(mse_to_optimal=to_optimal)


def _batched(denoiser: Any, z: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.cat([denoiser(part, sigma).to(part.device) for part in z.split(64)])


if __name__ == "__main__":
    main(sys.argv[1])
