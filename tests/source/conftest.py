"""Small data sets of every kind, and a cache of their own."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("SMALTI_CACHE", str(root))
    return root


def _encode(pixels: np.ndarray, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Pixels (H, W) or (H, W, 3) uint8 as the bytes of an image file."""
    return _encode


@pytest.fixture
def rgb() -> np.ndarray:
    """Six random images, (6, 5, 4, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


@pytest.fixture
def files(rgb: np.ndarray) -> dict[str, bytes]:
    """The six as PNG files in two class folders, and their order when sorted."""
    names = ["cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png", "dog/10.png", "dog/2.png"]
    return {name: _encode(image) for name, image in zip(names, rgb, strict=True)}


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def write_folder() -> Callable[[Path, Mapping[str, bytes]], Path]:
    return _write_folder


def _write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def write_zip() -> Callable[[Path, Mapping[str, bytes]], Path]:
    return _write_zip


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    return _write_folder(tmp_path / "pets", files)
