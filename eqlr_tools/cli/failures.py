"""The one table from exception to message and exit code."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from eqlr_tools.cli.interrupts import INTERRUPTED, SENTENCE
from eqlr_tools.errors import EqlrError

_LONGEST = 2000


def report_failure(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what went wrong and what to try next; return the exit code."""
    if isinstance(error, typer.Exit):
        return int(getattr(error, "exit_code", 0))
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):  # Typer exits with 1.
        _silence_stdout()
        return 0
    if isinstance(error, SystemExit):
        return int(error.code) if isinstance(error.code, int) else 2
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        print(SENTENCE, file=sys.stderr)
        return INTERRUPTED
    if debug:
        traceback.print_exception(error)
    if isinstance(error, EqlrError):
        _say(error.message, error.hint)
        return error.exit_code
    show = getattr(error, "show", None)
    if callable(show):  # A usage error of Typer's: it knows how to print itself.
        show()
        return int(getattr(error, "exit_code", 2))
    if isinstance(error, MemoryError):
        _say("not enough memory", "close other programs, or use a machine with more")
    elif isinstance(error, OSError):
        _say(f"{error.filename or 'input/output'}: {error.strerror or error}", None)
    else:
        _say(
            f"internal error: {type(error).__name__}: {error}",
            "this is a defect of eqlr; --debug shows the details for a report",
        )
    return 2


def _say(message: str, hint: str | None) -> None:
    """Names in a message may come from a hostile file, and must not reach the terminal raw."""
    print(f"eqlr: {_shortened(message)}", file=sys.stderr)
    for line in (hint or "").splitlines():
        print(f"      {_shortened(line)}", file=sys.stderr)


def _shortened(text: str) -> str:
    from eqlr_tools.reports.report import printable

    text = printable(text).replace("\n", "\\n")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


def open_closed_streams() -> None:
    """Started with stdout or stderr closed, Python has none: nobody listens, so what is said goes nowhere.

    It also keeps a checkpoint from being opened under the number of a standard stream.
    """
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            sink = os.open(os.devnull, os.O_WRONLY)
            if sink != descriptor:
                os.dup2(sink, descriptor)
                os.close(sink)
            setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8", closefd=False))


def _silence_stdout() -> None:
    """The reader of our output has gone; keep Python from complaining about it at exit."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
