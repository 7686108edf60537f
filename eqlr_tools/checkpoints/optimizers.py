"""Optimizer states as torch saves them, and how each algorithm's state follows its parameter's scale.

Let a parameter be stored as `p' = r * p` from now on, so that its gradient is `g' = g / r`. Every algorithm below then
makes the same steps, `r` times as large, if

    first moments (of g)            are multiplied by 1 / r        Adam's exp_avg, SGD's momentum_buffer, ...
    second moments (of g squared)   by 1 / r²                      exp_avg_sq, square_avg, Adagrad's sum
    the infinity norm of g          by 1 / r                       Adamax's exp_inf
    RMSprop's momentum_buffer       by 1                           it holds g / sqrt(g²), which has no scale
    lr                              by r, for SGD by r²            Adam's step has the size of lr whatever g is
    eps                             by 1 / r                       it is added to sqrt(g²)
    weight decay                    by 1 / r², decoupled by 1 / r  g' + wd' p' = (g + wd p) / r;  lr' wd' = lr wd

Baking is r = c, equalizing r = 1 / c (`docs/theory.md` derives it, `tests/rewriting/test_optimizer_algebra.py` trains
with it). Adadelta has no such map: its one eps stands beside g² and beside the squared step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.checkpoints.trees import dotted, node_at
from eqlr_tools.errors import UsageError
from eqlr_tools.scaling import Shape


@dataclass(frozen=True)
class Algorithm:
    """How an algorithm's state and hyper-parameters scale: exponents of r."""

    name: str
    moments: Mapping[str, int]
    lr: int = 1
    scalars: frozenset[str] = frozenset({"step"})
    decoupled_by_default: bool | None = False
    """Whether weight decay is decoupled where the group does not say; None where it cannot be known."""


_ADAM_MOMENTS = {"exp_avg": -1, "exp_avg_sq": -2, "max_exp_avg_sq": -2}

# The hyper-parameters by which a group shows its algorithm, the first that fit. torch saves no name.
_BY_HYPERPARAMETERS: tuple[tuple[frozenset[str], Algorithm], ...] = (
    (frozenset({"momentum", "dampening", "nesterov"}), Algorithm("SGD", {"momentum_buffer": -1}, lr=2)),
    (
        frozenset({"betas", "momentum_decay"}),
        Algorithm("NAdam", _ADAM_MOMENTS, scalars=frozenset({"step", "mu_product"})),
    ),
    # Adam and AdamW were one format until torch 2.7 saved `decoupled_weight_decay`.
    (frozenset({"betas", "amsgrad"}), Algorithm("Adam", _ADAM_MOMENTS, decoupled_by_default=None)),
    (frozenset({"betas", "decoupled_weight_decay"}), Algorithm("RAdam", _ADAM_MOMENTS)),
    (
        frozenset({"alpha", "centered", "momentum"}),
        Algorithm("RMSprop", {"square_avg": -2, "grad_avg": -1, "momentum_buffer": 0}),
    ),
    (frozenset({"lr_decay", "initial_accumulator_value"}), Algorithm("Adagrad", {"sum": -2})),
)
_ADAMAX = Algorithm("Adamax", {"exp_avg": -1, "exp_inf": -1})

_NO_MAP = {
    "rho": "Adadelta: its eps stands beside the squared gradient and beside the squared step, which scale apart",
    "trust_coefficient": "LARS or LAMB: its trust ratio depends on the size of the weights",
    "trust_clip": "LARS or LAMB: its trust ratio depends on the size of the weights",
    "etas": "Rprop: its step sizes are clipped at absolute limits",
    "max_iter": "LBFGS: it keeps a history over all parameters together",
    "lambd": "ASGD: its decay is tied to the learning rate of all parameters",
    "beta2_decay": "Adafactor: its step is relative to the size of the weights",
    "ns_steps": "Muon: its step has the size of the learning rate times the spectrum",
}
_NO_MAP_STATE = {"state1": "bitsandbytes: its moments are quantised in blocks"}

RATE_KEYS = ("lr", "initial_lr", "max_lr", "min_lr")
"""Learning rates of a group, with those that schedulers leave there."""


@dataclass(frozen=True, eq=False)
class Optimizer:
    """One torch optimizer state dict: `state` by parameter key, `param_groups` with the keys in order."""

    path: TreePath
    tree: dict[Any, Any]

    @property
    def name(self) -> str:
        return dotted(self.path) or "optimizer"

    @property
    def state(self) -> dict[Any, dict[str, Any]]:
        return {key: value for key, value in self.tree["state"].items() if isinstance(value, dict)}

    @cached_property
    def groups(self) -> tuple[dict[str, Any], ...]:
        groups = self.tree["param_groups"]
        if not isinstance(groups, list | tuple) or not all(isinstance(group, dict) for group in groups):
            return ()
        return tuple(groups)

    def keys(self, group: dict[str, Any]) -> list[Any]:
        """The keys of a group's parameters: numbers, or names where the file has them."""
        params = group.get("params", [])
        return list(params) if isinstance(params, list | tuple) else []

    def tensors(self, key: Any) -> dict[str, Tensor]:
        """The tensors of one parameter's state by name."""
        return {name: value for name, value in self.state.get(key, {}).items() if isinstance(value, Tensor)}

    def shape(self, key: Any, algorithm: Algorithm) -> Shape | None:
        """The shape that the moments of a parameter have; None where there is no state. UsageError if they differ."""
        shapes = {tensor.shape for name, tensor in self.tensors(key).items() if algorithm.moments.get(name) is not None}
        if len(shapes) > 1:
            raise UsageError(f"optimizer {self.name}: the moments of parameter {key} have different shapes")
        return next(iter(shapes), None)


def optimizers_of(checkpoint: Checkpoint) -> list[Optimizer]:
    """All optimizer states of a checkpoint, in the file's order."""
    return [Optimizer(path, node_at(checkpoint.tree, path)) for path in checkpoint.optimizers]


def algorithm_of(optimizer: Optimizer) -> Algorithm | str:
    """The algorithm that left this state, or the sentence that says why it has no known map."""
    hyper = set().union(*(group.keys() for group in optimizer.groups)) if optimizer.groups else set()
    names = {name for state in optimizer.state.values() for name in state}
    for key, reason in _NO_MAP.items():
        if key in hyper:
            return reason
    for key, reason in _NO_MAP_STATE.items():
        if key in names:
            return reason
    algorithm = _ADAMAX if "betas" in hyper and "exp_inf" in names else None
    for required, candidate in _BY_HYPERPARAMETERS:
        if algorithm is None and required <= hyper:
            algorithm = candidate
    if algorithm is None:
        return f"an algorithm that eqlr does not know (hyper-parameters {', '.join(sorted(map(str, hyper)))})"
    strange = names - set(algorithm.moments) - algorithm.scalars
    if strange:
        return f"like {algorithm.name}, but with a state that eqlr does not know ({', '.join(sorted(strange))})"
    return algorithm


def number(value: Any) -> float | None:
    """A hyper-parameter as a number: plain, or the one-element tensor that capturable optimizers keep."""
    if isinstance(value, Tensor) and value.numel == 1:
        return float(value.values().reshape(-1)[0])
    return float(value) if isinstance(value, int | float) else None
