"""The same elements in another order: axes merged, split, permuted, reversed.

An arrangement is written as two lists of axes, `h w i o -> o i h w`. On the left stands the tensor as it is, on the
right what it becomes; `1` is an axis of length one that only one side has, and axes in parentheses are one axis in
memory, the last of them fastest. Where a size cannot be told from the shape, it is given: `(c h=4 w=4) z`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.outputs import Output
from eqlr_tools.checkpoints.sources import Source
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.errors import UnreadableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Arrangement:
    """`left` and `right` name the axes; those in `reverse` run backwards on the other side. `known` are sizes."""

    left: Groups
    right: Groups
    reverse: frozenset[str] = frozenset()
    known: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def inverse(self) -> Arrangement:
        return replace(self, left=self.right, right=self.left)

    @property
    def keeps_order(self) -> bool:
        """True if the elements stay where they are in memory, so that only the shape changes."""
        return not self.reverse and _named(self.left) == _named(self.right)

    def sizes(self, shape: tuple[int, ...]) -> dict[str, int] | None:
        """The length of each axis of a tensor of this shape on the left, or None if it cannot have this shape."""
        if len(shape) != len(self.left):
            return None
        found = dict(self.known)
        for group, length in zip(self.left, shape, strict=True):
            free = [axis for axis in group if axis not in found]
            rest, remainder = divmod(length, math.prod(found.get(axis, 1) for axis in group) or 1)
            if remainder or len(free) > 1 or (not free and rest != 1):
                return None
            found.update(dict.fromkeys(free, rest))
        return found

    def then(self, other: Arrangement) -> Arrangement | None:
        """Both, one after the other, as one; None if they see the tensor between them with other axes."""
        if self.right != other.left:
            return None
        return Arrangement(self.left, other.right, self.reverse ^ other.reverse, {**self.known, **other.known})

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape on the right."""
        return tuple(math.prod(sizes[axis] for axis in group) for group in self.right)

    def apply(self, values: NDArray, sizes: Mapping[str, int]) -> NDArray:
        """Arrange an array, of which the left side tells the axes."""
        axes = _named(self.left)
        wanted = _named(self.right)
        spread = values.reshape([sizes[axis] for axis in axes]).transpose([axes.index(axis) for axis in wanted])
        turned = spread[tuple(slice(None, None, -1 if axis in self.reverse else 1) for axis in wanted)]
        return np.ascontiguousarray(turned).reshape(self.shape(sizes))


@lru_cache(maxsize=256)
def arrangement(text: str, reverse: str = "") -> Arrangement:
    """Parse `h w i o -> o i h w`; `reverse` lists axes, as in "h w".

    Axes are renamed to their number on the right, so that arrangements written with other letters fit together.
    """
    left, _, right = text.partition("->")
    axes = {axis: str(number) for number, axis in enumerate(_named(_groups(right)))}
    known = {axes[axis]: int(size) for axis, size in re.findall(r"(\w+)=(\d+)", text)}
    backwards = frozenset(axes[axis] for axis in reverse.split())
    return Arrangement(_renamed(left, axes), _renamed(right, axes), backwards, known)


def identity(rank: int) -> Arrangement:
    """The arrangement that changes nothing."""
    axes = " ".join(f"a{number}" for number in range(rank))
    return arrangement(f"{axes} -> {axes}")


def arranged(tensor: Tensor, how: Arrangement) -> Tensor:
    """The tensor in its new order, lazily. Raises UnreadableError if its shape does not fit."""
    sizes = how.sizes(tensor.shape)
    if sizes is None:
        raise UnreadableError(
            f"{tensor.storage.source.name}: a tensor of shape {tensor.shape} has not the {len(how.left)} axes "
            "that its name promises",
            hint="the network is a variant that eqlr has no names for",
        )
    shape = how.shape(sizes)
    strides = contiguous_strides(shape)
    if how.keeps_order and (tensor.is_contiguous or shape == tensor.shape):
        return tensor if shape == tensor.shape else replace(tensor, shape=shape, strides=strides)
    storage = Storage(_ArrangedSource(tensor, how, sizes), 0, tensor.nbytes)
    return replace(tensor, storage=storage, shape=shape, strides=strides, offset=0)


def rows(tensor: Tensor, number: int, count: int, axis: int = 0) -> Tensor:
    """One of `count` equal parts of a tensor along an axis. Raises UnreadableError if it has not so many."""
    length, rest = divmod(tensor.shape[axis] if axis < len(tensor.shape) else 0, count)
    if rest or not length:
        raise UnreadableError(
            f"{tensor.storage.source.name}: a tensor of shape {tensor.shape} does not consist of {count} equal parts",
            hint="the network is a variant that eqlr has no names for",
        )
    offset = tensor.offset + number * length * tensor.strides[axis]
    return replace(tensor, shape=(*tensor.shape[:axis], length, *tensor.shape[axis + 1 :]), offset=offset)


def spread(tensor: Tensor, count: int) -> Tensor:
    """A tensor whose first axis has one entry, as if it had many of them. Raises UnreadableError if it has not one."""
    if tensor.shape[:1] != (1,):
        raise UnreadableError(
            f"{tensor.storage.source.name}: a tensor of shape {tensor.shape} is not one value for all channels",
            hint="the network is a variant that eqlr has no names for",
        )
    return replace(tensor, shape=(count, *tensor.shape[1:]), strides=(0, *tensor.strides[1:]))


def joined(outputs: Sequence[Output]) -> Tensor:
    """What is written of several tensors as one, one after the other along their first axis; made when it is read."""
    first = outputs[0]
    shape = (sum(output.shape[0] for output in outputs), *first.shape[1:])
    nbytes = sum(output.nbytes for output in outputs)
    if any(output.dtype != first.dtype for output in outputs):
        raise UnreadableError(
            f"{first.tensor.storage.source.name}: tensors of different types cannot become one",
            hint="save all weights in one type first",
        )
    return Tensor(Storage(_JoinedSource(outputs), 0, nbytes), first.dtype, shape, contiguous_strides(shape))


class _MadeSource:
    """Bytes that are made when somebody reads them, and kept until the last is read."""

    def __init__(self, source: Source, size: int) -> None:
        self.name, self.size, self.allowance = source.name, size, source.allowance
        self._bytes: bytes | memoryview | None = None

    def _made(self) -> bytes | memoryview:
        raise NotImplementedError

    def readinto(self, offset: int, buffer: memoryview) -> None:
        made = self._bytes  # Another thread may drop them.
        if made is None:
            made = self._bytes = self._made()
        buffer[:] = made[offset : offset + len(buffer)]
        if offset + len(buffer) >= self.size:
            self._bytes = None

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.readinto(offset, memoryview(data))
        return bytes(data)


class _JoinedSource(_MadeSource):
    """The bytes of several outputs behind each other."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        super().__init__(outputs[0].tensor.storage.source, sum(output.nbytes for output in outputs))
        self._outputs = outputs

    def _made(self) -> bytes:
        return b"".join(block.tobytes() for output in self._outputs for block in output.blocks())


class _ArrangedSource(_MadeSource):
    """The bytes of a rearranged tensor."""

    def __init__(self, tensor: Tensor, how: Arrangement, sizes: dict[str, int]) -> None:
        super().__init__(tensor.storage.source, tensor.nbytes)
        self._tensor, self._how, self._sizes = tensor, how, sizes

    def _made(self) -> memoryview:
        return self._how.apply(self._tensor.bits(), self._sizes).reshape(-1).view(np.uint8).data


def _groups(text: str) -> Groups:
    found = re.findall(r"\(([^)]+)\)|(\S+)", re.sub(r"=\d+", "", text))
    return tuple(tuple(inside.split()) if inside else (single,) if single != "1" else () for inside, single in found)


def _renamed(text: str, axes: Mapping[str, str]) -> Groups:
    return tuple(tuple(axes[axis] for axis in group) for group in _groups(text))


def _named(groups: Groups) -> list[str]:
    return [axis for group in groups for axis in group]
