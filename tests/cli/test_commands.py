"""The commands on the digits, in this process: what they write, print and refuse."""

import json

import numpy as np
import pytest
from PIL import Image

from smalti import denoisers
from smalti.cli import main, options
from smalti.core.noise import standard_normal
from smalti.denoisers import Schedule
from smalti.report import pictures
from smalti.sampling import SOLVERS, sample
from smalti.source import Source


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path_factory.mktemp("cache")))


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


DATA = ("--data", "digits", "--limit", 60)


def test_help_version_and_no_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(name in out for name in ("info", "denoisers", "denoise", "sample", "demo", "bench"))
    assert run(capsys, "--version")[1].startswith("smalti ")
    assert run(capsys)[0] == 0
    for command in ("info", "denoisers", "denoise", "sample", "demo", "bench"):
        assert run(capsys, command, "--help")[0] == 0
    assert "Exactly one of --level and --sigma is required" in " ".join(run(capsys, "denoise", "--help")[1].split())


def test_info(capsys):
    code, out, err = run(capsys, "info", "digits", "--classes", "3,8", "--hflip")
    assert (code, err) == (0, "")
    lines = dict(line.split("  ", 1) for line in out.splitlines() if not line.startswith(" "))
    assert lines["images"].strip() == "357, each with its mirror image"
    assert lines["size"].strip().startswith("8 x 8")
    assert lines["read from"].strip() == "the embedded digits"
    assert "  0: 1 image\n" in run(capsys, "info", "digits", "--limit", 1)[1]
    assert "174 images" in out
    facts = json.loads(run(capsys, "info", "digits", "--json")[1])
    assert facts["count"] == 1797
    assert len(facts["classes"]) == 10


def test_denoisers(capsys):
    out = run(capsys, "denoisers")[1]
    for name, kind in denoisers.REGISTRY.items():
        assert f"{name}(" in out
        assert kind.paper in out
    listed = json.loads(run(capsys, "denoisers", "--json")[1])
    assert [entry["name"] for entry in listed] == list(denoisers.REGISTRY)
    assert next(e for e in listed if e["name"] == "local-score")["parameters"]["window"] == 7


def test_denoise(capsys, tmp_path):
    out = tmp_path / "out"
    code, stdout, _ = run(
        capsys, "denoise", *DATA, "--denoiser", "local-score", "--param", "window=3", "--level", 9, "-n", 6,
        "--seed", 4, "--labels", "1,7", "--batch-size", 4, "--out", out,
    )  # fmt: skip
    assert (code, stdout.splitlines()[-1]) == (0, str(out))
    assert stdout.split("\n")[0].endswith("rms noise  rms error")
    got = np.load(out / "denoised.npz")
    source = Source.open("digits", limit=60)
    assert got["indices"].tolist() == [0, 10, 20, 30, 40, 50]
    assert float(got["sigma"]) == pytest.approx(1.9233, abs=1e-4)
    clean = source.working(got["indices"])
    assert np.array_equal(got["clean"], clean.numpy())
    noise = standard_normal(4, range(6), source.shape)
    np.testing.assert_allclose(got["z"], (clean + float(got["sigma"]) * noise).numpy(), atol=1e-5)
    expected = denoisers.create("local-score", source, window=3)(
        clean.double() + float(got["sigma"]) * noise, float(got["sigma"]), [1, 7, 1, 7, 1, 7]
    )
    np.testing.assert_allclose(got["x0"], expected.numpy(), atol=1e-5)
    assert Image.open(out / "denoised.png").size[0] > 6 * 64
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], record["done"], record["total"], record["seed"]) == ("complete", 6, 6, 4)
    assert record["determined_by"]["data"]["fingerprint"] == source.fingerprint()
    assert record["determined_by"]["denoiser"] == {"name": "local-score", "parameters": {"window": 3}}
    assert sorted(p.name for p in out.iterdir()) == ["denoised.npz", "denoised.png", "run.json"]


def test_denoise_given_images(capsys, tmp_path):
    z = 2 * standard_normal(0, range(3), (1, 8, 8)).numpy()
    np.save(tmp_path / "z.npy", z)
    code, _, _ = run(
        capsys, "denoise", *DATA, "--denoiser", "optimal", "--backend", "reference", "--sigma", 2, "--input",
        tmp_path / "z.npy", "--out", tmp_path / "o",
    )  # fmt: skip
    assert code == 0
    got = np.load(tmp_path / "o" / "denoised.npz")
    assert sorted(got.files) == ["sigma", "x0", "z"]
    assert np.array_equal(got["z"], z)
    assert got["x0"].dtype == np.float64


def test_one_syntax_for_a_denoiser_with_parameters(capsys, tmp_path):
    Schedule("pspc-square", (3.0, 1.0), (5, 3)).save(tmp_path / "s.json")
    for number, (typed, alias) in enumerate(
        [
            (["local-score:window=3"], ["local-score", "--param", "window=3"]),
            (["pspc-square:schedule={}"], ["pspc-square", "--param", "schedule={}"]),
            (["equivariant-local-score:window=3:borders=aware"], ["equivariant-local-score", "--param", "window=3",
             "--param", "borders=aware"]),
        ]
    ):  # fmt: skip
        said = []
        for way in (typed, alias):
            words = [word.format(tmp_path / "s.json") for word in way]
            for command in (("sample", "--steps", 2), ("denoise", "--sigma", 1)):
                out = tmp_path / f"{number}-{len(said)}"
                assert run(capsys, command[0], *DATA, *command[1:], "--denoiser", *words, "-n", 1, "--out", out)[0] == 0
                said.append(json.loads((out / "run.json").read_text())["determined_by"]["denoiser"])
        assert said[0] == said[2] == said[1] == said[3]


def test_sample(capsys, tmp_path):
    common = ("sample", *DATA, "--denoiser", "optimal", "-n", 5, "--steps", 6, "--seed", 2)
    code, stdout, _ = run(capsys, *common, "--batch-size", 2, "--keep-states", "--out", tmp_path / "a")
    assert (code, stdout) == (0, f"{tmp_path / 'a'}\n")
    got = np.load(tmp_path / "a" / "samples.npz")
    source = Source.open("digits", limit=60)
    expected = sample(denoisers.create("optimal", source), n=5, steps=6, seed=2)
    for name in ("images", "sigmas", "states", "denoised"):
        np.testing.assert_allclose(got[name], getattr(expected, name).numpy(), atol=1e-4)
    assert int(got["seed"]) == 2
    gaps = ((got["images"][:, None].astype(float) - source.working().numpy()) ** 2).sum((2, 3, 4))
    assert got["neighbour_indices"].tolist() == gaps.argmin(1).tolist()
    np.testing.assert_allclose(got["neighbour_distances"], gaps.min(1), atol=1e-6)
    for picture in ("samples.png", "neighbours.png", "trajectories.png"):
        Image.open(tmp_path / "a" / picture).load()

    np.save(tmp_path / "init.npy", got["init"])
    again = ("sample", *DATA, "--denoiser", "optimal", "--steps", 6, "--init", tmp_path / "init.npy")
    assert run(capsys, *again, "--out", tmp_path / "b")[0] == 0
    other = np.load(tmp_path / "b" / "samples.npz")
    np.testing.assert_allclose(other["images"], got["images"], atol=1e-5)
    assert "seed" not in other.files
    assert "states" not in other.files


def test_flipped_neighbours_are_known(capsys, tmp_path):
    images = np.zeros((2, 1, 4, 4), np.uint8)
    images[0, :, :, 0], images[1, :, 0] = 255, 255
    np.save(tmp_path / "x.npy", images)
    run(capsys, "sample", "--data", tmp_path / "x.npy", "--hflip", "--denoiser", "optimal", "-n", 8,
        "--steps", 8, "--out", tmp_path / "o")  # fmt: skip
    got = np.load(tmp_path / "o" / "samples.npz")
    assert got["neighbour_flipped"].any()
    near = images[got["neighbour_indices"]] / 127.5 - 1
    near[got["neighbour_flipped"]] = near[got["neighbour_flipped"]][..., ::-1]
    gaps = ((near - got["images"]) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(gaps, got["neighbour_distances"], atol=1e-5)


DENOISE, SAMPLE = ("denoise", *DATA), ("sample", *DATA)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("info", "no-such-data"), "no-such-data"),
        (("info", "digits", "--resolution", "big"), "--resolution must look like"),
        (("info",), "Missing argument"),
        (("infos",), "No such command"),
        ((*DENOISE, "--level", 9, "--sigma", 1), "exactly one of --level"),
        (DENOISE, "exactly one of --level"),
        ((*DENOISE, "--level", 18), "--level must be from 0"),
        ((*DENOISE, "--level", -1), "--level must be from 0"),
        ((*DENOISE, "--level", "x"), "--level"),
        ((*DENOISE, "--sigma", 0), "--sigma must be finite and greater than 0"),
        ((*DENOISE, "--sigma", "nan"), "--sigma must be finite and greater than 0"),
        ((*DENOISE, "--sigma", 1, "-n", 0), "-n must be"),
        ((*DENOISE, "--sigma", 1, "-n", 61), "the data has 60 images"),
        ((*DENOISE, "--sigma", 1, "--seed", -1), "seed must be"),
        ((*DENOISE, "--sigma", 1, "--batch-size", 0), "--batch-size must be"),
        ((*DENOISE, "--sigma", 1, "--input", "none.npy"), "none.npy"),
        ((*DENOISE, "--sigma", 1, "--input", "none.npy", "--seed", 1), "--seed draws noise"),
        ((*DENOISE, "--sigma", 1, "--denoiser", "gausian"), "did you mean 'gaussian'"),
        ((*DENOISE, "--sigma", 1, "--param", "patch_siez=3"), "did you mean 'patch_size'"),
        ((*DENOISE, "--sigma", 1, "--param", "patch_size=9"), "9"),
        ((*DENOISE, "--sigma", 1, "--denoiser", "local-score", "--param", "window=4"), "window"),
        ((*DENOISE, "--sigma", 1, "--denoiser", "gaussian", "--backend", "numba"), "no backends"),
        ((*DENOISE, "--sigma", 1, "--backend", "cuda"), "--backend"),
        ((*DENOISE, "--sigma", 1, "--labels", "cat"), "no class 'cat'"),
        ((*DENOISE, "--sigma", 1, "--overwrite", "--resume"), "give one of them"),
        ((*SAMPLE, "-n", 0), "-n must be"),
        ((*SAMPLE, "--steps", 0), "steps must be"),
        ((*SAMPLE, "--solver", "rk4"), "'rk4' is not one of 'heun', 'euler'"),
        ((*SAMPLE, "--sigma-min", 90), "sigma_min"),
        ((*SAMPLE, "--init", "none.npy"), "none.npy"),
        ((*SAMPLE, "--init", "none.npy", "--seed", 1), "--init gives it"),
        ((*SAMPLE, "--seed", 2**64), "seed must be"),
        (("demo", "--seed", -5), "seed must be"),
        (("bench", "--hflip"), "need --data"),
    ],
)
def test_bad_input_exits_2_with_one_line_and_writes_nothing(arguments, says, capsys, tmp_path):
    out = tmp_path / "out"
    needs_out = () if arguments[0].startswith("info") else ("--out", out)
    code, stdout, err = run(capsys, *arguments, *needs_out)
    assert says in err
    assert (code, stdout) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("smalti: error: ")
    assert not out.exists()


def test_init_must_agree_with_n_and_shape(capsys, tmp_path):
    np.save(tmp_path / "z.npy", np.zeros((3, 1, 8, 8)))
    code, _, err = run(capsys, *SAMPLE, "-n", 4, "--init", tmp_path / "z.npy", "--out", tmp_path / "o")
    assert code == 2
    assert "holds 3 images" in err
    np.save(tmp_path / "z.npy", np.zeros((3, 8, 8)))
    code, _, err = run(capsys, *SAMPLE, "--init", tmp_path / "z.npy", "--out", tmp_path / "o")
    assert code == 2
    assert "this denoiser takes (B, 1, 8, 8)" in err


def test_an_output_folder_with_results_is_kept(capsys, tmp_path):
    command = (*DENOISE, "--denoiser", "gaussian", "--sigma", 1, "-n", 2, "--out", tmp_path / "o")
    assert run(capsys, *command)[0] == 0
    before = (tmp_path / "o" / "denoised.npz").read_bytes()
    code, _, err = run(capsys, *command, "--seed", 1)
    assert code == 2
    assert "--overwrite" in err
    assert (tmp_path / "o" / "denoised.npz").read_bytes() == before
    code, out, _ = run(capsys, *command, "--resume")
    assert (code, out) == (0, f"{tmp_path / 'o'}\n")
    code, _, err = run(capsys, *command, "--resume", "--seed", 1)
    assert code == 2
    assert "seed was 0, now 1" in err
    assert run(capsys, *command, "--overwrite", "--seed", 1)[0] == 0
    assert (tmp_path / "o" / "denoised.npz").read_bytes() != before


def test_debug_shows_the_traceback_wherever_it_is_given(capsys):
    for arguments in (("--debug", "info", "none"), ("info", "none", "--debug")):
        assert "Traceback" in run(capsys, *arguments)[2]
    assert "Traceback" not in run(capsys, "info", "none")[2]


def test_a_full_disk_is_the_environment(capsys, tmp_path, monkeypatch):
    import errno
    import os

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run(capsys, *DENOISE, "--denoiser", "gaussian", "--sigma", 1, "--out", tmp_path / "o")
    assert code == 1
    assert "the disk is full" in err
    assert not (tmp_path / "o").exists()


def test_bench_gets_what_was_asked(capsys, tmp_path, monkeypatch):
    import smalti.bench

    seen = []
    for name in ("run", "run_scaling"):
        monkeypatch.setattr(smalti.bench, name, lambda *given, name=name: seen.append((*given, name)), raising=False)
    assert run(capsys, "bench", "--quick")[0] == 0
    assert run(capsys, "bench", *DATA, "--out", tmp_path / "new")[0] == 0
    assert seen[0] == (None, None, True, None, "run")
    assert len(seen[1][0]) == 60
    assert seen[1][1:] == (tmp_path / "new", False, None, "run")
    assert run(capsys, "bench", "--only", "flex, ls")[0] == 0
    assert run(capsys, "bench", "--scaling", "--only", "cfd")[0] == 0
    assert [given[3:] for given in seen[2:]] == [(["flex", "ls"], "run"), (["cfd"], "run_scaling")]
    assert run(capsys, "bench", "--only", "pspc", "--only", "ls,flex")[0] == 0
    assert seen[-1][3] == ["pspc", "ls", "flex"], "all of them"
    code, _, err = run(capsys, "bench", "--only", "flexx")
    assert code == 2
    assert "did you mean 'flex'" in err
    (tmp_path / "x").write_text("")
    assert run(capsys, "bench", "--out", tmp_path)[0] == 2
    assert run(capsys, "bench", "--out", tmp_path, "--overwrite")[0] == 0


def test_every_solver_can_be_typed():
    assert {solver.value for solver in options.Solver} == set(SOLVERS)


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        ((), "optimal: 1 sample, each with its nearest training image"),
        (("-n", 70), "optimal: 64 of 70 samples, each with its nearest training image"),
        (("--labels", "3"), "optimal: 1 sample, each with the nearest among all training images"),
    ],
)
def test_the_neighbours_caption_says_what_was_compared(capsys, tmp_path, monkeypatch, arguments, title):
    titles = []
    draw = pictures.samples_with_neighbours
    monkeypatch.setattr(
        pictures, "samples_with_neighbours", lambda *a, title: titles.append(title) or draw(*a, title=title)
    )
    common = ("--denoiser", "optimal", "-n", 1, "--steps", 1, "--batch-size", 70)
    assert run(capsys, *SAMPLE, *common, *arguments, "--out", tmp_path / "o")[0] == 0
    assert titles == [title]


def test_floats_of_another_scale_are_warned_of_in_one_line(capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(64, dtype=np.float32).reshape(4, 1, 4, 4))
    code, _, err = run(capsys, "info", tmp_path / "x.npy")
    assert code == 0
    assert err.startswith("smalti: warning: ")
    assert err.endswith("save uint8, or divide by 127.5 and subtract 1\n")
    assert err.count("\n") == 1
