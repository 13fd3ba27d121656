"""`smalti generate` and `smalti quality`, in this process."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import smalti
from smalti.cli import main
from smalti.core.errors import SmaltiError


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


DATA = ("--data", "digits", "--limit", 60)


@pytest.fixture
def picture(tmp_path):
    y, x = np.mgrid[:24, :28]
    pixels = np.stack([128 + 100 * np.sin(x / 2), 128 + 100 * np.cos(y / 3), 128 + 50 * np.sin((x + y) / 4)], -1)
    path = tmp_path / "stripes.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def test_from_data(capsys, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = run(
        capsys, "generate", *DATA, "-n", 5, "--seed", 3, "--steps", 3, "--batch-size", 2, "--out", out
    )
    assert code == 0
    assert printed.splitlines()[-1] == str(out)
    kept = np.load(out / "samples.npz")
    assert kept["images"].shape == (5, 1, 8, 8)
    assert kept["images"].dtype == np.float32
    assert abs(kept["images"]).max() <= 1
    source = smalti.Source.open("digits", limit=60)
    made = smalti.generate(source, n=5, seed=3, steps=3).images.clamp(-1, 1)
    np.testing.assert_allclose(kept["images"], made.numpy(), atol=1e-5)
    assert len(list(out.glob("sample-*.png"))) == 5
    pixels = np.asarray(Image.open(out / "sample-0001.png"))
    assert (pixels == np.rint((kept["images"][1, 0] + 1) * 127.5)).all()
    assert (out / "sheet.png").is_file()
    places = np.load(out / "sources.npz")
    assert places["image"].shape == places["flip"].shape == places["share"].shape == (5, 8, 8)
    sure = places["share"] > 0.99
    assert sure.mean() > 0.05
    copied = source.working(places["image"].ravel()).numpy().reshape(5, 8, 8, 64)  # pixel j of the image of each pixel
    own = np.take_along_axis(copied, np.arange(64).reshape(1, 8, 8, 1), 3)[..., 0]
    assert abs(own - kept["images"][:, 0])[sure].max() < 0.05
    numbers, distances = smalti.quality.nearest_distances(source, torch.from_numpy(kept["images"]))
    assert (kept["neighbour_indices"] == numbers.numpy()).all()
    np.testing.assert_allclose(kept["neighbour_distances"], distances.numpy(), atol=1e-6)


def test_an_interrupted_run_goes_on(capsys, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = (*DATA, "-n", 4, "--steps", 3, "--batch-size", 2)
    assert run(capsys, "generate", *options, "--out", whole)[0] == 0
    calls = []
    module = sys.modules["smalti.quality.copies"]
    nearest = module.nearest_distances

    def stops(source, images):
        calls.append(len(images))
        if len(calls) == 2:
            raise SmaltiError("the power failed")
        return nearest(source, images)

    with monkeypatch.context() as patched:
        patched.setattr(module, "nearest_distances", stops)
        assert run(capsys, "generate", *options, "--out", parts)[0] == 1
    code, _, err = run(capsys, "generate", *options, "--out", parts)
    assert code == 2
    assert "--resume" in err
    assert run(capsys, "generate", *options, "--resume", "--out", parts)[0] == 0
    assert (parts / "samples.npz").read_bytes() == (whole / "samples.npz").read_bytes()


def test_from_a_picture(capsys, tmp_path, picture):
    out = tmp_path / "out"
    options = ("--patch-size", 5, "--steps", 3, "--size", "20x30", "--symmetric", "horizontal", "--tile")
    code, printed, _ = run(capsys, "generate", "--image", picture, *options, "-n", 2, "--out", out)
    assert code == 0
    assert printed.splitlines()[-1] == str(out)
    images = np.load(out / "samples.npz")["images"]
    assert images.shape == (2, 3, 20, 30)
    assert (images == images[..., ::-1]).all()
    made = smalti.generate_like(picture, (20, 30), 2, 0, 5, 3, tile=True, symmetric="horizontal").images
    np.testing.assert_allclose(images, made.clamp(-1, 1).numpy(), atol=1e-6)
    places = np.load(out / "sources.npz")
    assert places["row"].shape == places["column"].shape == places["share"].shape == (2, 20, 30)
    assert (places["row"].max(), places["column"].max()) <= (23, 27)
    assert places["share"].min() > 0
    turns = (*options[:4], "--flips", "--quarters", "--size", "20x20")
    assert run(capsys, "generate", "--image", picture, *turns, "--out", tmp_path / "turned")[0] == 0
    made = smalti.generate_like(picture, (20, 20), patch_size=5, steps=3, flips=True, quarters=True).images
    np.testing.assert_allclose(
        np.load(tmp_path / "turned" / "samples.npz")["images"], made.clamp(-1, 1).numpy(), atol=1e-6
    )
    assert {path.name for path in out.glob("*.png")} == {
        "sample-0000.png",
        "sample-0001.png",
        "sheet.png",
        "sources.png",
    }


def test_kept_pixels_stay(capsys, tmp_path, picture):
    mask = np.full((24, 28), 255, np.uint8)
    mask[8:14, 8:14] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = ("--keep", tmp_path / "mask.png", "--patch-size", 5, "--steps", 3)
    assert run(capsys, "generate", "--image", picture, *options, "--out", tmp_path / "out")[0] == 0
    made, original = (np.asarray(Image.open(path)) for path in (tmp_path / "out" / "sample-0000.png", picture))
    assert (made[mask > 0] == original[mask > 0]).all()
    assert (made[mask == 0] != original[mask == 0]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --data, a folder of images, or --image, one picture"),
        (("--data", "digits", "--image", "PICTURE"), "one of them"),
        (("--data", "digits", "--tile"), "--tile has no effect without --image"),
        (("--data", "digits", "--patch-size", "7"), "--patch-size has no effect without --image"),
        (("--image", "PICTURE", "--batch-size", "3"), "--batch-size has no effect with --image"),
        (("--image", "PICTURE", "--size", "4x4"), "smaller than a 15 x 15 patch"),
        (("--image", "PICTURE", "--size", "9999x9999"), "choose a smaller size"),
        (("--image", "PICTURE", "--keep", "nothing.png"), "cannot read nothing.png"),
        (("--image", "PICTURE", "--keep", "PICTURE", "--size", "40x40"), "contradict each other"),
        (("--image", "PICTURE", "--hflip"), "--image takes no options of --data"),
        (("--image", "PICTURE", "--size", "20"), "--size must look like 256x384"),
        (("--image", "PICTURE", "--patch-size", "25"), "smaller than a 25 x 25 patch"),
        (("--data", "digits", "--eta", "2"), "--eta must be at most 1"),
        (("--data", "digits", "--labels", "x"), "--labels: no class"),
    ],
)
def test_what_is_refused(capsys, tmp_path, picture, arguments, message):
    words = [picture if word == "PICTURE" else word for word in arguments]
    code, _, err = run(capsys, "generate", *words, "--out", tmp_path / "out")
    assert code == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_quality(capsys, tmp_path):
    source = smalti.Source.open("digits")
    np.savez(tmp_path / "held_out.npz", images=source.images[1::2])
    np.savez(tmp_path / "copies.npz", images=source.working(slice(0, 40, 2)).numpy())
    np.savez(tmp_path / "training.npz", images=source.images[::2])
    options = ("--data", tmp_path / "training.npz", "--held-out", tmp_path / "held_out.npz", "--features", "pixels")
    code, out, _ = run(capsys, "quality", tmp_path / "copies.npz", *options, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["copies"]["value"] == "100.0%"
    assert "pixels, 20 samples against 898 held-out images" in found["KID x 1000"]["measured"]
    code, out, _ = run(capsys, "quality", tmp_path / "held_out.npz", *options)
    assert code == 0
    assert out.startswith("KID x 1000")
    code, _, err = run(
        capsys,
        "quality",
        tmp_path / "held_out.npz",
        *options[:2],
        "--held-out",
        tmp_path / "training.npz",
        *options[4:],
    )
    assert code == 0
    assert "899 of 899 held-out images are training images" in err
    np.savez(tmp_path / "wide.npz", images=255 * source.working(slice(0, 40, 2)).numpy())
    code, _, err = run(capsys, "quality", tmp_path / "wide.npz", *options)
    assert code == 0
    assert "the working scale is [-1, 1]" in err
    for more in (("--trust",), ("--feature-scale", "bytes")):
        code, _, err = run(capsys, "quality", tmp_path / "held_out.npz", *options, *more)
        assert code == 2
        assert "is for a network in a file" in err
    code, _, err = run(capsys, "quality", tmp_path / "missing", *options)
    assert code == 2
    code, _, err = run(capsys, "quality", tmp_path / "copies.npz", *options[:-1], "pixel")
    assert code == 2
    assert "did you mean 'pixels'" in err
