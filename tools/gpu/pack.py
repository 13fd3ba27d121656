"""A zip of JPEGs in a third of its size: what begins all files alike, tables and all, is kept once.

    python tools/gpu/pack.py IMAGES.zip .carry/cifar10-train.pack

The files come out byte for byte. CIFAR-10's 50,000 small JPEGs are 46 MB, of which 31 MB are one header of 623 bytes, 50,000 times; a
machine is lent with at most 64 MB of luggage, this repository included.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np

__all__ = ["pack", "unpack"]


def pack(archive: Path, packed: Path) -> None:
    """Write the JPEGs of a zip; anything else in it is left out."""
    with zipfile.ZipFile(archive) as files:
        names = sorted(name for name in files.namelist() if name.lower().endswith((".jpg", ".jpeg")))
        contents = [files.read(name) for name in names]
    low, high = min(contents), max(contents)  # what these two begin with alike, all do
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    head = low[:same]
    tails = [content[len(head) :] for content in contents]
    packed.parent.mkdir(parents=True, exist_ok=True)
    with packed.open("wb") as file:
        np.savez(
            file,
            head=np.frombuffer(head, np.uint8),
            lengths=np.array([len(tail) for tail in tails]),
            tails=np.frombuffer(b"".join(tails), np.uint8),
            names=np.array(names),
        )


def unpack(packed: Path, archive: Path) -> None:
    """The zip again, its members not compressed."""
    with np.load(packed, allow_pickle=False) as data:
        head, tails, names = data["head"].tobytes(), data["tails"].tobytes(), data["names"].tolist()
        ends = np.cumsum(data["lengths"]).tolist()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as files:
        for name, start, end in zip(names, [0, *ends[:-1]], ends, strict=True):
            files.writestr(zipfile.ZipInfo(name), head + tails[start:end])


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{sys.argv[2]}: {Path(sys.argv[2]).stat().st_size / 1e6:.1f} MB")
