"""Tables of images as the Hugging Face hub has them: parquet files, folders of them, and what `save_to_disk` writes (arrow).

A column of images holds {"bytes", "path"}, or plain bytes of image files; a column of whole numbers beside it is the class, or of names of
classes under a usual name. pyarrow
reads them; nothing in a table is executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.errors import EnvironmentFailure, InputError, from_os_error
from smalti.core.text import printable, shortened
from smalti.source.cache import Built, Store
from smalti.source.checks import check_labels_array
from smalti.source.decoding import DECODING_RULE
from smalti.source.format import Format, Request, Stored, cached
from smalti.source.identity import files_identity
from smalti.source.names import IMAGE_NAMES, LABEL_NAMES, choose_part, part_of
from smalti.source.parallel_decoding import Read, gather

__all__ = ["PARQUET"]

BATCH = 64  # rows
MAX_COLUMN = 1 << 30  # bytes that the images of one row group may unpack to
MAX_IMAGE = 256 << 20
MAX_ROWS = 1 << 28
MAX_JSON = 16 << 20
IMAGE_COLUMNS = (*IMAGE_NAMES, "img", "picture", "pixel_values", "jpg", "png", "webp")


@dataclass(frozen=True)
class _Columns:
    """The columns of images and labels (or None), the class names (or None), and the columns that are not used."""

    images: str
    labels: str | None
    names: tuple[str, ...] | None
    unused: tuple[str, ...]


def open_tables(request: Request) -> Stored:
    """Parquet or arrow files as one data set; of a folder with parts the training part, or that of `split`.

    Raises:
        InputError: no pyarrow, no images, damage, a table of another kind, no such part.
    """
    files = _files(request)
    named = {f"{number}": path for number, path in enumerate(files)}

    def build(store: Store) -> Built:
        with _guarded(files[0]):
            return _build(files, request, store)

    options = {"skip_bad": request.skip_bad, "reader": "parquet"}
    name = request.name(".parquet", ".arrow")
    return cached(request, "parquet", name, DECODING_RULE, files_identity(named), options, build)


def _files(request: Request) -> list[Path]:
    """The files of the part that is asked for, in order."""
    if not request.path.is_dir():
        if request.split is not None:
            raise InputError(f"{request.what} has no parts to choose from; leave the split out")
        return list(request.paths)
    found = _tables_in(request.path)
    parts: dict[str | None, list[Path]] = {}
    for path in found:
        relative = path.relative_to(request.path)
        words = [word for part in relative.parts for word in part.replace(".", "-").replace("_", "-").split("-")]
        parts.setdefault(next((part for word in words if (part := part_of(word)) is not None), None), []).append(path)
    named = [part for part in parts if part is not None]
    if not named:
        if request.split is not None:
            raise InputError(f"{request.path} has no parts to choose from; leave the split out")
        return found
    return parts[choose_part(named, request.split, str(request.path))]


def _tables_in(folder: Path) -> list[Path]:
    """The tables in a folder and the folders in it (data/, train/), two levels deep."""
    try:
        found = [path for pattern in ("*", "*/*", "*/*/*") for path in folder.glob(pattern)]
    except OSError as error:
        raise from_os_error(error, f"read {folder}") from error
    for ending in (".parquet", ".arrow"):
        tables = sorted(path for path in found if path.suffix == ending and not path.name.startswith(("cache-", ".")))
        if tables:
            return tables
    return []


def _is_folder_of_tables(folder: Path) -> bool:
    """Whether `save_to_disk` wrote it, or it has parquet files at the top or in data/, and so no image files."""
    try:
        if any((folder / name).is_file() for name in ("state.json", "dataset_dict.json", "dataset_info.json")):
            return bool(_tables_in(folder))
        return any(
            path.suffix == ".parquet" for pattern in ("*.parquet", "data/*.parquet") for path in folder.glob(pattern)
        )
    except OSError:
        return False


def _build(files: list[Path], request: Request, store: Store) -> Built:
    schema, count = None, 0
    for path in files:
        table = _Table.opened(path)
        schema = table.schema if schema is None else schema
        if table.schema.names != schema.names:
            raise InputError(f"{path} has other columns than {files[0]}; open them one at a time")
        count += table.count
    if not 0 < count <= MAX_ROWS:
        raise InputError(f"{request.what} has {count} rows")
    columns = _columns(schema, str(files[0]))
    labels: list[Any] = []
    contents = _contents(files, columns, labels)
    names = [f"row {number}" for number in range(count)]
    gathered = gather(names, contents, store, request.resolution, request.skip_bad, request.show, threads=False)
    skipped = (*((printable(name), "a column that is not used") for name in columns.unused), *gathered.skipped)
    if columns.labels is None:
        return Built(gathered.images, None, None, skipped)
    if any(label is None for label in labels):
        raise InputError(f"{request.what}: {columns.labels} has rows without a class")
    if isinstance(labels[0], str):
        known = sorted(set(labels))
        places = {name: place for place, name in enumerate(known)}
        numbers = np.array([places[name] for name in labels], np.int64)[gathered.kept]
        return Built(gathered.images, numbers, tuple(shortened(printable(name)) for name in known), skipped)
    chosen = check_labels_array(np.array(labels, np.int64), count)[gathered.kept]
    class_names = columns.names if columns.names is not None and int(chosen.max()) < len(columns.names) else None
    return Built(gathered.images, chosen, class_names, skipped)


def _contents(files: list[Path], columns: _Columns, labels: list[Any]) -> Iterator[Read]:
    """What gives the bytes of each row's image; its label is appended to `labels` on the way."""
    for path in files:
        for batch in _Table.opened(path).batches([columns.images, *([columns.labels] if columns.labels else [])]):
            if columns.labels is not None:
                labels += batch.column(columns.labels).to_pylist()
            images = batch.column(columns.images)
            for number in range(len(images)):
                yield partial(_bytes_of, images[number].as_py())


def _bytes_of(value: Any) -> bytes:
    """The image file in a cell."""
    if isinstance(value, dict):
        if value.get("bytes") is None:
            where = printable(str(value.get("path")))[:80]
            raise ValueError(f"it only names a file that is not in the table ({where}); save the table with its images")
        value = value["bytes"]
    if not isinstance(value, bytes):
        raise ValueError("the cell is empty")
    if len(value) > MAX_IMAGE:
        raise ValueError(f"{len(value)} bytes are more than the limit of {MAX_IMAGE}")
    return value


@dataclass(frozen=True)
class _Table:
    """A parquet or arrow file: its schema, its number of rows, and batches of some columns."""

    schema: Any
    count: int
    batches: Callable[[list[str]], Iterator[Any]]

    @classmethod
    def opened(cls, path: Path) -> _Table:
        try:
            import pyarrow as arrow
            from pyarrow import ipc, parquet
        except ImportError as error:
            raise InputError(f"{path} needs pyarrow to be read; pip install 'smalti[formats]'") from error
        if path.suffix == ".parquet":
            file = parquet.ParquetFile(path, memory_map=True, pre_buffer=False)
            for group in range(file.metadata.num_row_groups):
                row_group = file.metadata.row_group(group)
                for column in range(row_group.num_columns):
                    if row_group.column(column).total_uncompressed_size > MAX_COLUMN:
                        raise InputError(
                            f"{path} is refused: a column unpacks to more than {MAX_COLUMN} bytes at a time"
                        )
            return cls(
                file.schema_arrow,
                file.metadata.num_rows,
                lambda columns: file.iter_batches(BATCH, columns=columns, use_threads=False),
            )

        def batches(columns: list[str]) -> Iterator[Any]:
            with arrow.memory_map(str(path)) as mapped:
                for batch in ipc.open_stream(mapped):
                    yield batch.select(columns)

        with arrow.memory_map(str(path)) as mapped:
            stream = ipc.open_stream(mapped)
            return cls(stream.schema, sum(batch.num_rows for batch in stream), batches)


def _columns(schema: Any, what: str) -> _Columns:
    """Which columns are the images and the classes: by what the hub's metadata say, else by type and usual name."""
    import pyarrow as arrow

    features = _features(schema)

    def kind(name: str) -> Any:
        feature = features.get(name)
        return feature.get("_type") if isinstance(feature, dict) else None

    def is_image(field: Any) -> bool:
        if arrow.types.is_struct(field.type):
            return {"bytes", "path"} <= {field.type.field(k).name for k in range(field.type.num_fields)}
        binary = arrow.types.is_binary(field.type) or arrow.types.is_large_binary(field.type)
        return binary and (kind(field.name) == "Image" or field.name.lower() in IMAGE_COLUMNS)

    images = [field.name for field in schema if is_image(field)]
    usual = [name for name in images if name.lower() in IMAGE_COLUMNS]
    if len(images) != 1 and len(usual) != 1:
        listed = ", ".join(f"{printable(field.name)} ({str(field.type)[:40]})" for field in list(schema)[:8])
        number = "several columns" if images else "no column"
        raise InputError(f"{what} has {number} of image files (it has {listed}); keep one, with {{bytes, path}}")
    image = images[0] if len(images) == 1 else usual[0]
    whole = [field.name for field in schema if arrow.types.is_integer(field.type)]
    said = [name for name in whole if kind(name) == "ClassLabel"]
    likely = said if len(said) == 1 else [name for name in said or whole if name.lower() in LABEL_NAMES]
    label = likely[0] if len(likely) == 1 else next((name for name in likely if name == "label"), None)
    if label is None and not likely:  # names of classes
        texts = [
            field.name
            for field in schema
            if (arrow.types.is_string(field.type) or arrow.types.is_large_string(field.type))
            and field.name.lower() in LABEL_NAMES
        ]
        label = texts[0] if len(texts) == 1 else None
    names = (
        features.get(label, {}).get("names") if label is not None and isinstance(features.get(label), dict) else None
    )
    valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    class_names = tuple(printable(name) for name in names) if valid and names else None
    return _Columns(image, label, class_names, tuple(name for name in schema.names if name not in (image, label)))


def _features(schema: Any) -> dict[str, Any]:
    """What the hub's metadata say of the columns."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        content = json.loads(text) if len(text) <= MAX_JSON else {}
        features = content["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """What pyarrow raises on damage, as one line."""
    try:
        yield
    except (InputError, EnvironmentFailure):
        raise
    except MemoryError as error:
        raise EnvironmentFailure(f"{path} does not fit in memory") from error
    except FileNotFoundError as error:
        raise from_os_error(error, f"read {path}") from error
    except Exception as error:
        if type(error).__module__.startswith("pyarrow") or isinstance(
            error, (OSError, ValueError, KeyError, TypeError)
        ):
            reason = printable(" ".join(str(error).split())[:120])
            raise InputError(f"{path} is not a readable table ({reason}); fetch it again") from error
        raise


PARQUET = Format(
    "parquet",
    "tables of images (parquet, save_to_disk; pyarrow)",
    lambda path, head: _is_folder_of_tables(path) if head is None else path.suffix.lower() == ".parquet",
    open_tables,
    splits=True,
    shards=True,
)
