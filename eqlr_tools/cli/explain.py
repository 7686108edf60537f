"""`eqlr explain`: why is it recognised so, and what is the formula of each layer?"""

from __future__ import annotations

from typing import Annotated

import typer

from eqlr_tools.cli import options
from eqlr_tools.reports.formats import Format


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr explain model.pt · eqlr explain model.pt --network g_ema -f markdown"
    )(explain)


def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A checkpoint.")],
    network: options.Network = None,
    family: options.Family = None,
    gain: options.Gain = None,
    lr_multiplier: options.LrMultiplier = None,
    format: options.FormatOption = Format.table,
    output: options.Output = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> None:
    """Show what was recognised and why, what was not and why, and every layer's constant with its numbers."""
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.cli.sink import check_output, emit
    from eqlr_tools.reports.explain import explain_report
    from eqlr_tools.rewriting.selection import recognise_all

    checkpoint = open_checkpoint(file)
    check_output(output, checkpoint.files, format, force=force)
    chosen = options.selection(network, family, gain, lr_multiplier)
    emit(explain_report(checkpoint, recognise_all(checkpoint, chosen)), format, output, force=force)
