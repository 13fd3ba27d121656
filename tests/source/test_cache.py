"""The cache: hits and keys, damage, other processes, disks that are full or may not be written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from smalti.core.errors import EnvironmentFailure, InputError
from smalti.source import Source
from smalti.source import cache as cache_module
from smalti.source.formats import image_files as pictures_module


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the data sets that were really decoded."""
    done: list[str] = []
    original = pictures_module._build

    def counted(tree, what, *rest):  # type: ignore[no-untyped-def]
        done.append(what)
        return original(tree, what, *rest)

    monkeypatch.setattr(pictures_module, "_build", counted)
    return done


def entries(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def test_the_second_time_nothing_is_decoded(folder: Path, cache: Path, builds, rgb) -> None:
    first, second = Source.open(folder), Source.open(folder, hflip=True, classes="dog", limit=2)
    assert len(builds) == 1
    assert first.origin is not None
    assert second.origin is not None
    assert (first.origin.hit, second.origin.hit) == (False, True)
    assert isinstance(second.subset(slice(0, 1)).images, np.ndarray)
    whole = Source.open(folder)
    assert isinstance(whole.images, np.memmap)
    assert not whole.images.flags.writeable
    assert (whole.images == rgb.transpose(0, 3, 1, 2)).all()
    assert whole.fingerprint() == first.fingerprint()
    [entry] = entries(cache)
    assert sorted(path.name for path in entry.iterdir()) == [
        "files.npy",
        "images.npy",
        "labels.npy",
        "meta.json",
        "sums.npy",
    ]
    assert json.loads((entry / "meta.json").read_text())["class_names"] == ["cat", "dog"]
    assert (np.load(entry / "images.npy") == whole.images).all()


def test_what_is_in_the_key(folder: Path, builds) -> None:
    Source.open(folder)
    for options in ({"resolution": 4}, {"resolution": (4, 2)}, {"skip_bad": True}):
        Source.open(folder, **options)
        Source.open(folder, **options)
    assert len(builds) == 4
    info = (folder / "cat/1.png").stat()
    os.utime(folder / "cat/1.png", ns=(info.st_atime_ns, info.st_mtime_ns + 1))
    Source.open(folder)
    assert len(builds) == 5
    (folder / "cat/1.png").rename(folder / "cat/0.png")
    Source.open(folder)
    assert len(builds) == 6


def test_equal_names_sizes_and_times_are_not_equal_data(tmp_path: Path, encode, write_folder) -> None:
    """Archives restore times and uncompressed images have equal sizes; they must not be taken for each other."""
    first, second = (np.full((4, 4, 3), value, np.uint8) for value in (1, 2))
    for name, image in (("a", first), ("b", second)):
        write_folder(tmp_path / name, {"x.bmp": encode(image, "BMP")})
        os.utime(tmp_path / name / "x.bmp", (315532800, 315532800))
    assert (Source.open(tmp_path / "a").images == 1).all()
    assert (Source.open(tmp_path / "b").images == 2).all()


def test_a_zip_is_known_by_its_directory(tmp_path: Path, files, write_zip, encode, builds) -> None:
    path = write_zip(tmp_path / "x.zip", files)
    Source.open(path)
    moved = path.rename(tmp_path / "y.zip")
    Source.open(moved)
    assert len(builds) == 1
    times = moved.stat()
    swapped = dict(zip(files, [*list(files.values())[1:], files["cat/1.png"]], strict=True))
    write_zip(moved, swapped)
    os.utime(moved, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert moved.stat().st_size == times.st_size
    Source.open(moved)
    assert len(builds) == 2


def _cut(entry: Path) -> None:
    os.truncate(entry / "images.npy", (entry / "images.npy").stat().st_size - 1)


def _extend(entry: Path) -> None:
    with open(entry / "images.npy", "ab") as file:
        file.write(b"x")


def _rewrite(entry: Path, change: dict[str, object]) -> None:
    meta = json.loads((entry / "meta.json").read_text())
    (entry / "meta.json").write_text(json.dumps({**meta, **change}))


def _flip(entry: Path, name: str, at: int = -1) -> None:
    """Turn one bit of a file."""
    data = bytearray((entry / name).read_bytes())
    data[at] ^= 1
    (entry / name).write_bytes(data)


def _relabel(entry: Path, labels: list[int]) -> None:
    np.save(entry / "labels.npy", np.array(labels, np.int64))


def _sealed(entry: Path, change: dict | None = None, **arrays: np.ndarray) -> None:
    """Change an entry and its checksums with it, as a writer with a fault would."""
    meta = {**json.loads((entry / "meta.json").read_text()), **(change or {})}
    for name, array in arrays.items():
        np.save(entry / f"{name}.npy", array)
        meta["digests"][name] = hashlib.sha256((entry / f"{name}.npy").read_bytes()).hexdigest()
    del meta["digest"]
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
    (entry / "meta.json").write_text(json.dumps({**meta, "digest": digest}))


def _pipe(entry: Path, name: str) -> None:
    (entry / name).unlink()
    os.mkfifo(entry / name)


def _swap(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("a file where a folder was")


DAMAGE = {
    "images cut off": _cut,
    "images too long": _extend,
    "images empty": lambda e: (e / "images.npy").write_bytes(b""),
    "no images": lambda e: (e / "images.npy").unlink(),
    "no labels": lambda e: (e / "labels.npy").unlink(),
    "labels cut off": lambda e: os.truncate(e / "labels.npy", 130),
    "no meta": lambda e: (e / "meta.json").unlink(),
    "meta empty": lambda e: (e / "meta.json").write_text(""),
    "meta of another kind": lambda e: (e / "meta.json").write_text("[1]"),
    "meta not text": lambda e: (e / "meta.json").write_bytes(b"\xff\xff"),
    "another format": lambda e: _rewrite(e, {"format": 0}),
    "another shape": lambda e: _rewrite(e, {"shape": [6, 3, 4, 5]}),
    "bad skipped": lambda e: _rewrite(e, {"skipped": [1]}),
    "no sums": lambda e: (e / "sums.npy").unlink(),
    "a flipped bit in the images": lambda e: _flip(e, "images.npy", -100),
    "a flipped bit in their header": lambda e: _flip(e, "images.npy", 90),
    "a flipped bit in the labels": lambda e: _flip(e, "labels.npy", -8),
    "a flipped bit in the sums": lambda e: _flip(e, "sums.npy"),
    "a flipped bit in a class name": lambda e: _flip(e, "meta.json", (e / "meta.json").read_bytes().index(b"cat")),
    "negative labels": lambda e: _relabel(e, [0, 0, 0, -1, 1, 1]),
    "a label out of range": lambda e: _relabel(e, [0, 0, 0, 1, 1, 2]),
    "labels are false": lambda e: _rewrite(e, {"digests": {"sums": "", "labels": False}}),
    "labels forgotten": lambda e: _rewrite(e, {"digests": {}}),
    "too few class names": lambda e: _rewrite(e, {"class_names": ["cat"]}),
    "a nested meta": lambda e: (e / "meta.json").write_text("[" * 100_000),
    "a long number in meta": lambda e: (e / "meta.json").write_text('{"shape": [' + "9" * 5000 + "]}"),
    "pickles in labels": lambda e: np.save(e / "labels.npy", np.array([None] * 6), allow_pickle=True),
    "a file": _swap,
    "a pipe in place of the images": lambda e: _pipe(e, "images.npy"),
    "a pipe in place of the sums": lambda e: _pipe(e, "sums.npy"),
    "a pipe in place of meta": lambda e: _pipe(e, "meta.json"),
    "negative labels, sealed": lambda e: _sealed(e, labels=np.array([0, 0, 0, -1, 1, 1])),
    "a label out of range, sealed": lambda e: _sealed(e, labels=np.array([0, 0, 0, 1, 1, 2])),
    "labels of another length, sealed": lambda e: _sealed(e, labels=np.array([0, 0, 0, 1, 1])),
    "broken labels, sealed": lambda e: _sealed(e, labels=np.array([0, 0, 0, 0.5, 1, 1])),
    "too few class names, sealed": lambda e: _sealed(e, {"class_names": ["cat"]}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_repaired(folder: Path, cache: Path, builds, rgb, damage) -> None:
    Source.open(folder)
    [entry] = entries(cache)
    damage(entry)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = Source.open(folder)
    assert (source.images == rgb.transpose(0, 3, 1, 2)).all()
    assert source.labels is not None
    assert len(builds) == 2
    assert entries(cache) == [entry]
    assert Source.open(folder).origin.hit  # type: ignore[union-attr]


def test_an_open_source_survives_the_removal_of_its_entry(folder: Path, cache: Path, rgb) -> None:
    source = Source.open(folder)
    shutil.rmtree(cache)
    assert (source.images == rgb.transpose(0, 3, 1, 2)).all()


def test_a_cache_that_cannot_be_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rgb) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        with pytest.warns(UserWarning, match="not cached.*set SMALTI_CACHE to a folder that can be written") as caught:
            source = Source.open(folder)
        assert len(caught) == 1
        assert "\n" not in str(caught[0].message)
        assert (source.images == rgb.transpose(0, 3, 1, 2)).all()
        assert source.origin is not None
        assert source.origin.cache is None
        assert not source.images.flags.writeable


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "where", ["os.posix_fallocate", "smalti.source.cache.save_npy", "os.rename", "os.fsync", "json.dump"]
)
def test_a_disk_that_fills_up(folder: Path, cache: Path, monkeypatch, rgb, where: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, _no_space)
        with pytest.warns(UserWarning, match="the disk is full.*set SMALTI_CACHE to a folder with room"):
            source = Source.open(folder)
    assert (source.images == rgb.transpose(0, 3, 1, 2)).all()
    assert source.labels is not None
    assert not cache.exists() or entries(cache) == []
    assert Source.open(folder).origin.cache is not None  # type: ignore[union-attr]


def test_too_little_room_on_the_disk_is_seen_before(folder: Path, cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.warns(UserWarning, match="360 B, 10 B free.*with room"):
        assert len(Source.open(folder)) == 6
    assert entries(cache) == []


SCRIPT = """
import sys, warnings
warnings.simplefilter("error" if len(sys.argv) < 4 else "default")
from smalti.source import Source
if len(sys.argv) > 3:
    import resource, signal
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
if sys.argv[2]:
    import time
    from smalti.source.formats import image_files as pictures
    build = pictures._build
    def slow(*rest):
        built = build(*rest)
        print("built", flush=True)
        sys.stdin.readline()
        return built
    pictures._build = slow
source = Source.open(sys.argv[1])
print(source.fingerprint(), source.origin.cache is not None)
"""


def test_a_real_limit_on_file_size(folder: Path, cache: Path) -> None:
    """The kernel refuses the 488 bytes of images.npy: everything stays in memory, nothing is left."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), "", "300"], capture_output=True, text=True, check=True
    )
    assert "not cached" in run.stderr
    assert run.stdout.split() == [Source.open(folder).fingerprint(), "False"]
    assert len(entries(cache)) == 1


def test_room_for_the_images_but_not_for_the_names(folder: Path, cache: Path) -> None:
    """numpy's own writing said "6 requested and 1 written", and the advice was of a folder that cannot be written."""
    resource = pytest.importorskip("resource")
    for path in list(folder.rglob("*.png")):
        path.rename(path.with_stem("long-" * 20 + path.stem))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.warns(UserWarning, match=r"not cached in .* \(File too large\).*a folder with room"):
            assert len(Source.open(folder)) == 6
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert entries(cache) == []


def test_two_processes_at_once(folder: Path, cache: Path) -> None:
    """Both have decoded before either publishes: one entry is left, both get the same images, nobody fails."""
    command = [sys.executable, "-c", SCRIPT, str(folder), "wait"]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "built\n"
    assert len(entries(cache)) == 2
    said = [process.communicate("go\n")[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    [entry] = entries(cache)
    assert not entry.name.startswith(".tmp")
    assert said == [[Source.open(folder).fingerprint(), "True"]] * 2


def test_errors_and_interrupts_leave_nothing(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "dog/2.png").write_bytes(b"x")
    with pytest.raises(InputError):
        Source.open(folder)
    assert entries(cache) == []

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_module.Store, "complete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Source.open(folder, skip_bad=True)
    assert entries(cache) == []


def test_what_dead_processes_left_is_removed_at_once(folder: Path, cache: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, alive, other = f".tmp-{dead.pid}-a", f".tmp-{os.getpid()}-c", ".tmp-x"
    for name in (left, alive, other):
        (cache / name).mkdir(parents=True)
        (cache / name / "1.npy").write_text("")
    Source.open(folder)
    assert {path.name for path in entries(cache) if path.name.startswith(".tmp")} == {alive, other}


def test_a_killed_opening_is_cleared_by_the_next(folder: Path, cache: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(folder), "wait"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "built\n"
    process.kill()
    process.communicate()
    assert [path.name.startswith(".tmp-") for path in entries(cache)] == [True]
    Source.open(folder)
    assert [path.name.startswith(".tmp-") for path in entries(cache)] == [False]


def test_large_images_are_verified_where_they_are_read_anyway(
    folder: Path, cache: Path, builds, monkeypatch, rgb
) -> None:
    monkeypatch.setattr(cache_module, "CHECKED_AT_ONCE", 0)
    Source.open(folder)
    [entry] = entries(cache)
    assert Source.open(folder).verify()
    _flip(entry, "images.npy", -1)  # in the last image
    hit = Source.open(folder)
    assert hit.origin.hit  # type: ignore[union-attr]
    Source.open(folder, classes="cat").fingerprint()  # not in what was chosen
    Source.open(folder, limit=3).verify()
    for chosen in (hit, hit.with_hflip(True), hit.subset([0, 5]), Source.open(folder, classes="dog")):
        for look in (chosen.verify, chosen.fingerprint):
            with pytest.raises(EnvironmentFailure, match=r"image \d of pets was damaged in the cache.*run this again"):
                look()
    assert entries(cache) == []
    again = Source.open(folder)
    assert len(builds) == 2
    assert again.verify()
    assert (again.images == rgb.transpose(0, 3, 1, 2)).all()


def test_what_has_no_checksums_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 2, 2), np.uint8))
    assert not Source.open(tmp_path / "x.npy").verify()
    assert not Source(np.zeros((2, 1, 2, 2), np.uint8)).verify()


def test_info_verifies(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from smalti.cli.app import app

    monkeypatch.setattr(cache_module, "CHECKED_AT_ONCE", 0)
    runner = CliRunner()
    first = runner.invoke(app, ["info", str(folder), "--verify"])
    assert first.exit_code == 0, first.output
    assert "every image is as it was decoded" in first.output
    [entry] = entries(cache)
    _flip(entry, "images.npy", -1)
    assert "verified" not in runner.invoke(app, ["info", str(folder)]).output, "it costs nothing unless asked for"
    bad = runner.invoke(app, ["info", str(folder), "--verify"])
    assert bad.exit_code != 0
    assert json.loads(runner.invoke(app, ["info", str(folder), "--verify", "--json"]).stdout)["verified"] is True
