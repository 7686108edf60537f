"""What a command wants changed: edits, each of one tensor of a network. A plan lays them over the source's tree."""

from __future__ import annotations

from dataclasses import dataclass

from eqlr_tools.checkpoints.checkpoint import Network
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.rewriting.scale import Scale


@dataclass(frozen=True)
class Edit:
    """What one tensor becomes: a key in the same dict, a scale, or nothing (`key` None).

    `network` is None for a tensor that belongs to none. `relaid` says that the elements have another order or shape
    than in the source, `normalised` that every row was multiplied by a constant of its own.
    """

    network: str | None
    source: str | None
    key: str | None
    tensor: Tensor
    scale: Scale | None = None
    reason: str = ""
    relaid: bool = False
    normalised: bool = False


@dataclass(frozen=True)
class Dropped:
    """A tensor of the source that the target does not need, and why."""

    network: str
    tensor: str
    reason: str


def network_path(network: Network, name: str) -> TreePath:
    """Where a tensor of a network stands in the tree."""
    return (*network.path, network.key(name))
