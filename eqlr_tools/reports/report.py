"""What every command returns: a report. It knows its JSON and its tables; how they are shown is not its business."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["good", "warn", "bad"]


@dataclass(frozen=True)
class Marked:
    """Words with a judgement, which a terminal and a page show as a colour as well."""

    text: str
    level: Level


Cell = str | int | float | bool | Marked | None


@dataclass(frozen=True)
class Column:
    """A column of a table. When the terminal is too narrow, those with the highest `rank` are left out first.

    A column of `prose` is never left out: its sentences are wrapped to the room that the others leave. One with a
    `least` width is shortened to that, rather than that a column of rank `ESSENTIAL` or below is left out.
    """

    title: str
    rank: int = 0
    right: bool = True
    prose: bool = False
    least: int | None = None


ESSENTIAL = 4


@dataclass(frozen=True)
class Table:
    """Rows under columns. Cells are values; text, CSV and markdown each format them in their own way."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    footer: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A page of its own: its script among the package's data, what that draws, and what stands around it.

    `controls` are HTML, of this package and never from a file. `tables` replace the report's.
    """

    script: str
    data: Any
    title: str
    tables: Sequence[Table] = ()
    controls: Sequence[str] = ()
    findings: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Report:
    """`schema` names the JSON's shape and version, as in `eqlr.audit/1`.

    `tables` hold everything. On a terminal `brief` stands in for them where it is given, in CSV `data`. `page` names
    the page that draws the JSON for `--format html`; without one, html shows the tables.
    """

    schema: str
    content: dict[str, Any]
    tables: Sequence[Table]
    lines: Sequence[str] = ()
    brief: Sequence[Table] | None = None
    data: Table | None = None
    page: Page | None = None

    def json(self) -> dict[str, Any]:
        """The report as plain data. NaN and infinity, which JSON has no form for, become null."""
        return {"schema": self.schema, **plain(self.content)}


_PLAIN = frozenset([int, str, bool, type(None)])


def finite(value: float | None) -> float | None:
    """The figure, or None where it is none: NaN and infinity."""
    return value if value is not None and math.isfinite(value) else None


def plain(value: Any) -> Any:
    """Lists, dicts, text and finite numbers only."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): child if type(child) in _PLAIN else plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [child if type(child) in _PLAIN else plain(child) for child in value]
    return value


def figure(value: Cell, digits: int = 3) -> str:
    """A cell as people read it: counts with thousands separators, measures with a few significant digits."""
    if value is None:
        return "–"
    if isinstance(value, Marked):
        return printable(value.text)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0:
            return "0"
        if 1e-3 <= abs(value) < 1e5:
            return f"{value:,.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
        return f"{value:.{digits - 1}e}"
    return printable(value)


def printable(text: str) -> str:
    """Names come from files: what would steer a terminal, or cannot be encoded, is shown as an escape."""
    if text.isascii() and text.isprintable():
        return text
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c == "\n" or c.isprintable() else ascii(c)[1:-1] for c in text)


def shape_text(shape: Sequence[int]) -> str:
    """A shape as 32×16×3×3; a scalar is ()."""
    return "×".join(map(str, shape)) or "()"


def bytes_text(count: int) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
