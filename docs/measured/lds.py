"""Does attribution carry over to networks? The linear datamodelling score on the digits, of closed-form and of published attributions:

    python docs/measured/lds.py train OUT          # one network on all images, then 64 on random halves; goes on where it was stopped
    python docs/measured/lds.py score OUT          # scores (n, N) as .npy, what the networks answer, and the table in Markdown

Park et al. (2023): networks are trained on random halves of the training images; a score is good if the sum of the scores of a half's
images orders the halves as the networks' outputs do (Spearman, for each query).
"""

import argparse
from pathlib import Path

import torch

import smalti
from smalti.source import Split
from smalti.training import Recipe, train

HELD_OUT = Split(held_out=197)  # of the 1,797 digits; 1,600 are trained on
NETWORKS, STEPS = 64, 400


def digits() -> tuple[smalti.Source, smalti.Source]:
    """The images trained on, and those held out."""
    source = smalti.Source.open("digits")
    held_out = HELD_OUT.validation(source)
    assert held_out is not None
    return HELD_OUT.training(source), held_out


def half(number: int) -> Split:
    """Which images network `number` is trained on."""
    return Split(parts=2, seed=number)


def recipe(split: Split, steps: int) -> Recipe:
    """A small DDPM++ without attention. The seed is the same for all networks: they differ by their images."""
    return Recipe(
        arch="ddpmpp",
        preset="tiny",
        changes={"model_channels": 16, "attention": []},
        steps=steps,
        batch_size=32,
        learning_rate=3e-3,
        warmup=50,
        decay="cosine",
        ema=5000,
        dropout=0.0,
        split=split,
        validate_every=0,
    )


def folder(out: Path, number: int | None) -> Path:
    return out / ("all" if number is None else f"half-{number:02d}")


def train_networks(out: Path, networks: int) -> None:
    """What is missing, one after another; the network on all images takes twice the steps, the same epochs."""
    torch.set_num_threads(1)
    images, _ = digits()
    for number in (None, *range(networks)):
        made = recipe(Split(), 2 * STEPS) if number is None else recipe(half(number), STEPS)
        there = folder(out, number)
        if not (there / "done").exists():
            train(images, made, there, resume=True, threads=1, checkpoint_every=200)
            (there / "done").touch()
        print(there.name, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--networks", type=int, default=NETWORKS)
    given = parser.parse_args()
    train_networks(given.out, given.networks)
