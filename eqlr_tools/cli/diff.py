"""`eqlr diff`: how ranges moved between two checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqlr_tools.cli import options
from eqlr_tools.cli.audit import Jobs, audited_networks
from eqlr_tools.reports.rendering import Format


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr diff epoch010.pt epoch020.pt · eqlr diff a.pt b.pt --network g_ema "
        "-f html -o moved.html"
    )(diff)


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="The earlier checkpoint.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The later one.")],
    network: options.Network = None,
    family: options.Family = None,
    gain: options.Gain = None,
    lr_multiplier: options.LrMultiplier = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    jobs: Jobs = None,
    format: options.FormatOption = Format.table,
    output: options.Output = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Show how the range of every layer moved between two checkpoints, the one that moved most first.

    Layers are paired by network and name. "moved" is the larger change of rms and abs max, in either direction.
    """
    from eqlr_tools.cli.sink import check_output, emit
    from eqlr_tools.errors import NothingMatchedError
    from eqlr_tools.reports.audit import audit_json
    from eqlr_tools.reports.baseline import compare
    from eqlr_tools.reports.diff import diff_report

    check_output(output, (first, second), format, force=force)
    chosen = options.selection(network, family, gain, lr_multiplier, None, include, exclude)
    then, now = (
        audit_json([(path, audited_networks(path, chosen, jobs=jobs, quiet=quiet))]) for path in (first, second)
    )
    comparison = compare(now, then, str(first))
    if len(comparison.new) == len(comparison.sites):
        raise NothingMatchedError(
            f"{first} and {second} have no layer in common",
            hint="layers are paired by network and name; eqlr scan and eqlr explain show both",
        )
    emit(diff_report(str(first), str(second), comparison), format, output, force=force)
