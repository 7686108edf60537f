"""The one place that prints. Data goes to stdout, everything for people's eyes only to stderr."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from eqlr_tools.cli.interrupts import raise_if_interrupted
from eqlr_tools.errors import OutputError
from eqlr_tools.reports.formats import Format
from eqlr_tools.reports.rendering import ascii_text, check_text, render
from eqlr_tools.reports.report import Report, printable

_PROGRESS_FROM_BYTES = 1 << 25
"""Below 32 MiB the work is over before a bar could be read."""


def emit(report: Report, form: Format, output: Path | None = None, *, force: bool = False, quiet: bool = False) -> None:
    """Show a report on stdout, or write it to `output`, which must not exist unless `force`."""
    raise_if_interrupted()
    if output is None:
        terminal = sys.stdout.isatty()
        color = terminal and "NO_COLOR" not in os.environ
        sys.stdout.write(_printable(render(report, form, width=_width(terminal), color=color)))
        sys.stdout.flush()
        return
    write(render(report, form).encode("utf-8"), output, force=force, quiet=quiet)


def check_output(output: Path | None, inputs: Iterable[Path] = (), form: Format = Format.table, *, force: bool) -> None:
    """Refuse, before any work is done, a report that could not be shown or that would replace what it is about."""
    from eqlr_tools.checkpoints.atomic import check_target

    check_text(form)
    if output is not None:
        protect(output, inputs)
        check_target(output, (), force)


def protect(output: Path, inputs: Iterable[Path]) -> None:
    """Raise OutputError if the report would replace one of the files that the command reads or writes."""
    from eqlr_tools.checkpoints.atomic import same_file

    if any(same_file(output, path) for path in inputs):
        raise OutputError(f"{output}: the report would replace the checkpoint", hint="name another --output")


def write(content: bytes, output: Path, *, force: bool = False, quiet: bool = False) -> None:
    """Write a file, which must not exist unless `force`, and say so unless `quiet`."""
    from eqlr_tools.checkpoints.atomic import check_target, new_file
    from eqlr_tools.checkpoints.streaming import write_all

    check_target(output, (), force)
    if output.is_symlink() or (output.exists() and not output.is_file()):
        _write_through(content, output)
    else:
        with new_file(output, lambda _: None, force) as file:
            write_all(file.fileno(), content, 0)
    note(f"written to {output}", quiet=quiet)


def _write_through(content: bytes, output: Path) -> None:
    """Write to what is no file that another could take the place of: a pipe, a device, the end of a link."""
    try:
        with open(output, "wb") as file:
            file.write(content)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})", hint="choose another place") from error


def _printable(text: str) -> str:
    """The text as stdout's encoding can show it."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return ascii_text(text)
    return text


def note(text: str, *, quiet: bool = False) -> None:
    """Tell the person something that is no data."""
    if not quiet:
        print(text, file=sys.stderr)


@contextlib.contextmanager
def progress(label: str, total_bytes: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes bytes done. A bar is drawn on a terminal for long work, nowhere else."""
    if quiet or not sys.stderr.isatty() or total_bytes < _PROGRESS_FROM_BYTES:
        yield lambda _: raise_if_interrupted()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),  # A file's name may hold brackets.
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(printable(label), total=total_bytes)

        def advance(count: int) -> None:
            raise_if_interrupted()
            bars.update(task, advance=count)

        yield advance


@contextlib.contextmanager
def working(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yield a function that takes what is being done now. On a terminal it is shown while it lasts, nowhere else."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(Text(text))


def _width(terminal: bool) -> int | None:
    """Tables fit a terminal, or COLUMNS where it is set; in a pipe they are as wide as they need."""
    if terminal or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None
