"""`smalti audit`: folders and pictures, its exit status, its page."""

import json

import numpy as np
import pytest
from PIL import Image

import smalti
from smalti.cli import main

DATA = ["--data", "digits", "--limit", "50", "--shift", "1"]
HOSTILE = "<script>document.title='broken'<\u2215script><img src=x onerror=alert(1)>.png"


@pytest.fixture
def folders(tmp_path):
    """Held-out images that are not among the 50, and two images that are asked about: one of the fifty and another."""
    digits = smalti.Source.open("digits")
    chosen = set(np.arange(50) * len(digits) // 50)
    others = [n for n in range(len(digits)) if n not in chosen]
    np.save(tmp_path / "held.npy", digits.images[others[:120]])
    (tmp_path / "asked").mkdir()
    for name, number in (("one.png", 0), (HOSTILE, others[150])):
        Image.fromarray(digits.images[number, 0]).save(tmp_path / "asked" / name)
    return tmp_path


def run(folder, *arguments):
    return main(["audit", *DATA, "--out", str(folder / "out"), *map(str, arguments)])


def test_a_copy_is_found_and_fails_after_everything_is_written(folders, capsys):
    held, asked = folders / "held.npy", folders / "asked"
    arguments = ("--images", asked, "--held-out", held, "--rate", "0.05", "--fail-on-copies")
    assert run(folders, *arguments) == 3
    out = folders / "out"
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    record = json.loads((out / "audit.json").read_text("utf-8"))
    assert record["copies"] == 1
    assert {row["image"]: row["verdict"] for row in record["images"]}["one.png"] == "identical"
    assert record["held_out"]["used"] == 120
    page = (out / "audit.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "1 of 2 is a training image" in page
    assert len((out / "images.csv").read_text("utf-8").splitlines()) == 3
    assert json.loads((out / "run.json").read_text("utf-8"))["status"] == "complete"
    assert run(folders, *arguments, "--resume") == 3  # what is complete says the same
    assert run(folders, *arguments[:-1], "--resume") == 0


def test_one_picture_without_held_out_images_is_not_known(folders, capsys):
    Image.new("RGB", (20, 30), (90, 200, 20)).save(folders / "a b.jpg")
    assert run(folders, "--images", folders / "a b.jpg") == 0
    assert "cannot be known" in capsys.readouterr().out
    record = json.loads((folders / "out" / "audit.json").read_text("utf-8"))
    assert [row["verdict"] for row in record["images"]] == ["not known"]
    assert record["limits"] is None


def test_files_that_were_left_out_are_on_the_page(folders, capsys):
    for folder in ("asked", "held"):
        (folders / folder).mkdir(exist_ok=True)
        (folders / folder / "broken.png").write_bytes(b"no image")
    for number, image in enumerate(np.load(folders / "held.npy")[:20]):
        Image.fromarray(image[0]).save(folders / "held" / f"{number}.png")
    arguments = ("--images", folders / "asked", "--held-out", folders / "held", "--rate", "0.05", "--skip-bad")
    assert run(folders, *arguments) == 0
    said = capsys.readouterr()
    assert said.err.count("left out: broken.png") == 2
    assert "xa0" not in said.out
    page = (folders / "out" / "audit.html").read_text("utf-8")
    assert "xa0" not in page
    left_out = json.loads((folders / "out" / "audit.json").read_text("utf-8"))["left_out"]
    assert [name.split(",")[0] for name in left_out] == ["left out of --images", "left out of --held-out"]
    assert all(f"<dt>{name}</dt>" in page and "broken.png (" in files for name, files in left_out.items())


def test_samples_of_a_run_are_taken(folders):
    images = smalti.Source.open("digits").working([0, 1]).numpy()
    np.savez(folders / "samples.npz", images=images)
    assert run(folders, "--images", folders, "--held-out", folders / "held.npy", "--rate", "0.05") == 0
    record = json.loads((folders / "out" / "audit.json").read_text("utf-8"))
    assert [row["image"] for row in record["images"]] == ["sample 0", "sample 1"]
    assert record["images"][0]["verdict"] == "identical"


def test_a_run_that_was_stopped_goes_on(folders, monkeypatch):
    import smalti.audit.images as module

    arguments = ("--images", folders / "asked", "--held-out", folders / "held.npy", "--rate", "0.05")
    assert main(["audit", *DATA, "--out", str(folders / "whole"), *map(str, arguments)]) == 0
    limits = module.set_limits
    monkeypatch.setattr(module, "set_limits", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(folders, *arguments) == 130
    monkeypatch.setattr(module, "set_limits", limits)
    import smalti.audit.patches as patches

    monkeypatch.setattr(patches._Search, "run", lambda *a: pytest.fail("searched again"))
    assert run(folders, *arguments, "--resume") == 0
    for name in ("images.csv", "audit.json"):
        first, second = ((folders / each / name).read_text("utf-8") for each in ("whole", "out"))
        assert first.replace(str(folders / "whole"), str(folders / "out")) == second


def test_a_network_is_audited_with_the_images_that_its_file_holds_out(tmp_path, capsys):
    arguments = ["--data", "digits", "--network", "ddpmpp-digits", "-n", "2", "--steps", "1", "--pairs", "20"]
    arguments += ["--sigmas", "0.5"]
    arguments += ["--compared", "2", "--denoiser", "gaussian", "--reference", "20", "--rate", "0.05", "--shift", "0"]
    out = tmp_path / "out"
    assert main(["audit", *arguments, "--out", str(out)]) == 0
    assert "Its samples: " in capsys.readouterr().out
    record = json.loads((out / "audit.json").read_text("utf-8"))
    assert record["membership"]["pairs"] == 20
    assert record["recorded_in_the_network"] is True
    assert {row["denoiser"] for row in record["locality"]} == {"optimal", "gaussian"}
    assert len(record["samples"]["images"]) == 2
    for name in ("membership.csv", "locality.csv", "samples.csv", "samples.npz"):
        assert (out / name).stat().st_size
    page = (out / "audit.html").read_text("utf-8")
    assert "Does this network know its training images?" in page
    assert "which the file of the network records as held out" in page
    assert main(["audit", *arguments, "--out", str(out), "--resume"]) == 0
    capsys.readouterr()
    refused = ["--data", "digits", "--network", "ddpmpp-digits", "--fail-on-copies", "--rate", "0.001"]
    assert main(["audit", *refused, "--out", str(tmp_path / "refused")]) == 2
    assert "and there are 180;" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists(), "found before anything is computed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of them"),
        (["--images", "asked", "--network", "ddpmpp-digits"], "one of them"),
        (["--images", "asked", "--steps", "3"], "--steps is for --network"),
        (["--network", "ddpmpp-digits", "-n", "0", "--steps", "3"], "-n is 0"),
        (["--network", "ddpmpp-digits", "--labels", "3"], "has no classes"),
        (["--network", "nothing"], "nothing"),
        (["--images", "asked", "--fail-on-copies"], "needs --held-out"),
        (["--images", "asked", "--held-out", "held.npy", "--fail-on-copies", "--rate", "0.001"], "at least 999"),
        (
            ["--images", "asked", "--held-out", "held.npy", "--fail-on-copies", "--rate", "0.05", "--reference", "9"],
            "give --reference 19",
        ),
        (["--images", "large.npz"], "give --resolution 9x9"),
        (["--images", "asked", "--trust"], "for --features"),
        (["--images", "nothing.png"], "nothing.png"),
        (["--images", "broken.png"], "broken.png is not an image that can be read"),
        (["--images", "asked", "--hflip"], "--hflip has no effect"),
        (["--images", "asked", "--rate", "0.7"], "--rate"),
        (["--images", "asked", "--rate", "0.05"], "--rate has no effect without --held-out"),
        (["--images", "asked", "--reference", "9"], "--reference has no effect without --held-out"),
        (["--images", "asked", "--patch", "9"], "a patch of 9 does not fit 8 x 8 images; give a smaller --patch"),
        (["--images", "nan.npz"], "nan.npz: sample 1 has NaN or infinite values"),
        (["--images", "asked", "--held-out", "digits", "--limit", "3000", "--reference", "9"], "are training images"),
    ],
)
def test_bad_input_is_one_line(folders, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folders)
    (folders / "broken.png").write_bytes(b"\x89PNG no")
    np.savez(folders / "large.npz", images=np.zeros((1, 1, 9, 9), np.float32))
    np.savez(
        folders / "nan.npz",
        images=np.array([0, np.nan], np.float32)[:, None, None, None] + np.zeros((2, 1, 8, 8), np.float32),
    )
    assert run(folders, *arguments) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (folders / "out" / "audit.html").exists()
    assert message == "are training images" or not (folders / "out").exists(), "found before anything is computed"
