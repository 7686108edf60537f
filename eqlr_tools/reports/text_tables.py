"""Tables as plain text, for a terminal or a pipe. Laying them out here costs a tenth of what importing rich does."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

from eqlr_tools.reports.report import ESSENTIAL, Cell, Column, Marked, Table, figure, printable

BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_COLORS = {"bad": "\x1b[1;31m", "warn": "\x1b[33m", "good": "\x1b[32m"}
"""Colours of the terminal's own, so that they suit its background."""

_GAP = "  "
_PROSE_WIDTH = 40
"""The least room for a column of sentences; what the other columns leave is its own as well."""


def table_lines(table: Table, width: int | None, *, color: bool) -> tuple[list[str], list[str]]:
    """The lines of a table, and the titles of the columns that are left out to fit `width`."""
    texts = [[figure(cell) for cell in row] for row in table.rows]
    widths = [
        max(text_width(line) for text in (column.title, *(row[index] for row in texts)) for line in text.split("\n"))
        for index, column in enumerate(table.columns)
    ]
    kept = _fitting(table.columns, widths, width)
    _shrink(table, kept, widths, width)
    rights = [table.columns[index].right for index in kept]
    sizes = [widths[index] for index in kept]

    def laid_out(cells: Sequence[str], styles: Sequence[str]) -> list[str]:
        columns = [
            _cell(cells[index], size, prose=table.columns[index].prose) for index, size in zip(kept, sizes, strict=True)
        ]
        lines = []
        for height in range(max(map(len, columns), default=0)):
            parts = [
                _padded(column[height] if height < len(column) else "", size, right, styles[index])
                for column, size, right, index in zip(columns, sizes, rights, kept, strict=True)
            ]
            lines.append(_GAP.join(parts).rstrip())
        return lines

    bold = BOLD if color else ""
    lines = laid_out([column.title for column in table.columns], [bold] * len(table.columns))
    lines.append("─" * (sum(sizes) + len(_GAP) * max(len(sizes) - 1, 0)))
    for row, cells in zip(table.rows, texts, strict=True):
        lines += laid_out(cells, [_style(cell) if color else "" for cell in row])
    return lines, [column.title for index, column in enumerate(table.columns) if index not in kept]


def wrapped(text: str, width: int | None) -> list[str]:
    """Lines of a sentence, or of a text with line breaks, none longer than `width`."""
    lines = printable(text).split("\n")
    if width is None:
        return lines
    return [part for line in lines for part in textwrap.wrap(line, width) or [""]]


def text_width(text: str) -> int:
    """Places that a text takes on a terminal, where East Asian characters take two and combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fitting(columns: Sequence[Column], widths: list[int], width: int | None) -> list[int]:
    """The columns that fit, taken in the order of their rank; those of rank 0 are there whatever the width."""
    kept: list[int] = []
    for index in sorted(range(len(columns)), key=lambda index: columns[index].rank):
        rank = columns[index].rank
        sizes = [_needed(columns[other], widths[other], rank) + len(_GAP) for other in (*kept, index)]
        if width is None or rank == 0 or sum(sizes) - len(_GAP) <= width:
            kept.append(index)
    return sorted(kept)


def _needed(column: Column, width: int, rank: int) -> int:
    """What a column must have where one of some rank is to be shown beside it."""
    if column.prose:
        return min(width, _PROSE_WIDTH)
    return min(width, column.least) if column.least and rank <= ESSENTIAL else width


def _shrink(table: Table, kept: list[int], widths: list[int], width: int | None) -> None:
    """Take what is too much from the sentences first, then from the widest column, until the table fits."""
    if width is None:
        return
    least = {index: _PROSE_WIDTH if table.columns[index].prose else 8 for index in kept}
    for index in sorted(kept, key=lambda index: (not table.columns[index].prose, -widths[index])):
        excess = sum(widths[other] for other in kept) + len(_GAP) * (len(kept) - 1) - width
        if excess <= 0:
            return
        if table.columns[index].prose or table.columns[index].rank == 0:
            widths[index] = max(widths[index] - excess, min(least[index], widths[index]))


def _cell(text: str, width: int, *, prose: bool) -> list[str]:
    lines = text.split("\n")
    if prose:
        return [part for line in lines for part in textwrap.wrap(line, width) or [""]]
    return [_shortened(line, width) for line in lines]


def _shortened(text: str, width: int) -> str:
    """The end of the text: names of one network begin alike, and end in what they are."""
    if text_width(text) <= width:
        return text
    kept = ""
    for character in reversed(text):
        if text_width(character + kept) > width - 1:
            break
        kept = character + kept
    return "…" + kept


def _padded(text: str, width: int, right: bool, style: str) -> str:
    space = " " * (width - text_width(text))
    shown = f"{style}{text}{RESET}" if style and text else text
    return space + shown if right else shown + space


def _style(cell: Cell) -> str:
    return _COLORS[cell.level] if isinstance(cell, Marked) else ""
