"""`eqlr explain`: why is it recognised so, and what is the formula of each layer?"""

from __future__ import annotations

from typing import Annotated

import typer

from eqlr_tools.cli.groups import Reading, Showing, selection_of, with_groups


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr explain model.pt · eqlr explain model.pt --network g_ema -f markdown"
    )(explain)


@with_groups
def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A checkpoint.")],
    *,
    reading: Reading,
    showing: Showing,
) -> None:
    """Show what was recognised and why, what was not and why, and every layer's constant with its numbers."""
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.cli.sink import check_output, emit
    from eqlr_tools.reports.explain import explain_report
    from eqlr_tools.rewriting.selection import recognise_all

    checkpoint = open_checkpoint(file)
    check_output(showing.output, checkpoint.files, showing.format, force=showing.force)
    chosen = selection_of(reading)
    report = explain_report(checkpoint, recognise_all(checkpoint, chosen))
    emit(report, showing.format, showing.output, force=showing.force, quiet=showing.quiet)
