"""What `scan` and `audit` share when they are about many checkpoints: workers, streaming output, resuming."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eqlr_tools.errors import OutputError, UsageError
from eqlr_tools.reports.formats import Format

if TYPE_CHECKING:
    from eqlr_tools.fleet.journal import Journal, Rows
    from eqlr_tools.fleet.tasks import Pieces, Record

    Cut = Callable[[str], Pieces | None]

Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Worker processes.")]
Dask = Annotated[
    str | None, typer.Option("--dask", metavar="ADDRESS", help="Hand the work to the Dask cluster at this address.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the JSON lines in --output: skip what is done and unchanged.")
]


@dataclass
class Tally:
    """What became of the checkpoints, for the exit code and the closing line."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    empty: int = 0
    errors: list[str] = field(default_factory=list)

    def count(self, record: Record) -> None:
        self.done += 1
        if record["error"]:
            self.failed += 1
            self.errors.append(record["error"])
        elif not record.get("networks"):
            self.empty += 1

    @property
    def exit_code(self) -> int:
        """2 if a file could not be read, 3 if nothing was found in any, else 0."""
        if self.failed:
            return 2
        return 3 if self.done and self.done == self.empty and not self.skipped else 0

    def text(self) -> str:
        skipped = f", {self.skipped} skipped (done before)" if self.skipped else ""
        return f"{self.done} {'checkpoint' if self.done == 1 else 'checkpoints'}, {self.failed} with errors{skipped}"


def records_of(
    paths: Sequence[Path], work: Callable[[str], Record], jobs: int, dask: str | None, cut: Cut | None = None
) -> Iterator[Record]:
    """Do the work on every path, here or by workers; records come in the order in which they finish.

    `cut` lets several workers share a large checkpoint.
    """
    from eqlr_tools.families.catalogue import known_families
    from eqlr_tools.fleet.running import executor_for, run_tasks
    from eqlr_tools.fleet.tasks import Task

    known_families()  # A broken entry point is told once, not of every file.
    workers, executor = executor_for(jobs if cut else min(jobs, max(len(paths), 1)), dask)
    return run_tasks((Task(str(path), work, cut) for path in paths), workers, executor)


def left_to_do(paths: Sequence[Path], output: Path | None, form: Format, resume: bool) -> tuple[list[Path], int]:
    """(paths without those that an earlier run finished and that are unchanged, how many those are)."""
    if not resume:
        return list(paths), 0
    if form is not Format.jsonl or output is None:
        raise UsageError("--resume goes on with a file of JSON lines", hint="use it with --format jsonl --output FILE")
    from eqlr_tools.fleet.journal import finished
    from eqlr_tools.fleet.tasks import stamp_of

    done = finished(output)
    left = [path for path in paths if str(path) not in done or done[str(path)] != stamp_of(str(path))]
    return left, len(paths) - len(left)


@contextmanager
def journal(
    form: Format, output: Path | None, columns: dict[str, type], rows: Rows, *, force: bool, resume: bool
) -> Iterator[Journal]:
    """The journal for a streaming format, on stdout or in a file."""
    import sys

    from eqlr_tools.fleet.journal import CsvRows, JsonLines, ParquetRows

    if form is Format.parquet:
        if output is None:
            raise UsageError("Parquet is no text", hint="name a file with --output")
        _refuse_existing(output, force)
        yield ParquetRows(output, columns, rows)
        return
    if output is None:
        yield JsonLines(sys.stdout) if form is Format.jsonl else CsvRows(sys.stdout, list(columns), rows, True)
        return
    if not resume:
        _refuse_existing(output, force)
    try:
        with open(output, "a" if resume else "w", encoding="utf-8", newline="") as file:
            yield JsonLines(file) if form is Format.jsonl else CsvRows(file, list(columns), rows, True)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error


@dataclass(frozen=True)
class Streaming:
    """How results are written as they come."""

    form: Format
    output: Path | None
    jobs: int
    dask: str | None
    resume: bool
    force: bool
    quiet: bool


def stream(
    paths: Sequence[Path],
    work: Callable[[str], Record],
    how: Streaming,
    columns: dict[str, type],
    rows: Rows,
    cut: Cut | None = None,
) -> int:
    """Do the work on every path and write each record as it comes; return the exit code."""
    from eqlr_tools.cli.sink import note
    from eqlr_tools.fleet.journal import write_all

    if not how.form.streams:
        raise UsageError(
            f"{how.form.value} is no format for results as they come", hint="use --format jsonl, csv or parquet"
        )
    tally = Tally()
    left, tally.skipped = left_to_do(paths, how.output, how.form, how.resume)
    with journal(how.form, how.output, columns, rows, force=how.force, resume=how.resume) as target:
        write_all(records_of(left, work, how.jobs, how.dask, cut), target, tally.count)
    note(tally.text(), quiet=how.quiet)
    return tally.exit_code


def _refuse_existing(output: Path, force: bool) -> None:
    if output.exists() and not force:
        raise OutputError(f"{output}: already exists", hint="--force replaces it, --resume goes on with JSON lines")
