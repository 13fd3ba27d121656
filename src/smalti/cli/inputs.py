"""What was typed, read: noisy images from files, lists of noise levels, classes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from smalti.analysis.z_sets import check_levels
from smalti.cli.command import check_regular
from smalti.cli.printing import say_left_out
from smalti.core.errors import InputError, did_you_mean, from_os_error
from smalti.core.files import load_npz, read_floats
from smalti.core.schedule import edm_sigmas
from smalti.core.text import counted
from smalti.core.validation import LARGEST, SMALLEST_SIGMA, check_sigma, check_z
from smalti.source import Source
from smalti.source.conventions import scale_doubt
from smalti.source.decoding import EXTENSIONS, read_picture

__all__ = ["load_samples", "load_z", "open_pictures", "parse_labels", "parse_sigmas", "sigmas_or_levels"]


def load_z(path: Path, shape: tuple[int, int, int]) -> tuple[torch.Tensor, str]:
    """Noisy images from a .npy file, read without unpickling.

    Args:
        path: an array (B, C, H, W), or (C, H, W) for one image; floating, working scale.
        shape: the (C, H, W) that is wanted.

    Returns:
        (B, C, H, W) float32 or float64 (wider of float32 and the file's dtype), and the SHA-256 of the file.

    Raises:
        InputError: not such a file, another shape, another dtype, no images, NaN or infinities; all name the file.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    array = read_floats(path)
    array = array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
    z = torch.from_numpy(array[None] if array.ndim == 3 else array)
    try:
        check_z(z, shape)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if z.shape[0] == 0:
        raise InputError(f"{path} holds no images")
    return z, digest


def sigmas_or_levels(sigmas: str | None, levels: int | None) -> torch.Tensor:
    """The noise levels of --sigmas, or so many of the EDM schedule (18 unless said); float64.

    Raises:
        InputError: both; levels out of range.
    """
    if sigmas is None:
        return edm_sigmas(18 if levels is None else levels)
    if levels is not None:
        raise InputError("--sigmas lists the noise levels and --levels counts them; give one of them")
    return parse_sigmas(sigmas)


def open_pictures(
    option: str, text: str, size: int | tuple[int, int] | None, skip_bad: bool = False
) -> tuple[torch.Tensor, tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Images to be looked at: a picture, samples.npz of a run (or its folder), or what is a data set.

    Args:
        option: for messages.
        text: the path, or the name of a data set.
        size: (H, W), or a side, which all are cropped and resized to, but for samples; None leaves them.
        skip_bad: leave out what cannot be decoded.

    Returns:
        (n, C, H, W) float32, working scale; their names; (name, reason) of what was left out, which is also said.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = Path(text).expanduser()
    kept = path / "samples.npz" if path.is_dir() and (path / "samples.npz").is_file() else path
    if kept.suffix == ".npz" and kept.exists():
        images = load_samples(option, kept)
        if images is not None:
            return images, tuple(f"sample {n}" for n in range(len(images))), ()
    if path.suffix.lower() in EXTENSIONS and not path.is_dir():
        check_regular(option, path)
        pixels = read_picture(path, (size, size) if isinstance(size, int) else size)
        return torch.from_numpy(pixels)[None].float() / 127.5 - 1, (path.name,), ()
    source = Source.open(kept if path.exists() else text, resolution=size, skip_bad=skip_bad)
    say_left_out(source.skipped)
    names = source.files if source.files is not None else [f"image {n}" for n in range(len(source))]
    return source.working(), tuple(map(str, names)), source.skipped


def load_samples(option: str, path: Path) -> torch.Tensor | None:
    """The images of a samples.npz, (n, C, H, W) float32 as sampling and generation write them; None for another file.

    An odd scale is warned of.

    Raises:
        InputError: no regular file; NaN or infinite values.
    """
    check_regular(option, path)
    arrays = load_npz(path)
    if arrays is None or "images" not in arrays or arrays["images"].dtype.kind != "f":
        return None
    images = arrays["images"]
    if images.size:
        finite = np.isfinite(images).reshape(len(images), -1).all(1)
        if not finite.all():
            raise InputError(f"{path}: sample {int(np.argmin(finite))} has NaN or infinite values; leave it out")
        doubt = scale_doubt(images)
        if doubt is not None:
            warnings.warn(f"{path}: {doubt}; samples are clipped to [-1, 1]", stacklevel=2)
    return torch.from_numpy(images).float()


def parse_sigmas(text: str) -> torch.Tensor:
    """ "0.03,0.3,3" as (3,) float64.

    Raises:
        InputError: not numbers > 0 separated by commas.
    """
    try:
        levels = check_levels([float(word) for word in text.split(",")])
        return check_sigma(levels, len(levels))
    except ValueError:  # InputError too
        raise InputError(
            f"--sigmas must be numbers from {SMALLEST_SIGMA:g} to {LARGEST:g} separated by commas, such as 0.03,0.3,3,30, not {text!r}"
        ) from None


def parse_labels(
    text: str | None, n: int, class_names: Sequence[str] | None, num_classes: int | None
) -> list[int] | None:
    """Classes of n images: image j gets entry j modulo the length of the list.

    Args:
        text: "cat", "3", or "cat,dog,3"; None for no condition. A name wins over a number that looks the same.
        n: number of images.
        class_names: names of classes 0, 1, ..., or None.
        num_classes: number of classes, or None for data without.

    Raises:
        InputError: data without classes; a class that does not exist (with the nearest name); more entries than images.
    """
    if text is None:
        return None
    if num_classes is None:
        raise InputError("--labels was given, but the data, or the network, has no classes; leave it out")
    chosen = [_class(word.strip(), class_names or (), num_classes) for word in text.split(",")]
    if len(chosen) > n:
        raise InputError(f"--labels has {len(chosen)} entries for {counted(n, 'image')}; give at most {n}")
    return [chosen[j % len(chosen)] for j in range(n)]


def _class(word: str, names: Sequence[str], count: int) -> int:
    if list(names).count(word) > 1:
        numbers = ", ".join(str(number) for number, name in enumerate(names) if name == word)
        raise InputError(f"--labels: several classes are called {word!r}; give a number, one of {numbers}")
    if word in names:
        return list(names).index(word)
    if word.isdecimal() and int(word) < count:
        return int(word)
    raise InputError(f"--labels: no class {word!r} (numbers 0 to {count - 1}{_some(names)}){did_you_mean(word, names)}")


def _some(names: Sequence[str]) -> str:
    return f", or names: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}" if names else ""
