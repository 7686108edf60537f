"""The report of `eqlr families`."""

from __future__ import annotations

from collections.abc import Sequence

from eqlr_tools.families.family import Family
from eqlr_tools.reports.report import Column, Report, Table

_COLUMNS = [
    Column("family", right=False),
    Column("architecture", 2, right=False),
    Column("bake", 1, right=False),
    Column("upstream", 3, right=False),
    Column("what it is", 4, right=False),
]


def families_report(families: Sequence[Family]) -> Report:
    """A row per family."""
    rows = [[f.id, f.architecture, "yes" if f.equalized else "refused", f.upstream, f.title] for f in families]
    content = {
        "families": [
            {
                "id": f.id,
                "title": f.title,
                "architecture": f.architecture,
                "upstream": f.upstream,
                "equalized": f.equalized,
            }
            for f in families
        ]
    }
    return Report("eqlr.families/1", content, [Table(_COLUMNS, rows)])
