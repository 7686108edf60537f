"""The report of `eqlr audit`: two rows per layer, stored and effective, and the learning-speed spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eqlr_tools.ranges.audit import LayerRange, NetworkRange
from eqlr_tools.ranges.statistics import Statistics
from eqlr_tools.reports.explain import layer_json
from eqlr_tools.reports.report import Cell, Column, Report, Table, figure, shape_text
from eqlr_tools.reports.scan import network_json

_COLUMNS = [
    Column("path", 20, right=False),
    Column("network", 19, right=False),
    Column("layer", right=False),
    Column("kind", 12, right=False),
    Column("shape", 11),
    Column("dtype", 13, right=False),
    Column("fan in", 14),
    Column("c", 6),
    Column("weights", 1, right=False),
    Column("rms", 0),
    Column("std", 10),
    Column("min nonzero", 5),
    Column("abs max", 2),
    Column("binades", 4),
    Column("zeros", 9),
    Column("nonfinite", 3),
    Column("adam steps per rms", 7),
]


def audit_report(audits: Sequence[tuple[Path, Sequence[NetworkRange]]]) -> Report:
    """Build the report of one or several files: a table per network, its spread below."""
    tables = [
        Table(_COLUMNS, _rows(path, network), _title(path, network), _footer(network))
        for path, networks in audits
        for network in networks
    ]
    content = {
        "files": [{"path": str(path), "networks": [_json(network) for network in nets]} for path, nets in audits]
    }
    return Report("eqlr.audit/1", content, tables)


def _title(path: Path, network: NetworkRange) -> str:
    recognition = network.recognition
    note = f" ({recognition.note})" if recognition.note else ""
    return f"{path}: network {recognition.network.name}, {recognition.family}{note}"


def _footer(network: NetworkRange) -> list[str]:
    stored, effective = network.stored_spread, network.effective_spread
    if stored is None or effective is None:
        return []
    text = f"learning-speed spread (largest over smallest rms of its layers): {figure(stored)} stored"
    lines = [f"{text}, {figure(effective)} effective"]
    if network.measured_spread is not None:
        lines.append(
            f"measured from Adam's moments (largest over smallest step relative to the layer's rms): "
            f"{figure(network.measured_spread)}"
        )
    return lines


def _rows(path: Path, network: NetworkRange) -> list[list[Cell]]:
    rows = []
    for entry in network.layers:
        layer = entry.layer
        head: list[Cell] = [
            str(path),
            network.recognition.network.name,
            layer.name,
            layer.kind,
            shape_text(layer.shape),
            entry.dtype,
            layer.fan_in or None,
            layer.scale,
        ]
        rows.append([*head, "stored", *_cells(entry.stored)])
        if entry.effective is not None and layer.equalized:
            rows.append([*head, "effective", *_cells(entry.effective)])
    return rows


def _cells(statistics: Statistics) -> list[Cell]:
    s = statistics
    binades = None if s.binades is None else round(s.binades, 2)
    return [s.rms, s.std, s.min_nonzero, s.abs_max, binades, s.zeros, s.nonfinite, s.adam_steps_per_rms]


def _json(network: NetworkRange) -> dict[str, Any]:
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
