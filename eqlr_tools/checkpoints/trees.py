"""From what a pickle holds to a plain tree: dicts, lists, tensors and values.

Pickled modules become the state dict that their `state_dict()` would have returned, numpy arrays become tensors,
records of other classes stay. The tree is then walked without knowing where it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NUMPY
from eqlr_tools.checkpoints.globals import Record, numpy_dtype
from eqlr_tools.checkpoints.pickles import LazyBytes, StateDict
from eqlr_tools.checkpoints.sources import MemorySource
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.errors import UnreadableError

MAX_DEPTH = 100
MAX_NODES = 2_000_000

Path = tuple[Any, ...]


@dataclass
class ModuleTree(StateDict):
    """The state dict of a pickled module, with the plain attributes of each of its submodules by path."""

    module_attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    class_name: str = ""

    def __init__(self, class_name: str = "") -> None:
        super().__init__()
        self.module_attributes = {}
        self.class_name = class_name


def normalise(value: Any, source: str) -> Any:
    """Return the plain tree of an unpickled object. Shared containers stay shared."""
    return _Normaliser(source).visit(value, 0)


def walk(tree: Any, source: str) -> Iterator[tuple[Path, Any]]:
    """Yield (path, value) for every node that is not a container, and for each dict before its members.

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


def dotted(path: Path) -> str:
    """A path as people write it: keys joined by dots. Keys that are objects appear as their type."""
    return ".".join(str(key) if isinstance(key, str | int | float | bool) else type(key).__name__ for key in path)


@dataclass
class _Normaliser:
    source: str
    done: dict[int, Any] = field(default_factory=dict)

    def visit(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise UnreadableError(f"{self.source}: the data is nested more than {MAX_DEPTH} deep")
        if not isinstance(value, dict | list | tuple | Record):
            return value
        if id(value) not in self.done:
            self._fill(value, depth)
        return self.done[id(value)]

    def _fill(self, value: Any, depth: int) -> None:
        key = id(value)
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
        elif _is_module(value):
            tree = ModuleTree(str(value.cls))
            self.done[key] = tree
            _flatten_module(value, "", tree, self.source, 0)
        elif _is_array(value):
            self.done[key] = _array_tensor(value, self.source)
        else:
            record = Record(value.cls, items=[], pairs={})
            self.done[key] = record
            record.arguments = tuple(self.visit(child, depth + 1) for child in value.arguments)
            record.state = self.visit(value.state, depth + 1)
            record.items = [self.visit(child, depth + 1) for child in value.items]
            record.pairs = {name: self.visit(child, depth + 1) for name, child in value.pairs.items()}


def _is_module(record: Record) -> bool:
    attributes = record.attributes
    return ("_parameters" in attributes and "_modules" in attributes) or record.cls.module.startswith("__torch__")


def _flatten_module(record: Record, prefix: str, tree: ModuleTree, source: str, depth: int) -> None:
    """Collect parameters, persistent buffers and submodules under their dotted names, in torch's order."""
    if depth > MAX_DEPTH:
        raise UnreadableError(f"{source}: modules are nested more than {MAX_DEPTH} deep")
    attributes = record.attributes
    if record.cls.module.startswith("__torch__"):
        own = {name: value for name, value in attributes.items() if isinstance(value, Tensor)}
        children = {name: value for name, value in attributes.items() if isinstance(value, Record)}
    else:
        hidden = attributes.get("_non_persistent_buffers_set") or set()
        own = {**_mapping(attributes.get("_parameters")), **_mapping(attributes.get("_buffers"))}
        own = {name: value for name, value in own.items() if name not in hidden}
        children = _mapping(attributes.get("_modules"))
    for name, value in own.items():
        if isinstance(value, Tensor):
            tree[f"{prefix}{name}"] = value
    plain = {n: v for n, v in attributes.items() if isinstance(v, int | float | str | bool) or v is None}
    plain["__class__"] = str(record.cls)
    tree.module_attributes[prefix.rstrip(".")] = plain
    for name, child in children.items():
        if isinstance(child, Record):
            _flatten_module(child, f"{prefix}{name}.", tree, source, depth + 1)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_array(record: Record) -> bool:
    return record.cls.name == "_reconstruct" and record.cls.module.endswith("core.multiarray")


def _array_tensor(record: Record, source: str) -> Tensor | Record:
    """A pickled numpy array: its state is (version, shape, dtype, is_fortran, data)."""
    state = record.state
    if not isinstance(state, tuple) or len(state) != 5:
        raise UnreadableError(f"{source}: a numpy array without its data")
    _, shape, dtype_record, fortran, data = state
    if isinstance(data, list):
        return record
    dtype = numpy_dtype(dtype_record)
    element = BY_NUMPY.get(dtype.newbyteorder("<") if dtype.itemsize > 1 else dtype)
    if element is None or not isinstance(shape, tuple) or not all(type(size) is int for size in shape):
        return record
    if isinstance(data, str):
        data = data.encode("latin-1")
    if isinstance(data, LazyBytes):
        storage = Storage(data.source, data.offset, data.size, _byteorder(dtype))
    elif isinstance(data, bytes):
        storage = Storage(MemorySource(source, data), 0, len(data), _byteorder(dtype))
    else:
        raise UnreadableError(f"{source}: a numpy array without its data")
    strides = contiguous_strides(shape[::-1])[::-1] if fortran else contiguous_strides(shape)
    return Tensor(storage, element, shape, strides)


def _byteorder(dtype: np.dtype[Any]) -> str:
    return "big" if dtype.str.startswith(">") else "little"
