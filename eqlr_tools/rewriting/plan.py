"""The plan: bake, equalize and convert are three ways to build a list of steps, one per tensor of the target.

A plan is made without reading any data, can be printed, and is executed and verified by `run.py` and `verify.py`,
which do not know which command made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.outputs import Output, flat_name, flatten, leaves
from eqlr_tools.checkpoints.pickled_values import Record, StateDict
from eqlr_tools.checkpoints.provenance import is_torch_value, plain_record
from eqlr_tools.checkpoints.remote import is_remote
from eqlr_tools.checkpoints.sharding import Shard, index_of, into_shards
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import MAX_DEPTH, dotted
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.errors import OutputError, UsageError
from eqlr_tools.rewriting.edits import Dropped, Edit
from eqlr_tools.rewriting.optimizer import LearningRate, OptimizerOptions, convert_optimizers
from eqlr_tools.rewriting.order import in_module_order
from eqlr_tools.rewriting.selection import Selection

Action = Literal["copy", "rescale", "rename", "reshape", "normalise", "add"]


@dataclass(frozen=True)
class Step:
    """How one tensor of the target comes about. `factor` is 1 unless the numbers change, None if rows differ in it."""

    action: Action
    network: str | None
    source: str | None
    target: str
    factor: float | None
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a rewrite will do. `tree` holds an `Output` for each step, in the target's nesting.

    `places` says where a network stands in the target, as path and prefix, if that is not where the source has it;
    then only the networks named there are in the target, and are recognised there as `reading` says. With `shards`
    the target is that set of files and its index.
    """

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
    rates: tuple[LearningRate, ...] = field(default=())
    places: Mapping[str, tuple[TreePath, str]] = field(default_factory=dict)
    reading: Selection | None = None
    shards: tuple[Shard, ...] = ()

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


def in_shards(plan: Plan, max_shard_bytes: int | None) -> Plan:
    """The plan with its target divided into files of at most so many bytes, if that takes more than one."""
    if max_shard_bytes is None:
        return plan
    if not is_flat(plan.target):
        raise UsageError(f"{plan.target}: only .safetensors is written in shards", hint="leave out --max-shard-size")
    if is_remote(plan.target):
        raise UsageError(f"{plan.target}: shards are written to local folders only", hint="upload the folder")
    shards = into_shards(plan.target, flatten(plan.tree, plan.sole_network), max_shard_bytes)
    if not shards:
        return plan
    note = f"the target is {len(shards)} shards; {index_of(plan.target)} opens them as one checkpoint"
    return replace(plan, shards=shards, notes=(*plan.notes, note))


def build_plan(
    operation: str,
    source: Checkpoint,
    target: Path,
    family: str,
    edits: Mapping[TreePath, Sequence[Edit]],
    provenance: dict[str, Any],
    notes: Sequence[str] = (),
    optimizers: OptimizerOptions | None = None,
    settings: Mapping[TreePath, Any] | None = None,
) -> Plan:
    """Lay the edits over the source's tree, and convert the optimizer states of what they rescale.

    `settings` are values of the file's configuration that change.

    What no edit names is copied.
    """
    is_flat(target)
    sole = source.networks[0].path if len(source.networks) == 1 and not source.nested else ()
    conversion = convert_optimizers(source, edits, optimizers or OptimizerOptions())
    origin: dict[int, Edit] = dict(conversion.origins)
    tree = _rebuild(source.tree, (), _Changes(edits, {**conversion.trees, **(settings or {})}), origin)
    dropped = [
        Dropped(edit.network or "", edit.source or "", edit.reason)
        for group in edits.values()
        for edit in group
        if edit.key is None
    ]
    return Plan(
        operation,
        source,
        target,
        family,
        steps_of_tree(source, target, tree, sole, origin),
        (*dropped, *conversion.dropped),
        tree,
        sole,
        provenance,
        (*notes, *conversion.notes),
        tuple(conversion.rates),
    )


def steps_of_tree(
    source: Checkpoint, target: Path, tree: Any, sole: TreePath, origin: Mapping[int, Edit]
) -> tuple[Step, ...]:
    """A step for every tensor of a tree. `origin` holds the edit that made an output, by the output's id."""
    flat = is_flat(target)
    steps = []
    names: set[str] = set()
    for path, output in leaves(tree):
        name = flat_name(path, sole) if flat else dotted(path)
        if flat:
            _require_name(name, names, target)
        names.add(name)
        steps.append(_step(origin.get(id(output)), output, path, name, source))
    return tuple(steps)


def _require_name(name: str, taken: set[str], target: Path) -> None:
    """Raise OutputError for a name that no tensor of a flat container can have."""
    if name in taken:
        why = f"two tensors would be called {name!r}"
    elif name == "__metadata__":
        why = f"the format keeps the name {name!r} for itself"
    elif not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
        why = f"the name {name!r} is not Unicode"
    else:
        return
    raise OutputError(f"{target}: {why}", hint="write a .pt instead")


def _step(edit: Edit | None, output: Output, path: TreePath, name: str, source: Checkpoint) -> Step:
    dtype, shape = output.dtype.name, output.shape
    if edit is None:
        network, inner = _owner(source, path)
        return Step("copy", network, inner, name, 1.0, dtype, shape)
    if edit.source is None:
        return Step("add", edit.network, None, name, 1.0, dtype, shape)
    if edit.normalised:
        return Step("normalise", edit.network, edit.source, name, None, dtype, shape)
    if edit.scale is not None:
        return Step("rescale", edit.network, edit.source, name, edit.scale.factor, dtype, shape)
    if edit.relaid:
        return Step("reshape", edit.network, edit.source, name, 1.0, dtype, shape)
    renamed = not dotted(path).endswith(edit.source)
    return Step("rename" if renamed else "copy", edit.network, edit.source, name, 1.0, dtype, shape)


def _owner(source: Checkpoint, path: TreePath) -> tuple[str | None, str]:
    """The network that a copied tensor belongs to, and its name there."""
    for network in source.networks:
        if path[:-1] == network.path and str(path[-1]).startswith(network.prefix):
            return network.name, str(path[-1]).removeprefix(network.prefix)
    return None, dotted(path)


@dataclass(frozen=True)
class _Changes:
    """What is laid over the source's tree: edits of single tensors, and whole subtrees (None drops one)."""

    edits: Mapping[TreePath, Sequence[Edit]]
    subtrees: Mapping[TreePath, Any]


def _rebuild(tree: Any, path: TreePath, changes: _Changes, origin: dict[int, Edit]) -> Any:
    if path in changes.subtrees:
        tree = changes.subtrees[path]
    if len(path) > MAX_DEPTH:
        raise OutputError(
            f"{dotted(path[:3])}… is nested more than {MAX_DEPTH} deep, or holds itself; it cannot be written",
            hint="load it with its own project and save the state dict alone",
        )
    if isinstance(tree, Tensor):
        return Output(tree)
    if isinstance(tree, dict):
        return _rebuild_dict(tree, path, changes, origin)
    if isinstance(tree, list | tuple):
        return type(tree)(
            _rebuild(child, (*path, index), changes, origin)
            for index, child in enumerate(tree)
            if not _dropped((*path, index), changes)
        )
    if isinstance(tree, Record) and tree.cls.module == "torch._utils":
        kind = tree.cls.name.removeprefix("_rebuild_").replace("_", " ")
        raise OutputError(
            f"{dotted(path)} is a {kind}, which cannot be written back yet",
            hint="make it an ordinary tensor first, or leave it out of the file",
        )
    if isinstance(tree, Record) and not is_torch_value(tree):
        return _rebuild(plain_record(tree), path, changes, origin)
    return tree


def _rebuild_dict(tree: dict[Any, Any], path: TreePath, changes: _Changes, origin: dict[int, Edit]) -> dict[Any, Any]:
    target: dict[Any, Any] = StateDict() if isinstance(tree, StateDict) else {}
    if isinstance(tree, StateDict) and isinstance(target, StateDict):
        target.attributes = tree.attributes
    new: set[str] = set()
    for key, child in tree.items():
        here = (*path, key)
        if _dropped(here, changes):
            continue
        if here not in changes.edits:
            target[_plain_key(key, target)] = _rebuild(child, here, changes, origin)
            continue
        for edit in changes.edits[here]:
            if edit.key is not None:
                output = Output(edit.tensor, edit.scale)
                origin[id(output)] = edit
                target[edit.key] = output
                new |= {edit.key} if edit.key != key else set()
    if new:
        ordered = {key: target[key] for key in in_module_order(target, new)}
        target.clear()
        target.update(ordered)
    return target


def _dropped(path: TreePath, changes: _Changes) -> bool:
    return path in changes.subtrees and changes.subtrees[path] is None


def _plain_key(key: Any, target: dict[Any, Any]) -> Any:
    """Objects that serve as keys (old optimizers: the parameter itself) become the number of their entry."""
    if isinstance(key, str | int | float | bool | tuple | bytes | None):
        return key
    return next(number for number in count(len(target)) if number not in target)
