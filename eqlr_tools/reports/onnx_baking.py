"""The report of `eqlr bake` of an ONNX model: a row per folded scale."""

from __future__ import annotations

from typing import Any

from eqlr_tools.onnx_export.baking import BakedModel
from eqlr_tools.onnx_export.fold import Fold
from eqlr_tools.reports.report import Column, Report, Table, figure, shape_text

_FOLDS = [
    Column("operator", 1, right=False),
    Column("source", right=False),
    Column("target", 2, right=False),
    Column("factor"),
    Column("dtype", 3, right=False),
    Column("shape", 4),
]


def onnx_baking_report(baked: BakedModel) -> Report:
    """What was folded, and how far the folded model's outputs are from the source's."""
    agreement = baked.agreement
    content = {
        "operation": "bake",
        "source": str(baked.source),
        "target": str(baked.target),
        "family": "onnx",
        "steps": [_step(fold) for fold in baked.folds],
        "dropped": [],
        "notes": [],
        "verified": None
        if agreement is None
        else {"passed": True, "max_relative": agreement.max_relative, "outputs": agreement.outputs},
    }
    lines = [f"bake: {len(baked.folds)} scales folded into weights"]
    if agreement is None:
        lines.append("dry run: nothing was written")
    else:
        lines.append(
            f"{baked.target}: written and verified in ONNX Runtime: {agreement.outputs} outputs, "
            f"largest relative difference {agreement.max_relative:.2g}"
        )
    table = Table(_FOLDS, [_row(fold) for fold in baked.folds])
    return Report("eqlr.plan/1", content, [table], lines)


def _step(fold: Fold) -> dict[str, Any]:
    return {
        "action": "rescale",
        "network": "model",
        "source": fold.weight,
        "target": fold.target,
        "factor": fold.factor,
        "dtype": fold.dtype,
        "shape": list(fold.shape),
    }


def _row(fold: Fold) -> list[str | int | None]:
    factor = "per channel" if fold.factor is None else figure(fold.factor)
    return [fold.operator, fold.weight, fold.target, factor, fold.dtype, shape_text(fold.shape)]
