"""`smalti error`, `smalti transforms` and `smalti compare`: what they write, resume and refuse."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from smalti import Source, sample
from smalti.analysis.z_sets import ZSet
from smalti.cli import main, subjects
from smalti.networks import Network, build, preset_config
from stand_ins import Counts

DATA = ("--data", "digits", "--limit", 60)


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def record(path):
    return json.loads((path / "run.json").read_text())


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small random network, as a file, that says that it was trained on DATA and its mirror images."""
    torch.manual_seed(0)
    config = preset_config("dit", "tiny", (1, 8, 8))
    module = build(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    source = Source.open("digits", limit=60)
    said = {"name": "digits", "images": 60, "trained_fingerprint": source.fingerprint(), "hflip": True}
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    Network.from_module(module, config, "tiny", {"training_data": said}).save(path)
    return path


@pytest.fixture
def interrupted(monkeypatch):
    """`interrupted(k)`: Ctrl-C at the k-th call of the first denoiser of a command."""

    def stop_at(call):
        create = subjects.denoisers.create

        def stopping(name, source, **parameters):
            inner = create(name, source, **parameters)
            monkeypatch.setattr(subjects.denoisers, "create", create)
            stopped = Counts(inner, stop=call)
            stopped.digest = lambda: "first"
            stopped.source = source
            return stopped

        monkeypatch.setattr(subjects.denoisers, "create", stopping)

    return stop_at


def test_error(capsys, tmp_path):
    out = tmp_path / "o"
    arguments = (
        "error",
        *DATA,
        "--denoiser",
        "pspc-square",
        "--denoiser",
        "gaussian",
        "--levels",
        3,
        "-n",
        4,
        "--out",
        out,
    )
    code, printed, _ = run(capsys, *arguments)
    assert (code, printed.splitlines()[-1]) == (0, str(out))
    found = rows(out / "errors.csv")
    assert [row["denoiser"] for row in found] == ["pspc-square", "gaussian"] * 3
    assert np.allclose([float(row["sigma"]) for row in found[::2]], [0.01, 1, 100])
    assert [row["second"] for row in rows(out / "agreement.csv")] == ["gaussian"] * 3
    assert all(Image.open(out / f"{name}.png").size[0] > 300 for name in ("errors", "agreement"))
    assert all((out / f"{name}.pdf").read_bytes().startswith(b"%PDF") for name in ("errors", "agreement"))
    assert (record(out)["status"], record(out)["done"]) == ("complete", 12)
    assert not (out / ".parts").exists()
    assert run(capsys, *arguments)[0] == 2
    one = ("error", *DATA, "--denoiser", "gaussian", "--sigmas", "3,0.5", "-n", 2, "--out", out, "--overwrite")
    assert run(capsys, *one)[0] == 0
    assert sorted(p.name for p in out.iterdir()) == ["errors.csv", "errors.pdf", "errors.png", "run.json"]


def test_error_goes_on(capsys, tmp_path, interrupted):
    arguments = ("error", *DATA, "--denoiser", "local-score", "--levels", 2, "-n", 4, "--batch-size", 2, "--out")
    interrupted(0)
    assert run(capsys, *arguments, tmp_path / "whole")[0] == 0
    interrupted(4)
    code, _, err = run(capsys, *arguments, tmp_path / "parts")
    assert code == 130
    assert "interrupted: 6 of 8 noisy images are kept" in err
    assert "with --resume" in err
    assert (record(tmp_path / "parts")["done"], record(tmp_path / "parts")["status"]) == (6, "partial")
    interrupted(0)
    assert run(capsys, *arguments, tmp_path / "parts", "--resume")[0] == 0
    for name in ("errors.csv", "errors.png", "errors.pdf", "run.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_transforms(capsys, tmp_path):
    out = tmp_path / "o"
    arguments = (
        "transforms",
        *DATA,
        "--denoiser",
        "optimal",
        "--denoiser",
        "local-score:window=3",
        "-n",
        3,
        "--shown",
        9,
    )
    code, printed, _ = run(capsys, *arguments, "--shift", -2, "--box", "0,1,3,4", "--out", out)
    assert (code, printed.splitlines()[-1]) == (0, str(out))
    arrays = np.load(out / "transforms.npz", allow_pickle=False)
    assert arrays["z"].shape == (5, 3, 1, 8, 8)
    assert arrays["outputs"].shape == (2, 5, 3, 1, 8, 8)
    assert arrays["denoisers"].tolist() == ["optimal", "local-score"]
    assert (arrays["shift"].tolist(), arrays["box"].tolist()) == ([-2, -2], [0, 1, 3, 4])
    assert np.array_equal(arrays["z"][1][..., :-2], arrays["z"][0][..., 2:])
    assert len(rows(out / "distances.csv")) == 2 * 8
    for name in ("outputs", "distances"):
        assert Image.open(out / f"{name}.png").size[0] > 300
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    np.save(tmp_path / "z.npy", arrays["z"][0])
    code, _, _ = run(capsys, *arguments[:7], "--input", tmp_path / "z.npy", "--out", tmp_path / "given")
    assert code == 0
    assert np.array_equal(np.load(tmp_path / "given" / "transforms.npz")["z"][0], arrays["z"][0])


def test_compare(capsys, tmp_path, network):
    out = tmp_path / "o"
    code, printed, _ = run(
        capsys, "compare", *DATA, "--network", network, "--denoiser", "gaussian", "-n", 3, "--levels", 4, "--out", out
    )
    assert (code, printed.splitlines()[-1]) == (0, str(out))
    found = rows(out / "compare.csv")
    assert [(row["set"], row["denoiser"]) for row in found[::4]] == [("forward", "optimal")] * 2 + [
        ("reverse", "optimal")
    ] * 2
    assert {row["fraction"] for row in found if row["denoiser"] == "optimal"} == {"0.0"}
    assert Image.open(out / "compare.png").size[0] > 300
    reverse = ZSet.load(out / "reverse.npy")
    loaded = Network.load(network)
    assert torch.equal(reverse.z, sample(loaded, n=3, steps=4, progress=False).states[:-1])
    assert ZSet.load(out / "forward.npy").about["data"]["hflip"], "as it was trained"
    assert record(out)["determined_by"]["data"]["hflip"]
    again = ("compare", *DATA, "--network", network, "--denoiser", "gaussian", "--z-set", out / "reverse.npy", "--out")
    assert run(capsys, *again, tmp_path / "two")[0] == 0
    second = rows(tmp_path / "two" / "compare.csv")
    assert len(second) == 8
    for one, two in zip([row for row in found if row["set"] == "reverse"], second, strict=True):
        assert one["mse"] == two["mse"]
    assert run(capsys, *again, out, "--overwrite")[0] == 2, "its z are in the folder that would be replaced"
    assert (out / "reverse.npy").exists()


def test_compare_goes_on(capsys, tmp_path, network, interrupted):
    arguments = (
        "compare",
        *DATA,
        "--network",
        network,
        "--denoiser",
        "local-score",
        "-n",
        4,
        "--batch-size",
        2,
        "--levels",
        2,
    )
    interrupted(0)
    assert run(capsys, *arguments, "--out", tmp_path / "whole")[0] == 0
    interrupted(3)
    code, _, err = run(capsys, *arguments, "--out", tmp_path / "parts")
    assert code == 130
    assert "of 56 evaluations are kept" in err
    interrupted(0)
    assert run(capsys, *arguments, "--out", tmp_path / "parts", "--resume")[0] == 0
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "parts" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("error",), "nothing to look at"),
        (("error", "--denoiser", "gausian"), "did you mean 'gaussian'"),
        (("error", "--denoiser", "gaussian", "--sigmas", "1,0"), "--sigmas must be numbers from 1e-12"),
        (("error", "--denoiser", "gaussian", "--sigmas", "1", "--levels", 3), "leave --levels"),
        (("error", "--denoiser", "gaussian", "--sigma-min", 0), "need 0 < low <= high"),
        (("error", "--denoiser", "gaussian", "--seed", -1), "seed"),
        (("transforms", "--denoiser", "gaussian", "--box", "1,2"), "TOP,LEFT,HEIGHT,WIDTH"),
        (("transforms", "--denoiser", "gaussian", "--box", "0,0,9,2"), "the box goes to row 9"),
        (("transforms", "--denoiser", "gaussian", "--shift", 8), "the shift must be from 1 to 7"),
        (("transforms", "--denoiser", "gaussian", "--sigma", 0), "sigma must be"),
        (("compare", "--denoiser", "gaussian"), "give it with --network"),
        (("compare", "--network", "nothing.pkl"), "nothing"),
        (("compare", "--network", "x", "-n", 0), "-n must be at least 1"),
        (("compare", "--network", "x", "--z-set", "z.npy", "-n", 5), "-n is for z that are made"),
        (("compare", "--network", "x", "--z-set", "z.npy", "--seed", 0), "--seed is for z that are made"),
        (("compare", "--network", "x", "--z-set", "z.npy", "--labelled"), "--labelled is for z that are made"),
    ],
)
def test_refused_in_one_line(capsys, tmp_path, arguments, message):
    code, out, err = run(capsys, *arguments, *DATA, "--out", tmp_path / "o")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "o" / "run.json").exists()


@pytest.mark.parametrize("command", ["error", "sensitivity", "transforms", "compare"])
def test_labelled_needs_classes(command, capsys, tmp_path, network):
    """Said before anything is written: by the network without classes, and by data without them."""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8))
    for data, message in ((DATA, "which tiny has not"), (("--data", tmp_path / "images.npy"), "this data set has not")):
        code, _, err = run(capsys, command, *data, "--network", network, "--labelled", "--out", tmp_path / "o")
        assert code == 2
        assert message in err
        assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())
