"""The report of `eqlr scan`: a row per checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.trees import dotted
from eqlr_tools.families.registry import Recognition
from eqlr_tools.reports.report import Column, Report, Table, bytes_text


@dataclass(frozen=True)
class Scanned:
    """One path of a scan: a checkpoint with its recognised networks, or the error that opening it gave."""

    path: Path
    checkpoint: Checkpoint | None = None
    recognitions: tuple[Recognition, ...] = ()
    error: str = ""


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


def scan_report(scanned: Sequence[Scanned]) -> Report:
    """Build the report; `layers` counts equalized layers of all weight layers."""
    rows = [_row(item) for item in scanned]
    notes = [
        f"{item.path}: {recognition.network.name}: {recognition.note}"
        for item in scanned
        for recognition in item.recognitions
        if recognition.note
    ]
    errors = [item.error for item in scanned if item.error]
    table = Table(_COLUMNS, rows, footer=[*notes, *errors])
    return Report("eqlr.scan/1", {"checkpoints": [_json(item) for item in scanned]}, [table])


def families_of(recognitions: Sequence[Recognition]) -> str:
    """The families of a checkpoint's networks, plain only if nothing else is there."""
    found = sorted({recognition.family for recognition in recognitions})
    return ", ".join([name for name in found if name != "plain"] or found)


def _row(item: Scanned) -> list[str | int | None]:
    if item.checkpoint is None:
        return [str(item.path), None, "unreadable", None, None, None, None, None]
    names = " ".join(recognition.network.name for recognition in item.recognitions)
    layers = sum(len(recognition.layers) for recognition in item.recognitions)
    equalized = sum(len(recognition.equalized) for recognition in item.recognitions)
    return [
        str(item.path),
        item.checkpoint.container,
        families_of(item.recognitions) or "no network",
        names,
        f"{equalized}/{layers}",
        sum(recognition.network.parameters for recognition in item.recognitions),
        bytes_text(item.checkpoint.nbytes),
        " ".join(dotted(path) for path in item.checkpoint.optimizers) or "none",
    ]


def _json(item: Scanned) -> dict[str, Any]:
    if item.checkpoint is None:
        return {"path": str(item.path), "error": item.error}
    return {
        "path": str(item.path),
        "container": item.checkpoint.container,
        "family": families_of(item.recognitions) or None,
        "networks": [network_json(recognition) for recognition in item.recognitions],
        "layers": sum(len(recognition.layers) for recognition in item.recognitions),
        "equalized": sum(len(recognition.equalized) for recognition in item.recognitions),
        "parameters": sum(recognition.network.parameters for recognition in item.recognitions),
        "bytes": item.checkpoint.nbytes,
        "optimizers": [dotted(path) for path in item.checkpoint.optimizers],
        "loose_tensors": len(item.checkpoint.loose),
        "metadata": item.checkpoint.metadata,
        "error": None,
    }


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
