"""The CIFAR-10 python archive: read without unpickling; hostile pickles and tars refused, and nothing executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from smalti.core.errors import InputError
from smalti.source import Source
from smalti.source.pickles import ArrayRecord, read_pickle

NAMES = ["airplane", "automobile", "bird", "cat"]


def python2_pickle(data: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 and NumPy of its time pickled it (protocol 2): text is str, which is bytes."""

    def text(value: bytes) -> bytes:
        short = len(value) < 256
        return (b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value

    out = [b"\x80\x02}q\x01(", text(b"batch_label"), b"q\x02", text(b"training batch"), b"q\x03"]
    out += [text(b"labels"), b"q\x04]q\x05(", *(b"K" + bytes([label]) for label in labels), b"e"]
    out += [text(b"data"), b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\x09"]
    out += [text(b"b"), b"\x87q\nRq\x0b(K\x01", *(b"M" + struct.pack("<H", side) for side in data.shape), b"\x86q\x0c"]
    out += [
        b"cnumpy\ndtype\nq\r",
        text(b"u1"),
        b"q\x0eK\x00K\x01\x87q\x0fRq\x10(K\x03",
        text(b"|"),
        b"q\x11NNNJ\xff\xff\xff\xff",
    ]
    out += [b"J\xff\xff\xff\xffK\x00tq\x12b\x89", text(data.tobytes()), b"q\x13tq\x14b"]
    out += [text(b"filenames"), b"q\x15]q\x16(", *(text(b"a_%d.png" % k) for k in range(len(labels))), b"eu."]
    return b"".join(out)


def python3_pickle(data: np.ndarray, labels: list[int], protocol: int = 4, names: type = str) -> bytes:
    keys = ("data", "labels") if names is str else (b"data", b"labels")
    return pickle.dumps(dict(zip(keys, (data, labels), strict=True)), protocol=protocol)


WRITERS = {
    "python 2": python2_pickle,
    **{f"python 3, protocol {p}": (lambda data, labels, p=p: python3_pickle(data, labels, p)) for p in (0, 1, 2, 3, 4)},
    "python 3, bytes": lambda data, labels: python3_pickle(data, labels, names=bytes),
    "the older module name": lambda data, labels: python3_pickle(data, labels, 2).replace(
        b"numpy._core", b"numpy.core"
    ),
}


@pytest.fixture
def batches() -> list[tuple[np.ndarray, list[int]]]:
    rng = np.random.default_rng(5)
    return [(rng.integers(0, 256, (3, 3072), dtype=np.uint8), rng.integers(0, 4, 3).tolist()) for _ in range(5)]


def archive_files(batches: list[tuple[np.ndarray, list[int]]], writer: Callable[..., bytes]) -> dict[str, bytes]:
    files = {"batches.meta": pickle.dumps({"label_names": NAMES, "num_vis": 3072}, protocol=0)}
    files |= {f"data_batch_{k + 1}": writer(*batch) for k, batch in enumerate(batches)}
    files["test_batch"] = writer(*batches[0])
    return files


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS.keys())
def test_archive_and_folder(tmp_path: Path, batches, write_folder, writer) -> None:
    files = archive_files(batches, writer)
    expected = np.concatenate([data for data, _ in batches]).reshape(15, 3, 32, 32)
    tar = write_tar(tmp_path / "cifar-10-python.tar.gz", files)
    plain = write_tar(tmp_path / "cifar.tar", files, "w")
    folder = write_folder(tmp_path / "cifar-10-batches-py", files)
    for path in (tar, plain, folder, tar):
        source = Source.open(path)
        assert (source.images == expected).all()
        assert source.labels is not None
        assert source.labels.tolist() == [label for _, labels in batches for label in labels]
        assert source.class_names == tuple(NAMES)
    assert Source.open(tar).name == "cifar-10-python"


def test_a_missing_batch(tmp_path: Path, batches) -> None:
    files = archive_files(batches, python2_pickle)
    del files["data_batch_4"]
    with pytest.raises(InputError, match="no data_batch_4"):
        Source.open(write_tar(tmp_path / "x.tar.gz", files))


def test_links_in_tars_are_ignored(tmp_path: Path, batches) -> None:
    files = archive_files(batches, python2_pickle)
    del files["data_batch_5"]
    path = write_tar(tmp_path / "x.tar", files, "w")
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_5")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match="no data_batch_5"):
        Source.open(path)


def test_oversized_tars(tmp_path: Path, batches, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "x.tar.gz", archive_files(batches, python2_pickle))
    monkeypatch.setattr("smalti.source.formats.cifar.MAX_FILE", 9000)
    with pytest.raises(InputError, match="more than 9000"):
        Source.open(path)
    monkeypatch.setattr("smalti.source.formats.cifar.MAX_FILE", 1 << 20)
    monkeypatch.setattr("smalti.source.formats.cifar.MAX_TAR", 20000)
    with pytest.raises(InputError, match="unpacks to more than 20000"):
        Source.open(path)


@pytest.mark.parametrize("data", [b"", b"not a tar", b"\x1f\x8b garbage", b"\x1f\x8b\x08\x00" + bytes(20)])
def test_not_a_tar(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar.gz").write_bytes(data)
    with pytest.raises(InputError):
        Source.open(tmp_path / "x.tar.gz")


def test_a_cut_off_tar(tmp_path: Path, batches) -> None:
    path = write_tar(tmp_path / "x.tar.gz", archive_files(batches, python2_pickle))
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(InputError, match="not a readable tar"):
        Source.open(path)


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(marker: Path) -> dict[str, bytes]:
    command = f"mkdir {marker}"
    literal = repr(str(marker)).encode()
    code = f"__import__('os').mkdir({str(marker)!r})"
    batch = {"labels": [0]}
    return {
        "os.system": pickle.dumps({**batch, "data": Calls(os.system, command)}),
        "os.system, protocol 0": b"cposix\nsystem\n(S'" + command.encode() + b"'\ntR.",
        "eval": pickle.dumps({**batch, "data": Calls(eval, code)}, protocol=2),
        "nested": pickle.dumps({**batch, "data": [{"deep": (Calls(exec, code),)}]}),
        "in an array": pickle.dumps({**batch, "data": np.array([Calls(os.mkdir, str(marker))], dtype=object)}),
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c"
        + bytes([len(command)])
        + command.encode()
        + b"\x85R.",
        "inst": b"(S'" + command.encode() + b"'\niposix\nsystem\n.",
        "obj": b"(cposix\nsystem\nS" + repr(command).encode() + b"\no.",
        "numpy attribute": b"cnumpy\nfromfile\n(S" + literal + b"\ntR.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile2\x93.",
        "codecs for another encoding": b"c_codecs\nencode\n(VAA==\nVbase64\ntR.",
        "newobj": pickle.dumps(Path("/etc/passwd"), protocol=2),
        "persistent": b"Pid\n.",
        "extension": b"\x80\x02\x82\x01.",
        "a call of an array": b"cnumpy\nndarray\n((I1000000000\ntS'u1'\ntR.",
        "a name as function": b"cnumpy\ndtype\n(cnumpy\nndarray\ntR.",
        "state on a name": b"cnumpy\nndarray\n}b.",
    }


def test_hostile_pickles_are_refused_and_not_executed(tmp_path: Path, batches) -> None:
    marker = tmp_path / "executed"
    files = archive_files(batches, python2_pickle)
    for number, (kind, data) in enumerate(hostile(marker).items()):
        with pytest.raises(InputError, match=r"refused|not a readable pickle"):
            read_pickle(data, kind)
        path = write_tar(tmp_path / f"{number}.tar.gz", {**files, "data_batch_2": data})
        with pytest.raises(InputError, match="data_batch_2 is"):
            Source.open(path)
        assert not marker.exists(), kind
    with pytest.raises(InputError, match=r"names (posix|nt)\.system"):
        read_pickle(hostile(marker)["os.system"], "x")
    pickle.loads(hostile(marker)["os.system"])
    assert marker.exists(), "the call itself works"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"(",
        b"0.",
        b"N",
        b"]a.",
        b"}s.",
        b"h\x01.",
        b"t.",
        b"\x8e" + struct.pack("<Q", 1 << 60) + b".",  # claims bytes that are not there
        b"r\xff\xff\xff\xff.",
        b"(}(]Nsu.",
        b"(I1\n(}I2\nu.",
        b"}}Ns.",
        b"V\xff",
        b"\x80\x02NN.",
    ],
)
def test_damaged_pickles(data: bytes) -> None:
    with pytest.raises(InputError):
        read_pickle(data, "x")


def test_a_large_memo_number_allocates_nothing() -> None:
    assert read_pickle(b"Nr\xff\xff\xff\x7f.", "x") is None


def test_keys_that_take_for_ever_to_hash_are_refused() -> None:
    tower = b"}N\x85q\x00" + b"h\x00\x86q\x00" * 100
    with pytest.raises(InputError):
        read_pickle(tower + b"Ns.", "x")


def test_encoding_cannot_be_multiplied() -> None:
    text = "x" * 1000
    once = b"c_codecs\nencode\nq\x00V" + text.encode() + b"\nq\x01Vlatin1\nq\x02\x86R"
    assert read_pickle(once + b".", "x") == b"x" * 1000
    with pytest.raises(InputError, match="more text than it holds"):
        read_pickle(b"(" + once + b"h\x00h\x01h\x02\x86R" * 50 + b"l.", "x")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "not a dict"),
        ({"data": 1, "labels": [1]}, "no data and labels"),
        ({"labels": [1]}, "no data and labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "1 labels"),
        ({"data": np.zeros((1, 3071), np.uint8), "labels": [1]}, "3071"),
        ({"data": np.zeros((1, 3072), np.float32), "labels": [1]}, "f4"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}, "numbered from 0"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [9]}, "has the class 9"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": ["a"]}, "numbered from 0"),
    ],
)
def test_batches_that_are_not_cifar(tmp_path: Path, batches, content: object, said: str) -> None:
    files = archive_files(batches, python2_pickle) | {"data_batch_3": pickle.dumps(content, protocol=4)}
    with pytest.raises(InputError, match=said):
        Source.open(write_tar(tmp_path / "x.tar.gz", files))


def test_fortran_order(batches) -> None:
    data = np.asfortranarray(batches[0][0])
    record = read_pickle(python3_pickle(data, [0]), "x")["data"]
    assert isinstance(record, ArrayRecord)
    assert (record.to_uint8() == data).all()
