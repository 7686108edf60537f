"""`--format html`: one self-contained file. Tables are written here, scripts bring them to life.

Everything in a report may come from a hostile file. Text is escaped, the data block holds no `<`, scripts only ever
set text, and the page's content policy runs no script but the ones hashed into it and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from typing import Any

from eqlr_tools.reports.report import Cell, Marked, Page, Report, Table, figure, printable

_SKELETON = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src {hashes}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header class="top">
<h1>{title}</h1>
<div class="tools">
<input id="filter" type="search" placeholder="Filter by name" aria-label="Filter rows by name">
{controls}<button id="theme" type="button" aria-pressed="false">Dark</button>
</div>
</header>
<main>
{lead}{body}
<p id="none" class="quiet" hidden>Nothing matches the filter.</p>
</main>
<script type="application/json" id="data">{data}</script>
{scripts}
</body>
</html>
"""


def page(report: Report) -> str:
    """The report as an HTML page."""
    own = report.page
    command = report.schema.partition("/")[0].removeprefix("eqlr.")
    tables = own.tables if own and own.tables else report.tables
    scripts = [_asset(name) for name in ("tables.js", *(("drawing.js", f"{own.script}.js") if own else ()))]
    notes = "".join(f"<p>{_text(line)}</p>\n" for line in report.lines)
    return _SKELETON.format(
        hashes=" ".join(f"'sha256-{_sha256(script)}'" for script in scripts),
        title=_text(own.title if own else f"eqlr {command}"),
        style=_asset("page.css"),
        controls=_controls(own),
        lead=_findings(own),
        body=(f'<div id="{own.script}"></div>\n' if own else "") + "\n".join(map(_table, tables)) + notes,
        data=_data(own.data if own else None),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _asset(name: str) -> str:
    return files("eqlr_tools.reports").joinpath("pages", name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _data(data: Any) -> str:
    """JSON that cannot end the element it stands in, nor open another."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(text: str) -> str:
    """Escaped, also what would steer the reading order or cannot be encoded."""
    return escape(printable(text))


def _controls(own: Page | None) -> str:
    return "" if own is None else "".join(f"{control}\n" for control in own.controls)


def _findings(own: Page | None) -> str:
    """What the rules found, in words, before everything else."""
    if own is None or not own.findings:
        return ""
    items = "\n".join(f"<li><b>{_text(rule)}</b> {_text(words)}</li>" for rule, words in own.findings)
    return f'<section id="findings" class="card"><h2>Rules violated</h2>\n<ul>\n{items}\n</ul></section>\n'


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_number_class(column.right)}><button type="button">{_text(column.title)}</button></th>'
        for column in table.columns
    )
    rows = "\n".join(f"<tr>{''.join(_cells(table, row))}</tr>" for row in table.rows)
    title = f"<h2>{_text(table.title)}</h2>\n" if table.title else ""
    footer = "".join(f"<p>{_text(line)}</p>\n" for line in table.footer)
    return (
        f'<section class="card">{title}<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>\n{footer}</section>"
    )


def _cells(table: Table, row: Any) -> Iterator[str]:
    for column, cell in zip(table.columns, row, strict=True):
        value = f' data-v="{cell!r}"' if isinstance(cell, int | float) and not isinstance(cell, bool) else ""
        yield f"<td{_number_class(column.right)}{value}>{_shown(cell)}</td>"


def _number_class(right: bool) -> str:
    return ' class="n"' if right else ""


def _shown(cell: Cell) -> str:
    if isinstance(cell, Marked):
        return f'<span class="mark {cell.level}">{_text(cell.text)}</span>'
    return _text(figure(cell))
