"""One checkpoint, one record: the work that is handed to a worker, and that a worker hands back.

A task is a few strings, a record is plain data as JSON has it, so that neither cares which process made it. What goes
wrong with one file is a record with its error; it never ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eqlr_tools.errors import EqlrError

Record = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What to do with one checkpoint: `work(path)` gives the content of its record."""

    path: str
    work: Callable[[str], Record]


def perform(task: Task) -> Record:
    """Do the work. The record has the path, when the file was last changed, and either the content or an error."""
    started = time.perf_counter()
    record: Record = {"path": task.path, "stamp": stamp_of(task.path), "error": None}
    try:
        record |= task.work(task.path)
    except EqlrError as error:
        record["error"] = error.message
        record["hint"] = error.hint
        record["exit_code"] = error.exit_code
    except (OSError, MemoryError, RecursionError) as error:
        record["error"] = f"{task.path}: {type(error).__name__}: {error}"
        record["exit_code"] = 2
    record["seconds"] = round(time.perf_counter() - started, 4)
    return record


def failure(task: Task, why: str) -> Record:
    """The record of a task whose worker did not come back."""
    return {"path": task.path, "stamp": None, "error": f"{task.path}: {why}", "exit_code": 2, "seconds": 0.0}


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
            return f"{info.get('size')}:{mark}"
        status = location.stat()
        return f"{status.st_size}:{status.st_mtime_ns}"
    except (OSError, EqlrError, ValueError):
        return None
