"""`eqlr scan`: what is in these files?"""

from __future__ import annotations

from typing import Annotated

import typer

from eqlr_tools.cli import many, options
from eqlr_tools.reports.formats import Format


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="[bold]Examples[/bold]: eqlr scan model.pt · eqlr scan checkpoints/ 'runs/**/*.pt' · eqlr scan . -f json"
        " · eqlr scan 's3://bucket/**/*.pt' --jobs 8 -f jsonl -o scan.jsonl --resume"
    )(scan)


def scan(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, directories, globs or URLs.")],
    format: options.FormatOption = Format.table,
    output: options.Output = None,
    jobs: many.Jobs = 1,
    dask: many.Dask = None,
    resume: many.Resume = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Say what checkpoints are: container, family, networks, layers, size. Headers only; nothing is executed.

    With the formats jsonl, csv and parquet, results are written as they come. A file that cannot be read is a row
    with its error, and the exit code is 2 at the end.
    """
    from eqlr_tools.cli.paths import checkpoints_under
    from eqlr_tools.cli.sink import emit, protect
    from eqlr_tools.errors import UnreadableError
    from eqlr_tools.fleet.works import scan_work
    from eqlr_tools.reports.scan import SCAN_FIELDS, scan_report, scan_rows

    found = checkpoints_under(paths)
    if output is not None:
        protect(output, found)
    if format.streams or resume:
        streaming = many.Streaming(format, output, jobs, dask, resume, force, quiet)
        return many.stream(found, scan_work, streaming, SCAN_FIELDS, scan_rows)
    tally = many.Tally()
    records = many.records_of(found, scan_work, jobs, dask)
    order = {str(path): place for place, path in enumerate(found)}
    collected = sorted(records, key=lambda record: order[record["path"]])
    for record in collected:
        tally.count(record)
    if len(found) == 1 and tally.errors:
        raise UnreadableError(tally.errors[0], hint=collected[0].get("hint"))
    emit(scan_report(collected), format, output, force=force, quiet=quiet)
    return tally.exit_code
