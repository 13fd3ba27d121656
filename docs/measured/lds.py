"""Does attribution carry over to networks? The linear datamodelling score on the digits, of closed-form and of published attributions:

    python docs/measured/lds.py train OUT          # one network on all images, then 64 on random halves; goes on where it was stopped
    python docs/measured/lds.py score OUT          # scores (n, N) and what the networks answer, as .npy, and the tables in Markdown

Park et al. (2023): networks are trained on random halves of the training images; a score is good if the sum of the scores of a half's
images orders the halves as the networks' outputs do (Spearman, for each query; the mean over queries, and its bootstrap interval).

Two outputs of a network are asked about, at queries that are images of the network on all images, or held out:

    loss      minus EDM's loss at the query, at fixed levels and noise
    region    the mean of the middle 3 x 3 pixels of D: of the network's own sample of the same noise, read at sigma .3; of a held-out
              image, of D(image + .3 noise)
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import smalti
from smalti.core.noise import standard_normal
from smalti.source import Split
from smalti.training import Recipe, train
from smalti.training.loss import Validation, edm_weight

HELD_OUT = Split(held_out=197)  # of the 1,797 digits; 1,600 are trained on
NETWORKS, STEPS = 64, 400
QUERIES = 16  # of each kind
LEVELS, DRAWS = (0.1, 0.3, 0.6, 1.2), 4  # of the loss
READ = 0.3
PATCH, NEAR = 3, 0.34  # of NDA: a side, and the noise level of its step 100 of 1,000
BUCKETS = 4096  # of projected gradients
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # times the mean squared length of a gradient

Scores = dict[str, np.ndarray]


def digits() -> tuple[smalti.Source, smalti.Source]:
    """The images trained on, and those held out."""
    source = smalti.Source.open("digits")
    held_out = HELD_OUT.validation(source)
    assert held_out is not None
    return HELD_OUT.training(source), held_out


# ------------------------------------------------------------------------------------------------------------- networks


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


def train_networks(out: Path, networks: int, steps: int) -> None:
    """What is missing, one after another; the network on all images takes twice the steps, the same epochs."""
    images, _ = digits()
    for number in (None, *range(networks)):
        made = recipe(Split(), 2 * steps) if number is None else recipe(half(number), steps)
        there = folder(out, number)
        if not (there / "done").exists():
            train(images, made, there, resume=True, threads=1, checkpoint_every=200)
            (there / "done").touch()
        print(there.name, flush=True)


def loaded(out: Path, number: int | None) -> smalti.Network | None:
    there = folder(out, number)
    return smalti.Network.load(there / "network.safetensors") if (there / "done").exists() else None


# -------------------------------------------------------------------------------------------------------------- outputs


def region(image: torch.Tensor) -> torch.Tensor:
    """The mean of the middle 3 x 3 pixels of (..., C, H, W)."""
    y, x = image.shape[-2] // 2 - 1, image.shape[-1] // 2 - 1
    return image[..., y : y + 3, x : x + 3].mean((-3, -2, -1))


def noisy(x: torch.Tensor, sigma: float, draw: int) -> torch.Tensor:
    """The same noise for all denoisers."""
    return x.double() + sigma * standard_normal(7, range(len(x)), tuple(x.shape[1:]), (draw, 0))


def minus_loss(denoiser: Callable, x: torch.Tensor) -> torch.Tensor:
    """(n,): minus EDM's loss at each image, at LEVELS."""
    total = torch.zeros(len(x), dtype=torch.float64)
    for sigma in LEVELS:
        for draw in range(DRAWS):
            error = denoiser(noisy(x, sigma, draw).float(), sigma).double() - x
            total -= edm_weight(torch.tensor(sigma), 0.5).double() * error.square().flatten(1).mean(1)
    return total / (len(LEVELS) * DRAWS)


def read_region(denoiser: Callable, x: torch.Tensor | None) -> torch.Tensor:
    """(n,): of samples of the noises of seed 1, or of held-out images x."""
    if x is not None:
        return region(denoiser(noisy(x, READ, 0).float(), READ).double())
    run = smalti.sample(denoiser, n=QUERIES, solver="euler", seed=1, progress=False)
    assert run.denoised is not None
    return region(run.denoised[int((run.sigmas[:-1] - READ).abs().argmin())].double())


# --------------------------------------------------------------------------------------------------------------- scores


def influence_on_loss(denoiser: smalti.WindowDenoiser, x: torch.Tensor) -> np.ndarray:
    """d(minus loss)/dlog pi_i, exactly."""
    total = 0.0
    for sigma in LEVELS:
        for draw in range(DRAWS):
            z = noisy(x, sigma, draw)
            factor = edm_weight(torch.tensor(sigma), 0.5).double() / (x[0].numel() * len(LEVELS) * DRAWS)
            total = total + denoiser.pullback(z, sigma, -2 * factor * (denoiser(z, sigma) - x)).log_priors
    return total.numpy()  # type: ignore[union-attr]


def influence_on_region(denoiser: smalti.WindowDenoiser, x: torch.Tensor | None) -> np.ndarray:
    if x is None:
        return smalti.influence(denoiser, region, seed=1, n=QUERIES, stop=READ, progress=False).numpy()
    point = torch.zeros_like(x, dtype=torch.float64).requires_grad_()
    (direction,) = torch.autograd.grad(region(point).sum(), point)
    return denoiser.pullback(noisy(x, READ, 0), READ, direction).log_priors.numpy()


def all_shares(denoiser: smalti.WindowDenoiser, z: torch.Tensor, sigma: float) -> torch.Tensor:
    """(n, pixels, N): the decomposition, nothing left out of the list."""
    count = len(denoiser.source)
    found = torch.zeros(len(z), z.shape[-1] * z.shape[-2], count, dtype=torch.float64)
    for row in range(len(z)):
        a = denoiser.attribute(z[row : row + 1], sigma, top=count)
        found[row].scatter_add_(1, a.images[0], a.shares[0])
    return found


def decomposition_of_loss(denoiser: smalti.WindowDenoiser, x: torch.Tensor) -> np.ndarray:
    """Shares of all pixels at the level READ (one draw of noise)."""
    return all_shares(denoiser, noisy(x, READ, 0), READ).mean(1).numpy()


def decomposition_of_region(denoiser: smalti.WindowDenoiser, x: torch.Tensor | None) -> np.ndarray:
    """Share times what the image's pixel has over D's, mean over the region: at the level where it is read."""
    if x is None:
        run = smalti.sample(denoiser, n=QUERIES, solver="euler", seed=1, progress=False)
        level = int((run.sigmas[:-1] - READ).abs().argmin())
        assert run.states is not None
        z, sigma = run.states[level], float(run.sigmas[level])
    else:
        z, sigma = noisy(x, READ, 0), READ
    shares, images = all_shares(denoiser, z, sigma), denoiser.source.working().double()
    above = images[None] - denoiser(z.double(), sigma)[:, None]  # (n, N, C, H, W)
    weighted = shares.transpose(1, 2).reshape(*above.shape[:2], 1, *above.shape[3:]) * above
    return region(weighted).numpy()


def pixel_distance(images: torch.Tensor, x: torch.Tensor) -> np.ndarray:
    return -torch.cdist(x.flatten(1).double(), images.flatten(1).double()).square().numpy()


def patch_similarity(images: torch.Tensor, x: torch.Tensor) -> np.ndarray:
    """As NDA (Zhao et al. 2025) at one scale: noise is added to the query; each of its patches shares one among all patches of all images,
    by their distances; an image has the sum over patches. Borders are told by a large number around, so that they match borders."""

    def patches(values: torch.Tensor) -> torch.Tensor:
        inside = F.pad(torch.ones_like(values), (1,) * 4)
        padded = torch.cat([F.pad(values, (1,) * 4), 1e2 * (1 - inside)], 1)
        return F.unfold(padded, PATCH).transpose(1, 2)  # (n, places, 2 C PATCH^2)

    known, found = patches(images.float()), []
    for z in noisy(x, NEAR, 0).float():
        squares = torch.cdist(patches(z[None])[0], known.flatten(0, 1)).square()
        shares = (-squares / (2 * NEAR**2)).softmax(1).unflatten(1, known.shape[:2])
        found.append(shares.sum((0, 2)))
    return torch.stack(found).double().numpy()


def projected_gradients(network: smalti.Network, images: torch.Tensor) -> torch.Tensor:
    """(n, BUCKETS): as D-TRAK (Zheng et al. 2024), of the mean square of the noise that the network finds in each image, over LEVELS.

    Parameters are added up in buckets with random signs: a projection that keeps inner products in expectation.
    """
    module = network.module.requires_grad_(True)  # type: ignore[union-attr]
    parameters = list(module.parameters())
    random = torch.Generator().manual_seed(0)
    size = sum(p.numel() for p in parameters)
    bucket = torch.randint(BUCKETS, (size,), generator=random)
    sign = torch.randint(2, (size,), generator=random).float() * 2 - 1
    sigma, found = torch.tensor(LEVELS), []
    for number, image in enumerate(images.float()):
        noise = standard_normal(9, [number], (len(LEVELS), *image.shape))[0].float()
        z = image + sigma[:, None, None, None] * noise
        epsilon = (z - module(z, sigma)) / sigma[:, None, None, None]
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(epsilon.square().mean(), parameters)])
        found.append(torch.zeros(BUCKETS).index_add_(0, bucket, sign * gradient))
    module.requires_grad_(False)
    return torch.stack(found).double()


def ridge_scores(of_images: torch.Tensor, of_queries: torch.Tensor) -> Scores:
    """phi_q (Phi^T Phi + ridge)^-1 phi_i, for each ridge."""
    inner = of_images @ of_images.T
    length = float(inner.diagonal().mean())
    identity = torch.eye(len(inner), dtype=torch.float64)
    across = of_queries @ of_images.T
    return {
        f"projected gradients (D-TRAK), ridge {ridge:g}": torch.linalg.solve(inner + ridge * length * identity, across.T).T.numpy()
        for ridge in RIDGES
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ the score


def ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, axis=-1), axis=-1).astype(np.float64)


def datamodelling(scores: np.ndarray, subsets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """(n,) Spearman, for scores (n, N), subsets (networks, N) bool and outputs (networks, n)."""
    a, b = ranks(scores @ subsets.T.astype(np.float64)), ranks(outputs.T)
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % of the mean, by drawing queries anew."""
    random = np.random.default_rng(0)
    means = values[random.integers(len(values), size=(2000, len(values)))].mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def score(out: Path, networks: int) -> None:
    source, held = digits()
    everything = loaded(out, None)
    if everything is None:
        raise SystemExit(f"{out} has no network on all images; `train` goes on")
    images = source.working()
    made = smalti.sample(everything, n=QUERIES, solver="euler", seed=0, progress=False).images.clamp(-1, 1).double()
    queries = {"generated": made, "held out": held.working(slice(0, QUERIES)).double()}
    closed = {"PSPC-Square": smalti.PSPCSquare(source), "PSPC-Flex": smalti.PSPCFlex(source)}
    of_images = projected_gradients(everything, images)
    shuffled = np.random.default_rng(0).permutation(len(source))
    found: dict[tuple[str, str], Scores] = {}
    for kind, x in queries.items():
        anew = None if kind == "generated" else x
        loss, inside = found.setdefault(("loss", kind), {}), found.setdefault(("region", kind), {})
        for name, denoiser in closed.items():
            loss[f"influence, {name}"] = influence_on_loss(denoiser, x)
            inside[f"influence, {name}"] = influence_on_region(denoiser, anew)
        loss["decomposition, PSPC-Square"] = decomposition_of_loss(closed["PSPC-Square"], x)
        inside["decomposition, PSPC-Square"] = decomposition_of_region(closed["PSPC-Square"], anew)
        loss["pixel distance"] = pixel_distance(images, x)
        loss["patch similarity (NDA)"] = patch_similarity(images, x)
        loss |= ridge_scores(of_images, projected_gradients(everything, x))
        for scores in (loss, inside):
            scores["influence, PSPC-Square, images shuffled"] = scores["influence, PSPC-Square"][:, shuffled]
    (out / "scores").mkdir(exist_ok=True)
    for (output, kind), scores in found.items():
        for name, values in scores.items():
            file = f"{output}-{kind}-{name}".replace(", ", "-").replace(" ", "-")
            np.save(out / "scores" / f"{file}.npy", values)

    halves = [(number, network) for number in range(networks) if (network := loaded(out, number)) is not None]
    if len(halves) < 3:
        raise SystemExit(f"{out} has {len(halves)} networks on halves; `train` goes on")
    subsets = np.zeros((len(halves), len(source)), bool)
    for row, (number, _) in enumerate(halves):
        subsets[row, half(number).training_numbers(len(source))] = True
    np.save(out / "subsets.npy", subsets)
    strength(source, held, halves)
    print("\n| output | queries | score | LDS | 95 % |\n|---|---|---|---|---|")
    for (output, kind), scores in found.items():
        x = queries[kind]
        read = (
            partial(minus_loss, x=x) if output == "loss" else partial(read_region, x=None if kind == "generated" else x)
        )
        outputs = np.stack([read(network).numpy() for _, network in halves])
        np.save(out / f"outputs-{output}-{kind.replace(' ', '-')}.npy", outputs)
        for name, values in scores.items():
            lds = datamodelling(values, subsets, outputs)
            low, high = interval(lds)
            print(f"| {output} | {kind} | {name} | {lds.mean():.3f} | {low:.3f} to {high:.3f} |", flush=True)


def strength(source: smalti.Source, held: smalti.Source, found: list[tuple[int, smalti.Network]]) -> None:
    """EDM's loss on held-out images: the networks', and what closed forms on the same halves reach."""
    check = Validation(held, recipe(Split(), 1))

    def loss(denoiser: Callable) -> float:
        error = denoiser(check.x + check.sigma[:, None, None, None] * check.noise, check.sigma) - check.x
        return float((edm_weight(check.sigma, 0.5) * error.square().flatten(1).mean(1)).mean())

    reached = [loss(network) for _, network in found]
    print(
        f"{len(found)} networks on halves of {len(source)} images; loss on {len(held)} others: {np.mean(reached):.3f}"
    )
    part = half(found[0][0]).training(source)
    for denoiser in (smalti.Gaussian(part), smalti.PSPCSquare(part), smalti.Optimal(part)):
        print(f"{type(denoiser).__name__} on the first half: {loss(denoiser):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "score"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--networks", type=int, default=NETWORKS)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "train":
        train_networks(given.out, given.networks, given.steps)
    else:
        score(given.out, given.networks)
