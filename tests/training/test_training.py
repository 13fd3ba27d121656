"""Training: its pieces against their formulas, resuming to the bit, and stopping with everything kept."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from smalti import EnvironmentFailure, InputError, Source
from smalti.core.folder_lock import FolderLock
from smalti.networks import Network
from smalti.networks.preconditioning import EDMPreconditioned
from smalti.source import Split
from smalti.training import Recipe, TrainingDivergedError, train, trainer
from smalti.training.augmentation import augment
from smalti.training.batches import Batches
from smalti.training.loss import Validation, edm_loss, edm_weight

QUICK = {"arch": "dit", "preset": "tiny", "changes": {"hidden": 16, "blocks": 1}, "batch_size": 8, "warmup": 2}


def quick(**changes) -> Recipe:
    return Recipe(**{**QUICK, "steps": 12, "validate_every": 5, "split": Split(held_out=20), **changes})


class TestPieces:
    def test_weight_undoes_preconditioning(self):
        """lambda c_out^2 = 1: the network F sees the same error at every sigma."""
        sigma = torch.tensor([0.01, 0.3, 2.0, 50.0], dtype=torch.float64)
        c_out = sigma * 0.5 / (sigma**2 + 0.25).sqrt()
        torch.testing.assert_close(edm_weight(sigma, 0.5) * c_out**2, torch.ones(4, dtype=torch.float64))

    def test_loss_of_a_network_that_says_zero(self):
        class Zero(torch.nn.Module):
            def forward(self, x, *_):
                return torch.zeros_like(x)

        x, noise, sigma = torch.randn(5, 1, 4, 4), torch.randn(5, 1, 4, 4), torch.rand(5) + 0.1
        skip = (0.25 / (sigma**2 + 0.25))[:, None, None, None]
        wanted = edm_weight(sigma, 0.5) * (skip * (x + sigma[:, None, None, None] * noise) - x).square().mean((1, 2, 3))
        torch.testing.assert_close(edm_loss(EDMPreconditioned(Zero()), x, sigma, noise), wanted)

    def test_learning_rate_and_average(self):
        recipe = quick(steps=100, warmup=10, learning_rate=0.1, decay="cosine", ema=1000)
        assert recipe.learning_rate_at(0) == pytest.approx(0.01)
        assert recipe.learning_rate_at(50) == pytest.approx(0.05)
        assert recipe.learning_rate_at(99) < 1e-3
        assert recipe.ema_decay_at(10**6) == pytest.approx(0.5 ** (8 / 1000))
        assert recipe.ema_decay_at(0) == pytest.approx(0.5**20)

    def test_every_epoch_visits_every_image_once(self):
        numbers = Source(np.arange(24, dtype=np.uint8).reshape(24, 1, 1, 1))
        batches = Batches(numbers, quick())
        epochs = [
            [round((float(v) + 1) * 127.5) for s in range(3 * e, 3 * e + 3) for v in batches[s].x] for e in range(2)
        ]
        assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(24))
        assert epochs[0] != epochs[1]
        again = Batches(numbers, quick())
        assert torch.equal(again[5].noise, batches[5].noise)  # in any order of asking
        assert torch.equal(again[1].x, batches[1].x)

    def test_noise_levels_follow_the_recipe(self, digits):
        logs = torch.cat([Batches(digits, quick(batch_size=500))[s].sigma.log() for s in range(8)])
        assert float(logs.mean()) == pytest.approx(-1.2, abs=0.08)
        assert float(logs.std()) == pytest.approx(1.2, abs=0.08)

    def test_flips_are_drawn_only_where_they_count(self):
        ramp = Source(np.tile(np.arange(8, dtype=np.uint8), (64, 1, 8, 1)))
        rising = [bool(x[0, 0, 0] < x[0, 0, 7]) for x in Batches(ramp.with_hflip(True), quick(batch_size=64))[0].x]
        assert 16 < sum(rising) < 48
        assert all(bool(x[0, 0, 0] < x[0, 0, 7]) for x in Batches(ramp, quick(batch_size=64))[0].x)

    def test_classes_are_left_out_at_times(self, digits):
        recipe = quick(conditional=True, label_dropout=0.25, batch_size=1000)
        classes = Batches(digits, recipe)[0].classes
        assert classes.shape == (1000, 10)
        assert 180 < int((classes.sum(1) == 0).sum()) < 320

    def test_validation_is_the_same_each_time_and_spans_the_levels(self, digits):
        held = digits.subset(slice(0, 30))
        one, two = Validation(held, quick()), Validation(held, quick())
        assert torch.equal(one.sigma, two.sigma)
        assert torch.equal(one.noise, two.noise)
        assert float(one.sigma.log().mean()) == pytest.approx(-1.2, abs=1e-3)


class TestAugmentation:
    def random(self):
        return torch.Generator().manual_seed(1)

    def test_without_anything_only_flips(self):
        images = torch.rand(40, 1, 8, 8) - 0.5
        moved, labels = augment(images, 0.0, self.random())
        flipped = labels[:, 0] == 1
        assert 5 < int(flipped.sum()) < 35
        assert not labels[:, 1:].any()
        torch.testing.assert_close(
            moved, torch.where(flipped[:, None, None, None], images.flip(-1), images), atol=1e-5, rtol=0
        )

    def test_labels_say_what_was_done(self):
        """A bright dot goes where the labelled translation says, on images that were only moved."""
        images = -torch.ones(4000, 1, 16, 16)
        images[:, :, 7:9, 7:9] = 1
        moved, labels = augment(images, 0.3, self.random())
        only = (
            (labels[:, [1, 2, 3, 4, 5, 6]] == 0).all(1)
            & (labels[:, 7:].abs().sum(1) > 0)
            & (labels[:, 7:].abs() < 2).all(1)
        )
        assert int(only.sum()) > 50
        mass = (moved[only, 0] + 1).clamp(min=0)
        total = mass.sum((1, 2))
        places = torch.arange(16.0) + 0.5
        x = (mass.sum(1) * places).sum(1) / total - 8
        y = (mass.sum(2) * places).sum(1) / total - 8
        torch.testing.assert_close(x, 16 * 0.125 * labels[only, 7], atol=0.3, rtol=0)
        torch.testing.assert_close(y, 16 * 0.125 * labels[only, 8], atol=0.3, rtol=0)

    def test_scale_enlarges(self):
        images = -torch.ones(2000, 1, 16, 16)
        images[:, :, 5:11, 5:11] = 1
        moved, labels = augment(images, 0.3, self.random())
        only = (labels[:, [1, 3, 4, 5, 6, 7, 8]] == 0).all(1)
        large, small = only & (labels[:, 2] > 0.75), only & (labels[:, 2] < -0.75)
        assert float(moved[large].mean()) > float(images.mean()) > float(moved[small].mean())

    @pytest.mark.parametrize("size", [1.0, 5.0])
    def test_stays_in_the_range_of_the_images(self, size):
        moved, _ = augment(size * (2 * torch.rand(64, 3, 8, 8) - 1), 1.0, self.random())
        assert 0.9 * size < float(moved.abs().max()) <= size


class TestTraining:
    def test_learns(self, digits, tmp_path):
        changes = {"changes": {"hidden": 48, "blocks": 2}, "learning_rate": 3e-3, "batch_size": 64, "ema": 500}
        training = train(digits, quick(steps=100, validate_every=50, **changes), tmp_path / "r")
        losses = [row["validation"] for row in training.history if "validation" in row]
        assert training.complete
        assert losses[-1] < 0.9 * losses[0] < 1
        loaded = Network.load(tmp_path / "r" / "network.safetensors")
        assert loaded.name == "r"
        assert len(loaded.training_source(digits)) == len(digits) - 20
        z = torch.randn(1, 1, 8, 8)
        assert torch.equal(loaded(z, 1.0), training.network(z, 1.0))
        assert loaded.about["recipe"]["split"]["held_out"] == 20

    @pytest.mark.parametrize("arch", ["ddpmpp", "ncsnpp", "dit"])
    def test_conditional_and_augmented(self, arch, digits, tmp_path):
        changes = {} if arch == "dit" else {"model_channels": 8}
        recipe = Recipe(arch, "tiny", changes, steps=3, batch_size=4, conditional=True, augment=0.5, warmup=0)
        network = train(digits, recipe, tmp_path).network
        assert network.num_classes == 10
        z = torch.randn(2, 1, 8, 8)
        assert network(z, 1.0, labels=[3, 4]).shape == z.shape

    def test_resumed_equals_uninterrupted(self, digits, tmp_path):
        whole = train(digits, quick(), tmp_path / "whole", name="n")
        with pytest.raises(ZeroDivisionError):
            train(
                digits,
                quick(),
                tmp_path / "cut",
                name="n",
                checkpoint_every=4,
                on_checkpoint=lambda step: step == 8 and 1 / 0,
            )
        cut = train(digits, quick(), tmp_path / "cut", name="n", checkpoint_every=4, resume=True)
        assert cut.history == whole.history
        for name in ("network.safetensors", "state.safetensors", "loss.csv"):
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()

    def test_the_global_generator_is_left_alone(self, digits, tmp_path):
        torch.manual_seed(3)
        wanted = torch.rand(4)
        torch.manual_seed(3)
        train(digits, quick(steps=2), tmp_path)
        assert torch.equal(torch.rand(4), wanted)

    def test_another_recipe_is_not_resumed(self, digits, tmp_path):
        train(digits, quick(), tmp_path)
        with pytest.raises(InputError, match=r"learning_rate was 0\.001, now 0\.5"):
            train(digits, quick(learning_rate=0.5), tmp_path, resume=True)

    def test_a_damaged_state_is_refused(self, digits, tmp_path):
        train(digits, quick(), tmp_path)
        state = tmp_path / "state.safetensors"
        state.write_bytes(state.read_bytes()[:-7])
        with pytest.raises(InputError, match=r"not a readable safetensors.* starts again"):
            train(digits, quick(), tmp_path, resume=True)

    @pytest.mark.parametrize("where", [0.2, 0.5, 0.9, 0.999])
    def test_one_flipped_bit_is_found_and_the_state_before_it_goes_on(self, where, digits, tmp_path):
        whole = train(digits, quick(), tmp_path / "a", name="n", checkpoint_every=3)

        def stop(step):
            if step == 6:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            train(digits, quick(), tmp_path / "b", name="n", checkpoint_every=3, on_checkpoint=stop)
        state = tmp_path / "b" / "state.safetensors"
        damaged = bytearray(state.read_bytes())
        damaged[int(where * len(damaged))] ^= 4
        state.write_bytes(damaged)
        with pytest.warns(UserWarning, match="the state before it, of step 3"):
            again = train(digits, quick(), tmp_path / "b", name="n", checkpoint_every=3, resume=True)
        assert again.history == whole.history
        for file in ("network.safetensors", "state.safetensors"):
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert not (tmp_path / "b" / "state.previous.safetensors").exists()

    def test_renamed_tensors_are_a_line(self, digits, tmp_path):
        from safetensors import safe_open
        from safetensors.torch import save_file

        train(digits, quick(), tmp_path)
        path = tmp_path / "state.safetensors"
        with safe_open(path, "pt") as file:
            metadata, names = file.metadata(), list(file.keys())
            tensors = {name.replace("blocks", "block"): file.get_tensor(name) for name in names}
        save_file(tensors, path, metadata)
        with pytest.raises(InputError, match=r"damaged.*starts again"):
            train(digits, quick(), tmp_path, resume=True)

    def test_a_training_is_not_replaced_without_a_word(self, digits, tmp_path):
        first = train(digits, quick(), tmp_path, name="n")
        before = (tmp_path / "network.safetensors").read_bytes()
        with pytest.raises(InputError, match=r"already has a training.*overwrite=True"):
            train(digits, quick(seed=1), tmp_path, name="n")
        with pytest.raises(InputError, match="give one of them"):
            train(digits, quick(seed=1), tmp_path, name="n", overwrite=True, resume=True)
        assert (tmp_path / "network.safetensors").read_bytes() == before
        assert train(digits, quick(), tmp_path, name="n", resume=True).history == first.history
        assert train(digits, quick(seed=1), tmp_path, name="n", overwrite=True).history != first.history
        assert (tmp_path / "network.safetensors").read_bytes() != before

    def test_one_training_in_a_folder_at_a_time(self, digits, tmp_path):
        with FolderLock(tmp_path) as lock:
            with pytest.raises(InputError, match="another smalti"):
                train(digits, quick(), tmp_path)
            assert train(digits, quick(), tmp_path, lock=lock).complete
            assert (tmp_path / ".lock").exists()
        assert not (tmp_path / ".lock").exists()

    def test_begins_with_a_network(self, digits, tmp_path):
        """The first loss is the network's, not that of a new one; what is trained is its architecture."""
        given = Network.load("dit-digits")
        more = Recipe(steps=3, batch_size=64, learning_rate=1e-5, warmup=0, dropout=0.0, split=Split(held_out=64))
        trained = train(digits, more, tmp_path / "a", init=given)
        fresh = train(digits, replace(more, arch="dit", preset="tiny"), tmp_path / "b")
        assert trained.history[0]["loss"] < 0.5 * fresh.history[0]["loss"]
        assert trained.history[-1]["validation"] < 0.5 * fresh.history[-1]["validation"]
        assert {**trained.network.config, "dropout": 0} == {**given.config, "dropout": 0}
        assert trained.network.about["init"] == {"name": "dit-digits", "digest": given.digest()}
        with pytest.raises(InputError, match="init"):
            train(digits, replace(more, arch="dit", preset="tiny"), tmp_path / "a", resume=True)

    def test_networks_that_cannot_be_gone_on_with(self, digits, tmp_path):
        given, plain = Network.load("dit-digits"), {"steps": 1, "batch_size": 2}
        for recipe, network, said in (
            (Recipe(**plain), Network(lambda z, s: z, shape=(1, 8, 8)), "not of smalti's architectures"),
            (Recipe(**plain, arch="dit", preset="tiny"), given, "leave arch"),
            (Recipe(**plain, changes={"blocks": 1}), given, "leave arch"),
            (Recipe(**plain, conditional=True), given, "has no classes, and the training 10"),
            (Recipe(**plain, augment=0.1), given, "no augmentation labels"),
        ):
            with pytest.raises(InputError, match=said):
                train(digits, recipe, tmp_path / "x", init=network)
        with pytest.raises(InputError, match="is for images of"):
            train(Source(np.full((8, 1, 4, 4), 99, np.uint8)), Recipe(**plain), tmp_path / "x", init=given)
        assert not (tmp_path / "x").exists()

    def test_a_short_training_has_a_curve(self, digits, tmp_path):
        history = train(digits, quick(steps=30), tmp_path).history
        assert [row["step"] for row in history] == [1, 2, 3, 5, 7, 10, 14, 20, 28, 30]

    def test_diverging_stops_and_keeps_the_last_good_state(self, digits, tmp_path):
        recipe = quick(steps=400, learning_rate=1e3, warmup=0, batch_size=2)
        train(digits, quick(steps=400, learning_rate=1e3, warmup=0, batch_size=2), tmp_path / "x", minutes=1e-9)
        before = (tmp_path / "x" / "state.safetensors").read_bytes()
        poisoned = digits.subset(slice(0, len(digits)))
        poisoned.working = lambda index=None: torch.full((len(index), 1, 8, 8), float("nan"))
        with pytest.raises(
            TrainingDivergedError,
            match=r"the loss is nan at step 1; the state of step 1 is kept in .*lower learning rate",
        ):
            _train_poisoned(poisoned, digits, recipe, tmp_path / "x")
        assert (tmp_path / "x" / "state.safetensors").read_bytes() == before

    def test_a_full_disk_keeps_the_last_state(self, digits, tmp_path, monkeypatch):
        train(digits, quick(), tmp_path, minutes=1e-9)
        before = (tmp_path / "state.safetensors").read_bytes()

        def full(handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentFailure, match="the disk is full"):
            train(digits, quick(), tmp_path, resume=True)
        assert (tmp_path / "state.safetensors").read_bytes() == before
        assert not list(tmp_path.glob("*.tmp")) + list(tmp_path.glob(".*.tmp"))

    def test_stops_after_minutes_and_goes_on(self, digits, tmp_path):
        first = train(digits, quick(), tmp_path, minutes=1e-9)
        assert (first.steps, first.complete) == (1, False)
        assert Network.load(tmp_path / "network.safetensors").about["steps"] == 1
        assert train(digits, quick(), tmp_path, resume=True).complete

    def test_snapshots(self, digits, tmp_path):
        seen = []
        train(
            digits,
            quick(),
            tmp_path,
            snapshot_every=5,
            on_snapshot=lambda step, network: seen.append((step, network.shape)),
        )
        assert seen == [(5, (1, 8, 8)), (10, (1, 8, 8))]


def interrupting(module, name: str, monkeypatch, after: int):
    """Ctrl-C the `after`-th time that `module.name` is called."""
    original, calls = getattr(module, name), [0]

    def called(*arguments, **options):
        calls[0] += 1
        if calls[0] == after:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, called)


class TestInterrupts:
    @pytest.fixture(autouse=True)
    def _heeded(self):
        """Ctrl-C counts, also where the tests run in the background of a shell, which ignores it."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.parametrize(
        ("where", "name"),
        [(trainer._Loop, "_average"), (trainer._Loop, "_log"), (Validation, "loss"), (trainer, "edm_loss")],
    )
    def test_ctrl_c_waits_for_the_step(self, where, name, digits, tmp_path, monkeypatch):
        """Wherever in a step it comes, the training that goes on is the one that was never interrupted."""
        whole = train(digits, quick(steps=60), tmp_path / "whole", name="n")
        with monkeypatch.context() as patch:
            interrupting(where, name, patch, 1)
            with pytest.raises(KeyboardInterrupt):
                train(digits, quick(steps=60), tmp_path / "cut", name="n")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert Network.load(tmp_path / "cut" / "network.safetensors").about["steps"] < 60
        assert train(digits, quick(steps=60), tmp_path / "cut", name="n", resume=True).history == whole.history
        for file in ("network.safetensors", "state.safetensors"):
            assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "cut" / file).read_bytes()

    def test_a_second_ctrl_c_does_not_wait(self, digits, tmp_path):
        def impatient(step, network):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not reached")

        with pytest.raises(KeyboardInterrupt):
            train(digits, quick(), tmp_path, snapshot_every=4, on_snapshot=impatient)

    def test_a_snapshot_is_made_again_by_a_run_that_died_in_it(self, digits, tmp_path):
        with pytest.raises(ZeroDivisionError):
            train(digits, quick(), tmp_path, snapshot_every=5, on_snapshot=lambda step, network: 1 / 0)
        seen = []
        train(
            digits,
            quick(),
            tmp_path,
            resume=True,
            snapshot_every=5,
            on_snapshot=lambda step, network: seen.append(step),
        )
        assert seen == [5, 10]


def test_weights_that_are_not_finite_are_not_kept(digits, tmp_path, monkeypatch):
    """As after a gradient that overflowed under a finite loss."""

    def poisoned(loop, decay):
        with torch.no_grad():
            next(loop.model.parameters())[...] = float("inf")

    train(digits, quick(), tmp_path, minutes=1e-9)
    before = (tmp_path / "state.safetensors").read_bytes()
    monkeypatch.setattr(trainer._Loop, "_average", poisoned)
    with pytest.raises(TrainingDivergedError, match=r"no longer finite|the loss is nan"):
        train(digits, quick(), tmp_path, resume=True, checkpoint_every=1)
    assert (tmp_path / "state.safetensors").read_bytes() == before


def _train_poisoned(poisoned, digits, recipe, folder):
    """Resume on images that give NaN, under the identity of the good ones."""
    poisoned._fingerprint = digits.fingerprint()
    poisoned.subset = lambda indices: _kept(poisoned, digits.subset(indices))
    return train(poisoned, recipe, folder, resume=True)


def _kept(poisoned, part):
    part.working = poisoned.working if len(part) > 20 else part.working
    return part


def test_bad_recipes():
    for changes, message in (
        ({"steps": 0}, "steps"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"decay": "linear"}, "decay"),
        ({"ema": 0}, "ema must be at least 1"),
        ({"arch": "adm"}, "no architecture"),
        ({"augment": 2.0}, "augment"),
        ({"seed": 2**64}, "seed"),
        ({"changes": {"resolution": 16}}, "resolution follows from the data"),
        ({"changes": {"channels": 3}}, "channels follows from the data"),
        ({"changes": {"num_classes": 3}}, "num_classes follows"),
        ({"changes": {"augmentation": 4}}, "augmentation follows"),
        ({"changes": {"dropout": 0.3}, "dropout": 0.1}, "given twice"),
    ):
        with pytest.raises(InputError, match=message):
            quick(**changes)
    with pytest.raises(InputError, match="classes"):
        quick(conditional=True).config((1, 8, 8), None)


COMMAND = [
    *("train", "--data", "digits", "--arch", "dit", "--preset", "tiny", "--param", "hidden=16", "--param", "blocks=1"),
    *("--steps", "40", "--batch-size", "8", "--held-out", "20", "--threads", "1", "--checkpoint-every", "5"),
]


def smalti_command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from smalti.cli import main; sys.exit(main())", *COMMAND, *arguments]


def test_killed_training_resumes_to_the_same_bits(tmp_path):
    """kill -9 in the middle, then --resume: the network and the log are those of a run that was never stopped."""
    run = subprocess.run(
        smalti_command("--out", str(tmp_path / "a" / "n")), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    killed = subprocess.Popen(
        smalti_command("--out", str(tmp_path / "b" / "n")), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    state = tmp_path / "b" / "n" / "state.safetensors"
    while not state.exists() and killed.poll() is None:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    left = tmp_path / "b" / "n" / "network.safetensors"
    assert not left.exists() or Network.load(left).about["steps"] < 40, "it was killed too late to show anything"
    again = subprocess.run(
        smalti_command("--out", str(tmp_path / "b" / "n"), "--resume"), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    for name in ("network.safetensors", "state.safetensors", "loss.csv", "samples-0000040.png"):
        assert (tmp_path / "a" / "n" / name).read_bytes() == (tmp_path / "b" / "n" / name).read_bytes(), name


def test_bad_commands(tmp_path, capsys):
    from smalti.cli import main

    def said(*arguments: str) -> str:
        assert main(["train", "--data", "digits", "--preset", "tiny", "--out", str(tmp_path / "o"), *arguments]) == 2
        line = capsys.readouterr().err.strip()
        assert len(line.splitlines()) == 1
        assert not (tmp_path / "o").exists()
        return line

    assert "1/2" in said("--part", "half")
    assert "no split" in said("--part", "3/2")
    assert "did you mean 'hidden'" in said("--arch", "dit", "--param", "hiden=3")
    assert "no device" in said("--device", "abacus")
    assert "square" in said("--resolution", "8x4")
    assert "cannot be halved" in said("--resolution", "7")
    assert "leave none" in said("--held-out", "5000")
    assert "--checkpoint-every" in said("--checkpoint-every", "0")
    assert "--threads" in said("--threads", "0")
    assert "seed" in said("--seed", str(2**64))
    assert "taps" in said("--param", "taps=1,2,1")
    assert "follows from the data" in said("--param", "channels=3")
    assert "--ema must be at least" in said("--ema", "0")
    assert "no device 'cpu:99'" in said("--device", "cpu:99")
    assert "no device 'meta'" in said("--device", "meta")
    assert "parts without images" in said("--part", "1/2000")
    assert "even" in said("--param", "model_channels=7")
    assert "no checkpoint" in said("--init", "nothing-here")


def test_stopped_before_the_first_row_of_the_log(tmp_path, capsys):
    from smalti.cli import main

    short = [*COMMAND, "--out", str(tmp_path), "--minutes", "1e-7"]
    assert main(short) == 0
    assert "1 of 40 steps" in capsys.readouterr().err
    assert main([*COMMAND, "--out", str(tmp_path), "--resume"]) == 0


def test_pictures_are_the_same_in_a_folder_of_another_name(tmp_path):
    from smalti.cli import main

    short = [*COMMAND, "--steps", "2"]
    for folder in ("a", "another"):
        assert main([*short, "--out", str(tmp_path / folder)]) == 0
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "another"))
    assert {"loss.png", "samples-0000002.png", "run.json"} < first.keys()
    assert first == second


def test_overwriting_leaves_no_picture_of_a_longer_training(tmp_path):
    from smalti.cli import main

    steps = COMMAND.index("40")
    shorter = [*COMMAND[:steps], "10", *COMMAND[steps + 1 :]]
    for command in (COMMAND, [*shorter, "--overwrite"]):
        assert main([*command, "--out", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.glob("samples-*")] == ["samples-0000010.png"]
