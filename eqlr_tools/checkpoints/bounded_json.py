"""JSON from a file that may have been made to exhaust its reader, or to be read in two ways."""

from __future__ import annotations

import json
from typing import Any

MAX_VALUES = 3_000_000
"""A header has some seven values per tensor, an index one; more would take many seconds and gigabytes to parse."""


def parse_json(data: bytes) -> Any:
    """Parse UTF-8 JSON. Raises ValueError for anything else, for a table with a name twice, and for too many values."""
    if values_in(data) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def values_in(data: bytes) -> int:
    """No fewer than the values that JSON holds; what looks like JSON inside a string counts, too."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table
