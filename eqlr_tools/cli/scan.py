"""`eqlr scan`: what is in these files?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqlr_tools.cli import options
from eqlr_tools.reports.rendering import Format


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr scan model.pt · eqlr scan checkpoints/ 'runs/**/*.pt' · eqlr scan . -f json"
    )(scan)


def scan(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, directories or globs.")],
    format: options.FormatOption = Format.table,
    output: options.Output = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Say what checkpoints are: container, family, networks, layers, size. Headers only; nothing is executed."""
    from eqlr_tools.cli.paths import checkpoints_under
    from eqlr_tools.cli.sink import emit
    from eqlr_tools.reports.scan import scan_report

    found = checkpoints_under(paths)
    scanned = [_scan_one(path, alone=len(found) == 1) for path in found]
    emit(scan_report(scanned), format, output, force=force)
    if all(item.error for item in scanned) or any(item.error for item in scanned):
        return 2
    return 0 if any(item.recognitions for item in scanned) else 3


def _scan_one(path: Path, alone: bool):  # type: ignore[no-untyped-def]
    from eqlr_tools.checkpoints.opening import open_checkpoint
    from eqlr_tools.errors import EqlrError
    from eqlr_tools.families.registry import recognise
    from eqlr_tools.reports.scan import Scanned

    try:
        checkpoint = open_checkpoint(path)
        recognitions = tuple(recognise(checkpoint, network) for network in checkpoint.networks)
    except EqlrError as error:
        if alone:
            raise
        return Scanned(path, error=error.message)
    return Scanned(path, checkpoint, recognitions)
