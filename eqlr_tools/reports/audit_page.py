"""What the HTML page of an audit holds: figures for its drawings, and a table that judges every number format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eqlr_tools.reports.baseline import Json, forms_of
from eqlr_tools.reports.depth import in_depth
from eqlr_tools.reports.hazards import format_words, fp16_words
from eqlr_tools.reports.report import Cell, Column, Page, Table, figure, shape_text

_FORMATS = ("fp16", "bf16", "fp8_e4m3", "fp8_e5m2")
_INT8 = ("int8_per_tensor", "int8_per_channel")
_COLUMNS = [
    Column("layer", right=False),
    Column("weights", right=False),
    Column("rms"),
    Column("abs max"),
    *(Column(f"in {name.replace('_', ' ')}", right=False) for name in _FORMATS),
    *(Column(f"{name.replace('_', ' ')}, dB") for name in _INT8),
    *(Column(title) for title in ("min nonzero", "binades", "adam steps per rms", "c", "fan in", "shape")),
    Column("kind", right=False),
]
_CONTROLS = (
    '<select id="weights" aria-label="Which weights"><option value="">stored and effective</option>'
    '<option value="stored">stored only</option><option value="effective">effective only</option></select>',
    '<label><input id="hazardous" type="checkbox"> only hazards in fp16</label>',
)


def audit_page(content: Json, sorted_by: str | None = None) -> Page:
    """The page of an audit, whose layers are in the file's order or were sorted by a figure."""
    ordered = sorted_by is not None
    networks = [
        (file["path"], network if ordered else {**network, "layers": in_depth(network["layers"])})
        for file in content["files"]
        for network in file["networks"]
    ]
    tables = [_table(path, network) for path, network in networks]
    data = {
        "networks": [_network(path, network) for path, network in networks],
        "baseline": content["baseline"],
        "order": f"sorted by {sorted_by}" if ordered else "in the file's order",
    }
    paths = [file["path"] for file in content["files"]]
    title = f"Audit of {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    findings = [
        (finding["rule"], f"{finding['network']} {finding['layer'] or ''}: {finding['sentence']}")
        for finding in content["findings"]
    ]
    return Page("audit", data, title, tables, _CONTROLS, findings)


def _table(path: str, network: Json) -> Table:
    moved = any("ratio" in layer for layer in network["layers"])
    columns = [*_COLUMNS, *([Column("rms / before"), Column("abs max / before")] if moved else [])]
    rows = [row for layer in network["layers"] for row in _rows(layer, moved=moved)]
    return Table(columns, rows, f"{path}: {network['name']}")


def _rows(layer: Json, *, moved: bool) -> Iterator[list[Cell]]:
    for form, s in forms_of(layer):
        int8 = (s["hazards"][name]["snr_db"] for name in _INT8)
        yield [
            *(layer["layer"], form, s["rms"], s["abs_max"]),
            *(format_words(s, name) for name in _FORMATS),
            *(None if snr is None else round(snr, 1) for snr in int8),
            *(s["min_nonzero"], _rounded(s["binades"], 2), _rounded(s["adam_steps_per_rms"], 1)),
            *(layer["c"], layer["fan_in"], shape_text(layer["shape"]), layer["kind"]),
            *(layer.get("ratio", {}).get(form, {}).get(name) for name in (("rms", "abs_max") if moved else ())),
        ]


def _rounded(value: float | None, digits: int) -> float | int | None:
    """A figure as a table shows it; from 1000 on a whole number."""
    return value if value is None else round(value) if value >= 1000 else round(value, digits)


def _network(path: str, network: Json) -> Json:
    return {
        "path": path,
        "name": network["name"],
        "family": network["family"],
        "note": network["note"],
        "spread": network["learning_speed_spread"],
        "layers": [_layer(layer) for layer in network["layers"]],
    }


def _layer(layer: Json) -> Json:
    shown = dict(forms_of(layer))
    before = layer.get("before", {})
    worst = next((words for form in reversed(shown) if (words := fp16_words(shown[form]))), None)
    return {
        "name": layer["layer"],
        "about": f"{layer['kind']} {shape_text(layer['shape'])}, {layer['formula']}",
        "hazards": [
            {"form": form, "text": words.text, "level": words.level}
            for form, statistics in shown.items()
            if (words := fp16_words(statistics))
        ],
        "level": worst.level if worst else "good",
        "forms": {form: _curve(statistics) for form, statistics in shown.items()},
        "before": {form: _curve(before[form]) for form in shown if before.get(form)},
        "ratio": {form: figure(layer.get("ratio", {}).get(form, {}).get("rms")) for form in shown},
    }


def _curve(statistics: Json) -> dict[str, Any]:
    histogram = statistics.get("histogram") or {}
    exponents = histogram.get("exponents") or [0]
    return {
        "rms": statistics.get("rms"),
        "text": figure(statistics.get("rms")),
        "steps": figure(statistics.get("adam_steps_per_rms")),
        "low": exponents[0],
        "counts": histogram.get("counts") or [],
    }
