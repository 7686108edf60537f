"""The parameter groups that a converted optimizer state expects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from eqlr_tools.errors import UsageError


def parameter_groups(module: nn.Module, state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Groups of the module's parameters, as an optimizer state that names them (`param_names`) divides them.

    `eqlr bake --keep-trajectory` writes one group per constant; this builds the optimizer that can load it:

        optimizer = torch.optim.Adam(parameter_groups(model, state))
        optimizer.load_state_dict(state)

    Raises UsageError if the state has no names, or they are not this module's.
    """
    parameters = dict(module.named_parameters())
    groups = []
    for group in state["param_groups"]:
        names = group.get("param_names")
        if names is None:
            raise UsageError("this optimizer state does not name its parameters", hint="pass module.parameters()")
        missing = [name for name in names if name not in parameters]
        if missing:
            raise UsageError(f"the module has no parameter called {missing[0]!r}, which the optimizer state names")
        hyper = {key: value for key, value in group.items() if key not in ("params", "param_names")}
        groups.append({**hyper, "params": [parameters[name] for name in names]})
    return groups
