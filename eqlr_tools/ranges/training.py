"""How fast a layer really learns: the step that Adam would take next, in units of the layer's rms.

    step = lr * m' / (sqrt(s') + eps),      m' = exp_avg / (1 - beta1^t),      s' = exp_avg_sq / (1 - beta2^t)

(Kingma & Ba, *Adam*, 2015, algorithm 1; amsgrad has the maximum of s instead.) The estimate "Adam moves a weight by
about lr per step" is an upper bound: where gradients are noisy or sparse, m is small beside sqrt(s). From the moments
in a checkpoint the step is known, element by element. It is that of the last gradients, without weight decay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.optimizers import Optimizer, algorithm_of, number, optimizers_of
from eqlr_tools.checkpoints.parameter_order import assign, same_view
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.errors import AmbiguousError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class AdamState:
    """What Adam keeps for one parameter, and the hyper-parameters of its group."""

    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: float
    lr: float
    eps: float
    betas: tuple[float, float]

    @property
    def nbytes(self) -> int:
        return self.exp_avg.nbytes + self.exp_avg_sq.nbytes


@dataclass(frozen=True)
class AdamStep:
    """One Adam step of a layer: its rms, that in units of the layer's rms, and how many make up one rms."""

    step_rms: float
    relative_step: float | None
    steps_per_rms: float | None


@dataclass(frozen=True)
class Training:
    """The Adam states of a checkpoint by network and tensor name, and why others are not used."""

    states: dict[str, dict[str, AdamState]]
    notes: tuple[str, ...] = ()

    def of(self, network: str, weight: str) -> AdamState | None:
        return self.states.get(network, {}).get(weight)


NO_TRAINING = Training({})


def training_of(checkpoint: Checkpoint) -> Training:
    """Find the Adam state of every parameter for which it is certain."""
    states: dict[str, dict[str, AdamState]] = {}
    notes = []
    for optimizer in optimizers_of(checkpoint):
        try:
            found = _states_of(checkpoint, optimizer)
        except AmbiguousError as error:
            notes.append(f"no measured Adam steps of {optimizer.name}: {error.message}")
            continue
        if isinstance(found, str):
            notes.append(f"no measured Adam steps of {optimizer.name}: {found}")
            continue
        for network, by_name in found.items():
            states.setdefault(network, {}).update(by_name)
    return Training(states, tuple(notes))


def adam_step(state: AdamState, rms: float | None) -> AdamStep | None:
    """The next step of a parameter whose rms is given. None before the first step, or without a finite one."""
    beta1, beta2 = state.betas
    if state.step < 1:
        return None
    first, second = 1.0 - beta1**state.step, 1.0 - beta2**state.step
    total = 0.0
    count = 0
    for m, s in _paired(state.exp_avg, state.exp_avg_sq):
        with np.errstate(all="ignore"):
            steps = (m / first) / (np.sqrt(s / second) + state.eps)
        steps[(m == 0) & (s == 0)] = 0.0  # never had a gradient; with eps = 0 this would be 0 / 0
        total += float(np.dot(steps, steps))
        count += steps.size
    step_rms = state.lr * math.sqrt(total / count) if count else math.nan
    if not math.isfinite(step_rms):
        return None
    relative = step_rms / rms if rms else None
    return AdamStep(step_rms, relative, 1.0 / relative if relative else None)


def _states_of(checkpoint: Checkpoint, optimizer: Optimizer) -> dict[str, dict[str, AdamState]] | str:
    algorithm = algorithm_of(optimizer)
    if isinstance(algorithm, str):
        return algorithm
    if algorithm.name != "Adam":
        return f"it is {algorithm.name}; the next step of Adam and AdamW only follows from their state"
    assignment = assign(checkpoint, optimizer, algorithm, lambda network, name: network.name)
    if assignment is None:
        return "its network is not in this file"
    tensors = assignment.network.tensors
    found = {}
    for group in optimizer.groups:
        for key in optimizer.keys(group):
            state = _adam_state(optimizer, key, group)
            if state is not None and assignment.unique(key):
                parameter = tensors[assignment.names[key][0]]
                found.update({name: state for name, tensor in tensors.items() if same_view(tensor, parameter)})
    return {assignment.network.name: found}


def _adam_state(optimizer: Optimizer, key: Any, group: dict[str, Any]) -> AdamState | None:
    tensors = optimizer.tensors(key)
    second = tensors.get("max_exp_avg_sq", tensors.get("exp_avg_sq"))
    step = number(optimizer.state.get(key, {}).get("step"))
    lr, eps = number(group.get("lr")), number(group.get("eps"))
    betas = group.get("betas")
    if "exp_avg" not in tensors or second is None or step is None or lr is None or eps is None:
        return None
    if not isinstance(betas, list | tuple) or len(betas) != 2:
        return None
    beta1, beta2 = number(betas[0]), number(betas[1])
    if beta1 is None or beta2 is None:
        return None
    return AdamState(tensors["exp_avg"], second, step, lr, eps, (beta1, beta2))


def _paired(first: Tensor, second: Tensor) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Blocks of both tensors as float64, whatever their types and layouts."""
    if first.is_contiguous and second.is_contiguous:
        pairs = zip(
            first.blocks(_BLOCK_ELEMENTS * first.dtype.itemsize),
            second.blocks(_BLOCK_ELEMENTS * second.dtype.itemsize),
            strict=True,
        )
    else:
        pairs = zip([first.bits().reshape(-1)], [second.bits().reshape(-1)], strict=True)
    for a, b in pairs:
        yield first.dtype.values(a).astype(np.float64), second.dtype.values(b).astype(np.float64)
