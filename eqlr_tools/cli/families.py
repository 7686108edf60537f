"""`eqlr families`: the families that eqlr knows."""

from __future__ import annotations

import typer

from eqlr_tools.cli import options
from eqlr_tools.reports.formats import Format


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="[bold]Examples[/bold]: eqlr families · eqlr families -f markdown")(families)


def families(
    format: options.FormatOption = Format.table,
    output: options.Output = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> None:
    """List the families: code lineages whose constants eqlr knows, and layouts that it knows to be plain.

    Every family is read. `bake` makes its weights plain, `convert` goes from its layout or to it, `export` writes
    its generator as an ONNX graph.
    """
    from eqlr_tools.cli.sink import check_output, emit
    from eqlr_tools.families.catalogue import known_families
    from eqlr_tools.reports.families import families_report

    check_output(output, (), format, force=force)
    emit(families_report(known_families()), format, output, force=force)
