"""The typer application and its entry point."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from smalti.cli import boundary
from smalti.cli.command import Debug, SaidOnce
from smalti.cli.commands.audit import audit
from smalti.cli.commands.bench import bench
from smalti.cli.commands.calibrate import calibrate
from smalti.cli.commands.compare import compare
from smalti.cli.commands.convert import convert
from smalti.cli.commands.demo import demo
from smalti.cli.commands.denoise import denoise
from smalti.cli.commands.denoisers import denoisers
from smalti.cli.commands.error import error
from smalti.cli.commands.explain import explain
from smalti.cli.commands.generate import generate
from smalti.cli.commands.info import info
from smalti.cli.commands.networks import networks
from smalti.cli.commands.quality import quality
from smalti.cli.commands.reproduce import reproduce
from smalti.cli.commands.sample import sample
from smalti.cli.commands.sensitivity import sensitivity
from smalti.cli.commands.train import train
from smalti.cli.commands.transforms import transforms
from smalti.core.code import package_version
from smalti.core.errors import InputError

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = (
    info,
    denoisers,
    networks,
    convert,
    denoise,
    sample,
    generate,
    quality,
    train,
    error,
    transforms,
    sensitivity,
    compare,
    calibrate,
    explain,
    audit,
    reproduce,
    demo,
    bench,
)

app = typer.Typer(
    name="smalti",
    help="Training-free diffusion denoisers: exact, fast, on one engine.",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for each in COMMANDS:
    app.command(cls=SaidOnce)(each)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"smalti {package_version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Debug = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows `smalti`; None for the process's own arguments.

    Returns:
        The exit code: 0, 1, 2, 3 (`smalti audit --fail-on-copies`), 130 or 141.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)

    def act() -> object:
        _refuse_empty(words)
        return typer.main.get_command(app).main(args=words, prog_name="smalti", standalone_mode=False)

    return boundary.run(act, words, last=arguments is None)


def _refuse_empty(words: Sequence[str]) -> None:
    """Raise InputError for an argument that is empty, as of an unset variable in a shell: typer takes many of them for not given."""
    for before, word in zip(["smalti", *words], words, strict=False):
        option, equals, value = word.partition("=")
        if not word.strip() or (option.startswith("--") and equals and not value.strip()):
            place = f"the value of {option}" if equals else f"what follows {before}"
            raise InputError(f"{place} is empty; give a value, or leave it out")
