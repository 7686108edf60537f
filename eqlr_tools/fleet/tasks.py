"""One checkpoint, one record: the work that is handed to a worker, and that a worker hands back.

A task is a few strings, a record is plain data as JSON has it, so that neither cares which process made it. What goes
wrong with one file is a record with its error; it never ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from eqlr_tools.errors import EqlrError

Record = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """Something for a worker to compute: a function that is known by its name, and plain arguments."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self) -> Any:
        return self.function(*self.arguments)


class Pieces(Protocol):
    """The work on one large checkpoint, cut up: calls whose answers may lead to further calls, and then its content."""

    def first(self) -> list[Call]: ...
    def take(self, call: Call, answer: Any) -> list[Call]: ...
    def content(self) -> Record: ...


@dataclass(frozen=True)
class Task:
    """What to do with one checkpoint: `work(path)` gives the content of its record.

    `cut(path)` is the same work in pieces, or None for a checkpoint that is not worth cutting.
    """

    path: str
    work: Callable[[str], Record]
    cut: Callable[[str], Pieces | None] | None = None


def perform(path: str, work: Callable[[str], Record]) -> Record:
    """Do the work. The record has the path, when the file was last changed, and either the content or an error."""
    started = time.perf_counter()
    stamp = stamp_of(path)
    try:
        return record_of(path, stamp, started, work(path))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is said in the record, and the run goes on
        return failure(path, error, stamp, started)


def record_of(path: str, stamp: str | None, started: float, content: Record) -> Record:
    """The record of a checkpoint; `started` is a time of `time.perf_counter`."""
    return {"path": path, "stamp": stamp, "error": None, **content, "seconds": _since(started)}


def failure(path: str, error: BaseException, stamp: str | None = None, started: float | None = None) -> Record:
    """The record of a checkpoint with which something went wrong."""
    said = error.message if isinstance(error, EqlrError) else f"{path}: {type(error).__name__}: {error}"
    record: Record = {"path": path, "stamp": stamp, "error": said, "exit_code": 2}
    if isinstance(error, EqlrError):
        record |= {"hint": error.hint, "exit_code": error.exit_code}
    return record | {"seconds": _since(started) if started else 0.0}


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 4)


def stamp_of(path: str) -> str | None:
    """What changes when a file does: its size with its ETag or time of change. None if the store does not say."""
    from eqlr_tools.checkpoints.remote import is_remote, locate

    try:
        location = locate(path)
        if is_remote(location):
            info = location.fs.info(location.path)  # type: ignore[attr-defined]
            mark = next(
                (info[key] for key in ("ETag", "etag", "LastModified", "mtime", "created") if info.get(key)), ""
            )
            return f"{info.get('size') or 0}:{mark}"
        status = location.stat()
        return f"{status.st_size}:{status.st_mtime_ns}"
    except (OSError, EqlrError, ValueError):
        return None
