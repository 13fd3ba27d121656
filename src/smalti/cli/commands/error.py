"""`smalti error`: how far denoisers are from the optimal one, over sigma, and whether they err alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from smalti.cli import options
from smalti.cli.command import Between, command
from smalti.cli.options import Images, Run, Subjects
from smalti.core.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["error"]

ERRORS, AGREEMENT = ("errors.csv", "errors.png", "errors.pdf"), ("agreement.csv", "agreement.png", "agreement.pdf")
EXAMPLES = (0.1, 3.0, 30.0)  # sigmas of the outputs that are shown: low, middle and high


@command
def error(
    *,
    images: Images,
    subjects: Subjects,
    sigmas: options.Sigmas = None,
    levels: Annotated[
        int | None,
        typer.Option(
            help="Noise levels, evenly spaced in log sigma.", show_default="150", rich_help_panel=options.METHOD
        ),
        Between(1, 10_000),
    ] = None,
    sigma_min: Annotated[
        float | None, typer.Option(help="Smallest noise level.", show_default="0.01", rich_help_panel=options.METHOD)
    ] = None,
    sigma_max: Annotated[
        float | None, typer.Option(help="Largest noise level.", show_default="100", rich_help_panel=options.METHOD)
    ] = None,
    labelled: options.Labelled = False,
    n: Annotated[
        int,
        typer.Option("-n", help="Noisy images at each level; the paper uses 10,000.", rich_help_panel=options.RUN),
        options.COUNT,
    ] = 200,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    run: Run,
) -> None:
    """Measure the error of denoisers and networks against the optimal denoiser (the workshop paper's Fig. 2).

    Networks are held against the optimal denoiser of the images that they were trained on. Writes errors.csv (mean squared
    error with 95 % intervals), errors.png, errors.pdf, with several denoisers agreement.csv, .png and .pdf (whether they err
    alike: the cosine of their deviations), and run.json into the --out folder, whose path is the last line on stdout.
    """
    from smalti.analysis.errors import deviations, example_outputs
    from smalti.analysis.identity import identity_of
    from smalti.cli.printing import print_path, print_table, some_levels
    from smalti.cli.runs import long_run
    from smalti.cli.subjects import check_labelled
    from smalti.report.curves import agreement_figure, error_figure
    from smalti.report.figures import save_figure, style

    chosen = _sigmas(sigmas, levels, sigma_min, sigma_max)
    subjects.check_names()
    seed, several = seed or 0, len(subjects) > 1
    with run.folder(ERRORS + AGREEMENT * several, others=ERRORS + AGREEMENT) as folder:
        compared, source = subjects.open(images.open())
        check_labelled(labelled, compared, source)
        contents = images.content(source) | {
            ("denoiser", "network", "backend"): {name: identity_of(one) for name, one in compared.items()},
            ("sigmas", "levels", "sigma_min", "sigma_max"): chosen.tolist(),
            "seed": seed,
        }
        total = len(chosen) * n
        if not run.start(folder, total, contents, data=source.name, seed=seed):
            with long_run(folder, total, "error to optimal", "noisy image") as advance:
                found = deviations(
                    compared, source, chosen, n, seed, labelled=labelled, batch_size=batch_size,
                    keep=folder.pieces(), progress=advance,
                )  # fmt: skip
                examples = example_outputs(compared, source, EXAMPLES, seed, labelled=labelled)
            errors, agreement = found.errors(), found.agreement() if several else None
            errors.save(folder.path / ERRORS[0])
            with style():
                figures = [(error_figure(errors, examples, EXAMPLES), ERRORS)]
                if agreement is not None:
                    agreement.save(folder.path / AGREEMENT[0])
                    figures.append((agreement_figure(agreement), AGREEMENT))
                for figure, names in figures:
                    for name in names[1:]:
                        save_figure(figure, folder.path / name)
            folder.finish(total)
            print_table(some_levels(errors), ERRORS[0])
    print_path(folder.path)


def _sigmas(sigmas: str | None, levels: int | None, low: float | None, high: float | None) -> torch.Tensor:
    from smalti.analysis.errors import error_sigmas
    from smalti.cli.inputs import parse_sigmas
    from smalti.core.validation import check_sigma

    if sigmas is None:
        ends = (default if end is None else end for end, default in ((low, 0.01), (high, 100.0)))
        found = error_sigmas(150 if levels is None else levels, *ends)
        return check_sigma(found, len(found))
    if (levels, low, high) != (None, None, None):
        raise InputError("--sigmas lists the noise levels; leave --levels, --sigma-min and --sigma-max out")
    return parse_sigmas(sigmas)
