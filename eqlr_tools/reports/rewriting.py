"""The reports of `bake`, `equalize`, `convert` (the plan that they ran) and `verify`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eqlr_tools.reports.report import Cell, Column, Report, Table, figure, shape_text
from eqlr_tools.rewriting.distances import Comparison
from eqlr_tools.rewriting.optimizer import LearningRate
from eqlr_tools.rewriting.plan import Plan, Step
from eqlr_tools.rewriting.verify import Verification

_STEPS = [
    Column("action", right=False),
    Column("network", 3, right=False),
    Column("source", 2, right=False),
    Column("target", right=False),
    Column("factor", 1),
    Column("dtype", 4, right=False),
    Column("shape", 5),
]
_RATES = [
    Column("optimizer", 2, right=False),
    Column("network", 4, right=False),
    Column("parameter", right=False),
    Column("algorithm", 3, right=False),
    Column("factor", 5),
    Column("lr before", 1),
    Column("lr to keep pace", 1),
    Column("lr written", 1),
    Column("step is now", 0),
]
_COMPARISONS = [
    Column("network", 2, right=False),
    Column("tensor", right=False),
    Column("result", right=False),
    Column("max ulp", 1),
    Column("max relative", 3),
    Column("differing", 4),
    Column("elements", 5),
]


def plan_report(plan: Plan, verification: Verification | None) -> Report:
    """The plan, and if it was run, the verification. A terminal sees what would change, or only what was done."""
    content = {
        "operation": plan.operation,
        "source": str(plan.source.path),
        "target": str(plan.target),
        "family": plan.family,
        "steps": [_step_json(step) for step in plan.steps],
        "dropped": [{"network": drop.network, "tensor": drop.tensor, "reason": drop.reason} for drop in plan.dropped],
        "notes": list(plan.notes),
        "learning_rates": [{**vars(rate), "step_ratio": rate.step_ratio} for rate in plan.rates],
        "verified": verification_json(verification) if verification else None,
    }
    lines = [_summary(plan), *(f"note: {note}" for note in plan.notes)]
    if verification:
        lines.append(f"{plan.target}: written and verified: {_verdict(verification)}")
    else:
        lines.append("dry run: nothing was written")
    table = Table(_STEPS, [_step_row(step) for step in plan.steps])
    changes = Table(_STEPS, [row for row in table.rows if row[0] != "copy"])
    rates = [Table(_RATES, [_rate_row(rate) for rate in plan.rates], "learning rates", _rates_footer(plan))]
    shown = ([] if verification else [changes]) + (rates if plan.rates else [])
    return Report("eqlr.plan/1", content, [table, *rates], lines, brief=shown)


def verify_report(first: Path, second: Path, verification: Verification) -> Report:
    """The comparison of two files; a terminal sees the tensors that are not within the tolerance."""
    content = {
        "first": str(first),
        "second": str(second),
        "networks": [{"first": a, "second": b} for a, b in verification.pairs],
        **verification_json(verification),
        "comparisons": [vars(comparison) for comparison in verification.comparisons],
        "notes": list(verification.notes),
    }
    table = Table(_COMPARISONS, [_comparison_row(comparison) for comparison in _worst_first(verification.comparisons)])
    failures = Table(_COMPARISONS, [_comparison_row(comparison) for comparison in _worst_first(verification.failures)])
    verdict = "the same effective weights" if verification.passed else "NOT the same"
    lines = [*verification.notes, f"{first} and {second}: {verdict}: {_verdict(verification)}"]
    return Report("eqlr.verify/1", content, [table], lines, brief=[failures] if verification.failures else [])


def verification_json(verification: Verification) -> dict[str, Any]:
    """The figures of a verification."""
    return {
        "passed": verification.passed,
        "tensors": len(verification.comparisons),
        "failed": len(verification.failures),
        "max_ulp": verification.max_ulp,
        "max_relative": verification.max_relative,
        "tolerance_ulp": verification.tolerance_ulp,
    }


def _verdict(verification: Verification) -> str:
    count = len(verification.comparisons)
    if verification.failures:
        return f"{len(verification.failures)} of {count} tensors differ by more than {verification.tolerance_ulp} ulp"
    if verification.max_ulp == 0:
        return f"{count} tensors, bit for bit"
    relative = figure(verification.max_relative, 2)
    return f"{count} tensors, at most {verification.max_ulp} ulp apart (relative {relative})"


def _summary(plan: Plan) -> str:
    actions = [step.action for step in plan.steps]
    counts = [(name, actions.count(name)) for name in ("rescale", "normalise", "reshape", "rename", "add", "copy")]
    parts = [f"{count} {name}" for name, count in counts if count]
    if plan.dropped:
        parts.append(f"{len(plan.dropped)} dropped")
    return f"{plan.operation} ({plan.family}): {', '.join(parts)}"


def _step_json(step: Step) -> dict[str, Any]:
    return {**vars(step), "shape": list(step.shape)}


def _step_row(step: Step) -> list[Cell]:
    factor = None if step.factor == 1.0 else step.factor
    return [step.action, step.network, step.source, step.target, factor, step.dtype, shape_text(step.shape)]


def _rate_row(rate: LearningRate) -> list[Cell]:
    ratio = f"{figure(rate.step_ratio)}×"
    return [
        rate.optimizer,
        rate.network,
        rate.parameter,
        rate.algorithm,
        rate.factor,
        rate.before,
        rate.needed,
        rate.written,
        ratio,
    ]


def _rates_footer(plan: Plan) -> list[str]:
    if all(math.isclose(rate.step_ratio, 1.0) for rate in plan.rates):
        return ["one group per constant: with exact arithmetic, training goes on as it would have"]
    if plan.places:  # A conversion, whose groups are those of the target's code.
        return [
            "moments are converted; a group of the target has the learning rate that most of its layers need: a step "
            "moves the others that many times as far as before"
        ]
    return [
        "moments are converted, learning rates are as they were: a step moves a layer that many times as far as "
        "before; --keep-trajectory writes the rates to keep pace"
    ]


def _worst_first(comparisons: Sequence[Comparison]) -> list[Comparison]:
    return sorted(comparisons, key=lambda c: (c.equal, -(c.max_ulp if c.max_ulp is not None else 1 << 62)))


def _comparison_row(c: Comparison) -> list[Cell]:
    result = "within tolerance" if c.equal else c.problem
    return [c.network, c.name, result, c.max_ulp, c.max_relative, c.differing, c.elements]
