"""A cached array is never answered by code that has changed: the decoding is broken in a copy of the package."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import smalti

SIDE, SMALL = 8, 4
RESIZED = "return np.stack([np.asarray(Image"
OPEN = """
import sys, warnings
warnings.simplefilter("error")
from smalti.source import Source
for path in sys.argv[1:]:
    source = Source.open(path, resolution=4)
    print(source.origin.hit, source.images.tobytes().hex()[:512])
"""


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    """Folders with the package as it is, and with its uint8 images inverted when they are resized."""
    both = tmp_path / "good", tmp_path / "bad"
    for folder in both:
        shutil.copytree(Path(smalti.__file__).parent, folder / "smalti", ignore=shutil.ignore_patterns("__pycache__"))
    path = both[1] / "smalti/source/resizing.py"
    assert path.read_text().count(RESIZED) == 1
    path.write_text(path.read_text().replace(RESIZED, "return 255 - np.stack([np.asarray(Image"))
    return both


@pytest.fixture
def data(tmp_path: Path, encode, write_folder, write_zip) -> list[Path]:
    """One data set of every kind that is decoded into the cache."""
    images = np.random.default_rng(3).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    files = {f"{k}.png": encode(image) for k, image in enumerate(images)}
    np.save(tmp_path / "x.npy", images.transpose(0, 3, 1, 2))
    np.savez(tmp_path / "x.npz", images=images.transpose(0, 3, 1, 2))
    batch = pickle.dumps({"data": np.full((1, 3072), 200, np.uint8), "labels": [0]}, protocol=2)
    batches = {f"data_batch_{k}": batch for k in range(1, 6)}
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name, content in batches.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return [
        write_folder(tmp_path / "folder", files),
        write_zip(tmp_path / "x.zip", files),
        tmp_path / "x.npy",
        tmp_path / "x.npz",
        tmp_path / "cifar-10-python.tar.gz",
        write_folder(tmp_path / "cifar-10-batches-py", batches),
    ]


def opened(package: Path, data: list[Path]) -> list[tuple[str, np.ndarray]]:
    """(was a hit, the pixels) of each, opened by that copy in a fresh process."""
    command = [sys.executable, "-c", OPEN, *map(str, data)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(package)}, capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    return [(hit, np.frombuffer(bytes.fromhex(pixels), np.uint8)) for hit, pixels in lines]


def test_images_are_decoded_again_by_changed_code(copies: tuple[Path, Path], data: list[Path]) -> None:
    good, bad = copies
    first, second, third = opened(good, data), opened(good, data), opened(bad, data)
    assert [hit for hit, _ in first] == ["False"] * len(data)
    assert [hit for hit, _ in second] == ["True"] * len(data)
    assert [hit for hit, _ in third] == ["False"] * len(data)
    for (_, right), (_, inverted) in zip(second, third, strict=True):
        assert (inverted == 255 - right).all()
