"""The report of `eqlr families`."""

from __future__ import annotations

from collections.abc import Sequence

from eqlr_tools.families.catalogue import known_families
from eqlr_tools.families.family import Family
from eqlr_tools.onnx_export.subject import exported_architectures
from eqlr_tools.reports.report import Column, Report, Table

_COLUMNS = [
    Column("family", right=False),
    Column("architecture", 2, right=False),
    Column("read as", 1, right=False),
    Column("bake", 1, right=False),
    Column("convert", 1, right=False),
    Column("export", 2, right=False),
    Column("upstream", 3, right=False),
    Column("what it is", 4, right=False),
]


def families_report(families: Sequence[Family]) -> Report:
    """A row per family: what is read of it, what is written, what is exported."""
    return Report("eqlr.families/1", {"families": [_entry(f) for f in families]}, [Table(_COLUMNS, _rows(families))])


def _rows(families: Sequence[Family]) -> list[list[str | int | float | bool | None]]:
    return [
        [
            f.id,
            f.architecture,
            "equalized" if f.equalized else "plain",
            "yes" if f.equalized else "refused",
            _directions(f),
            "ONNX" if _exported(f) else None,
            f.upstream,
            f.title,
        ]
        for f in families
    ]


def _entry(family: Family) -> dict[str, object]:
    return {
        "id": family.id,
        "title": family.title,
        "architecture": family.architecture,
        "upstream": family.upstream,
        "equalized": family.equalized,
        "baked": family.equalized,
        "converted_from": _is_source(family),
        "converted_to": _is_written(family),
        "exported": _exported(family),
        "load_back": family.load_back,
    }


def _directions(family: Family) -> str | None:
    if not _is_source(family):
        return None
    return "from, to" if _is_written(family) else "from"


def _is_source(family: Family) -> bool:
    """True if another family writes networks of a kind that this one names."""
    written = [n for other in known_families() if other is not family for n in other.namings if not n.reads_only]
    return any(naming.same_kind(other) for naming in family.namings for other in written)


def _is_written(family: Family) -> bool:
    return any(not naming.reads_only for naming in family.namings)


def _exported(family: Family) -> bool:
    """The first naming of a role is the family's own architecture, which is the one that gets exported."""
    own = family.namings[:1]
    return any((naming.architecture, naming.role) in exported_architectures() for naming in own)
