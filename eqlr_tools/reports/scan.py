"""The report of `eqlr scan`: a row per checkpoint, made from records of plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.trees import dotted
from eqlr_tools.families.registry import Recognition
from eqlr_tools.reports.report import Cell, Column, Report, Table, bytes_text

_COLUMNS = [
    Column("path", right=False),
    Column("container", 3, right=False),
    Column("family", right=False),
    Column("networks", 2, right=False),
    Column("layers", 1),
    Column("parameters", 4),
    Column("size", 5),
    Column("optimizer", 6, right=False),
]

_TOLD_ALONE = 3
"""Up to so many networks about which the same is told are named."""

SCAN_FIELDS: dict[str, type] = {
    "path": str,
    "container": str,
    "family": str,
    "networks": str,
    "layers": int,
    "equalized": int,
    "parameters": int,
    "bytes": int,
    "optimizers": str,
    "note": str,
    "stamp": str,
    "error": str,
}
"""The columns of a scan as a table for machines (CSV and Parquet of many files), with their types."""


def scan_content(checkpoint: Checkpoint, recognitions: Sequence[Recognition]) -> dict[str, Any]:
    """What a scan says of one checkpoint, as plain data. `layers` counts all weight layers, `equalized` some."""
    return {
        "container": checkpoint.container,
        "family": families_of(recognitions) or None,
        "networks": [network_json(recognition) for recognition in recognitions],
        "layers": sum(len(recognition.layers) for recognition in recognitions),
        "equalized": sum(len(recognition.equalized) for recognition in recognitions),
        "parameters": sum(recognition.network.parameters for recognition in recognitions),
        "bytes": checkpoint.nbytes,
        "optimizers": [dotted(path) for path in checkpoint.optimizers],
        "loose_tensors": len(checkpoint.loose),
        "metadata": checkpoint.metadata,
        "left_out": checkpoint.left_out or None,
    }


def scan_report(records: Sequence[dict[str, Any]]) -> Report:
    """Build the report of several checkpoints from their records (`path`, `error` and `scan_content`)."""
    errors = [record["error"] for record in records if record["error"]]
    table = Table(_COLUMNS, [_row(record) for record in records], footer=[*_notes(records), *errors])
    return Report("eqlr.scan/1", {"checkpoints": list(records)}, [table])


def _notes(records: Sequence[dict[str, Any]]) -> list[str]:
    """What is told of the networks; what is told of many is told once."""
    said: dict[str, list[str]] = {}
    left_out = [f"{record['path']}: {record['left_out']}" for record in records if record.get("left_out")]
    for record in records:
        for network in record.get("networks", []):
            if network["note"]:
                said.setdefault(network["note"], []).append(f"{record['path']}: {network['name']}")
    alone = [f"{name}: {note}" for note, names in said.items() if len(names) <= _TOLD_ALONE for name in names]
    return (
        left_out
        + alone
        + [f"{len(names)} networks: {note}" for note, names in said.items() if len(names) > _TOLD_ALONE]
    )


def scan_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The row of `SCAN_FIELDS` that stands for a record."""
    row = {name: record.get(name) for name in SCAN_FIELDS}
    row["networks"] = " ".join(network["name"] for network in record.get("networks", []))
    row["note"] = "; ".join(dict.fromkeys(network["note"] for network in record.get("networks", []) if network["note"]))
    row["optimizers"] = " ".join(record.get("optimizers", []))
    return [row]


def families_of(recognitions: Sequence[Recognition]) -> str:
    """The families of a checkpoint's networks, plain only if nothing else is there."""
    found = sorted({recognition.family for recognition in recognitions})
    return ", ".join([name for name in found if name != "plain"] or found)


def _row(record: dict[str, Any]) -> list[Cell]:
    if record["error"]:
        return [record["path"], None, "unreadable", None, None, None, None, None]
    return [
        record["path"],
        record["container"],
        record["family"] or "no network",
        " ".join(network["name"] for network in record["networks"]),
        f"{record['equalized']}/{record['layers']}",
        record["parameters"],
        bytes_text(record["bytes"]),
        " ".join(record["optimizers"]) or "none",
    ]


def network_json(recognition: Recognition) -> dict[str, Any]:
    """A network as `scan` and `explain` describe it."""
    network = recognition.network
    return {
        "name": network.name,
        "family": recognition.family,
        "layout": recognition.layout.id if recognition.layout else None,
        "prefix": network.prefix,
        "tensors": len(network.tensors),
        "parameters": network.parameters,
        "layers": len(recognition.layers),
        "equalized": len(recognition.equalized),
        "note": recognition.note or None,
    }
