"""Optimizer states that go along when a network is converted into another family's layout.

The target's parameters stand in another order, some in another layout, and some rescaled by `r`; a state is laid out
as its parameter, its moments follow `r` (`checkpoints/optimizers.py` has the algebra), and its number is the place
of its parameter in the target's own modules. What is not certain is left out with its reason, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.optimizers import Algorithm, Optimizer, algorithm_of, number, optimizers_of
from eqlr_tools.checkpoints.outputs import Output
from eqlr_tools.checkpoints.parameter_order import assign
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.checkpoints.trees import dotted
from eqlr_tools.errors import AmbiguousError, UsageError
from eqlr_tools.families.naming import Naming, Slot
from eqlr_tools.rewriting.canonical import Part, relaid_like
from eqlr_tools.rewriting.edits import Edit
from eqlr_tools.rewriting.optimizer import LearningRate, moment_scale
from eqlr_tools.rewriting.scale import Scale

_BUFFERS = (".noise", "fir", "mapping.w_avg")


@dataclass(frozen=True)
class Carried:
    """A parameter on its way: what it was, where it goes, and what multiplies it."""

    part: Part
    slot: Slot
    key: str
    scale: Scale | None


@dataclass
class OptimizerStates:
    """The states to write, by their key in the target; what was left out and why; the learning rates that differ."""

    trees: dict[str, Any] = field(default_factory=dict)
    left_out: dict[TreePath, str] = field(default_factory=dict)
    origins: dict[int, Edit] = field(default_factory=dict)
    rates: list[LearningRate] = field(default_factory=list)


def carry_optimizers(
    source: Checkpoint, carried: Mapping[str, list[Carried]], namings: Mapping[str, Naming], *, flat: bool
) -> OptimizerStates:
    """Carry what can be carried. `carried` are the parameters of each network of the source by the network's name."""
    states = OptimizerStates()
    for optimizer in optimizers_of(source):
        try:
            reason = "a flat container cannot hold it" if flat else _carry(source, optimizer, carried, namings, states)
        except (AmbiguousError, UsageError) as error:
            reason = str(error).removeprefix(f"{source.path}: ")
        if reason:
            states.left_out[optimizer.path] = reason
    return states


def is_parameter(slot: Slot) -> bool:
    """False for buffers: noise images, filters, averages."""
    return not slot.canonical.endswith(_BUFFERS)


def _carry(
    source: Checkpoint,
    optimizer: Optimizer,
    carried: Mapping[str, list[Carried]],
    namings: Mapping[str, Naming],
    states: OptimizerStates,
) -> str:
    """Carry one state; the reason if that cannot be."""
    algorithm = algorithm_of(optimizer)
    if isinstance(algorithm, str):
        return f"it has no exact counterpart: {algorithm}"
    assignment = assign(source, optimizer, algorithm, lambda network, name: (network.name, name))
    if assignment is None or assignment.network.name not in carried:
        return "its network is not converted"
    network = assignment.network
    naming = namings[network.name]
    if naming.order is None or not naming.optimizer_place:
        return "eqlr does not know in which order the target's code numbers its parameters"
    doubtful = next((key for key in assignment.names if not assignment.unique(key)), None)
    if doubtful is not None:
        return f"its parameter {doubtful} can be {' or '.join(assignment.names[doubtful][:4])}"
    by_source = {network.key(item.part.stored): item for item in carried[network.name] if item.part.stored}
    items = {key: by_source.get(network.key(names[0])) for key, names in assignment.names.items()}
    lost = next((key for key, item in items.items() if item is None), None)
    if lost is not None:
        return f"the target has no parameter for {assignment.names[lost][0]}"
    known = {key: item for key, item in items.items() if item is not None}
    writer = _Writer(optimizer, algorithm, known, _numbers(optimizer, known, carried[network.name], naming), states)
    tree = writer.tree(network.name)
    if isinstance(tree, str):
        return tree
    states.trees[naming.optimizer_place] = tree
    return ""


def _numbers(
    optimizer: Optimizer, known: Mapping[Any, Carried], everything: list[Carried], naming: Naming
) -> dict[str, int]:
    """The number of each parameter of the target: through the groups, in each in the order of the target's modules."""
    assert naming.order is not None
    order = naming.order
    parameters = [item for item in everything if is_parameter(item.slot)]
    if len(optimizer.groups) == 1:
        ranked = sorted({item.key: item for item in parameters}.values(), key=lambda item: order(item.slot.stored))
        return {item.key: place for place, item in enumerate(ranked)}
    numbers: dict[str, int] = {}
    for group in optimizer.groups:
        members = [known[key] for key in optimizer.keys(group)]
        for item in sorted(members, key=lambda item: order(item.slot.stored)):
            numbers[item.key] = len(numbers)
    return numbers


@dataclass
class _Writer:
    optimizer: Optimizer
    algorithm: Algorithm
    items: Mapping[Any, Carried]
    numbers: dict[str, int]
    states: OptimizerStates

    def tree(self, network: str) -> dict[str, Any] | str:
        """The state as the target's optimizer would have saved it, or why that cannot be."""
        left = [key for key in self.optimizer.state if key not in self.items]
        if left:
            return f"it has state of parameters in no group ({left[0]})"
        if any(item.scale and item.scale.add for item in self.items.values()) and self._shifted():
            return "a parameter is shifted, and its decay with it"
        state = {self.numbers[item.key]: self._state(key, item) for key, item in self.items.items()}
        groups, single = [], len(self.optimizer.groups) == 1
        for group in self.optimizer.groups:
            members = [self.numbers[self.items[key].key] for key in self.optimizer.keys(group)]
            params = list(range(len(self.numbers))) if single else sorted(members)
            groups.append({**{k: _written(v) for k, v in group.items() if k != "param_names"}, "params": params})
            self._record_rates(network, group)
        return {"state": dict(sorted((k, v) for k, v in state.items() if v)), "param_groups": groups}

    def _shifted(self) -> bool:
        """Weight decay pulls towards zero, which is another place for a parameter that a constant is added to."""
        return any(number(group.get("weight_decay")) for group in self.optimizer.groups)

    def _state(self, key: Any, item: Carried) -> dict[str, Any]:
        return {name: self._value(key, item, name, v) for name, v in self.optimizer.state.get(key, {}).items()}

    def _value(self, key: Any, item: Carried, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor) or name not in self.algorithm.moments:
            return _written(value)
        power = self.algorithm.moments[name]
        scale = moment_scale(item.scale, power) if item.scale and power else None
        tensor = relaid_like(item.part, item.slot, value)
        output = Output(tensor, scale)
        where = dotted((*self.optimizer.path, "state", key, name))
        self.states.origins[id(output)] = Edit(None, where, name, tensor, scale, relaid=tensor is not value)
        return output

    def _record_rates(self, network: str, group: dict[str, Any]) -> None:
        rate = number(group.get("lr"))
        for key in self.optimizer.keys(group) if rate is not None else ():
            scale, part = self.items[key].scale, self.items[key].part
            if rate is not None and scale is not None and scale.factor != 1.0:
                needed = rate * scale.factor**self.algorithm.lr
                name, stored = self.optimizer.name, part.stored
                self.states.rates.append(
                    LearningRate(name, network, stored, self.algorithm.name, scale.factor, rate, needed, rate)
                )


def _written(value: Any) -> Any:
    return Output(value) if isinstance(value, Tensor) else value
