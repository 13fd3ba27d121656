"""`smalti compare`: denoisers held against a network, level by level."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import CHECKPOINT, REGULAR, command
from smalti.cli.options import Images, Run, Subjects
from smalti.core.errors import InputError

if TYPE_CHECKING:
    from smalti.analysis.z_sets import ZSet
    from smalti.core.denoiser import Denoiser
    from smalti.source import Source

__all__ = ["compare"]

TABLE, PICTURE, PLOT = "compare.csv", "compare.png", "compare.pdf"
PROCESSES = {"forward": ("forward",), "reverse": ("reverse",), "both": ("forward", "reverse")}


@command
def compare(
    *,
    images: Images,
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            help="The network that denoisers are held against: a checkpoint, or one that comes with smalti. Further ones are "
            "held against the first.",
            rich_help_panel=options.METHOD,
        ),
        CHECKPOINT,
    ] = None,
    denoiser: options.Denoisers = None,
    backend: options.BackendOption = None,
    process: Annotated[
        options.Process | None,
        typer.Option(
            help="Noisy images of the data (forward), states of the network's own sampling (reverse), or both.",
            show_default="both; none with --z-set",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    z_set: Annotated[
        list[Path] | None,
        typer.Option("--z-set", help="A .npy of z, (levels, n, C, H, W); repeatable.", rich_help_panel=options.METHOD),
        REGULAR,
    ] = None,
    levels: options.Levels = None,
    labelled: options.Labelled = False,
    n: Annotated[
        int | None,
        typer.Option(
            "-n", help="z at each level; the paper uses 10,000.", show_default="100", rich_help_panel=options.RUN
        ),
        options.COUNT,
    ] = None,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    run: Run,
) -> None:
    """Hold denoisers against a network at every noise level (the workshop paper's Fig. 6).

    Denoisers are made on the images that the network was trained on; the optimal one is always among them. Writes compare.csv
    (mean squared error, cosine, R2 and the fraction of the network's deviation from the optimal denoiser that is explained, with
    95 % intervals), compare.png, compare.pdf, the z that were made (forward.npy, reverse.npy, each with a .json) and run.json
    into the --out folder, whose path is the last line on stdout.
    """
    if not network:
        raise InputError("compare needs a network to hold the denoisers against; give it with --network")
    for path in z_set or ():
        if run.overwrite and path.resolve().parent == run.out.resolve():
            raise InputError(f"--z-set {path} lies in --out and could be replaced; choose another --out")
    made = () if process is None and z_set else PROCESSES[process or "both"]
    for option, value in {"--levels": levels, "-n": n, "--seed": seed, "--labelled": labelled or None}.items():
        if value is not None and not made:
            raise InputError(f"{option} is for z that are made, and --z-set gives them; leave it out, or add --process")
    import smalti.analysis.compare as analysis
    from smalti.analysis.identity import identity_of
    from smalti.cli.printing import print_path, print_table, some_levels
    from smalti.cli.runs import long_run
    from smalti.cli.subjects import check_labelled
    from smalti.core.schedule import edm_sigmas
    from smalti.report.curves import comparison_figure
    from smalti.report.figures import save_figure, style

    sigmas, n, seed = edm_sigmas(levels or 18), n or 100, seed or 0
    subjects = Subjects(denoiser, network, backend)
    subjects.check_names()
    others = _files(PROCESSES["both"])
    with run.folder((TABLE, PICTURE, PLOT, *_files(made)), others=others) as folder:
        named, source = subjects.open(images.open())
        check_labelled(labelled, named, source)
        name, *rest = named
        reference, against = named[name], _with_optimal({other: named[other] for other in rest}, source)
        given = _given(z_set or [])
        contents = images.content(source) | {
            "network": identity_of(reference),
            ("denoiser", "backend"): {other: identity_of(subject) for other, subject in against.items()},
            "z_set": {other: chosen.digest() for other, chosen in given.items()},
            ("process", "levels", "n", "seed"): {
                "process": list(made), "sigmas": sigmas.tolist(), "n": n, "seed": seed
            } if made else None,
        }  # fmt: skip
        sizes = [(len(sigmas), n)] * len(made) + [(len(chosen), chosen.n) for chosen in given.values()]
        total = sum(count * each for count, each in sizes) * (1 + len(against))
        total += len(sigmas) * n * ("reverse" in made)
        if not run.start(folder, total, contents, data=source.name, network=name):
            with long_run(folder, total, "comparing", "evaluation") as advance:
                z_sets: dict[str, ZSet] = {}
                for each in made:
                    how = {"batch_size": batch_size, "keep": folder.pieces(), "progress": advance}
                    z_sets[each] = _make(each, reference, source, (sigmas, n, seed), labelled, how)
                    z_sets[each].save(folder.path / f"{each}.npy")
                table = analysis.compare(
                    reference, against, z_sets | given, batch_size=batch_size, keep=folder.pieces(), progress=advance
                )
            table.save(folder.path / TABLE)
            with style():
                figure = comparison_figure(table, name)
                save_figure(figure, folder.path / PICTURE)
                save_figure(figure, folder.path / PLOT)
            folder.finish(total)
            print_table(some_levels(table), TABLE)
    print_path(folder.path)


def _files(processes: tuple[str, ...]) -> tuple[str, ...]:
    """The files of the sets of z that are made."""
    return tuple(f"{process}{ending}" for process in processes for ending in (".npy", ".json"))


def _with_optimal(against: dict[str, Denoiser], source: Source) -> dict[str, Denoiser]:
    from smalti.denoisers import Optimal

    if any(isinstance(subject, Optimal) for subject in against.values()):
        return against
    return {"optimal": Optimal(source), **against}


def _given(paths: list[Path]) -> dict[str, ZSet]:
    """The sets of --z-set by the stems of their files' names."""
    from smalti.analysis.z_sets import ZSet
    from smalti.core.text import printable

    found: dict[str, ZSet] = {}
    for path in paths:
        stem = printable(path.stem)
        name = stem if stem not in (*found, *PROCESSES) else printable(str(path))
        if name in found:
            raise InputError(f"--z-set {path} is given twice; give it once")
        found[name] = ZSet.load(path)
    return found


def _make(
    process: str,
    network: Denoiser,
    source: Source,
    drawn: tuple[Any, int, int],
    labelled: bool,
    how: dict[str, Any],
) -> ZSet:
    """A set of z; `drawn` is (sigmas, n, seed), `how` goes to `reverse_z`."""
    from smalti.analysis.forward import forward_batch, forward_z
    from smalti.analysis.reverse import reverse_z

    sigmas, n, seed = drawn
    if process == "forward":
        return forward_z(source, sigmas, n, seed, labelled=labelled)
    labels = forward_batch(source, 1.0, seed, 0, range(n)).labels if labelled else None
    return reverse_z(network, sigmas, n, seed, labels=labels, **how)
