"""The `eqlr` application: its commands, and the way out for every error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from eqlr_tools import __version__
from eqlr_tools.cli.commands import LazyGroup
from eqlr_tools.cli.failures import open_closed_streams, report_failure
from eqlr_tools.cli.interrupts import INTERRUPTED, remember_interrupts
from eqlr_tools.cli.values import read_plainly

app = typer.Typer(
    name="eqlr",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"eqlr {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    families_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--families",
            metavar="FILE.py",
            help="Families of your own: a Python file that defines them, which is run. Repeatable.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Read, audit, bake, equalize and verify checkpoints that were trained with equalized learning rate.

    Such networks store weights near N(0, 1) and multiply them at run time by a constant that the file does not
    hold. eqlr knows the constants, and executes nothing that is in a file.

    Exit codes: 0 done, 1 a finding or a failed check, 2 unusable input or options, 3 nothing matched.
    """
    if families_files:
        from eqlr_tools.families.catalogue import add_families

        for path in families_files:
            add_families(path)


@cache
def _command() -> Callable[..., object]:
    """Typer would build it anew for every call of `main` in one process."""
    command = typer.main.get_command(app)
    read_plainly(command)
    return command


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    open_closed_streams()
    remember_interrupts()
    try:
        result = _command()(args=arguments, standalone_mode=False)
    except BaseException as error:
        return report_failure(error, debug="--debug" in arguments)
    if result == INTERRUPTED:  # Typer has caught Ctrl-C and returns its code without a word.
        return report_failure(KeyboardInterrupt(), debug=False)
    return result if isinstance(result, int) else 0
