"""Records written as they come: JSON lines, CSV or Parquet; and what an earlier run left there already."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from eqlr_tools.errors import OutputError, UnreadableError, UsageError
from eqlr_tools.fleet.tasks import Record

Rows = Callable[[Record], list[dict[str, Any]]]
"""From a record to the rows of a table that stand for it, all with the same columns."""

_BATCH_ROWS = 10_000


class Journal(Protocol):
    """Where records go."""

    def add(self, record: Record) -> None: ...
    def close(self) -> None: ...


class JsonLines:
    """One record a line. What a killed run left of a last line is cut off by `resume`."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def add(self, record: Record) -> None:
        self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.flush()


class CsvRows:
    """The rows of each record, under one header."""

    def __init__(self, file: IO[str], columns: Sequence[str], rows: Rows, header: bool) -> None:
        self._file = file
        self._rows = rows
        self._writer = csv.DictWriter(file, columns, lineterminator="\n")
        if header:
            self._writer.writeheader()

    def add(self, record: Record) -> None:
        self._writer.writerows(self._rows(record))
        self._file.flush()

    def close(self) -> None:
        self._file.flush()


class ParquetRows:
    """The rows of each record, in row groups. A Parquet file has no readable end before it is closed."""

    def __init__(self, path: Path, columns: dict[str, type], rows: Rows) -> None:
        self._pyarrow = _pyarrow()
        types = {str: "string", int: "int64", float: "float64", bool: "bool"}
        fields = [(name, self._pyarrow.type_for_alias(types[kind])) for name, kind in columns.items()]
        self._schema = self._pyarrow.schema(fields)
        self._rows = rows
        self._batch: list[dict[str, Any]] = []
        from pyarrow.parquet import ParquetWriter

        self._writer = ParquetWriter(path, self._schema)

    def add(self, record: Record) -> None:
        self._batch += self._rows(record)
        if len(self._batch) >= _BATCH_ROWS:
            self._write()

    def close(self) -> None:
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._batch:
            self._writer.write_table(self._pyarrow.Table.from_pylist(self._batch, schema=self._schema))
            self._batch = []


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError(
            "Parquet needs the package pyarrow", hint="pip install -c constraints.txt 'eqlr-tools[table]'"
        ) from error
    return pyarrow


def finished(path: Path) -> dict[str, str]:
    """path -> stamp of the records in an earlier journal of JSON lines that have no error.

    A line that was cut off when the run was killed is removed from the file. Raises UnreadableError for a file that
    is no journal, so that it is not appended to.
    """
    if not path.exists():
        return {}
    done: dict[str, str] = {}
    whole = 0
    try:
        with open(path, "rb+") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                record = json.loads(line)
                whole += len(line)
                if record["error"] is None and record["stamp"]:
                    done[record["path"]] = record["stamp"]
            file.truncate(whole)
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableError(
            f"{path}: not the JSON lines of an earlier run", hint="--resume goes on with -f jsonl -o FILE"
        ) from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be resumed ({error.strerror})") from error
    return done


def write_all(records: Iterable[Record], journal: Journal, count: Callable[[Record], None]) -> None:
    """Pass every record to the journal and to `count`; what was written stays if the run is interrupted."""
    try:
        for record in records:
            journal.add(record)
            count(record)
    finally:
        journal.close()
