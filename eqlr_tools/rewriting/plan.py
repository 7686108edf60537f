"""The plan: bake, equalize and convert are three ways to build a list of steps, one per tensor of the target.

A plan is made without reading any data, can be printed, and is executed and verified by `run.py` and `verify.py`,
which do not know which command made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network
from eqlr_tools.checkpoints.globals import Record
from eqlr_tools.checkpoints.outputs import Output, flat_name, leaves
from eqlr_tools.checkpoints.pickles import StateDict
from eqlr_tools.checkpoints.provenance import is_torch_value, plain_record
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.checkpoints.trees import dotted
from eqlr_tools.errors import OutputError, UsageError
from eqlr_tools.rewriting.scale import Scale

Action = Literal["copy", "rescale", "rename", "add"]


@dataclass(frozen=True)
class Edit:
    """What one tensor of a network becomes: a key in the same dict, a scale, or nothing (`key` None)."""

    network: str
    source: str | None
    key: str | None
    tensor: Tensor
    scale: Scale | None = None
    reason: str = ""


@dataclass(frozen=True)
class Step:
    """How one tensor of the target comes about. `factor` is 1 unless the numbers change."""

    action: Action
    network: str | None
    source: str | None
    target: str
    factor: float
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Dropped:
    """A tensor of the source that the target does not need, and why."""

    network: str
    tensor: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Everything a rewrite will do. `tree` holds an `Output` for each step, in the target's nesting."""

    operation: str
    source: Checkpoint
    target: Path
    family: str
    steps: tuple[Step, ...]
    dropped: tuple[Dropped, ...]
    tree: Any
    sole_network: TreePath
    provenance: dict[str, Any]
    notes: tuple[str, ...] = field(default=())

    @property
    def changes(self) -> int:
        return sum(step.action != "copy" for step in self.steps)


def is_flat(target: Path) -> bool:
    """True if the target's container has one flat space of names. Raises UsageError for an unknown suffix."""
    name = target.name.lower()
    if name.endswith(".safetensors"):
        return True
    if name.endswith((".pt", ".pth", ".pth.tar", ".ckpt", ".bin", ".model")):
        return False
    raise UsageError(
        f"{target}: the suffix does not say which container to write",
        hint="use .safetensors, .pt or .pth",
    )


def build_plan(
    operation: str,
    source: Checkpoint,
    target: Path,
    family: str,
    edits: Mapping[TreePath, Sequence[Edit]],
    provenance: dict[str, Any],
    notes: Sequence[str] = (),
) -> Plan:
    """Lay the edits over the source's tree. What no edit names is copied."""
    flat = is_flat(target)
    sole = source.networks[0].path if len(source.networks) == 1 else ()
    origin: dict[int, Edit] = {}
    tree = _rebuild(source.tree, (), edits, origin)
    steps = []
    names: set[str] = set()
    for path, output in leaves(tree):
        name = flat_name(path, sole) if flat else dotted(path)
        if name in names:
            raise OutputError(f"{target}: two tensors would be called {name!r}", hint="write a .pt instead")
        names.add(name)
        steps.append(_step(origin.get(id(output)), output, path, name, source))
    dropped = tuple(
        Dropped(edit.network, edit.source or "", edit.reason)
        for group in edits.values()
        for edit in group
        if edit.key is None
    )
    return Plan(operation, source, target, family, tuple(steps), dropped, tree, sole, provenance, tuple(notes))


def network_path(network: Network, name: str) -> TreePath:
    """Where a tensor of a network stands in the tree."""
    return (*network.path, network.key(name))


def _step(edit: Edit | None, output: Output, path: TreePath, name: str, source: Checkpoint) -> Step:
    dtype, shape = output.dtype.name, output.shape
    if edit is None:
        network, inner = _owner(source, path)
        return Step("copy", network, inner, name, 1.0, dtype, shape)
    if edit.source is None:
        return Step("add", edit.network, None, name, 1.0, dtype, shape)
    if edit.scale is not None:
        return Step("rescale", edit.network, edit.source, name, edit.scale.factor, dtype, shape)
    renamed = not dotted(path).endswith(edit.source)
    return Step("rename" if renamed else "copy", edit.network, edit.source, name, 1.0, dtype, shape)


def _owner(source: Checkpoint, path: TreePath) -> tuple[str | None, str]:
    """The network that a copied tensor belongs to, and its name there."""
    for network in source.networks:
        if path[:-1] == network.path and str(path[-1]).startswith(network.prefix):
            return network.name, str(path[-1]).removeprefix(network.prefix)
    return None, dotted(path)


def _rebuild(tree: Any, path: TreePath, edits: Mapping[TreePath, Sequence[Edit]], origin: dict[int, Edit]) -> Any:
    if isinstance(tree, Tensor):
        return Output(tree)
    if isinstance(tree, dict):
        target: dict[Any, Any] = StateDict() if isinstance(tree, StateDict) else {}
        if isinstance(tree, StateDict) and isinstance(target, StateDict):
            target.attributes = tree.attributes
        for key, child in tree.items():
            here = (*path, key)
            if here not in edits:
                target[_plain_key(key, target)] = _rebuild(child, here, edits, origin)
                continue
            for edit in edits[here]:
                if edit.key is not None:
                    output = Output(edit.tensor, edit.scale)
                    origin[id(output)] = edit
                    target[edit.key] = output
        return target
    if isinstance(tree, list):
        return [_rebuild(child, (*path, index), edits, origin) for index, child in enumerate(tree)]
    if isinstance(tree, tuple):
        return tuple(_rebuild(child, (*path, index), edits, origin) for index, child in enumerate(tree))
    if isinstance(tree, Record) and not is_torch_value(tree):
        return _rebuild(plain_record(tree), path, edits, origin)
    return tree


def _plain_key(key: Any, target: dict[Any, Any]) -> Any:
    """Objects that serve as keys (old optimizers: the parameter itself) become the number of their entry."""
    return key if isinstance(key, str | int | float | bool | tuple | bytes | None) else len(target)
