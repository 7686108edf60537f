"""From what a pickle holds to a plain tree: dicts, lists, tensors and values.

Pickled modules become the state dict that their `state_dict()` would have returned, numpy arrays become tensors,
records of other classes stay. The tree is then walked without knowing where it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from eqlr_tools.checkpoints.arrays import array_tensor, is_array
from eqlr_tools.checkpoints.modules import ModuleTree, Work, flatten_module, is_module, is_script
from eqlr_tools.checkpoints.pickled_optimizers import is_optimizer, optimizer_state
from eqlr_tools.checkpoints.pickled_values import Record, StateDict
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.tf_networks import flatten_tf_network, is_tf_network, named_networks
from eqlr_tools.errors import DamagedError, UnreadableError

MAX_DEPTH = 100
MAX_NODES = 250_000
"""Containers and tensors that one walk meets, where each path to a shared one counts."""

_PLAIN_PER_NODE = 16
"""Plain values cost less: so many count as one node."""


Path = tuple[Any, ...]


def normalise(value: Any, source: str) -> Any:
    """Return the plain tree of an unpickled object. Shared containers stay shared.

    Raises UnreadableError for objects whose parts do not fit together.
    """
    try:
        return named_networks(_Normaliser(source).visit(value, 0))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise UnreadableError(
            f"{source}: the pickle describes an object that cannot be ({type(error).__name__})",
            hint="the file is damaged or made by hand; get it again",
        ) from error


def walk(tree: Any, source: str) -> Iterator[tuple[Path, Any]]:
    """Yield (path, value) for every tensor and every container, each before its members; plain values are skipped.

    A container that is reached again through another path is visited again, within a limit on the whole.
    """
    budget = MAX_NODES
    pending: list[tuple[Path, Any, frozenset[int]]] = [((), tree, frozenset())]
    while pending:
        path, value, inside = pending.pop()
        budget -= 1
        if budget < 0 or len(path) > MAX_DEPTH:
            raise UnreadableError(
                f"{source}: the data is nested too deeply or refers to itself too often",
                hint="no project writes such a file; it may be made to exhaust memory",
            )
        yield path, value
        if id(value) in inside:
            continue
        children = list(members(value))
        budget -= len(children) // _PLAIN_PER_NODE
        children = [(key, child) for key, child in children if isinstance(child, _NODES)]
        if children:
            deeper = inside | {id(value)}
            pending.extend(((*path, key), child, deeper) for key, child in reversed(children))


def members(value: Any) -> Iterator[tuple[Any, Any]]:
    """The (key, child) pairs of a container; nothing for anything else."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif isinstance(value, Record):
        yield from value.attributes.items()
        if not isinstance(value.state, dict) and value.state is not None:
            yield "state", value.state
        yield from enumerate(value.arguments)
        yield from enumerate(value.items)
        yield from value.pairs.items()


_NODES = (Tensor, dict, list, tuple, Record)


def node_at(tree: Any, path: Path) -> Any:
    """What `walk` found at a path. Raises KeyError, IndexError or TypeError for paths that it did not yield."""
    for key in path:
        tree = dict(members(tree))[key] if isinstance(tree, Record) else tree[key]
    return tree


def dotted(path: Path) -> str:
    """A path as people write it: keys joined by dots. Keys that are objects appear as their type."""
    return ".".join(str(key) if isinstance(key, str | int | float | bool) else type(key).__name__ for key in path)


@dataclass
class _Normaliser:
    source: str
    done: dict[int, Any] = field(default_factory=dict)
    alive: list[Any] = field(default_factory=list)
    work: Work = field(default_factory=Work)

    def visit(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise DamagedError(f"{self.source}: the data is nested more than {MAX_DEPTH} deep")
        if not isinstance(value, dict | list | tuple | Record):
            return value
        if id(value) not in self.done:
            self._fill(value, depth)
        return self.done[id(value)]

    def _fill(self, value: Any, depth: int) -> None:
        key = id(value)
        self.alive.append(value)  # An object that was made on the way and died would leave its id to another one.
        if isinstance(value, StateDict | dict):
            target: Any = StateDict() if isinstance(value, StateDict) else {}
            if isinstance(value, StateDict):
                target.attributes = value.attributes
            self.done[key] = target
            target.update((name, self.visit(child, depth + 1)) for name, child in value.items())
        elif isinstance(value, list):
            items: list[Any] = []
            self.done[key] = items
            items.extend(self.visit(child, depth + 1) for child in value)
        elif isinstance(value, tuple):
            self.done[key] = tuple(self.visit(child, depth + 1) for child in value)
        elif is_module(value):
            tree = ModuleTree(str(value.cls), marks_parameters=not is_script(value))
            self.done[key] = tree
            flatten_module(value, tree, self.source, self.work)
        elif is_tf_network(value, self.source):
            self.done[key] = ModuleTree(str(value.cls))
            flatten_tf_network(value, self.done[key], lambda array: self.visit(array, depth + 1), self.source)
        elif is_optimizer(value):
            self.done[key] = {}
            self.done[key].update(self.visit(optimizer_state(value), depth + 1))
        elif is_array(value):
            self.done[key] = array_tensor(value, self.source)
        elif _is_mapping(value):
            pairs: dict[Any, Any] = {}
            self.done[key] = pairs
            pairs.update((name, self.visit(child, depth + 1)) for name, child in value.pairs.items())
        else:
            record = Record(value.cls, items=[], pairs={})
            self.done[key] = record
            record.arguments = tuple(self.visit(child, depth + 1) for child in value.arguments)
            record.state = self.visit(value.state, depth + 1)
            record.items = [self.visit(child, depth + 1) for child in value.items]
            record.pairs = {name: self.visit(child, depth + 1) for name, child in value.pairs.items()}


def _is_mapping(record: Record) -> bool:
    """Dicts under another name: `dnnlib.EasyDict`, `defaultdict`, configuration classes that hold only their items."""
    if record.items or record.attributes or not isinstance(record.state, dict | None):
        return False
    if str(record.cls) == "collections.defaultdict":
        return True
    return not record.arguments and (bool(record.pairs) or record.cls.name.endswith("Dict"))
