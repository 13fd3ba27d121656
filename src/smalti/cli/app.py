"""The typer application and its entry point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from smalti.cli import boundary, options
from smalti.cli.commands.bench import bench
from smalti.cli.commands.calibrate import calibrate
from smalti.cli.commands.compare import compare
from smalti.cli.commands.demo import demo
from smalti.cli.commands.denoise import denoise
from smalti.cli.commands.denoisers import denoisers
from smalti.cli.commands.error import error
from smalti.cli.commands.info import info
from smalti.cli.commands.networks import networks
from smalti.cli.commands.reproduce import reproduce
from smalti.cli.commands.sample import sample
from smalti.cli.commands.sensitivity import sensitivity
from smalti.cli.commands.train import train
from smalti.cli.commands.transforms import transforms
from smalti.cli.versions import package_version

__all__ = ["app", "main"]

app = typer.Typer(
    name="smalti",
    help="Training-free diffusion denoisers: exact, fast, on one engine.",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    info,
    denoisers,
    networks,
    denoise,
    sample,
    train,
    error,
    transforms,
    sensitivity,
    compare,
    calibrate,
    reproduce,
    demo,
    bench,
):
    app.command()(command)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"smalti {package_version('smalti')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows `smalti`; None for the process's own arguments.

    Returns:
        The exit code: 0, 1, 2, 130 or 141.
    """
    command = typer.main.get_command(app)
    argv = None if arguments is None else list(arguments)
    return boundary.run(lambda: command.main(args=argv, prog_name="smalti", standalone_mode=False))
