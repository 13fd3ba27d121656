"""Image files in tars, packed or not, one or several (shards): trees of class folders, and webdataset's samples.

Members of one name up to the first dot of the file name are a sample: `0001.jpg` with `0001.cls`, a number, or `0001.json` with a
"label". Without those the folders are the classes, as in a zip. Nothing is unpacked to disk.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from smalti.core.errors import InputError
from smalti.core.text import printable, shortened
from smalti.source.cache import Built, Store
from smalti.source.decoding import DECODING_RULE
from smalti.source.format import Format, Request, Stored, cached
from smalti.source.identity import files_identity
from smalti.source.listing import EDM_FILE, NoImagesError, is_image, list_images
from smalti.source.names import choose_part, part_of
from smalti.source.parallel_decoding import Read, gather
from smalti.source.tars import TAR_ENDINGS, is_tar_name, open_tar
from smalti.source.trees import Tree, is_hidden

__all__ = ["TAR"]

LEAST_LIMIT, MAX_RATIO = 64 << 20, 200  # bytes unpacked; images do not compress like that, bombs do
MAX_MEMBER, MAX_TEXT = 64 << 20, 1 << 20
MAX_MEMBERS = 1 << 24
LABEL_ENDINGS = (".cls", ".json")
KEYS = ("label", "cls", "class")


@dataclass(frozen=True)
class _Members:
    """What the tars hold: images in order, (shard, name) each, texts of samples by key, and what is left out."""

    images: tuple[tuple[int, str], ...]
    texts: dict[tuple[int, str], tuple[str, bytes]]
    edm: bytes | None
    skipped: tuple[tuple[str, str], ...]


def open_image_tar(request: Request) -> Stored:
    """Images in one tar, or in several that are the shards of one data set, in the order of the members.

    Raises:
        InputError: as for a zip; a class that is no number from 0.
    """

    folder = request.path
    request = _shards(request)

    def build(store: Store) -> Built:
        members = _members(request.paths)
        labels, names, listed, left_out, remarks = _labels(members, request)
        files = [name for _, name in members.images]
        wanted = range(len(files)) if listed is None else listed
        gathered = gather(
            [files[number] for number in wanted],
            _contents(request.paths, members, set(wanted)),
            store,
            request.resolution,
            request.skip_bad,
            request.show,
            threads=False,
        )
        kept = None if labels is None else np.ascontiguousarray(labels[gathered.kept])
        skipped = (*members.skipped, *left_out, *gathered.skipped)
        return Built(gathered.images, kept, names, skipped, remarks=remarks, files=gathered.files)

    named = {str(number): path for number, path in enumerate(request.paths)}
    options = {"skip_bad": request.skip_bad, "split": request.split, "reader": "tar"}
    name = request.name(*TAR_ENDINGS) if folder == request.path else printable(folder.resolve().name or str(folder))
    return cached(request, "tar", name, DECODING_RULE, files_identity(named), options, build)


def _each(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    limit = max(LEAST_LIMIT, MAX_RATIO * path.stat().st_size)
    with open_tar(path, limit) as archive:
        for member in archive:
            yield archive, member


def _members(paths: tuple[Path, ...]) -> _Members:
    images: list[tuple[int, str]] = []
    texts: dict[tuple[int, str], tuple[str, bytes]] = {}
    skipped: list[tuple[str, str]] = []
    edm: bytes | None = None
    seen: set[tuple[int, str]] = set()
    for shard, path in enumerate(paths):
        for number, (archive, member) in enumerate(_each(path)):
            name = member.name.removeprefix("./")
            if number >= MAX_MEMBERS:
                raise InputError(f"{path} is refused: it has more than {MAX_MEMBERS} members")
            if name.startswith("/") or ".." in name.split("/"):
                raise InputError(f"{path} is refused: the member {printable(name)!r} leaves the archive")
            if member.isdir() or is_hidden(name):
                continue
            if not member.isreg() or member.issparse():
                skipped.append(
                    (printable(name), "a link" if member.issym() or member.islnk() else "not a regular file")
                )
            elif is_image(name):
                if (shard, name) in seen:
                    raise InputError(f"{path} is refused: two members are called {printable(name)}")
                seen.add((shard, name))
                images.append((shard, name))
            elif name.lower().endswith(LABEL_ENDINGS) and member.size <= MAX_TEXT:
                content = archive.extractfile(member)
                assert content is not None
                text = content.read()
                if name.split("/")[-1] == EDM_FILE:
                    edm = text
                else:
                    key, ending = _key(name)
                    texts.setdefault((shard, key), (ending, text))
            else:
                skipped.append((printable(name), "not an image file"))
    if not images:
        raise NoImagesError(str(paths[0]), [name for name, _ in skipped], "give shards of image files")
    return _Members(tuple(images), texts, edm, tuple(skipped))


def _key(name: str) -> tuple[str, str]:
    """The sample that a member belongs to, and what of it it is."""
    folder, _, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}/{stem}", ending.lower()


def _labels(
    members: _Members, request: Request
) -> tuple[np.ndarray | None, tuple[str, ...] | None, list[int] | None, tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Labels of the images, class names, which images are wanted (None for all), what else is left out, and remarks."""
    what = request.what
    keys = [(shard, _key(name)[0]) for shard, name in members.images]
    found = [_label(members.texts.get(key)) for key in keys]
    if any(label is not None for label in found):
        if request.split is not None:
            raise InputError(f"{what} has no parts to choose from; leave the split out, or give the part's shards")
        if None in found:
            bad = members.images[found.index(None)][1]
            raise InputError(
                f"{what}: {printable(bad)} has no class beside it, though others have; add it or remove the image"
            )
        return np.array(found, np.int64), None, None, (), _several(keys, members, what)
    edm = members.edm
    files = tuple(name for _, name in members.images)
    if len(set(files)) < len(files):  # of several shards
        if edm is not None or any("/" in name for name in files):
            raise InputError(f"{what}: two shards have members of one name; open them one at a time, or rename them")
        return None, None, None, (), ()
    tops = (EDM_FILE,) if edm is not None else ()
    tree = Tree((*files, *tops), lambda name: edm or b"", lambda name: len(edm or b""))
    listing = list_images(tree, what, request.split)
    places = {name: number for number, name in enumerate(files)}
    wanted = [places[name] for name in listing.files]
    return listing.labels, listing.class_names, wanted, listing.skipped, listing.remarks


def _several(keys: list[tuple[int, str]], members: _Members, what: str) -> tuple[str, ...]:
    """A remark on samples that have more than one image."""
    first: dict[tuple[int, str], str] = {}
    for key, (_, name) in zip(keys, members.images, strict=True):
        if key in first:
            both = f"{printable(first[key])} and {printable(name)}"
            return (
                f"{what}: samples have several images ({both}), and all are taken; keep one of each for a data set of them alone",
            )
        first[key] = name
    return ()


def _label(text: tuple[str, bytes] | None) -> int | None:
    """The class in a .cls or .json; None where there is none. InputError for one that is no class."""
    if text is None:
        return None
    ending, data = text
    value: object = None
    if ending == "cls":
        value = data.decode("ascii", "replace").strip()
        if not (isinstance(value, str) and value.isdigit() and len(value) < 19):
            raise InputError(f"a .cls file holds {shortened(printable(str(value)))!r}; classes are numbers from 0")
        return int(value)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict):
        value = next((content[key] for key in KEYS if key in content), None)
    return value if type(value) is int and 0 <= value < 2**63 else None


def _contents(paths: tuple[Path, ...], members: _Members, wanted: set[int]) -> Iterator[Read]:
    """The bytes of the wanted images, in the order of the members."""
    numbers = {image: number for number, image in enumerate(members.images)}
    for shard, path in enumerate(paths):
        for archive, member in _each(path):
            number = numbers.get((shard, member.name.removeprefix("./")))
            if number is None or number not in wanted or not member.isreg():
                continue
            yield _reader(archive, member)


def _reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Read:
    def read() -> bytes:
        if member.size > MAX_MEMBER:
            raise ValueError(f"{member.size} bytes are more than the limit of {MAX_MEMBER}")
        content = archive.extractfile(member)
        assert content is not None
        return content.read()

    return read


def _shards_in(folder: Path) -> dict[str | None, list[Path]]:
    """The tars of a folder that has nothing else of a data set, in order, by the part that their names say."""
    try:
        inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    except OSError:
        return {}
    tars = [path for path in inside if path.is_file() and is_tar_name(path)]
    if not tars or any(path.is_dir() or is_image(path.name) for path in inside):
        return {}
    parts: dict[str | None, list[Path]] = {}
    for path in tars:
        words = re.split(r"[-_. ]+", path.name)
        parts.setdefault(next((part for word in words if (part := part_of(word)) is not None), None), []).append(path)
    return parts


def _shards(request: Request) -> Request:
    """What is asked for, of files."""
    if not request.path.is_dir():
        return request
    parts = _shards_in(request.path)
    named = [part for part in parts if part is not None]
    if not named:
        return replace(request, paths=tuple(parts[None]))
    part = choose_part(named, request.split, str(request.path))
    return replace(request, paths=tuple(parts[part]), split=None)


def _matches(path: Path, head: bytes | None) -> bool:
    return bool(_shards_in(path)) if head is None else is_tar_name(path)


TAR = Format("tar", "tars of images, webdataset's too", _matches, open_image_tar, splits=True, shards=True)
