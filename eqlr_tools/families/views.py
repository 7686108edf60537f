"""The view of a network that families get: names, shapes, sizes, and what the file says beside the tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network, is_optimizer_state
from eqlr_tools.checkpoints.pickled_values import Record
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.scaling import Shape

_SAID_DEPTH = 3
"""How deep a configuration may lie inside its own nesting (`args`, `conf`, `hyper_parameters.model`)."""


class NetworkView:
    """Sizes are estimated once, from the first block of each tensor. Without a checkpoint nothing is said beside."""

    def __init__(self, network: Network, checkpoint: Checkpoint | None = None) -> None:
        self.network = network
        self.shapes: Mapping[str, Shape] = {name: tensor.shape for name, tensor in network.tensors.items()}
        self._checkpoint = checkpoint
        self._rms: dict[str, float] = {}

    def rms(self, name: str) -> float:
        if name not in self._rms:
            tensor = self.network.tensors[name]
            self._rms[name] = _sample_rms(tensor) if tensor.dtype.is_float else 0.0
        return self._rms[name]

    def scalar(self, name: str) -> float:
        return float(self.network.tensors[name].values().reshape(-1)[0])

    def attribute(self, path: str, name: str) -> Any:
        return self.network.module_attributes.get(path, {}).get(name)

    def said(self, name: str) -> Any:
        own = self.network.module_attributes.get("", {})
        found = _find(own, name, _SAID_DEPTH)
        if found is None and self._checkpoint is not None:
            for holder in _holders(self._checkpoint.tree, self.network.path):
                found = _find(holder, name, _SAID_DEPTH)
                if found is not None:
                    break
        return found


def _holders(tree: Any, path: tuple[Any, ...]) -> Iterator[Any]:
    """The dicts that hold the network, the nearest first."""
    chain = [tree]
    for key in path[:-1]:
        try:
            tree = tree[key]
        except (KeyError, IndexError, TypeError):
            break
        chain.append(tree)
    yield from reversed(chain)


def _find(holder: Any, name: str, depth: int) -> Any:
    """The plain value under `name` in a configuration, its own entries first. State dicts are not searched."""
    entries = _entries(holder)
    value = entries.get(name)
    if isinstance(value, bool | int | float | str):
        return value
    if depth == 0:
        return None
    for child in entries.values():
        found = _find(child, name, depth - 1)
        if found is not None:
            return found
    return None


def _entries(holder: Any) -> Mapping[Any, Any]:
    if isinstance(holder, Record):
        return holder.attributes
    if not isinstance(holder, dict) or is_optimizer_state(holder):
        return {}
    tensors = sum(isinstance(child, Tensor) for child in holder.values())
    return {} if tensors * 2 > len(holder) else holder


def _sample_rms(tensor: Tensor) -> float:
    """Root mean square of the finite values in the tensor's first block: enough to tell 100 from 1 from 0.02."""
    block = next(tensor.blocks(), None)
    values = np.zeros(1) if block is None else tensor.dtype.values(block).astype(np.float64)
    values = values[np.isfinite(values)]
    largest = float(np.abs(values).max(initial=0.0))
    return largest * math.sqrt(float(np.mean(np.square(values / largest)))) if largest > 0 else 0.0
