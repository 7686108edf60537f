"""The optimizer states of a checkpoint, converted with its weights.

Whatever a plan does to a network's tensors, `p' = r * p`, decides what happens to the state of its optimizer
(`checkpoints/optimizers.py` has the algebra), and a changed order of the parameters renumbers it. So this works on a
plan's edits and does not ask which command made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network
from eqlr_tools.checkpoints.optimizers import (
    RATE_KEYS,
    Algorithm,
    Optimizer,
    algorithm_of,
    number,
    optimizers_of,
)
from eqlr_tools.checkpoints.outputs import Output
from eqlr_tools.checkpoints.parameter_order import Assignment, assign
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.checkpoints.trees import dotted
from eqlr_tools.errors import AmbiguousError, UsageError
from eqlr_tools.rewriting.edits import Dropped, Edit, network_path
from eqlr_tools.rewriting.order import in_module_order
from eqlr_tools.rewriting.scale import Scale

_HINT = "--drop-optimizer leaves the optimizer state out"


@dataclass(frozen=True)
class OptimizerOptions:
    """What the user wants of optimizer states: `--keep-trajectory`, `--drop-optimizer`."""

    keep_trajectory: bool = False
    drop: bool = False

    def __post_init__(self) -> None:
        if self.keep_trajectory and self.drop:
            raise UsageError("--keep-trajectory and --drop-optimizer exclude each other")


@dataclass(frozen=True)
class LearningRate:
    """What a rescaled parameter's learning rate was and is.

    `needed` is the rate with which the new parameter moves as the old one would have moved; `step_ratio` says how far
    it moves per step with the rate `written`, in units of that.
    """

    optimizer: str
    network: str
    parameter: str
    algorithm: str
    factor: float
    before: float
    needed: float
    written: float

    @property
    def step_ratio(self) -> float:
        return self.written / self.needed if self.needed else 1.0


@dataclass(frozen=True)
class Conversion:
    """The new optimizer trees by path (None drops one), their tensors' origins, and what to tell."""

    trees: dict[TreePath, Any] = field(default_factory=dict)
    origins: dict[int, Edit] = field(default_factory=dict)
    rates: list[LearningRate] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def convert_optimizers(
    source: Checkpoint, edits: Mapping[TreePath, Sequence[Edit]], options: OptimizerOptions
) -> Conversion:
    """Convert every optimizer state whose network the edits rescale or reorder.

    Raises AmbiguousError where it is not certain which state belongs to which parameter, or the algorithm has no
    exact counterpart.
    """
    conversion = Conversion()
    for optimizer in optimizers_of(source):
        if options.drop:
            _drop(source, optimizer, conversion)
        else:
            _convert(source, optimizer, edits, options, conversion)
    if options.keep_trajectory and not conversion.rates:
        raise UsageError(
            f"{source.path}: no optimizer state that could keep its trajectory",
            hint="leave --keep-trajectory out; eqlr scan shows which files hold optimizer state",
        )
    return conversion


def _drop(source: Checkpoint, optimizer: Optimizer, conversion: Conversion) -> None:
    conversion.trees[optimizer.path] = None
    for path in source.loose:
        if path[: len(optimizer.path)] == optimizer.path:
            conversion.dropped.append(Dropped("", dotted(path), "optimizer state, dropped as told"))
    conversion.notes.append(f"optimizer {optimizer.name} is left out, as told")


def _convert(
    source: Checkpoint,
    optimizer: Optimizer,
    edits: Mapping[TreePath, Sequence[Edit]],
    options: OptimizerOptions,
    conversion: Conversion,
) -> None:
    if not edits:
        return
    algorithm = algorithm_of(optimizer)
    if isinstance(algorithm, str):
        raise AmbiguousError(
            f"{source.path}: the state of optimizer {optimizer.name} has no exact counterpart: {algorithm}", hint=_HINT
        )
    scales = _Scales(source, edits)
    assignment = assign(source, optimizer, algorithm, scales.of)
    if assignment is None:
        conversion.notes.append(f"optimizer {optimizer.name} belongs to no network of this file and is carried over")
        return
    names = (names[0] for names in assignment.names.values())
    normalised = next((name for name in names if scales.normalises(assignment.network, name)), None)
    if normalised is not None:
        raise AmbiguousError(
            f"{source.path}: the state of optimizer {optimizer.name} has no exact counterpart: every row of "
            f"{normalised} is divided by its own size, and moments of plain weights are no multiple of its moments",
            hint=_HINT,
        )
    order = _new_numbers(source, optimizer, assignment, scales)
    if order is None and not any(scales.of(assignment.network, names[0]) for names in assignment.names.values()):
        return
    writer = _Writer(source, optimizer, algorithm, assignment, scales, options, conversion)
    conversion.trees[optimizer.path] = writer.tree(order)


class _Scales:
    """What the edits do to each parameter of each network."""

    def __init__(self, source: Checkpoint, edits: Mapping[TreePath, Sequence[Edit]]) -> None:
        self.source, self.edits = source, edits

    def of(self, network: Network, name: str) -> Scale | None:
        edit = self._edit(network, name)
        return edit.scale if edit else None

    def normalises(self, network: Network, name: str) -> bool:
        edit = self._edit(network, name)
        return edit is not None and edit.normalised

    def new_key(self, network: Network, name: str) -> str:
        edit = self._edit(network, name)
        return edit.key if edit and edit.key is not None else network.key(name)

    def new_order(self, network: Network) -> dict[str, int]:
        """The place of each tensor in the target's order. What goes by a buffer's name may be a parameter after all."""
        keys = [self.new_key(network, name) for name in network.tensors]
        new = {key for key, name in zip(keys, network.tensors, strict=True) if key != network.key(name)}
        place = {key: index for index, key in enumerate(in_module_order(dict.fromkeys(keys), new))}
        return {name: place[self.new_key(network, name)] for name in network.tensors}

    def _edit(self, network: Network, name: str) -> Edit | None:
        group = self.edits.get(network_path(network, name), ())
        return next((edit for edit in group if edit.source == name), None)


def _new_numbers(
    source: Checkpoint, optimizer: Optimizer, assignment: Assignment, scales: _Scales
) -> dict[int, list[Any]] | None:
    """The keys of each group in the target's order, or None where the order stays.

    Raises AmbiguousError if the order changes among parameters that are not certain.
    """
    places = scales.new_order(assignment.network)
    keys = {index: optimizer.keys(group) for index, group in enumerate(optimizer.groups)}
    ordered = {index: sorted(group, key=lambda key: places[assignment.names[key][0]]) for index, group in keys.items()}
    if ordered == keys:
        return None
    doubtful = next((key for key in assignment.names if not assignment.unique(key)), None)
    if doubtful is not None:
        raise AmbiguousError(
            f"{source.path}: parameter {doubtful} of optimizer {optimizer.name} can be "
            f"{' or '.join(assignment.names[doubtful][:4])}, and the parameters are numbered anew",
            hint=_HINT,
        )
    return ordered


@dataclass
class _Writer:
    """Builds the new tree of one optimizer."""

    source: Checkpoint
    optimizer: Optimizer
    algorithm: Algorithm
    assignment: Assignment
    scales: _Scales
    options: OptimizerOptions
    conversion: Conversion

    def tree(self, order: dict[int, list[Any]] | None) -> dict[Any, Any]:
        old_groups = [
            (group, order[index] if order else self.optimizer.keys(group))
            for index, group in enumerate(self.optimizer.groups)
        ]
        parts = [part for group, keys in old_groups for part in self._split(group, keys)]
        numbered = order is not None or len(parts) != len(old_groups)
        numbers = self._numbers([key for _, keys, _ in parts for key in keys], numbered)
        groups = [self._group(group, keys, factor, numbers) for group, keys, factor in parts]
        held = self.optimizer.state.items()
        state = {numbers[key]: self._state(key, value, numbers[key]) for key, value in held if key in numbers}
        state |= self._orphans(state, numbers)
        if numbered and all(isinstance(key, int) for key in state):
            state = dict(sorted(state.items()))
        return {**self.optimizer.tree, "state": state, "param_groups": groups}

    def _orphans(self, state: dict[Any, Any], numbers: dict[Any, Any]) -> dict[Any, Any]:
        """State of parameters that no group holds any more: nothing will use it, and it is carried over."""
        left = {key: value for key, value in self.optimizer.state.items() if key not in numbers}
        if not left.keys().isdisjoint(state):
            raise AmbiguousError(
                f"{self.source.path}: optimizer {self.optimizer.name} has state of parameters in no group, "
                "under numbers that others get now",
                hint=_HINT,
            )
        if left:
            self.conversion.notes.append(
                f"optimizer {self.optimizer.name}: state of {len(left)} parameters in no group is carried over as it is"
            )
        return left

    def _split(self, group: dict[str, Any], keys: list[Any]) -> list[tuple[dict[str, Any], list[Any], float]]:
        """One part per distinct factor if the trajectory is to be kept, else the group as it is."""
        if not self.options.keep_trajectory:
            return [(group, keys, 1.0)]
        parts: dict[float, list[Any]] = {}
        for key in keys:
            scale = self._scale(key)
            parts.setdefault(scale.factor if scale else 1.0, []).append(key)
        return [(group, members, factor) for factor, members in parts.items()]

    def _numbers(self, keys: list[Any], numbered: bool) -> dict[Any, Any]:
        if all(isinstance(key, str) for key in keys):
            network = self.assignment.network
            return {
                key: self.scales.new_key(network, self.assignment.names[key][0]).removeprefix(network.prefix)
                for key in keys
            }
        return {key: index for index, key in enumerate(keys)} if numbered else {key: key for key in keys}

    def _group(self, group: dict[str, Any], keys: list[Any], factor: float, numbers: dict[Any, Any]) -> dict[str, Any]:
        new = {**group, "params": [numbers[key] for key in keys]}
        if self.options.keep_trajectory:
            new |= self._hyperparameters(group, factor)
        if self.options.keep_trajectory or "param_names" in group:
            network = self.assignment.network
            new["param_names"] = [self.scales.new_key(network, self.assignment.names[key][0]) for key in keys]
        self._record_rates(group, keys, number(new.get("lr")))
        return new

    def _hyperparameters(self, group: dict[str, Any], factor: float) -> dict[str, Any]:
        """Learning rate, eps and weight decay with which a parameter `factor` times as large moves as before."""
        if factor == 1.0:
            return {}
        new: dict[str, Any] = {}
        for key in RATE_KEYS:
            rate = number(group.get(key))
            if rate is not None:
                new[key] = rate * factor**self.algorithm.lr
        eps, decay = number(group.get("eps")), number(group.get("weight_decay"))
        if eps is not None:
            new["eps"] = eps / factor
        if decay:
            new["weight_decay"] = decay / factor if self._decoupled(group) else decay / factor**2
        return new

    def _decoupled(self, group: dict[str, Any]) -> bool:
        decoupled = group.get("decoupled_weight_decay", self.algorithm.decoupled_by_default)
        if decoupled is None:
            raise AmbiguousError(
                f"{self.source.path}: optimizer {self.optimizer.name} decays its weights, and the file does not say "
                "whether it is Adam or AdamW, whose decay scales differently",
                hint="leave --keep-trajectory out and set lr, eps and weight decay yourself",
            )
        return bool(decoupled)

    def _record_rates(self, group: dict[str, Any], keys: list[Any], written: float | None) -> None:
        before = number(group.get("lr"))
        if before is None or written is None:
            return
        for key in keys:
            scale = self._scale(key)
            if scale is not None:
                self.conversion.rates.append(
                    LearningRate(
                        self.optimizer.name,
                        self.assignment.network.name,
                        self.assignment.names[key][0],
                        self.algorithm.name,
                        scale.factor,
                        before,
                        before * scale.factor**self.algorithm.lr,
                        written,
                    )
                )

    def _state(self, key: Any, state: dict[str, Any], new_key: Any) -> dict[str, Any]:
        return {name: self._value(key, name, value) for name, value in state.items()}

    def _value(self, key: Any, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        scale = self._scale(key)
        power = self.algorithm.moments.get(name, 0)
        new_scale = moment_scale(scale, power) if scale and power else None
        output = Output(value, new_scale)
        where = dotted((*self.optimizer.path, "state", key, name))
        self.conversion.origins[id(output)] = Edit(None, where, name, value, new_scale)
        return output

    def _scale(self, key: Any) -> Scale | None:
        return self.scales.of(self.assignment.network, self.assignment.names[key][0])


def moment_scale(scale: Scale, power: int) -> Scale:
    """`scale` to a negative power: what multiplied the parameter divides its moments."""
    return Scale(multiply=scale.divide**-power, divide=scale.multiply**-power)
