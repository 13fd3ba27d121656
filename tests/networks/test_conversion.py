"""`smalti convert`, and its function: any checkpoint as one file that says what it is."""

from __future__ import annotations

import pytest
import torch

from networks import edm_format as edm
from smalti import InputError, Network
from smalti.cli import main
from smalti.networks.conversion import convert

CONFIG = {"architecture": "unet", "resolution": 4, "channels": 1, "model_channels": 4, "multipliers": [1, 1]}
CONFIG |= {"blocks": 1, "attention": []}
PARAMS = [
    "architecture=unet",
    "resolution=4",
    "channels=1",
    "model_channels=4",
    "multipliers=[1,1]",
    "blocks=1",
    "attention=[]",
]


@pytest.fixture
def trained(tmp_path):
    """A training's checkpoint, and its averaged and raw networks."""
    averaged, raw = edm.unet({}, 1), edm.unet({}, 2)
    torch.save({"ema": averaged.state_dict(), "model": raw.state_dict(), "epoch": 1}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt", averaged, raw


def answers(network):
    z = torch.ones(1, 1, 4, 4)
    return network(z, 0.7) if isinstance(network, Network) else network(z, torch.tensor([0.7]))


def test_the_command(trained, tmp_path, capsys):
    path, averaged, raw = trained
    out = tmp_path / "new" / "net.safetensors"
    params = [word for pair in PARAMS for word in ("--param", pair)]
    assert main(["convert", str(path), str(out), *params]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == str(out)
    assert "averaged are read" in said.err
    assert torch.equal(answers(Network.load(out)), answers(averaged))
    assert main(["convert", str(path), str(out), *params]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["convert", str(path), str(out), *params, "--weights", "raw", "--overwrite"]) == 0
    assert torch.equal(answers(Network.load(out)), answers(raw))


def test_an_edm_pickle_and_half_the_size(tmp_path):
    (tmp_path / "x.pkl").write_bytes(edm.snapshot({}))
    whole = convert(tmp_path / "x.pkl", tmp_path / "a.safetensors")
    convert(tmp_path / "x.pkl", tmp_path / "b.safetensors", half=True)
    assert torch.equal(answers(Network.load(tmp_path / "a.safetensors")), answers(whole))
    torch.testing.assert_close(answers(Network.load(tmp_path / "b.safetensors")), answers(whole), rtol=1e-2, atol=1e-2)
    assert (tmp_path / "b.safetensors").stat().st_size < (tmp_path / "a.safetensors").stat().st_size
    assert Network.load(tmp_path / "a.safetensors").about["format"] == "EDM pickle"


def test_what_cannot_be_converted(tmp_path, capsys):
    (tmp_path / "x.pkl").write_bytes(edm.snapshot({}))
    for out, said in (("x.pt", "must end in .safetensors"), ("x", "must end in .safetensors")):
        with pytest.raises(InputError, match=said):
            convert(tmp_path / "x.pkl", tmp_path / out)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        convert(tmp_path / "x.pkl", tmp_path / "folder.safetensors")
    for params, said in ((["x"], "NAME=VALUE"), (["heads=1", "heads=2"], "given twice"), (["heads=1"], "leave it out")):
        words = [word for pair in params for word in ("--param", pair)]
        assert main(["convert", str(tmp_path / "x.pkl"), str(tmp_path / "y.safetensors"), *words]) == 2
        line = capsys.readouterr().err.strip()
        assert said in line
        assert len(line.splitlines()) == 1
    assert not (tmp_path / "y.safetensors").exists()
