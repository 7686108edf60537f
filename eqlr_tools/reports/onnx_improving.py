"""The report of `eqlr export model.onnx out.onnx`: what changed, what was left alone, how it compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eqlr_tools.reports.export import CHECKS, agreement_row, decibels
from eqlr_tools.reports.report import Cell, Column, Report, Table, bytes_text, shape_text

if TYPE_CHECKING:
    from eqlr_tools.onnx_export.improving.improve import Changes, Improved

_CHANGES = [Column("changed", right=False), Column("what", right=False, prose=True), Column("shape", 1)]
_LEFT = [Column("left alone", right=False), Column("why", right=False, prose=True)]


def improvement_report(done: Improved) -> Report:
    """Rows for scales and kernels, lines for the rest."""
    changes = done.changes
    content = {
        "source": str(done.source),
        "file": {"path": str(done.target), "nbytes": done.nbytes, "data_bytes": done.data_bytes},
        "precision": str(done.precision),
        "opset": done.opset,
        "nodes": {"before": done.nodes[0], "after": done.nodes[1]},
        "changes": _changes(changes),
        "left_alone": _left(changes),
        "checked": {
            "provider": str(done.provider),
            "required_snr_db": done.required_snr_db,
            "outputs": [{**vars(found), "batches": list(found.batches)} for found in done.agreements],
        },
        "build_seconds": done.build_seconds,
        "check_seconds": done.check_seconds,
    }
    rows: list[list[Cell]] = [
        [fold.weight, f"a scale of {fold.operator}'s weight is folded in", shape_text(fold.shape)]
        for fold in changes.folds
    ]
    rows += [
        [found.name, f"{found.operator} of a kernel per sample became {found.became}", shape_text(found.shape)]
        for found in changes.modulated
    ]
    tables = [Table(_CHANGES, rows)] if rows else []
    left = _left(changes)
    if left:
        tables.append(Table(_LEFT, [[entry["name"], entry["reason"]] for entry in left]))
    tables.append(Table(CHECKS, [agreement_row(found) for found in done.agreements]))
    least = min(found.snr_db for found in done.agreements)
    size = bytes_text(done.nbytes) + (f" and {bytes_text(done.data_bytes)} of data" if done.data_bytes else "")
    lines = [
        *_lines(changes),
        f"{done.target}: {done.nodes[0]} nodes became {done.nodes[1]}, {size}, {done.precision}, opset {done.opset}",
        f"checked on {done.provider} against {done.source}: SNR {decibels(least)} (at least {done.required_snr_db:g}); "
        f"built in {done.build_seconds:.2g} s, checked in {done.check_seconds:.2g} s",
    ]
    return Report("eqlr.improve/1", content, tables, lines)


def _changes(changes: Changes) -> dict[str, Any]:
    return {
        "folded": [{"weight": f.weight, "operator": f.operator, "factor": f.factor} for f in changes.folds],
        "constant_nodes": changes.constant_nodes,
        "constant_norms": changes.norms,
        "modulated": [{**vars(found), "shape": list(found.shape)} for found in changes.modulated],
        "freed_batch": changes.freed_batch,
        "half_convolutions": changes.halved.convolutions if changes.halved else 0,
        "half_other_nodes": changes.halved.others if changes.halved else 0,
    }


def _left(changes: Changes) -> list[dict[str, str]]:
    left = [{"name": each.name, "reason": f"{each.operator}: {each.reason}"} for each in changes.left]
    if changes.halved:
        left += [{"name": name, "reason": f"in fp32: {reason}"} for name, reason in changes.halved.kept.items()]
    if changes.batch_reason:
        left.append({"name": "batch", "reason": f"stays fixed: {changes.batch_reason}"})
    return left


def _lines(changes: Changes) -> list[str]:
    lines = []
    if changes.folds:
        lines.append(f"{len(changes.folds)} scales folded into weights")
    if changes.constant_nodes:
        lines.append(f"{changes.constant_nodes} nodes computed beforehand, or taken out since they do nothing")
    if changes.modulated:
        lines.append(
            f"{len(changes.modulated)} convolutions with computed weights got constant ones; "
            f"{changes.norms} norms are computed without kernels"
        )
    if changes.freed_batch:
        lines.append(f"the batch, fixed at {changes.freed_batch}, is free")
    if changes.halved:
        lines.append(
            f"{changes.halved.convolutions} convolutions and {changes.halved.others} nodes between them in fp16"
        )
    return lines
