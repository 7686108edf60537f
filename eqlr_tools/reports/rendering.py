"""A report in one of the output formats, as text."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

from eqlr_tools.errors import UsageError
from eqlr_tools.reports.formats import Format
from eqlr_tools.reports.report import Cell, Marked, Report, figure, printable
from eqlr_tools.reports.sparklines import BLOCKS
from eqlr_tools.reports.text_tables import BOLD, DIM, RESET, table_lines, wrapped


def render(report: Report, form: Format, *, width: int | None = None, color: bool = False) -> str:
    """Return the report as text, ending in a newline. `width` limits tables to a terminal; None is no limit.

    Raises UsageError for Parquet, which is no text: only the commands that stream records write it.
    """
    check_text(form)
    if form in (Format.json, Format.jsonl):
        text = _ENCODER.encode(report.json()) if form is Format.jsonl else _json(report.json())
        return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"  # Lone surrogates: \udc80.
    if form is Format.csv:
        return _csv(report)
    if form is Format.markdown:
        return _markdown(report)
    if form is Format.html:
        from eqlr_tools.reports.html import page

        return page(report)
    return _text(report, width, color)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)

_DEEP = 7
"""From this depth on JSON stays on one line: a line per figure of a layer, and not one per bar of its histogram. The
compiled encoder knows no indentation, and is ten times as fast as the other."""


def _json(value: Any, depth: int = 0) -> str:
    if depth == _DEEP or not value or not isinstance(value, dict | list):
        return _ENCODER.encode(value)
    inner = "  " * (depth + 1)
    if isinstance(value, dict):
        items = [f"{_ENCODER.encode(name)}: {_json(child, depth + 1)}" for name, child in value.items()]
    else:
        items = [_json(child, depth + 1) for child in value]
    lines = f",\n{inner}".join(items)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{inner}{lines}\n{'  ' * depth}{closing}"


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
        lines = [f"### {_markdown_cell(table.title)}", ""] if table.title else []
        lines.append("| " + " | ".join(_markdown_cell(column.title) for column in table.columns) + " |")
        lines.append("|" + "|".join("--:" if column.right else ":--" for column in table.columns) + "|")
        lines += ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in table.rows]
        lines += ["", *table.footer] if table.footer else []
        parts.append("\n".join(lines))
    if report.lines:
        parts.append("\n\n".join(map(printable, report.lines)))
    return "\n\n".join(parts) + "\n"


def _markdown_cell(cell: Cell) -> str:
    """A cell on one line. What Markdown or HTML would take for their own is escaped, and blanks of a histogram stay."""
    text = re.sub(r"[\\`*<|]", r"\\\g<0>", figure(cell)).replace("\n", "<br>")
    return re.sub(r"^ +| {2,}| +$", lambda blanks: "\u2007" * len(blanks[0]), text)


def _text(report: Report, width: int | None, color: bool) -> str:
    bold, dim, reset = (BOLD, DIM, RESET) if color else ("", "", "")
    lines: list[str] = []
    for table in report.tables if report.brief is None else report.brief:
        if table.title:
            lines += [f"{bold}{line}{reset}" for line in wrapped(table.title, width)]
        shown, hidden = table_lines(table, width, color=color)
        lines += shown
        for sentence in table.footer:
            lines += wrapped(sentence, width)
        if hidden:
            sentence = f"columns left out to fit: {', '.join(hidden)} (all in --format json)"
            lines += [f"{dim}{line}{reset}" for line in wrapped(sentence, width)]
        lines.append("")
    for sentence in report.lines:
        lines += wrapped(sentence, width)
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"
