"""Markdown: a table stays one whatever the names in it are."""

from __future__ import annotations

from eqlr_tools.reports.formats import Format
from eqlr_tools.reports.rendering import render
from eqlr_tools.reports.report import Column, Report, Table


def test_names_cannot_break_a_table_and_histograms_stay_aligned() -> None:
    names = ["new\nline", "a|b", "<img src=x>", "*_star_*", "`tick"]
    columns = [Column("layer", right=False), Column("2^-3..2^0", right=False)]
    table = Table(columns, [[name, "  ▁█ ▂ "] for name in names], "a\n# title of <b>")
    lines = render(Report("eqlr.test/1", {}, [table]), Format.markdown).splitlines()
    assert lines[0] == "### a<br># title of \\<b>"
    shown = ["new<br>line", "a\\|b", "\\<img src=x>", "\\*_star_\\*", "\\`tick"]
    assert lines[4:] == [f"| {name} | \u2007\u2007▁█ ▂\u2007 |" for name in shown]
