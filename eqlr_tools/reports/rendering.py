"""A report in one of the output formats, as text."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from eqlr_tools.errors import UsageError
from eqlr_tools.reports.formats import Format
from eqlr_tools.reports.report import Cell, Marked, Report, Table, figure, printable
from eqlr_tools.reports.sparklines import BLOCKS


def render(report: Report, form: Format, *, width: int | None = None, color: bool = False) -> str:
    """Return the report as text, ending in a newline. `width` limits tables to a terminal; None is no limit.

    Raises UsageError for Parquet, which is no text: only the commands that stream records write it.
    """
    check_text(form)
    if form in (Format.json, Format.jsonl):
        text = json.dumps(report.json(), indent=2 if form is Format.json else None, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"  # Lone surrogates: \udc80.
    if form is Format.csv:
        return _csv(report)
    if form is Format.markdown:
        return _markdown(report)
    if form is Format.html:
        from eqlr_tools.reports.html import page

        return page(report)
    return _text(report, width, color)


def check_text(form: Format) -> None:
    """Raise UsageError for Parquet."""
    if form is Format.parquet:
        raise UsageError("--format parquet is for eqlr scan", hint="use csv or jsonl here")


_ASCII = str.maketrans(
    {
        "×": "x",
        "–": "-",
        "─": "-",
        "…": "~",
        "·": "*",
        "√": "sqrt ",
        "⁻": "-",
        **dict(zip(BLOCKS, ".:-=+*#@", strict=True)),
    }
)


_PROSE_WIDTH = 40
"""The least room for a column of sentences; what the other columns leave is its own as well."""


def ascii_text(text: str) -> str:
    """The text for a terminal that knows nothing but ASCII, character for character where that is possible."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def _csv(report: Report) -> str:
    """The report's data; else the rows of all tables that have the columns of the first one. Numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    tables = [table for table in report.tables if table.columns == report.tables[0].columns]
    tables = [report.data] if report.data else tables
    titles = [column.title for column in tables[0].columns] if tables else []
    writer.writerow([title.replace(" ", "_") for title in titles])
    for table in tables:
        writer.writerows([_csv_cell(cell) for cell in row] for row in table.rows)
    return out.getvalue()


def _csv_cell(cell: Cell) -> Cell:
    if isinstance(cell, str | Marked):
        return figure(cell)
    return "" if cell is None else cell


def _markdown(report: Report) -> str:
    parts = []
    for table in report.tables:
        lines = [f"### {table.title}", ""] if table.title else []
        lines.append("| " + " | ".join(column.title.replace("|", "\\|") for column in table.columns) + " |")
        lines.append("|" + "|".join("--:" if column.right else ":--" for column in table.columns) + "|")
        lines += ["| " + " | ".join(figure(cell).replace("|", "\\|") for cell in row) + " |" for row in table.rows]
        lines += ["", *table.footer] if table.footer else []
        parts.append("\n".join(lines))
    if report.lines:
        parts.append("\n\n".join(map(printable, report.lines)))
    return "\n\n".join(parts) + "\n"


def _text(report: Report, width: int | None, color: bool) -> str:
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=width or 10_000, force_terminal=color, no_color=not color, highlight=False)
    for table in report.tables if report.brief is None else report.brief:
        if table.title:
            console.print(table.title, style="bold", markup=False, overflow="fold")
        hidden = _print_table(console, table, width)
        for line in table.footer:
            console.print(line, markup=False)
        if hidden:
            console.print(f"columns left out to fit: {', '.join(hidden)} (all in --format json)", style="dim")
        console.print()
    for line in report.lines:
        console.print(printable(line), markup=False)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().split("\n")) + "\n"


def _print_table(console: Any, table: Table, width: int | None) -> list[str]:
    """Print a table, leaving out columns by rank until it fits; the first column is shortened last."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rows = [[figure(cell) for cell in row] for row in table.rows]
    widths = [
        max([len(line) for line in column.title.split("\n")] + [len(row[index]) for row in rows])
        for index, column in enumerate(table.columns)
    ]
    widths = [
        min(size, _PROSE_WIDTH) if column.prose else size for column, size in zip(table.columns, widths, strict=True)
    ]
    kept = _fitting([column.rank for column in table.columns], widths, width)
    rich_table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for index in kept:
        column = table.columns[index]
        rich_table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.prose,
            overflow="fold" if column.prose else "ellipsis",
            min_width=None if column.prose or column.rank == 0 else widths[index],
        )
    for row, texts in zip(table.rows, rows, strict=True):
        rich_table.add_row(*(Text(texts[index], style=_style(row[index])) for index in kept))
    console.print(rich_table)
    return [column.title for index, column in enumerate(table.columns) if index not in kept]


def _style(cell: Cell) -> str:
    """The colour of a judgement: one of the terminal's own, so that it suits its background."""
    return {"bad": "bold red", "warn": "yellow", "good": "green"}[cell.level] if isinstance(cell, Marked) else ""


def _fitting(ranks: list[int], widths: list[int], width: int | None) -> list[int]:
    """The columns that fit, taken in the order of their rank; those of rank 0 are there whatever the width."""
    kept: list[int] = []
    for index in sorted(range(len(ranks)), key=lambda index: ranks[index]):
        taken = sum(widths[other] + 2 for other in kept) + widths[index]
        if width is None or ranks[index] == 0 or taken <= width:
            kept.append(index)
    return sorted(kept)
