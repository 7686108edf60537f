"""The report of `eqlr diff`: per layer, the range before and after, sorted by how far it moved."""

from __future__ import annotations

import math

from eqlr_tools.reports.baseline import Comparison, Json, Site, forms_of
from eqlr_tools.reports.fields import FIELDS, FORMS, value_of
from eqlr_tools.reports.report import Cell, Column, Report, Table, figure, plain
from eqlr_tools.reports.rules import Place

_MEASURED = ("rms", "abs_max")
_COLUMNS = [
    Column("network", 5, right=False),
    Column("layer", right=False),
    Column("weights", 1, right=False),
    Column("moved", 0),
    Column("rms before", 4),
    Column("rms after", 4),
    Column("rms ratio", 2),
    Column("abs max before", 6),
    Column("abs max after", 6),
    Column("abs max ratio", 3),
]


def diff_report(first: str, second: str, comparison: Comparison) -> Report:
    """Build the report of two audits that have been paired."""
    changes = [change for site in comparison.sites if site.then_layer for change in _changes(site)]
    changes.sort(key=lambda change: -change["moved"])
    lines = [
        f"only in {path}: {site.network['name']} {site.layer['layer']}"
        for path, sites in ((second, comparison.new), (first, comparison.missing))
        for site in sites
    ]
    content = {
        "first": first,
        "second": second,
        "layers": changes,
        "only_in_first": [_name(site) for site in comparison.missing],
        "only_in_second": [_name(site) for site in comparison.new],
    }
    table = Table(_COLUMNS, [_row(change) for change in changes], f"{first} to {second}", [_summary(changes)])
    return Report("eqlr.diff/1", plain(content), [table], lines)


def _changes(site: Site) -> list[Json]:
    """What moved in a layer: its stored weights, and its effective ones where a constant makes either differ."""
    layers = [layer for layer in (site.then_layer, site.layer) if layer]
    shown = {form for layer in layers for form, _ in forms_of(layer)}
    found = []
    for form in (form for form in FORMS if form in shown):
        change: Json = {**_name(site), "weights": form}
        for name in _MEASURED:
            field = FIELDS[name]
            change[name] = {
                "before": site.then(field, form),
                "after": value_of(field, form, site.layer, site.network),
                "ratio": site.value(Place(field, form, "ratio"), form),
            }
        drifts = [site.value(Place(FIELDS[name], form, "drift"), form) for name in _MEASURED]
        change["moved"] = max(drift if drift is not None else 1.0 for drift in drifts)
        found.append(change)
    return found


def _row(change: Json) -> list[Cell]:
    figures = [change[name][key] for name in _MEASURED for key in ("before", "after", "ratio")]
    moved = change["moved"]
    return [
        change["network"],
        change["layer"],
        change["weights"],
        moved if math.isfinite(moved) else None,
        *(None if value is None or not math.isfinite(value) else value for value in figures),
    ]


def _summary(changes: list[Json]) -> str:
    still = sum(change["moved"] == 1.0 for change in changes)
    largest = changes[0]["moved"] if changes else 1.0
    return (
        f"{len(changes)} ranges compared, {still} of the same rms and abs max, the largest change "
        f"{figure(largest, 4) + 'x' if math.isfinite(largest) else 'without bound'}"
    )


def _name(site: Site) -> Json:
    return {"network": site.network["name"], "layer": site.layer["layer"]}
