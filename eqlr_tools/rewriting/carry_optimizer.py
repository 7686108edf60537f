"""Optimizer states that go along when a network is converted into another family's layout.

The target's parameters stand in another order, some in another layout, and some rescaled by `r`; a state is laid out
as its parameter, its moments follow `r` (`checkpoints/optimizers.py` has the algebra), and its number is the place
of its parameter in the target's own modules. Two halves that become one parameter have their moments joined too. What
is not certain is left out with its reason, never guessed: torch starts anew for a parameter without a state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eqlr_tools.checkpoints.arranging import joined
from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.optimizers import Algorithm, Optimizer, algorithm_of, number, optimizers_of
from eqlr_tools.checkpoints.outputs import Output
from eqlr_tools.checkpoints.parameter_order import assign
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.checkpoints.trees import dotted
from eqlr_tools.errors import AmbiguousError, UnreadableError, UsageError
from eqlr_tools.families.naming import Naming, Slot
from eqlr_tools.families.training import Training
from eqlr_tools.networks.stylegan1 import FORM
from eqlr_tools.rewriting.canonical import CanonicalNetwork, Part, relaid_like
from eqlr_tools.rewriting.carry_groups import Member, grouped
from eqlr_tools.rewriting.edits import Edit
from eqlr_tools.rewriting.optimizer import LearningRate, moment_scale
from eqlr_tools.rewriting.scale import Scale

_BUFFERS = frozenset(
    """
    noise w_avg truncation fir blur smooth mean lod every_size transform freqs phases grid magnitude up_filter
    down_filter
    """.split()
)


@dataclass(frozen=True)
class Carried:
    """A canonical parameter on its way: what it was, where it goes, and what multiplies it."""

    part: Part
    slot: Slot
    scale: Scale | None


@dataclass(frozen=True)
class Moved:
    """What became of a network: its view, the names it has now, and of what each of its tensors is made.

    A tensor of which nothing was there before, a default, is made of nothing.
    """

    network: CanonicalNetwork
    naming: Naming
    made_of: Mapping[Slot, Carried | None]


@dataclass
class OptimizerStates:
    """The states to write, by their place; what was left out and why; the learning rates that differ."""

    trees: dict[tuple[str | int, ...], Any] = field(default_factory=dict)
    left_out: dict[TreePath, str] = field(default_factory=dict)
    origins: dict[int, Edit] = field(default_factory=dict)
    rates: list[LearningRate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put_into(self, tree: dict[str, Any]) -> None:
        """Add the states to a file. What belongs into a list stands in it without gaps, or the file does not load."""
        lists: dict[str, dict[int, Any]] = {}
        for place, state in self.trees.items():
            *path, last = place
            if isinstance(last, int):
                lists.setdefault(str(path[0]), {})[last] = state
                continue
            node = tree
            for key in path:
                node = node.setdefault(str(key), {})
            node[last] = state
        for key, states in lists.items():
            tree[key] = [states[index] for index in sorted(states)]
            if sorted(states) != list(range(len(states))):
                self.notes.append(f"{key} holds one state only, which the target's code expects behind another one")


def carry_optimizers(source: Checkpoint, moved: Mapping[str, Moved], *, flat: bool) -> OptimizerStates:
    """Carry what can be carried. `moved` are the networks of the source by their names."""
    states = OptimizerStates()
    for optimizer in optimizers_of(source):
        try:
            reason = "a flat container cannot hold it" if flat else _carry(source, optimizer, moved, states)
        except (AmbiguousError, UsageError, UnreadableError) as error:
            reason = str(error).removeprefix(f"{source.path}: ")
        if reason:
            states.left_out[optimizer.path] = reason
    return states


def is_parameter(slot: Slot) -> bool:
    """False for buffers: noise images, filters, averages."""
    buffer = slot.canonical.startswith(FORM) or slot.canonical.rpartition(".")[2] in _BUFFERS
    return not buffer and not slot.outside and not slot.read_only


def parameters_of_target(naming: Naming, slots: Sequence[Slot]) -> list[list[Slot]]:
    """The slots of each parameter, in the order of registration; a module under a second name counts once."""
    assert isinstance(naming.training, Training)
    order = naming.training.order
    found: dict[str, list[Slot]] = {}
    for slot in slots:
        if is_parameter(slot):
            found.setdefault(slot.stored, []).append(slot)
    seen: set[str] = set()
    parameters = []
    for stored in sorted(found, key=order):
        names = {slot.canonical for slot in found[stored]}
        if not names <= seen:
            parameters.append(found[stored])
        seen |= names
    return parameters


def _carry(source: Checkpoint, optimizer: Optimizer, moved: Mapping[str, Moved], states: OptimizerStates) -> str:
    """Carry one state; the reason if that cannot be."""
    algorithm = algorithm_of(optimizer)
    if isinstance(algorithm, str):
        return f"it has no exact counterpart: {algorithm}"
    known = {name: _known_parameters(to.network) for name, to in moved.items()}
    assignment = assign(source, optimizer, algorithm, lambda network, name: (network.name, name), known)
    if assignment is None or assignment.network.name not in moved:
        return "its network is not converted"
    to = moved[assignment.network.name]
    if isinstance(to.naming.training, str):
        return to.naming.training
    doubtful = next((key for key in assignment.names if not assignment.unique(key)), None)
    if doubtful is not None:
        return f"its parameter {doubtful} can be {' or '.join(assignment.names[doubtful][:4])}"
    left = [key for key in optimizer.state if key not in assignment.names]
    if left:
        return f"it has state of parameters in no group ({left[0]})"
    keys = {names[0]: key for key, names in assignment.names.items()}
    writer = _Writer(optimizer, algorithm, to, to.naming.training, keys, states)
    reason = writer.refusal()
    if not reason:
        states.trees[to.naming.training.state] = writer.tree(assignment.network.name)
    return reason


def _known_parameters(network: CanonicalNetwork) -> set[str]:
    """The tensors of a network that its own family's names say to be parameters."""
    parts = (*network.parts.values(), *network.copies)
    return {part.stored for part in parts if part.stored and is_parameter(part.slot)}


@dataclass
class _Writer:
    optimizer: Optimizer
    algorithm: Algorithm
    to: Moved
    training: Training
    keys: Mapping[str, Any]
    states: OptimizerStates

    def refusal(self) -> str:
        """Weight decay pulls towards zero, which is another place for a parameter that a constant is added to."""
        shifted = any(item and item.scale and item.scale.add for item in self.to.made_of.values())
        if shifted and any(number(group.get("weight_decay")) for group in self.optimizer.groups):
            return "a parameter is shifted, and its decay with it"
        return ""

    def tree(self, network: str) -> dict[str, Any]:
        """The state as the target's optimizer would have saved it."""
        parameters = parameters_of_target(self.to.naming, list(self.to.made_of))
        made_of = [self._items(slots) for slots in parameters]
        members = [self._member(slots[0].stored, items) for slots, items in zip(parameters, made_of, strict=True)]
        source = self.to.network.naming.training
        groups = grouped(self.optimizer, self.algorithm, source, self.training, members)
        numbers = {member.stored: place for place, member in enumerate(m for group in groups for m in group.members)}
        state = {}
        for items, member in zip(made_of, members, strict=True):
            values = self._state(items) if member.keys else {}
            if values:
                state[numbers[member.stored]] = values
        self._note_losses(made_of, members)
        self.states.rates += [
            LearningRate(self.optimizer.name, network, m.stored, self.algorithm.name, m.factor, m.rate, m.needed, rate)
            for group in groups
            if (rate := group.rate) is not None
            for m in group.members
            if m.rate is not None and m.needed is not None and (m.factor != 1.0 or m.needed != rate)
        ]
        self.states.notes += [self.training.remark] if self.training.remark else []
        self.states.notes += [note for group in groups for note in group.notes]
        written = [{**group.values, "params": [numbers[m.stored] for m in group.members]} for group in groups]
        return {"state": dict(sorted(state.items())), "param_groups": [_written(group) for group in written]}

    def _items(self, slots: Sequence[Slot]) -> list[Carried]:
        """What a parameter is made of, if that is as much of other parameters, one value of one value."""
        items = [item for slot in slots if (item := self.to.made_of[slot])]
        whole = len(items) == len(slots) and all(item.part.stored in self.keys for item in items)
        return items if whole and all(bool(i.part.slot.spread) == bool(i.slot.spread) for i in items) else []

    def _member(self, stored: str, items: list[Carried]) -> Member:
        keys = tuple(dict.fromkeys(self.keys[item.part.stored] for item in items))
        scale = items[0].scale if items else None
        return Member(stored, keys, scale.factor if scale else 1.0)

    def _state(self, items: list[Carried]) -> dict[str, Any]:
        held = [self.optimizer.state.get(self.keys[item.part.stored], {}) for item in items]
        names = dict.fromkeys(name for values in held for name in values)
        if any(values.keys() != names.keys() for values in held):
            return {}
        return {name: self._value(name, items, [values[name] for values in held]) for name in names}

    def _value(self, name: str, items: list[Carried], values: list[Any]) -> Any:
        if name not in self.algorithm.moments or not all(isinstance(value, Tensor) for value in values):
            return _written(values[0])
        power = self.algorithm.moments[name]
        outputs = [self._moment(item, value, power) for item, value in zip(items, values, strict=True)]
        output = outputs[0] if len(outputs) == 1 else Output(joined(outputs))
        key = self.keys[items[0].part.stored]
        where = dotted((*self.optimizer.path, "state", key, name))
        relaid = output.tensor is not values[0]
        scale = output.transform if isinstance(output.transform, Scale) else None
        self.states.origins[id(output)] = Edit(None, where, name, output.tensor, scale, relaid=relaid)
        return output

    def _moment(self, item: Carried, value: Tensor, power: int) -> Output:
        scale = moment_scale(item.scale, power) if item.scale and power else None
        scale = scale if scale and scale.factor != 1.0 else None
        return Output(relaid_like(item.part, item.slot, value), scale)

    def _note_losses(self, made_of: list[list[Carried]], members: list[Member]) -> None:
        name = self.optimizer.name
        anew = [member.stored for member in members if not member.keys]
        used = {item.part.stored for items in made_of for item in items}
        lost = [stored for stored, key in self.keys.items() if stored not in used and self.optimizer.state.get(key)]
        if lost:
            self.states.notes.append(f"optimizer {name}: the state of {_several(lost)} has no counterpart there")
        if anew:
            self.states.notes.append(f"optimizer {name}: {_several(anew)} of the target starts without a state")


def _several(names: list[str]) -> str:
    return f"{', '.join(names[:3])} and {len(names) - 3} more" if len(names) > 3 else ", ".join(names)


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _written(inner) for key, inner in value.items()}
    return Output(value) if isinstance(value, Tensor) else value


def notes_of(states: OptimizerStates) -> Iterator[str]:
    """What became of the states, in sentences."""
    for place in states.trees:
        where = ".".join(map(str, place))
        yield f"the optimizer state goes along as {where}, numbered as the target's own modules number their parameters"
    yield from dict.fromkeys(states.notes)
