"""What `torch.save` writes, read without torch's unpickler: the tree of a stream, with tensors as records.

    archive   (torch 1.6 and later) a zip of stored entries: NAME/data.pkl, NAME/data/KEY for each storage, NAME/byteorder, ...
    legacy    pickles in a row: a magic number, a version, facts of the machine, the tree, the storages' keys; then each
              storage, as its count (int64) and its numbers. Every tensor in a pickle of EDM's is such a stream of its own

torch's `weights_only=True` reads the same files, yet it allocates what a file claims, checks no checksum, and has had errors
that executed code (CVE-2025-32434). So storages are found here, as slices of the bytes at hand: nothing is allocated
because a file says so. A reader lets torch read a file only after it was read here without complaint.

A pickled tensor is a call: rebuild(storage, offset, size, stride, ...). torch itself trusts these numbers far enough to have
had memory errors from them; here, what lies outside its storage, and what would be larger than it, is refused first.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from smalti.core.pickles import Attributed, Budget, Name, Names, Record, RefusedError, printable, run_pickle

__all__ = [
    "DTYPES",
    "StorageRecord",
    "TensorRecord",
    "check_shares",
    "is_archive",
    "is_legacy",
    "read_archive",
    "read_legacy",
    "read_tree",
    "storage_of",
    "tensor_names",
]

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAX_DIMENSIONS = 8
MAX_SIDE = 1 << 31


@dataclass(eq=False)
class StorageRecord(Record):
    """A run of numbers: what the pickle says of it, and its bytes once they are found."""

    dtype: torch.dtype
    count: int
    data: memoryview | None = None
    flat: torch.Tensor | None = None  # made once, for all tensors that share it

    def fill(self, data: memoryview) -> None:
        if len(data) != self.count * self.dtype.itemsize:
            raise ValueError(f"a storage of {self.count} numbers with {len(data)} bytes")
        self.data = data

    def to_tensor(self) -> torch.Tensor:
        """All its numbers, (count,), in memory of their own."""
        if self.flat is None:
            if self.data is None:
                raise ValueError("a storage without its numbers")
            if self.count == 0:
                self.flat = torch.empty(0, dtype=self.dtype)
            else:
                self.flat = torch.frombuffer(bytearray(self.data), dtype=self.dtype)
            self.data = None
        return self.flat


@dataclass(eq=False)
class TensorRecord(Record):
    """A view of a storage, known to lie inside it and to have no more elements than it."""

    storage: StorageRecord
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.size) != len(self.stride) or len(self.size) > MAX_DIMENSIONS:
            raise ValueError("a tensor whose size and stride do not fit together")
        if any(side < 0 or side > MAX_SIDE for side in (*self.size, *self.stride, self.offset)):
            raise ValueError("a tensor of an absurd size")
        last = self.offset + sum((side - 1) * step for side, step in zip(self.size, self.stride, strict=True))
        elements = math.prod(self.size)
        if math.prod(max(side, 1) for side in self.size) > MAX_SIDE:
            raise ValueError("a tensor of an absurd size")
        if elements > self.storage.count or self.offset > self.storage.count:
            raise ValueError(f"a tensor of {elements} numbers in a storage of {self.storage.count}")
        if elements and last >= self.storage.count:
            raise ValueError("a tensor that reaches beyond its storage")

    @property
    def elements(self) -> int:
        return math.prod(self.size)

    @property
    def dtype(self) -> torch.dtype:
        return self.storage.dtype

    def to_tensor(self) -> torch.Tensor:
        """The tensor, in its dtype; tensors that share a storage share memory."""
        return self.storage.to_tensor().as_strided(self.size, self.stride, self.offset)


def storage_of(kind: Any, count: Any, limit: int) -> StorageRecord:
    """The storage that a persistent id declares, before its bytes are known.

    Raises:
        RefusedError: an unknown kind, or more bytes than `limit`.
    """
    dtype = DTYPES.get(kind.attribute) if isinstance(kind, Name) and kind.module == "torch" else None
    if dtype is None:
        raise RefusedError("it has a storage of an unknown kind")
    if type(count) is not int or count < 0:
        raise ValueError("a storage without a size")
    if count * dtype.itemsize > limit:
        raise RefusedError(f"it claims a storage of {count} numbers, which is more than it holds")
    return StorageRecord(dtype, count)


def tensor_names(load: Callable[[bytes], Any] | None = None) -> Names:
    """The names that pickled tensors have.

    Args:
        load: what a nested stream of `torch.save` holds; without it they are refused.
    """

    def rebuild(arguments: tuple[Any, ...]) -> TensorRecord:
        if not 5 <= len(arguments) <= 7 or not isinstance(arguments[0], StorageRecord):
            raise RefusedError("it makes a tensor in a way that torch does not")
        storage, offset, size, stride = arguments[:4]
        return TensorRecord(storage, _integers((offset,))[0], _integers(size), _integers(stride))

    def parameter(arguments: tuple[Any, ...]) -> TensorRecord:
        if len(arguments) != 3 or not isinstance(arguments[0], TensorRecord):
            raise RefusedError("it makes a parameter in a way that torch does not")
        return arguments[0]

    def size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
        (sides,) = arguments
        return _integers(sides)

    def ordered(arguments: tuple[Any, ...]) -> Attributed:
        if arguments:
            raise RefusedError("it makes an OrderedDict in a way that torch does not")
        return Attributed()

    def nested(arguments: tuple[Any, ...]) -> StorageRecord:
        (data,) = arguments
        found = load(data) if load is not None and isinstance(data, bytes) else None
        if not isinstance(found, StorageRecord):
            raise RefusedError("it has a storage that is not one")
        return found

    names: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any] | None] = {
        ("torch._utils", "_rebuild_tensor_v2"): rebuild,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("torch", "Size"): size,
        ("collections", "OrderedDict"): ordered,
        **{("torch", kind): None for kind in DTYPES},
    }
    if load is not None:
        names["torch.storage", "_load_from_bytes"] = nested
    return names


def check_shares(records: Mapping[str, TensorRecord], size: int) -> None:
    """That the tensors of a file of `size` bytes are not many times larger than it, by sharing storages.

    Raises:
        RefusedError: they are.
    """
    if sum(record.elements for record in records.values()) > 4 * size:
        raise RefusedError("its tensors have many times more numbers than it holds")


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > MAX_DIMENSIONS or not all(type(v) is int for v in values):
        raise ValueError("a tensor without a size")
    return values


MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number, as every torch pickles it
ARCHIVE_START = b"PK\x03\x04"
MAX_ENTRIES = 100_000
LISTED = b"PK\x01\x02"  # starts the listing of a zip entry
LOCAL = struct.Struct("<4s22xHH")  # the header before its data: signature, length of the name, of the extra field
END = struct.Struct("<4s6xHIIH")  # the end of a zip: signature, entries, size and start of the listing, comment
END64, LOCATOR = struct.Struct("<4s36xQQ"), struct.Struct("<4s4xQ4x")  # the same for large ones; where that is
CRC_CHUNK = 64 << 20


def is_archive(data: bytes) -> bool:
    return data.startswith(ARCHIVE_START)


def is_legacy(data: bytes) -> bool:
    return data.startswith(LEGACY_START)


def read_tree(data: bytes, names: Names, budget: Budget) -> Any:
    """The tree of a plain pickle, a legacy stream or an archive, whichever it is; see `refusals` for what it raises.

    Args:
        data: the bytes.
        names: admitted besides those of tensors.
        budget: of the whole file.
    """

    def nested(inner: bytes) -> Any:
        budget.nest(len(inner))
        return (read_archive if is_archive(inner) else read_legacy)(inner, tensor_names(), budget)

    admitted = {**tensor_names(nested), **names}
    if is_archive(data):
        return read_archive(data, admitted, budget)
    if is_legacy(data):
        return read_legacy(data, admitted, budget)
    return run_pickle(io.BytesIO(data), admitted, budget)


def read_legacy(data: bytes, names: Names, budget: Budget) -> Any:
    """The tree of a legacy stream."""
    file = io.BytesIO(data)
    storages: dict[str, StorageRecord] = {}

    def declared(identity: Any) -> StorageRecord:
        kind, key, count = _storage_id(identity, 6)
        if identity[5] is not None:
            raise RefusedError("it has a view of a storage, which torch no longer writes")
        return _once(storages, key, storage_of(kind, count, len(data)))

    magic, version = run_pickle(file, {}, budget), run_pickle(file, {}, budget)
    if type(magic) is not int or magic != MAGIC or version != VERSION:
        raise ValueError("not what torch.save writes")
    machine = run_pickle(file, {}, budget)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("written on a big-endian machine")
    tree = run_pickle(file, names, budget, declared)
    keys = run_pickle(file, {}, budget)
    if not isinstance(keys, list) or len(keys) != len(storages):
        raise ValueError("storages without their numbers")
    view, at = memoryview(data), file.tell()
    for key in keys:
        storage = storages[_key(key)]
        (count,) = struct.unpack_from("<q", data, at)
        end = at + 8 + storage.count * storage.dtype.itemsize
        if count != storage.count or storage.data is not None:
            raise ValueError("a storage that is not as large as was said")
        storage.fill(view[at + 8 : end])
        at = end
    return tree


def read_archive(data: bytes, names: Names, budget: Budget) -> Any:
    """The tree of an archive; the checksum of every entry is checked."""
    entries = _entries(data)
    if bytes(entries.get("byteorder", b"little")) != b"little":
        raise ValueError("written on a big-endian machine")
    if "data.pkl" not in entries:
        raise ValueError("a zip file that torch.save did not write: it has no data.pkl")
    storages: dict[str, StorageRecord] = {}

    def declared(identity: Any) -> StorageRecord:
        kind, key, count = _storage_id(identity, 5)
        storage = _once(storages, key, storage_of(kind, count, len(data)))
        if storage.data is None:
            found = entries.get(f"data/{key}")
            if found is None:
                raise ValueError("a storage without its numbers")
            storage.fill(found)
        return storage

    return run_pickle(io.BytesIO(entries["data.pkl"]), names, budget, declared)


def _storage_id(identity: Any, length: int) -> tuple[Any, str, Any]:
    """(kind, key, count) of ("storage", kind, key, location, count[, view])."""
    if not isinstance(identity, tuple) or len(identity) != length or identity[0] not in ("storage", b"storage"):
        raise RefusedError("it has a persistent id that is not a storage")
    return identity[1], _key(identity[2]), identity[4]


def _key(key: Any) -> str:
    if not isinstance(key, str) or not 0 < len(key) < 40 or not key.isalnum():
        raise ValueError("a storage without a name")
    return key


def _once(storages: dict[str, StorageRecord], key: str, new: StorageRecord) -> StorageRecord:
    known = storages.setdefault(key, new)
    if (known.dtype, known.count) != (new.dtype, new.count):
        raise RefusedError(f"it declares the storage {key} in two ways")
    return known


def _entries(data: bytes) -> dict[str, memoryview]:
    """The entries of a zip by their path below its one folder.

    Raises:
        RefusedError: compressed, encrypted, doubled or overlapping entries, or others than torch writes: readers of zips
            disagree on those, and a second one, torch's, is to see what this one saw.
        ValueError: damage.
    """
    if data.count(LISTED) > MAX_ENTRIES:  # before zipfile makes objects of them
        raise RefusedError(f"it has more than {MAX_ENTRIES} entries")
    _check_end(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    found: dict[str, memoryview] = {}
    spans: list[tuple[int, int]] = []
    seen: set[str] = set()
    folder = None
    for entry in listed:
        shown = printable(entry.filename, 60)
        top, _, name = entry.filename.partition("/")
        folder = top if folder is None else folder
        if top != folder or not _expected(name) or entry.orig_filename != entry.filename:
            raise RefusedError(f"it has the entry {shown}, which torch.save does not write for weights")
        if name.casefold() in seen:
            raise RefusedError(f"it has the entry {shown} twice")
        seen.add(name.casefold())
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x1 or entry.compress_size != entry.file_size:
            raise RefusedError(f"its entry {shown} is compressed or encrypted, which torch.save does not do")
        found[name], end = _stored(data, entry)
        spans.append((entry.header_offset, end))
    spans.sort()
    if any(end > start for (_, end), (start, _) in itertools.pairwise(spans)):
        raise RefusedError("its entries overlap")
    for entry in listed:
        if _checksum(found[entry.filename.partition("/")[2]]) != entry.CRC:
            raise ValueError(f"the checksum of {printable(entry.filename, 60)} does not fit")
    return found


def _check_end(data: bytes) -> None:
    """That the zip ends as torch ends it, with nothing before, between or after its parts: then readers agree on it."""
    end = len(data) - END.size
    signature, _, size, start, comment = END.unpack_from(data, max(end, 0))
    if signature != b"PK\x05\x06" or comment:
        raise ValueError("a zip file without its end")
    if data[end - LOCATOR.size : end].startswith(b"PK\x06\x07"):
        _, stated = LOCATOR.unpack_from(data, end - LOCATOR.size)
        end -= LOCATOR.size + END64.size
        if stated != end or end < 0:
            raise ValueError("a zip file with an end elsewhere")
        short, (_, size, start) = (size, start), END64.unpack_from(data, end)
        if any(said not in (whole, 0xFFFFFFFF) for said, whole in zip(short, (size, start), strict=True)):
            raise ValueError("a zip file with two ends")
    if start + size != end:
        raise ValueError("a zip file with something before its end")


def _expected(name: str) -> bool:
    folder, _, key = name.rpartition("/")
    return (
        name in ("data.pkl", "byteorder", "version")
        or (folder == "data" and key.isascii() and key.isalnum())
        or re.fullmatch(r"\.[a-z_]+(/[a-z_]+)?", name) is not None  # .format_version, .data/serialization_id
    )


def _stored(data: bytes, entry: zipfile.ZipInfo) -> tuple[memoryview, int]:
    """The bytes of an entry, and where they end."""
    if entry.header_offset < 0:
        raise ValueError("an entry that is not where it is listed")
    signature, name, extra = LOCAL.unpack_from(data, entry.header_offset)
    start = entry.header_offset + LOCAL.size + name + extra
    end = start + entry.file_size
    if signature != ARCHIVE_START or end > len(data):
        raise ValueError("an entry that is not where it is listed")
    if data[entry.header_offset + LOCAL.size : start - extra] != entry.filename.encode():
        raise ValueError("an entry under two names")
    return memoryview(data)[start:end], end


def _checksum(view: memoryview) -> int:
    value = 0
    for at in range(0, len(view), CRC_CHUNK):
        value = zlib.crc32(view[at : at + CRC_CHUNK], value)
    return value
