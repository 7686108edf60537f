"""Pickled optimizer objects as data: what `Optimizer.state_dict()` would have returned.

An optimizer object keeps its state by parameter (old torch: by the parameter's address), its state dict by the
parameter's number, counted through the parameter groups. Only the second form can be related to a model's names.
"""

from __future__ import annotations

from typing import Any

from eqlr_tools.checkpoints.pickled_values import Record


def is_optimizer(record: Record) -> bool:
    """True for the state of a `torch.optim.Optimizer`, whatever its class."""
    attributes = record.attributes
    groups = attributes.get("param_groups")
    return (
        "state" in attributes
        and isinstance(groups, list)
        and bool(groups)
        and all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups)
    )


def optimizer_state(record: Record) -> dict[str, Any]:
    """{"state": {number: moments}, "param_groups": [options with the numbers of their parameters]}."""
    attributes = record.attributes
    numbers: dict[int, int] = {}
    groups = []
    for group in attributes["param_groups"]:
        for parameter in group["params"]:
            numbers.setdefault(id(parameter), len(numbers))
        groups.append({**group, "params": [numbers[id(parameter)] for parameter in group["params"]]})
    moments = attributes["state"]
    pairs = moments.pairs if isinstance(moments, Record) else moments if isinstance(moments, dict) else {}
    return {"state": {numbers.get(id(key), key): value for key, value in pairs.items()}, "param_groups": groups}
