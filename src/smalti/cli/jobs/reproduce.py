"""`smalti reproduce`: the experiments of both papers, and their report."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.analysis.identity import source_identity
from smalti.cli.jobs.data import DataOptions, open_source
from smalti.cli.jobs.halves import open_halves, unseen
from smalti.cli.jobs.subjects import open_subjects
from smalti.core.errors import InputError, InterruptedRunError, NoRoomError, from_os_error
from smalti.core.folder_lock import FolderLock
from smalti.core.noise import check_seed
from smalti.core.run_record import RunRecord
from smalti.core.validation import check_count
from smalti.source import Source

if TYPE_CHECKING:
    from smalti.experiments.scale import Scale

__all__ = ["ReproduceJob", "run_reproduce"]

DIGITS = "digits"
SHIPPED = ("ddpmpp-digits", "ncsnpp-digits", "dit-digits")
HALVES = ("ddpmpp-digits-half1", "ddpmpp-digits-half2")
MINE = ("report.html", "run.json", "run.log", "results", "tables", "figures", "z")  # what a run writes into --out
LONGEST = 60 * 24 * 365.0  # minutes


@dataclass(frozen=True)
class ReproduceJob:
    """What to reproduce; the fields are the command's options."""

    data: DataOptions
    out: Path
    networks: list[str] = field(default_factory=list)
    halves: list[str] = field(default_factory=list)
    scale: str = "quick"
    budget: float | None = None
    n: int | None = None
    only: list[str] = field(default_factory=list)
    seed: int | None = None
    sscd: Path | None = None
    trust: bool = False
    overwrite: bool = False


def run_reproduce(job: ReproduceJob) -> Path:
    """Do it; returns the path of the report.

    Raises:
        InputError: bad input; everything that can be checked without the data is checked before it is opened.
        InterruptedRunError: Ctrl-C; finished steps are kept.
    """
    from smalti.experiments.reproduce import find_exhibits, reproduce
    from smalti.experiments.request import Request
    from smalti.experiments.scale import SCALES

    job = _with_shipped(job)
    scale, seed = SCALES[job.scale], check_seed(job.seed or 0)
    find_exhibits(job.only)
    minutes = scale.minutes if job.budget is None else _checked_budget(job.budget)
    n = _n(job, scale)
    if job.sscd is not None and not job.sscd.is_file():
        raise InputError(f"there is no file {job.sscd}; --sscd takes the TorchScript file of SSCD")
    if len(job.halves) not in (0, 2):
        raise InputError(f"--half is given twice, one network for each half of the images, not {len(job.halves)} times")
    _check_folder(job.out)
    with _only_writer(job.out):
        opened = open_source(job.data)
        networks, source = _networks(job, opened)
        _check_same_data(job, source)
        halves = open_halves(job.halves, opened)
        held_out, notes = unseen(networks, halves.values(), opened)
        request = Request(
            source=source,
            networks=networks,
            scale=scale,
            minutes=minutes,
            n=n,
            halves=halves,
            held_out=held_out,
            only=job.only,
            seed=seed,
            sscd=job.sscd,
            trust=job.trust,
            command=_command(job),
            notes=notes,
        )
        if job.overwrite:  # nothing can be wrong with the request any more
            _clear(job.out)
        try:
            return reproduce(request, job.out, lambda line: print(line, file=sys.stderr, flush=True), show=True)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted: what was finished is kept in {job.out}; run the same command again to go on"
            ) from None
        except NoRoomError as error:
            raise NoRoomError(error.problem, error.remedy, "run the same command again to go on") from error


def _with_shipped(job: ReproduceJob) -> ReproduceJob:
    """For the digits as they are, without networks of the user's own, those that come with smalti."""
    if job.data.data != DIGITS or job.data.resolution or job.networks or Path(DIGITS).exists():
        return job
    whole = job.data.limit is None and not job.data.classes  # what the networks of halves were trained on
    return replace(job, networks=list(SHIPPED), halves=job.halves or (list(HALVES) if whole else []))


def _n(job: ReproduceJob, scale: Scale) -> int | None:
    """The number of z that is fixed, or None where a budget decides: that of the demo too, so that two machines print the same tables."""
    if job.n is not None:
        if job.budget is not None:
            raise InputError("-n fixes the numbers that --budget would shrink; give one of them")
        return check_count("-n", job.n)
    demo = job.networks == list(SHIPPED) and job.data == DataOptions(DIGITS) and job.budget is None
    return scale.demo if demo else None


def _checked_budget(minutes: float) -> float:
    if not 0 < minutes <= LONGEST:
        raise InputError(f"--budget must be minutes, more than 0 and at most {LONGEST:.0f}, not {minutes:g}")
    return minutes


def _check_folder(out: Path) -> None:
    """Raise InputError unless `out` is new, an earlier run's, or holds nothing that a run writes."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is not a folder; choose another --out")
    found = [name for name in MINE if (out / name).exists()]
    if found and RunRecord.read(out).get("command") != "reproduce":
        raise InputError(f"{out} holds something else ({found[0]}); choose another --out")


def _check_same_data(job: ReproduceJob, source: Source) -> None:
    """Raise InputError where `out` is the report of other data, which would be lost."""
    before = RunRecord.read(job.out).get("data")
    if job.overwrite or not isinstance(before, dict):
        return
    if before.get("fingerprint") != source_identity(source)["fingerprint"] or before.get("hflip") != source.hflip:
        raise InputError(
            f"{job.out} is the report of other images ({before.get('images')} of {before.get('name')}); choose another --out, or "
            "--overwrite to replace it"
        )


def _clear(out: Path) -> None:
    try:
        for name in MINE:
            path = out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, f"replace results in {out}") from error


@contextlib.contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    """Hold the folder's lock; a folder that is still empty at the end (bad data, say) is removed if it was not there before."""
    new = not out.exists()
    lock = FolderLock(out)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
        if new:
            with contextlib.suppress(OSError):
                out.rmdir()


def _networks(job: ReproduceJob, opened: Source) -> tuple[dict[str, Any], Source]:
    """Networks by the names that figures have, and the images that the first was trained on."""
    if not job.networks:
        return {}, opened
    from smalti.experiments.building import short_names

    subjects, source = open_subjects(opened, [], job.networks)
    return dict(zip(short_names(list(subjects)), subjects.values(), strict=True)), source


def _command(job: ReproduceJob) -> str:
    """The command that does the same again."""
    data = job.data
    words: list[str] = ["smalti", "reproduce", "--data", data.data]
    words += ["--hflip"] * data.hflip + ["--skip-bad"] * data.skip_bad
    words += _given("--classes", data.classes) + _given("--limit", data.limit) + _given("--resolution", data.resolution)
    words += ["--layout", data.layout] if data.layout != "nchw" else []
    shipped = job.networks == list(SHIPPED) and data.data == DIGITS
    words += [] if shipped else _each("--network", job.networks)
    words += [] if shipped and job.halves == list(HALVES) else _each("--half", job.halves)
    words += ["--scale", job.scale, *_given("--budget", job.budget), *_given("-n", job.n), *_each("--only", job.only)]
    words += _given("--seed", job.seed) + _given("--sscd", job.sscd) + ["--trust"] * job.trust
    return shlex.join([*words, "--out", str(job.out)])


def _given(option: str, value: Any) -> list[str]:
    return [] if value is None else [option, f"{value:g}" if isinstance(value, float) else str(value)]


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
