"""What a pickle holds besides plain Python data: names, objects of classes that are not loaded, bytes not read yet."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.checkpoints.sources import Source
from eqlr_tools.checkpoints.tensors import Storage


@dataclass(frozen=True)
class Global:
    """A name that a pickle mentions."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Record:
    """An object of a class that is not loaded: what the pickle would have given it."""

    cls: Global
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: dict[Any, Any] = field(default_factory=dict)

    def build(self, state: Any) -> None:
        """Take a state, as `__setstate__` would; the (state, slots) form of object.__reduce_ex__ is merged."""
        if isinstance(state, tuple) and len(state) == 2 and all(isinstance(s, dict | None) for s in state):
            state = {**(state[0] or {}), **(state[1] or {})}
        self.state = state

    @property
    def attributes(self) -> dict[Any, Any]:
        """The instance dictionary, empty if the state is of another kind."""
        return self.state if isinstance(self.state, dict) else {}


@dataclass(frozen=True, eq=False)
class TypedStorage:
    """What a persistent id of torch stands for. `dtype` is None for an untyped storage."""

    storage: Storage
    dtype: DType | None


@dataclass(frozen=True, eq=False)
class LazyBytes:
    """A byte string inside a pickle, not read yet."""

    source: Source
    offset: int
    size: int

    def read(self) -> bytes:
        return self.source.read(self.offset, self.size)


class StateDict(OrderedDict[Any, Any]):
    """`collections.OrderedDict` with the attributes that torch hangs on it (`_metadata`)."""

    attributes: dict[str, Any] | None = None


class UnknownElementsError(Exception):
    """A tensor of a type that has no numbers here, such as torch's quantised ones."""
