"""`smalti explain`: a sample, a noisy image, a picture from anywhere."""

import json

import numpy as np
import pytest
from PIL import Image

import smalti
from smalti.cli import main

DIGITS = ["--data", "digits", "--limit", "60"]


def run(*arguments: object) -> int:
    return main(["explain", *DIGITS, *map(str, arguments)])


def test_a_sample_is_taken_apart_and_its_region_has_a_ranking(tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--seed", 2, "--steps", 6, "--counterfactuals", 1, "--stop", 2, "--top", 3, "--out", out) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert (out / "explain.html").read_text("utf-8").startswith("<!doctype html>")
    with np.load(out / "explain.npz") as arrays:
        assert arrays["shares"].shape == (6, 64, 3)
        assert np.allclose(arrays["shares"].sum(-1) + arrays["rest"], 1, atol=1e-5)
        assert np.isfinite(arrays["counterfactual"]).sum() == 1
        influence = arrays["influence"]
    source = smalti.Source.open("digits", limit=60)
    found = smalti.influence(smalti.PSPCSquare(source), lambda x: x[:, 3:5, 3:5].mean(), 2, steps=6, stop=2)[0]
    assert np.allclose(influence, found[found.abs().topk(10).indices], rtol=1e-6)
    record = json.loads((out / "run.json").read_text("utf-8"))
    assert (record["command"], record["status"]) == ("explain", "complete")


def test_a_noisy_image_has_one_level(tmp_path):
    source = smalti.Source.open("digits", limit=60)
    np.save(tmp_path / "z.npy", (source.working([4]) + 0.3).numpy())
    assert run("--input", tmp_path / "z.npy", "--sigma", 0.5, "--out", tmp_path / "out") == 0
    with np.load(tmp_path / "out" / "explain.npz") as arrays:
        assert arrays["sigmas"].tolist() == [0.5]
        assert "influence" not in arrays


@pytest.mark.parametrize(("mode", "size"), [("L", (8, 8)), ("RGB", (30, 20)), ("P", (16, 16))])
def test_a_picture_from_anywhere_is_brought_to_the_training_images(tmp_path, mode, size):
    Image.new("RGB", size, (90, 90, 90)).convert(mode).save(tmp_path / "a b.png")
    assert run("--image", tmp_path / "a b.png", "--draws", 2, "--out", tmp_path / "out") == 0
    with np.load(tmp_path / "out" / "explain.npz") as arrays:
        assert (arrays["errors"] >= 0).all()
        assert (np.diff(arrays["sigmas"]) < 0).all()


def test_a_generated_image_is_explained_by_the_same_page(tmp_path, capsys):
    assert run("--generated", 2, "--seed", 3, "--steps", 3, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "explain.html").read_text("utf-8")
    assert "Image 2 of seed 3 of `smalti generate`, coarse to fine (8 x 8)" in page
    assert "coarse to fine: but for the last step" in page
    with np.load(tmp_path / "out" / "explain.npz") as arrays:
        assert arrays["sizes"].tolist() == [[8, 8]] * 2


def test_a_picture_is_looked_for_in_the_training_images(tmp_path):
    """A training image moved down by one, mirrored and saved as a file: found, with its place."""
    digit = smalti.Source.open("digits", limit=60).images[17, 0]
    moved = np.concatenate([digit[:1], digit[:-1]])[:, ::-1]
    Image.fromarray(moved).save(tmp_path / "a.png")
    assert run("--image", tmp_path / "a.png", "--draws", 2, "--patch", 5, "--out", tmp_path / "out") == 0
    with np.load(tmp_path / "out" / "explain.npz") as arrays:
        near = arrays["copy_likeness"] > 1 - 1e-9
        assert near[2:, :].all()
        assert set(arrays["copy_images"][near]) == {17}
        assert arrays["copy_mirrored"][near].all()
        assert (arrays["copy_rows"] - arrays["copy_tops"])[near].tolist() == [-1] * near.sum()
    page = (tmp_path / "out" / "explain.html").read_text("utf-8")
    assert "Is part of it a copy?" in page
    assert "smalti audit learns it from held-out images" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "z.npy", "--sigma", 1, "--seed", 2], "explain one thing"),
        (["--input", "z.npy"], "needs its noise level"),
        (["--sigma", 1], "needs its noise level"),
        (["--region", "1,2,3"], "ROW,COLUMN,HEIGHT,WIDTH"),
        (["--region", "6,6,4,4"], "does not lie in 8 x 8"),
        (["--denoiser", "gaussian"], "not made of shares"),
        (["--draws", 1], "--draws"),
        (["--generated", 0, "--denoiser", "local-score"], "--denoiser has no effect with --generated"),
        (["--generated", 0, "--steps", 1], "at least 2 with --generated"),
        (["--generated", 0, "--input", "z.npy", "--sigma", 1], "explain one thing"),
        (["--patch", 3], "--patch has no effect without --image"),
        (["--image", "nothing.png"], "nothing.png"),
        (["--image", "z.npy"], "z.npy is not an image that can be read (not a readable image)"),
        (["--draws", 4], "--draws has no effect without --image"),
        (["--input", "z.npy", "--sigma", 1, "--region", "0,0,2,2"], "--region has no effect with --input"),
        (["--image", "z.npy", "--counterfactuals", 2], "--counterfactuals has no effect with --image"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", np.zeros((1, 8, 8), np.float32))
    assert run(*arguments, "--out", "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    arguments = ("--seed", 1, "--steps", 5, "--counterfactuals", 1, "--stop", 2)
    assert run(*arguments, "--out", tmp_path / "whole") == 0
    import smalti.provenance.explanation as module

    influence = module.influence
    monkeypatch.setattr(module, "influence", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(*arguments, "--out", tmp_path / "out") == 130
    monkeypatch.setattr(module, "influence", influence)
    sampled, sample = [], module.sample
    monkeypatch.setattr(module, "sample", lambda d, *a, **k: sampled.append(len(d.source)) or sample(d, *a, **k))
    attributed = []
    attribute = smalti.PSPCSquare.attribute
    monkeypatch.setattr(smalti.PSPCSquare, "attribute", lambda *a, **k: attributed.append(1) or attribute(*a, **k))
    assert run(*arguments, "--out", tmp_path / "out", "--resume") == 0
    assert attributed == []
    assert sampled == [59]  # without an image; the sample itself was kept
    with np.load(tmp_path / "whole" / "explain.npz") as whole, np.load(tmp_path / "out" / "explain.npz") as resumed:
        assert set(whole) == set(resumed)
        assert all(np.array_equal(whole[name], resumed[name], equal_nan=True) for name in whole)
