"""Hostile and damaged checkpoints: none executes, none crashes the process or eats its memory, each gives one line.

Every case goes through `Network.load` twice: here, for its message, and in a process of its own with little memory left, watched by an
audit hook.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import random
import re
import struct
import subprocess
import sys
import textwrap
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from networks import edm_format as edm
from networks.edm_format import call, finished, integer, name, persistent, raw, sizes, table, text
from smalti import InputError, SmaltiError
from smalti.core.torch_streams import LEGACY_START
from smalti.networks.architectures import build
from smalti.networks.checkpoint import write_safetensors
from smalti.networks.edm_pickle import read_edm_pickle
from smalti.networks.network import Network
from smalti.networks.torch_files import read_torch_file

MARKER = "EXECUTED"  # what the files try to make, in the working folder
COMMAND = f"mkdir {MARKER}"
CODE = f"__import__('os').mkdir('{MARKER}')"
CONFIG = {
    "architecture": "unet",
    "resolution": 4,
    "channels": 1,
    "model_channels": 4,
    "multipliers": [1, 1],
    "blocks": 1,
    "attention": [],
}
BILLION = 10**9
FLIPS = 100  # of each kind


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# ---------------------------------------------------------------------------------------------------- spoiling what is well formed

FLOATS = name("torch", "FloatStorage")
REBUILD = name("torch._utils", "_rebuild_tensor_v2")
HOOKS = call(name("collections", "OrderedDict"))


def ema(state: bytes) -> bytes:
    """A pickle of {"ema": an EDMPrecond of this state}."""
    return finished(table({"ema": persistent(text("EDMPrecond"), state)}))


def song(modules: bytes = b"}", tensors: bytes = b"}") -> bytes:
    """As `ema`, around a SongUNet of these modules and parameters."""
    arguments = {key: integer(value) for key, value in edm.TINY.items() if isinstance(value, int)}
    kwargs = {**arguments, "channel_mult": b"](K\x01e"}
    state = {"_modules": modules, "_parameters": tensors, "_init_args": b")", "_init_kwargs": table(kwargs)}
    return ema(table({"_modules": table({"model": persistent(text("SongUNet"), table(state))})}))


def parameters(**tensors: bytes) -> bytes:
    return song(tensors=table(tensors))


def nested(stream: bytes) -> bytes:
    return call(name("torch.storage", "_load_from_bytes"), raw(stream))


def storage(count: int = 4, claimed: int | None = None, body: bytes | None = None, more: bytes = b"") -> bytes:
    """A legacy stream of one storage of `count` floats; it may claim another count, have another pickle, or more after it."""
    identity = (
        b"("
        + text("storage")
        + FLOATS
        + text("0")
        + text("cpu")
        + integer(count if claimed is None else claimed)
        + b"Nt"
    )
    machine = table({"protocol_version": integer(1001), "little_endian": b"\x88"})
    tree = identity + b"Q" if body is None else body
    start = (
        LEGACY_START + finished(integer(1001)) + finished(machine) + finished(tree) + finished(b"](" + text("0") + b"e")
    )
    return start + struct.pack("<q", count) + bytes(4 * count) + more


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\x00", count: int = 4) -> bytes:
    return call(REBUILD, nested(storage(count)), offset, size, stride, b"\x89", HOOKS)


def zipped(tree: bytes, entries: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip as torch.save writes it, around any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for entry, data in {"data.pkl": tree, "byteorder": b"little", **(entries or {"data/0": bytes(16)})}.items():
            archive.writestr(f"archive/{entry}", data)
    return buffer.getvalue()


def stored(count: int = 4, key: str = "0", kind: bytes = FLOATS) -> bytes:
    """A storage as a zip's pickle names it."""
    return b"(" + text("storage") + kind + text(key) + text("cpu") + integer(count) + b"tQ"


def weights(*tensors: bytes) -> bytes:
    return finished(table({f"w{number}": tensor for number, tensor in enumerate(tensors)}))


def viewed(found: bytes, size: bytes = sizes(4), stride: bytes = sizes(1), offset: bytes = b"K\x00") -> bytes:
    return call(REBUILD, found, offset, size, stride, b"\x89", HOOKS)


def patched(data: bytes, old: bytes, new: bytes, count: int = 1) -> bytes:
    assert old in data
    return data.replace(old, new, count)


# ---------------------------------------------------------------------------------------------------------------------- the cases


def executing() -> dict[str, bytes]:
    """Files that Python's unpickler would obey."""
    command = text(COMMAND)
    gadget = call(name("os", "system"), command)
    snapshot = edm.snapshot()
    return {
        "os.system beside the network": edm.snapshot(loss_fn=Calls(os.system, COMMAND)),
        "os.system in protocol 2": edm.snapshot(None, 2, loss_fn=Calls(os.system, COMMAND)),
        "builtins.eval": edm.snapshot(loss_fn=Calls(eval, CODE)),
        "exec, deep inside": edm.snapshot(augment_pipe=[{"deep": ({"er": Calls(exec, CODE)},)}]),
        "getattr": edm.snapshot(loss_fn=Calls(getattr, {}, "pop")),
        "os.mkdir": edm.snapshot(dataset_kwargs={"path": Calls(os.mkdir, MARKER)}),
        "subprocess by NEWOBJ": finished(name("subprocess", "Popen") + b"(" + command + b"t\x81"),
        "NEWOBJ_EX": finished(name("subprocess", "Popen") + b")}\x92"),
        "INST": finished(b"(" + command + b"ios\nsystem\n"),
        "OBJ": finished(b"(" + name("os", "system") + command + b"o"),
        "a persistent id": finished(b"Pos.system\n"),
        "a persistent id by tuple": finished(b"(" + text("storage") + gadget + b"tQ"),
        "an extension code": finished(b"\x82\x01"),
        "a dotted name": finished(
            text("torch_utils.persistence") + text("_reconstruct_persistent_obj.__globals__") + b"\x93"
        ),
        "a module of the table, another name": finished(call(name("torch", "hub.load"), command)),
        "torch.load": finished(call(name("torch.serialization", "load"), command)),
        "numpy.load": finished(call(name("numpy", "load"), command)),
        "a name of 100 kB": finished(b"c" + b"a" * 100_000 + b"\nb\n"),
        "a name for a terminal": finished(text("os\x1b]0;owned\x07\r") + text("sys\ntem") + b"\x93"),
        "a call of a dict": finished(b"}" + b")R"),
        "a call of a storage's class": finished(FLOATS + integer(BILLION) + b"\x85R"),
        "a state for a class": finished(FLOATS + b"}b"),
        "a state for a dict": finished(b"}" + table({"__class__": gadget}) + b"b"),
        "os.system in the state of a module": ema(table({"_modules": table({"model": gadget})})),
        "os.system as the class name": finished(table({"ema": persistent(gadget, b"}")})),
        "os.system in a nested stream": parameters(w=viewed(nested(storage(body=gadget)))),
        "os.system for a nested stream": parameters(w=viewed(call(name("torch.storage", "_load_from_bytes"), gadget))),
        "a pickle as a nested stream": parameters(w=viewed(nested(finished(gadget)))),
        "a zip as a nested stream": parameters(w=viewed(nested(zipped(finished(gadget))))),
        "a stream in a nested stream": parameters(w=viewed(nested(storage(body=nested(storage()))))),
        "a module's source in a stream": storage(
            body=b"(" + text("module") + name("os", "system") + text("x.py") + text(CODE) + b"tQ"
        ),
        "os.system in a zip": zipped(finished(gadget)),
        "eval in a zip, beside weights": edm.torch_bytes(
            {"config": CONFIG, "state": {"w": torch.ones(1)}, "x": Calls(eval, CODE)}
        ),
        "os.system in a legacy file": edm.torch_bytes([Calls(os.system, COMMAND)], legacy=True),
        "a legacy magic that is a call": patched(storage(), LEGACY_START, b"\x80\x02" + gadget + b".") + LEGACY_START,
        "TorchScript": zipped(weights(), {"constants.pkl": finished(gadget), "code/__torch__.py": CODE.encode()}),
        "a module in a zip": edm.torch_bytes(torch.nn.Linear(1, 1)),
        "cut in the middle of a call": finished(gadget)[:-4],
        "one more pickle than the first": finished(b"N") + finished(gadget) + snapshot,
    }


def absurd() -> dict[str, bytes]:
    """Files that claim, or would take, more than there is."""
    tower = b"}N\x85\x94" + b"h\x00\x86\x94" * 40
    doubled = b"K\x01" + b"".join(b"\x94h" + bytes([k]) + b"\x86" for k in range(60))

    def tree(depth: int) -> bytes:
        """A module with one child under two names, which has the like, and so on; each is in the memo once."""
        if depth < 0:
            return persistent(text("Conv2d"), b"}")
        children = b"}(" + text("a") + tree(depth - 1) + b"\x94" + text("b") + b"h" + bytes([depth]) + b"u"
        return persistent(text("UNetBlock"), table({"_modules": children}))

    shared = b"(" + b"".join([text("w0"), viewed(stored(4096) + b"\x94", sizes(4096))])
    shared += b"".join(text(f"w{k}") + viewed(b"h\x00", sizes(4096)) for k in range(1, 400))
    return {
        "bytes that are not there": finished(b"\x8e" + struct.pack("<Q", 1 << 60)),
        "text that is not there": finished(b"\x8d" + struct.pack("<Q", (1 << 63) - 1)),
        "a number that is not there": finished(b"\x8b" + struct.pack("<i", (1 << 31) - 1)),
        "a number of negative length": finished(b"\x8b" + struct.pack("<i", -5)),
        "a frame of 2^63": b"\x80\x04\x95" + struct.pack("<Q", 1 << 63) + edm.snapshot()[:5000],
        "a memo of 2^32": finished(b"Nr\xff\xff\xff\xffr\xff\xff\xff\xff0"),
        "a tower as a key": finished(tower + b"}h" + bytes([40]) + b"Ns"),
        "a tower in a set": finished(tower + b"\x8f(h" + bytes([40]) + b"\x90"),
        "a huge number as a key": finished(b"}" + b"\x8b" + struct.pack("<i", 100_000) + b"\x01" * 100_000 + b"Ns"),
        "two million opcodes": finished(b"(" + b"N" * 2_000_000 + b"t"),
        "text that is encoded again and again": finished(
            b"("
            + name("_codecs", "encode")
            + b"\x94"
            + text("x" * 100_000)
            + b"\x94"
            + text("latin1")
            + b"\x86\x94R"
            + b"h\x00h\x02R" * 20_000
            + b"t"
        ),
        "a set that is made again and again": finished(
            b"("
            + name("builtins", "set")
            + b"\x94]("
            + (text("a") * 1000)
            + b"e\x85\x94R"
            + b"h\x00h\x01R" * 100_000
            + b"t"
        ),
        "a stream that is read again and again": finished(
            b"("
            + raw(bytes(64))
            + name("torch.storage", "_load_from_bytes")
            + b"\x94"
            + raw(storage(100_000))
            + b"\x85\x94R"
            + b"h\x00h\x01R" * 50_000
            + b"t"
        ),
        "a list in itself": finished(b"]\x94h\x00a"),
        "modules in a circle": song(
            b"}\x94(" + text("enc") + persistent(text("Circle"), table({"_modules": b"h\x00"})) + b"u"
        ),
        "modules within modules, 2^13 of them": song(table({"enc": tree(12)})),
        "modules within modules, 20 deep": song(table({"enc": tree(19)})),
        "too many modules in one": song(table({f"m{k}": b"N" for k in range(1001)})),
        "a storage of 2^40": parameters(w=viewed(nested(storage(claimed=1 << 40)))),
        "a storage of 2^62": parameters(w=viewed(nested(storage(claimed=1 << 62)))),
        "a storage of less than nothing": parameters(w=viewed(nested(storage(claimed=-1)))),
        "a storage of another count": parameters(w=viewed(nested(storage(claimed=3)))),
        "a tensor of 10^18": parameters(w=tensor(sizes(BILLION, BILLION), sizes(BILLION, 1))),
        "a tensor of 10^18, stride 0": parameters(w=tensor(sizes(BILLION, BILLION), sizes(0, 0))),
        "a tensor that repeats its storage": parameters(w=tensor(sizes(100), sizes(0))),
        "a tensor beyond its storage": parameters(w=tensor(sizes(4), sizes(2))),
        "a tensor after its storage": parameters(w=tensor(sizes(1), sizes(1), integer(4))),
        "a tensor before its storage": parameters(w=tensor(sizes(1), sizes(1), integer(-1))),
        "a negative side": parameters(w=tensor(sizes(-4), sizes(-1))),
        "two negative sides": parameters(w=tensor(sizes(-2, -2), sizes(1, 1))),
        "no numbers, yet 2^60 to a side": parameters(w=tensor(sizes(0, 1 << 60), sizes(1, 1))),
        "sides of 2^100": parameters(w=tensor(sizes(1 << 100), sizes(1))),
        "sides that are no numbers": parameters(w=tensor(b"(" + text("4") + b"t", sizes(1))),
        "sides that are not a tuple": parameters(w=tensor(b"}", sizes(1))),
        "a hundred dimensions": parameters(w=tensor(sizes(*[1] * 100), sizes(*[1] * 100))),
        "a zip that says 2^40": zipped(weights(viewed(stored(1 << 40), sizes(1 << 40)))),
        "a zip's tensor beyond its storage": zipped(weights(viewed(stored(), sizes(5)))),
        "a zip's tensor of 10^18": zipped(weights(viewed(stored(), sizes(BILLION, BILLION), sizes(0, 0)))),
        "a zip's storage under two sizes": zipped(weights(viewed(stored(4)), viewed(stored(2), sizes(2)))),
        "a zip's storage of two kinds": zipped(
            weights(viewed(stored(4)), viewed(stored(4, kind=name("torch", "IntStorage"))))
        ),
        "a storage of no known kind": zipped(weights(viewed(stored(kind=name("torch", "QInt8Storage"))))),
        "400 tensors of one storage": zipped(finished(b"}" + shared + b"u"), {"data/0": bytes(4 * 4096)}),
        "a bomb in a zip": zipped(
            weights(viewed(stored(1 << 26), sizes(1 << 26))), {"data/0": bytes(1 << 28)}, zipfile.ZIP_DEFLATED
        ),
        "a bomb of a pickle in a zip": zipped(finished(b"(" + b"N" * 50_000_000 + b"t"), None, zipfile.ZIP_DEFLATED),
        "a configuration of 2^60 lists": zipped(
            finished(table({"config": table({"a": doubled}), "state": table({"w": viewed(stored())})}))
        ),
        "a network of 10^12 pixels": edm.torch_bytes(
            {"config": {**CONFIG, "resolution": 10**6}, "state": {"w": torch.ones(1)}}
        ),
        "a network of 10^15 parameters": edm.torch_bytes(
            {"config": {**CONFIG, "model_channels": 10**7}, "state": {"w": torch.ones(1)}}
        ),
        "a network of a billion levels": edm.torch_bytes(
            {"config": {**CONFIG, "multipliers": [1] * 9999}, "state": {"w": torch.ones(1)}}
        ),
    }


def malformed() -> dict[str, bytes]:
    """Files that are not what they seem, or not whole."""
    archive = edm.torch_bytes({"config": CONFIG, "state": edm.unet({}).state_dict()})
    legacy = edm.torch_bytes({"config": CONFIG, "state": edm.unet({}).state_dict()}, legacy=True)
    weight = archive.index(edm.unet({}).state_dict()["model.map_layer0.weight"].numpy().tobytes())
    double = io.BytesIO()
    with zipfile.ZipFile(double, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the doubled name
        file.writestr("archive/data.pkl", weights(viewed(stored())))
        file.writestr("archive/data.pkl", finished(call(name("os", "system"), text(COMMAND))))
    end = archive.rindex(b"PK\x05\x06")
    listing = archive.index(b"PK\x01\x02")
    return {
        "nothing": b"",
        "text": b"dear reader\n" * 20,
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "one byte": b"\x80",
        "a pickle of nothing": finished(b"N"),
        "a zip of nothing": b"PK\x05\x06" + bytes(18),
        "a zip of other files": zipped(b"", {"readme.txt": b"hello"}),
        "an entry that climbs out": zipped(weights(viewed(stored())), {"../../evil": b"x", "data/0": bytes(16)}),
        "two pickles in a zip": double.getvalue(),
        "entries by two names of one case": zipped(
            weights(viewed(stored(key="a"))), {"data/a": bytes(16), "data/A": bytes(16)}
        ),
        "entries in two folders": patched(zipped(weights(viewed(stored()))), b"archive/data/0", b"brchive/data/0", 2),
        "a big-endian zip": zipped(weights(viewed(stored())), {"byteorder": b"big", "data/0": bytes(16)}),
        "a zip without a storage": zipped(weights(viewed(stored(key="7")))),
        "a storage by a path": zipped(weights(viewed(stored(key="../../../etc/passwd")))),
        "an encrypted entry": archive[: listing + 8] + b"\x01" + archive[listing + 9 :],
        "a listing that points away": archive[: listing + 42] + struct.pack("<I", 1 << 31) + archive[listing + 46 :],
        "a listing that is elsewhere": archive[: end + 16] + struct.pack("<I", 0) + archive[end + 20 :],
        "something after the end": archive + b"x",
        "something before the start": b"PK\x03\x04" + archive,
        "a wrong checksum": archive[:weight] + bytes([archive[weight] ^ 1]) + archive[weight + 1 :],
        "half a zip": archive[: len(archive) // 2],
        "half a legacy file": legacy[: len(legacy) // 2],
        "a legacy file without its numbers": storage()[:-24],
        "a legacy file of another version": patched(storage(), finished(integer(1001)), finished(integer(1000))),
        "a big-endian legacy file": patched(storage(), b"\x88", b"\x89"),
        "a storage that is not filled": patched(storage(), b"](" + text("0") + b"e", b"]"),
        "a storage that is filled twice": patched(storage(), b"](" + text("0") + b"e", b"](" + text("0") * 2 + b"e"),
        "a view of a storage": patched(storage(), b"Nt", b")t"),
        "another version of persistence": finished(table({"ema": persistent(text("EDMPrecond"), b"}", version=7)})),
        "a persistent function": finished(table({"ema": persistent(text("EDMPrecond"), b"}", kind="function")})),
        "a module that is a number": ema(table({"_modules": table({"model": b"K\x01"})})),
        "modules that are a list": ema(table({"_modules": b"]"})),
        "a parameter that is text": parameters(w=text("weight")),
        "a class name of a megabyte": finished(table({"ema": persistent(text("A\x1b\n" * 300_000), b"}")})),
    }


def safetensors() -> dict[str, bytes]:
    """Spoilt files of smalti's own format."""
    said = json.dumps({"format": 1, "config": CONFIG, "about": {}})

    def file(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
        written = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(written) if length is None else length) + written + data

    def one(shape: Any = (4,), offsets: Any = (0, 16), dtype: Any = "F32", metadata: Any = None, **more: Any) -> bytes:
        entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        return file({"__metadata__": {"smalti": said} if metadata is None else metadata, "w": entry, **more})

    half = {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}
    return {
        "safetensors: a header of 2^63": file({}, length=1 << 63),
        "safetensors: a header of 1 GB": file({}, length=1 << 30),
        "safetensors: overlapping tensors": one(v=half),
        "safetensors: a gap": one(offsets=(4, 16), shape=(3,)),
        "safetensors: a tensor that is not there": one(shape=(BILLION,), offsets=(0, 4 * BILLION)),
        "safetensors: 10^18 numbers": one(shape=(BILLION, BILLION)),
        "safetensors: negative sides": one(shape=(-2, -2)),
        "safetensors: sides of text": one(shape=("4",)),
        "safetensors: another dtype": one(dtype="F64"),
        "safetensors: an unknown dtype": one(dtype="F4096"),
        "safetensors: no metadata": one(metadata={}),
        "safetensors: metadata that is not JSON": one(metadata={"smalti": "{'a'"}),
        "safetensors: metadata in lists without end": one(metadata={"smalti": "[" * 100_000}),
        "safetensors: a header in lists without end": file(b'{"a":' + b"[" * 1_000_000),
        "safetensors: metadata of another format": one(metadata={"smalti": '{"format": 99}'}),
        "safetensors: a configuration that is a list": one(metadata={"smalti": '{"format": 1, "config": []}'}),
        "safetensors: an absurd network": one(
            metadata={"smalti": said.replace('"model_channels": 4', '"model_channels": 4000000000')}
        ),
        "safetensors: a number of 5000 digits": one(metadata={"smalti": said.replace("4", "4" * 5000)}),
        "safetensors: another network": one(),
        "safetensors: not JSON": file(b"{{{{", bytes(8)),
        "safetensors: a header that is a list": file([1]),
        "safetensors: entries that are lists": file({"w": [1, 2]}),
    }


CASES = {**executing(), **absurd(), **malformed(), **safetensors()}


def place(folder: Path, case: str) -> Path:
    path = folder / (re.sub(r"[^a-z0-9]+", "-", case.lower()) + ".bin")
    path.write_bytes(CASES[case])
    return path


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_executed(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    path = place(tmp_path, case)
    for read in (Network.load, read_edm_pickle, lambda path: read_torch_file(path, CONFIG)):
        with pytest.raises(InputError) as caught:
            read(path)
        message = str(caught.value)
        assert message.isprintable(), "one line, and nothing for a terminal"
        assert len(message) < 500 + len(str(path))
        assert path.name in message or "checkpoint" in message or "must be" in message
    assert not (tmp_path / MARKER).exists()


def test_the_calls_themselves_work(tmp_path, monkeypatch):
    """Python's own unpickler obeys these files; without this, the test above would show little."""
    monkeypatch.chdir(tmp_path)
    cases = executing()
    monkeypatch.setattr(edm, "_reconstruct_persistent_obj", lambda meta: None)
    for case in (
        "os.system beside the network",
        "os.system in protocol 2",
        "builtins.eval",
        "exec, deep inside",
        "INST",
        "OBJ",
    ):
        with edm.importable():
            pickle.loads(cases[case])
        (tmp_path / MARKER).rmdir()
    torch.load(io.BytesIO(cases["eval in a zip, beside weights"]), weights_only=False)
    (tmp_path / MARKER).rmdir()


WATCHED = textwrap.dedent(
    """
    import encodings.cp437, resource, sys
    from pathlib import Path
    from smalti import InputError
    from smalti.networks.network import Network

    folder = Path(sys.argv[1])
    for path in sorted(folder.glob("good*")):
        Network.load(path)  # imports what it needs, before the watch begins
    forbidden = ("os.", "subprocess.", "pickle.find_class", "exec", "compile", "import", "socket.", "shutil.", "ctypes.")
    seen = []

    def watch(event, arguments):
        if event.startswith(forbidden):
            seen.append((event, str(arguments)[:200]))

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
    sys.addaudithook(watch)
    for path in sorted(folder.glob("*.bin")):
        before = len(seen)
        try:
            Network.load(path)
            outcome = "was loaded"
        except InputError as error:
            outcome = "ok" if str(error).isprintable() else "more than a line"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        if len(seen) > before:
            outcome = f"{seen[before:]}"
        print(path.name, outcome, sep="\\t")
    """
)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_little_memory_and_an_audit_hook(tmp_path):
    """One process reads all cases, with 1 GiB more than it has; it ends well, and has run, imported and opened nothing for them."""
    for number, data in enumerate(
        (edm.snapshot(), *(edm.torch_bytes({"config": CONFIG, "state": edm.unet({}).state_dict()}, x) for x in (0, 1)))
    ):
        (tmp_path / f"good{number}").write_bytes(data)
    write_safetensors(tmp_path / "good.safetensors", CONFIG, edm.unet({}))
    for case in CASES:
        place(tmp_path, case)
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    ended = subprocess.run(
        [sys.executable, script, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    outcomes = dict(line.split("\t", 1) for line in ended.stdout.splitlines())
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "ok"} == {}
    assert len(outcomes) == len(CASES)
    assert not (tmp_path / MARKER).exists()


# ------------------------------------------------------------------------------------------------------- cut and flipped, at random


def good(kind: str, folder: Path) -> bytes:
    smallest = {"channel_mult": [1]}
    network, config = edm.unet(smallest), {**CONFIG, "multipliers": [1]}
    if kind == "safetensors":
        write_safetensors(folder / "good", config, network)
        return (folder / "good").read_bytes()
    if kind.startswith("edm"):
        return edm.snapshot(smallest, int(kind[-1]))
    return edm.torch_bytes({"config": config, "state": network.state_dict()}, kind == "legacy")


@pytest.mark.parametrize("kind", ["edm, protocol 2", "edm, protocol 4", "zip", "legacy", "safetensors"])
def test_cut_files(tmp_path, kind):
    data = good(kind, tmp_path)
    path = tmp_path / "x"
    draw = random.Random(kind)
    for length in [*range(0, 40, 3), *(draw.randrange(len(data)) for _ in range(40)), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(InputError) as caught:
            Network.load(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["edm, protocol 2", "edm, protocol 4", "zip", "legacy", "safetensors"])
def test_flipped_bits(tmp_path, monkeypatch, kind):
    """Another network of the same shape, or one line; in a zip, which has checksums, hardly ever another network."""
    monkeypatch.chdir(tmp_path)
    data = good(kind, tmp_path)
    path = tmp_path / "x"
    draw = random.Random(kind)
    read = 0
    for _ in range(FLIPS):
        spoilt = bytearray(data)
        for _ in range(draw.choice((1, 1, 1, 2, 8))):
            spoilt[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(spoilt)
        read += loads(path)
    assert read < FLIPS
    assert kind != "zip" or read < FLIPS / 3  # of its headers, torch reads only a part


@pytest.mark.parametrize("kind", ["edm, protocol 4", "zip", "legacy"])
def test_replaced_opcodes(tmp_path, monkeypatch, kind):
    """Bytes of the pickle, most of them opcodes and lengths, replaced by other opcodes."""
    monkeypatch.chdir(tmp_path)
    data = good(kind, tmp_path)
    path = tmp_path / "x"
    draw = random.Random(kind)
    opcodes = [ord(opcode.code) for opcode in pickletools.opcodes]
    start = data.index(b"\x80")
    for _ in range(FLIPS):
        spoilt = bytearray(data)
        spoilt[start + draw.randrange(min(6000, len(data) - start))] = draw.choice(opcodes)
        if kind == "zip":  # with its checksum mended, so that the pickle is read
            spoilt = bytearray(mended(bytes(spoilt)))
        path.write_bytes(spoilt)
        loads(path)


def loads(path: Path) -> bool:
    """Whether it is a network; else it has to give one line."""
    try:
        network = Network.load(path)
    except InputError as error:
        message = str(error)
    else:
        return network.parameter_count() > 0
    assert message.isprintable()
    return False


def mended(data: bytes) -> bytes:
    """A zip with the checksum that its first entry now has."""
    listed = data.index(b"PK\x01\x02")
    crc, size = struct.unpack_from("<I4xI", data, listed + 16)[0], struct.unpack_from("<I", data, listed + 24)[0]
    lengths = struct.unpack_from("<HH", data, 26)
    start = 30 + sum(lengths)
    new = struct.pack("<I", zlib.crc32(data[start : start + size]))
    return data.replace(struct.pack("<I", crc), new)


# --------------------------------------------------------------------------------------------------------------------- other places


def test_what_is_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in [
        (tmp_path, "is not a file"),
        (tmp_path / "missing.pkl", "No such file"),
        (tmp_path / "pipe", "is not a file"),
        ("/dev/zero", "is not a file"),
        ("a\0b", "is not a path"),
    ]:
        for read in (read_edm_pickle, read_torch_file):
            with pytest.raises(InputError, match=said):
                read(path)
    with pytest.raises(InputError, match="there is no checkpoint"):
        Network.load(tmp_path / "missing.pkl")
    with pytest.raises(InputError):
        Network.load(tmp_path)


def test_files_that_are_too_large(tmp_path, monkeypatch):
    path = tmp_path / "sparse.pkl"
    with path.open("wb") as file:
        file.truncate((8 << 30) + 1)
    for read in (read_edm_pickle, read_torch_file):
        with pytest.raises(InputError, match=r"is refused: it has 8\.6 GB"):
            read(path)
    path.write_bytes(edm.snapshot())
    monkeypatch.setattr("smalti.networks.checkpoint.available_memory", lambda: 1000)
    with pytest.raises(SmaltiError, match=r"of memory and 1\.0 kB is free"):
        read_edm_pickle(path)


def test_half_precision_and_infinities_are_checked_when_built(tmp_path):
    spoilt = edm.unet({}).state_dict()
    spoilt["model.map_layer0.bias"][0] = torch.inf
    path = tmp_path / "x.pt"
    path.write_bytes(edm.torch_bytes({"config": CONFIG, "state": spoilt}))
    with pytest.raises(InputError, match="NaN or infinite"):
        Network.load(path)
    half = {key: value.half() for key, value in edm.unet({}).state_dict().items()}
    path.write_bytes(edm.torch_bytes({"config": CONFIG, "state": half}))
    assert next(build(CONFIG, read_torch_file(path).state).parameters()).dtype == torch.float32
