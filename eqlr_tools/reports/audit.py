"""The report of `eqlr audit`: two rows per layer, stored and effective, and the learning-speed spread."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eqlr_tools.ranges.audit import LayerRange, NetworkRange
from eqlr_tools.ranges.statistics import Statistics
from eqlr_tools.reports.baseline import SCHEMA, Json, forms_of
from eqlr_tools.reports.explain import layer_json
from eqlr_tools.reports.fields import FIELDS, value_of
from eqlr_tools.reports.formats import Format
from eqlr_tools.reports.hazards import fp16_words
from eqlr_tools.reports.report import Cell, Column, Report, Table, figure, plain, shape_text
from eqlr_tools.reports.scan import network_json
from eqlr_tools.reports.sorting import Ranking
from eqlr_tools.reports.sparklines import Axis, common_axis

_BARS = 16
"""Characters of a histogram in a table; wide enough to see a shape, narrow enough for 80 columns."""

_FIGURES = [("rms", 0), ("abs_max", 4), ("min_nonzero", 6), ("binades", 5), ("std", 10), ("zeros", 9)]
_LAST = [("adam_steps_per_rms", 7), ("fp16_snr_db", 11), ("channel_spread", 12)]
_MARKS = ("quantiles_exact", "snr_exact")
"""Whether figures beside them were interpolated, or measured on a sample."""
_HEAD = [
    Column("layer", right=False, least=22),
    Column("kind", 13, right=False),
    Column("shape", 11),
    Column("dtype", 14, right=False),
    Column("fan in", 15),
    Column("c", 8),
]


def audit_json(audits: Sequence[tuple[Path, Sequence[NetworkRange]]]) -> Json:
    """The audit as plain data, which everything else about it is made from: tables, pages, rules, comparisons."""
    files = [{"path": str(path), "networks": [_network_json(net) for net in networks]} for path, networks in audits]
    content: Json = plain({"schema": SCHEMA, "files": files, "baseline": None, "rules": [], "findings": []})
    return content


def audit_report(content: Json, form: Format, ranking: Ranking | None = None) -> Report:
    """Build the report of one or several files: a table per network, its spread below. What its layers are sorted by
    (`ranking`) has a column, whatever the width.

    Of a thousand layers each part takes its time, so there is only what `form` shows.
    """
    body = {key: value for key, value in content.items() if key != "schema"}
    if form is Format.json:
        return Report(SCHEMA, body, ())
    if form is Format.csv:
        return Report(SCHEMA, body, (), data=_data(content))
    brief = form is Format.table
    tables = [
        _ranked(_table(file["path"], network, brief=brief), network, ranking)
        for file in content["files"]
        for network in file["networks"]
    ]
    if form is Format.html:
        from eqlr_tools.reports.audit_page import audit_page

        return Report(SCHEMA, body, tables, page=audit_page(content, ranking.title if ranking else None))
    return Report(SCHEMA, body, tables)


def _table(path: str, network: Json, *, brief: bool) -> Table:
    """Rows under the layer's name, which a terminal (`brief`) shows once."""
    shown = [statistics for layer in network["layers"] for _, statistics in forms_of(layer)]
    axis = common_axis([statistics["histogram"] for statistics in shown], _BARS)
    hazards = any(fp16_words(statistics) for statistics in shown)
    moved = any("ratio" in layer for layer in network["layers"])
    both = any(layer["equalized"] for layer in network["layers"])
    columns = [
        *_HEAD,
        Column("weights", 1 if both else 7, right=False),
        *(_column(name, rank) for name, rank in _FIGURES),
        Column(axis.title, 2, right=False),
        *([Column("in fp16", 3, right=False)] if hazards else []),
        *([Column("rms / before", 2), Column("abs max / before", 6)] if moved else []),
        *(_column(name, rank) for name, rank in _LAST),
    ]
    rows = [
        row
        for layer in network["layers"]
        for row in _rows(layer, network, axis, moved=moved, hazards=hazards, brief=brief)
    ]
    note = f" ({network['note']})" if network["note"] else ""
    return Table(columns, rows, f"{path}: network {network['name']}, {network['family']}{note}", _footer(network))


def _ranked(table: Table, network: Json, ranking: Ranking | None) -> Table:
    """The table with the column that its layers are sorted by."""
    if ranking is None:
        return table
    titles = [column.title for column in table.columns]
    if ranking.title in titles:
        columns = [replace(column, rank=0) if column.title == ranking.title else column for column in table.columns]
        return replace(table, columns=columns)
    place = titles.index("weights") + 1
    cells = [ranking.text(layer, form) for layer in network["layers"] for form, _ in forms_of(layer)]
    return replace(
        table,
        columns=[*table.columns[:place], Column(ranking.title), *table.columns[place:]],
        rows=[[*row[:place], cell, *row[place:]] for row, cell in zip(table.rows, cells, strict=True)],
    )


def _column(name: str, rank: int) -> Column:
    return Column(name.replace("_", " "), rank)


def _footer(network: Json) -> list[str]:
    spread = network["learning_speed_spread"]
    if spread["stored"] is None or spread["effective"] is None:
        return []
    text = f"learning-speed spread (largest over smallest rms of its layers): {figure(spread['stored'])} stored"
    lines = [f"{text}, {figure(spread['effective'])} effective"]
    if spread["measured"] is not None:
        text = "measured from Adam's moments (largest over smallest step relative to the layer's rms)"
        lines.append(f"{text}: {figure(spread['measured'])}")
    return lines


def _rows(layer: Json, network: Json, axis: Axis, *, moved: bool, hazards: bool, brief: bool) -> Iterator[list[Cell]]:
    shape = shape_text(layer["shape"])
    head: list[Cell] = [layer["layer"], layer["kind"], shape, layer["dtype"], layer["fan_in"], layer["c"]]
    for index, (form, statistics) in enumerate(forms_of(layer)):
        yield [
            *(head if index == 0 or not brief else [""] * len(head)),
            form,
            *(_cell(name, form, layer, network) for name, _ in _FIGURES),
            axis.line(statistics["histogram"]),
            *([fp16_words(statistics)] if hazards else []),
            *([_ratio(layer, form, "rms"), _ratio(layer, form, "abs_max")] if moved else []),
            *(_cell(name, form, layer, network) for name, _ in _LAST),
        ]


def _cell(name: str, form: str, layer: Json, network: Json) -> Cell:
    place = layer[form].get(name)
    value = place if place is not None else value_of(FIELDS[name], form, layer, network)
    if value is None or not math.isfinite(value):
        return "overflow" if value == -math.inf else None
    if name == "adam_steps_per_rms" and value >= 100:
        return round(value)
    return round(value, 2) if name in ("binades", "fp16_snr_db") else value


def _ratio(layer: Json, form: str, name: str) -> Cell:
    value = layer.get("ratio", {}).get(form, {}).get(name)
    return None if value is None else f"{figure(value)}x"


def _data(content: Json) -> Table:
    """One row for each layer and form with every figure, under the names that rules use."""
    names = [field.name for field in FIELDS.values() if field.scope == "weights"]
    moved = any("ratio" in layer for _, _, layer in _layers(content))
    drifts = [f"ratio_{name}" for name in ("rms", "abs_max")] if moved else []
    head = ["path", "network", "layer", "kind", "shape", "dtype", "elements", "fan_in", "c", "weights"]
    rows: list[list[Cell]] = []
    for path, network, layer in _layers(content):
        for form, statistics in forms_of(layer):
            rows.append(
                [
                    *(path, network["name"], layer["layer"], layer["kind"], shape_text(layer["shape"])),
                    *(layer["dtype"], layer["elements"], layer["fan_in"], layer["c"], form),
                    *(_finite(value_of(FIELDS[name], form, layer, network)) for name in names),
                    *(statistics[name] for name in _MARKS),
                    *(layer.get("ratio", {}).get(form, {}).get(name.removeprefix("ratio_")) for name in drifts),
                ]
            )
    return Table([Column(name) for name in [*head, *names, *_MARKS, *drifts]], rows)


def audit_fields() -> dict[str, type]:
    """The columns of an audit of many files as a table for machines, with their types."""
    columns = [column.title for column in _data({"files": []}).columns]
    text = ("path", "network", "layer", "kind", "shape", "dtype", "weights")
    kinds: dict[str, type] = {**dict.fromkeys(text, str), **dict.fromkeys(_MARKS, bool)}
    return {**{name: kinds.get(name, float) for name in columns}, "error": str}


def audit_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of `audit_fields` that stand for the record of one file: two per layer, or one with its error."""
    if record["error"]:
        return [{"path": record["path"], "error": record["error"]}]
    table = _data({"files": [record]})
    names = [column.title for column in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in table.rows]
    return [{name: float(v) if type(v) is int else v for name, v in row.items()} for row in rows]


def _finite(value: float | None) -> float | None:
    return None if value is None or abs(value) == float("inf") else value


def _layers(content: Json) -> Iterator[tuple[str, Json, Json]]:
    for file in content["files"]:
        for network in file["networks"]:
            for layer in network["layers"]:
                yield file["path"], network, layer


def _network_json(network: NetworkRange) -> dict[str, Any]:
    return {
        **network_json(network.recognition),
        "learning_speed_spread": {
            "stored": network.stored_spread,
            "effective": network.effective_spread,
            "measured": network.measured_spread,
        },
        "layers": [_layer_json(entry, network.recognition.network.name) for entry in network.layers],
    }


def _layer_json(entry: LayerRange, network: str) -> dict[str, Any]:
    return {
        "network": network,
        **layer_json(entry.layer),
        "dtype": entry.dtype,
        "elements": entry.elements,
        "stored": statistics_json(entry.stored),
        "effective": statistics_json(entry.effective) if entry.effective else None,
        "adam_step": vars(entry.adam_step) if entry.adam_step else None,
    }


def statistics_json(statistics: Statistics) -> dict[str, Any]:
    """Statistics under their own names, the count of NaN and infinities together, int8 among the hazards."""
    data = {**vars(statistics), "nonfinite": statistics.nonfinite}
    data["histogram"] = vars(statistics.histogram)
    int8 = {name: {"snr_db": snr} for name, snr in data.pop("int8_snr_db").items()}
    data["hazards"] = {name: vars(hazard) for name, hazard in statistics.hazards.items()} | int8
    data["accumulation"] = vars(statistics.accumulation) if statistics.accumulation else None
    return data
