"""Hostile files of images: each is refused in one line, within 5 s and 1 GB beyond the import, and nothing of it is executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

SECONDS, BYTES = 5.0, 1 << 30

OPEN = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
from smalti.core.errors import SmaltiError
from smalti.source import Source
import smalti.source.opening, numpy, PIL.Image
Source.open("digits")
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.stdin.read().split("\\n"):
    start = time.process_time()
    try:
        said = f"opened {Source.open(path)}"
    except SmaltiError as error:
        said = f"refused {error}"
    except BaseException as error:
        said = f"{type(error).__name__} {error}"
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024
    print(json.dumps([path, said, time.process_time() - start, peak]), flush=True)
"""


def npy(header: str, data: bytes = bytes(64)) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + data


def described(shape: str, descr: str = "'|u1'") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")


HEADERS = {
    "an open bracket": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 8, 8"),
    "a closed bracket": npy("}{)("),
    "True in the shape": described("(True, 1, 8, 8)"),
    "a negative size": described("(-1, 1, -8, 8)"),
    "one negative size": described("(1, 1, 8, -8)"),
    "a long number": described("(" + "9" * 5000 + ", 1, 8, 8)"),
    "a huge number": described("(" + "9" * 300 + ", 1, 8, 8)"),
    "a fraction": described("(1.0, 1, 8, 8)"),
    "text": described("('a', 1, 8, 8)"),
    "no tuple": described("64"),
    "forty axes": described("(" + "1, " * 40 + ")"),
    "an unknown type": described("(1, 1, 8, 8)", "'zz'"),
    "a type of nothing": described("(1, 1, 8, 8)", "'|V0'"),
    "empty text": described("(1, 1, 8, 8)", "'<U0'"),
    "objects": described("(1, 1, 8, 8)", "'|O'"),
    "a structure": described("(1, 1, 8, 8)", "[('a', '|u1')]"),
    "nested types": described("(1, 1, 8, 8)", "[" * 200 + "]" * 200),
    "no shape": npy("{'descr': '|u1', 'fortran_order': False}"),
    "other keys": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 8, 8), 'x': 1}"),
    "a call": npy("__import__('os').mkdir('executed')"),
    "deep": npy("(" * 9000),
    "not ASCII": npy("{'descr': '\u00e9'}"),
    "a NUL": npy("{'descr': '|u1\0', 'fortran_order': False, 'shape': (1, 1, 8, 8), }"),
    "cut off": b"\x93NUMPY\x01\0\xff\xff{",
    "a version of the future": b"\x93NUMPY\x09\0\x10\0" + bytes(16),
}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    """A zip with something else in the first entry of its directory."""
    at = data.index(b"PK\1\2") + offset
    return data[:at] + value + data[at + len(value) :]


def tarred(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def long_integer(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(raw)) + raw


def cifar_batch(shape: bytes) -> bytes:
    """A batch whose array has the shape that these opcodes make."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    return b"\x80\x02}(U\x04data" + array + b"(K\x01" + shape + dtype + b"\x89U\x04abcdtbU\x06labels](K\x00eu."


def colliding(count: int) -> bytes:
    """A dict of integers that all have the hash 0 without being equal."""
    step = (1 << 61) - 1
    return b"\x80\x02}(" + b"".join(long_integer(k * step) + b"N" for k in range(1, count)) + b"u."


def cifar(batch: bytes) -> bytes:
    return tarred({f"cifar-10-batches-py/data_batch_{k}": batch for k in range(1, 6)})


def edm(text: bytes, image: bytes) -> bytes:
    return zipped({"a.png": image, "dataset.json": text}, zipfile.ZIP_STORED)  # packed, it would be refused as a bomb


def hostile_files(image: bytes, marker: Path) -> dict[str, bytes]:
    class Calls:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return os.mkdir, (str(marker),)

    array = io.BytesIO()
    np.save(array, np.zeros((1, 1, 8, 8), np.uint8))
    plain = zipped({"images.npy": array.getvalue()})
    huge = b"".join(long_integer(7 ** (200_000 + k)) for k in range(30))
    bomb = io.BytesIO()
    torch.save({"images": torch.zeros(1, 1, 8, 8)}, bomb)
    files = {f"{name}.npy": data for name, data in HEADERS.items()}
    files |= {f"{name}.npz": zipped({"images.npy": data}) for name, data in HEADERS.items()}
    files |= {
        "encrypted.npz": patched(plain, 8, b"\1\0"),
        "another compression.npz": patched(plain, 10, struct.pack("<H", 99)),
        "bzip2.npz": zipped({"images.npy": array.getvalue()}, zipfile.ZIP_BZIP2),
        "lzma.npz": zipped({"images.npy": array.getvalue()}, zipfile.ZIP_LZMA),
        "a wrong sum.npz": patched(plain, 16, b"\0\0\0\0"),
        "a wrong offset.npz": patched(plain, 42, b"\x07\0\0\0"),
        "empty.npz": zipped({}),
        "text.npz": zipped({"images.txt": b"hello"}),
        "a bomb.npz": zipped({"images.npy": described("(1, 1, 8192, 8192)")[:-64] + bytes(8192 * 8192)}),
        "a pickle.npz": zipped({"images.npy": pickle.dumps(Calls())}),
        "a pickle.npy": pickle.dumps(Calls()),
        "huge sizes.tar.gz": cifar(cifar_batch(b"(" + huge + b"t")),
        "many sizes.tar.gz": cifar(cifar_batch(b"(" + b"J\xff\xff\xff\x7f" * 32 + b"t")),
        "colliding keys.tar.gz": cifar(colliding(150_000)),
        "a call.tar.gz": cifar(pickle.dumps({"data": Calls(), "labels": [0]}, protocol=2)),
        "zeros.tar.gz": tarred({"a.bin": bytes(100 << 20), "a.png": image}),
        "a long JSON.zip": edm(b'{"labels": [' + b"[" * 40_000_000, image),
        "many lists.zip": edm(b'{"labels": [' + b"[]," * 10_000_000 + b"0]}", image),
        "many other keys.zip": edm(b'{"x": [' + b"[]," * 10_000_000 + b'0], "labels": null}', image),
        "two classes.zip": edm(b'{"labels": [["a.png", 0], ["a.png", 1]]}', image),
        "a long number.zip": edm(b'{"labels": [["a.png", ' + b"9" * 5000 + b"]]}", image),
        "a JSON beyond the limit.zip": edm(b'{"labels": null}' + b" " * (65 << 20), image),
        "many names.zip": zipped({f"{k}.txt": b"" for k in range(5000)}),
        "no idx.gz": zlib.compress(b"x"),
        "mat.mat": b"MATLAB 5.0 MAT-file" + bytes(109) + b"\0\1IM" + b"\xff" * 200,
        "table.parquet": b"PAR1" + b"\xff" * 100 + struct.pack("<I", 90) + b"PAR1",
        "a call.pt": pickle.dumps(Calls()),
        "cut off.pt": bomb.getvalue()[:-100],
        "changed.pt": bomb.getvalue().replace(b"K\x08", b"J\xff\xff\xff\x7f"),
    }
    return files


def run(paths: list[Path], tmp_path: Path) -> list[tuple[str, str, float, int]]:
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        input="\n".join(map(str, paths)),
        env={**os.environ, "SMALTI_CACHE": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_hostile_files_are_refused_quickly_and_in_little_memory(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    marker = tmp_path / "executed"
    paths = []
    for name, data in hostile_files(encode(np.full((8, 8), 200, np.uint8)), marker).items():
        (folder / name).write_bytes(data)
        paths.append(folder / name)
    found = run(paths, tmp_path)
    assert len(found) == len(paths)
    for path, said, seconds, peak in found:
        assert said.startswith("refused "), (path, said)
        assert "\n" not in said, path
        assert all(c.isprintable() for c in said), (path, said)
        assert seconds < SECONDS, (path, said, seconds)
        assert peak < BYTES, (path, said, peak)
    assert not marker.exists()


def test_a_few_huge_images_take_little_memory(tmp_path: Path) -> None:
    """1 MB of zip that unpacks to four images of 8000 x 8000 RGBA: they are sound, so they are opened, one at a time."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(b"\0" + b"\xc8" * 32000) for _ in range(8000)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8000, 8000, 8, 6, 0, 0, 0))
    image = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(4):
            archive.writestr(f"{k}.png", image)
    [(_, said, _, peak)] = run([path], tmp_path)
    assert said.startswith("opened Source('x', 4 x 3x8000x8000")
    assert peak < BYTES


def test_names_that_steer_a_terminal(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    name = "\x1b[31mred\x07"
    folder = tmp_path / name / name
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(encode(np.full((4, 4), 200, np.uint8)))
    (folder / f"{name}.txt").write_text("")
    os.mkdir(os.fsencode(tmp_path / name) + b"/\xff")
    (Path(os.fsdecode(os.fsencode(tmp_path / name) + b"/\xff")) / "2.png").write_bytes(
        encode(np.full((4, 4), 200, np.uint8))
    )
    from smalti.source import Source, describe

    source = Source.open(tmp_path / name)
    for text in (repr(source), *source.class_names, *(file for file, _ in source.skipped), describe(source)["name"]):  # type: ignore[misc]
        assert text.isprintable()
        text.encode("utf-8")


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    from smalti.core.errors import InputError
    from smalti.source import Source

    path = Path("/dev/zero")
    if kind == "fifo":
        path = tmp_path / "x.npy"
        os.mkfifo(path)
    with pytest.raises(InputError, match="neither a file nor a folder"):
        Source.open(path)
