"""The same elements in another order: axes merged, split, permuted, reversed.

An arrangement is written as two lists of axes, `h w i o -> o i h w`. On the left stands the tensor as it is, on the
right what it becomes; `1` is an axis of length one that only one side has, and axes in parentheses are one axis in
memory, the last of them fastest. Sizes inside parentheses on the left have to be given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.errors import UnreadableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Arrangement:
    """`left` and `right` name the axes; those in `reverse` run backwards on the other side."""

    left: Groups
    right: Groups
    reverse: frozenset[str] = frozenset()

    @property
    def inverse(self) -> Arrangement:
        return replace(self, left=self.right, right=self.left)

    @property
    def keeps_order(self) -> bool:
        """True if the elements stay where they are in memory, so that only the shape changes."""
        return not self.reverse and _named(self.left) == _named(self.right)

    def sizes(self, shape: tuple[int, ...], known: Mapping[str, int]) -> dict[str, int] | None:
        """The length of each axis of a tensor of this shape on the left, or None if it cannot have this shape."""
        if len(shape) != len(self.left):
            return None
        found = dict(known)
        for group, length in zip(self.left, shape, strict=True):
            free = [axis for axis in group if axis not in found]
            rest, remainder = divmod(length, math.prod(found.get(axis, 1) for axis in group) or 1)
            if remainder or len(free) > 1 or (not free and rest != 1):
                return None
            found.update(dict.fromkeys(free, rest))
        return found

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
    """Parse `h w i o -> o i h w`; `reverse` lists axes, as in "h w"."""
    left, _, right = text.partition("->")
    return Arrangement(_groups(left), _groups(right), frozenset(reverse.split()))


def arranged(tensor: Tensor, how: Arrangement, known: Mapping[str, int]) -> Tensor:
    """The tensor in its new order, lazily. Raises UnreadableError if its shape does not fit."""
    sizes = how.sizes(tensor.shape, known)
    if sizes is None:
        raise UnreadableError(f"{tensor.storage.source.name}: a tensor of shape {tensor.shape} does not fit {how.left}")
    shape = how.shape(sizes)
    strides = contiguous_strides(shape)
    if how.keeps_order and tensor.is_contiguous:
        return tensor if shape == tensor.shape else replace(tensor, shape=shape, strides=strides)
    storage = Storage(_ArrangedSource(tensor, how, sizes), 0, tensor.nbytes)
    return replace(tensor, storage=storage, shape=shape, strides=strides, offset=0)


class _ArrangedSource:
    """The bytes of a rearranged tensor, made when somebody reads them and kept until the last is read."""

    def __init__(self, tensor: Tensor, how: Arrangement, sizes: dict[str, int]) -> None:
        self._tensor, self._how, self._sizes = tensor, how, sizes
        self._bytes: memoryview | None = None

    @property
    def name(self) -> str:
        return self._tensor.storage.source.name

    @property
    def size(self) -> int:
        return self._tensor.nbytes

    def readinto(self, offset: int, buffer: memoryview) -> None:
        if self._bytes is None:
            self._bytes = memoryview(self._how.apply(self._tensor.bits(), self._sizes).reshape(-1).view(np.uint8))
        buffer[:] = self._bytes[offset : offset + len(buffer)]
        if offset + len(buffer) >= self.size:
            self._bytes = None

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.readinto(offset, memoryview(data))
        return bytes(data)


def _groups(text: str) -> Groups:
    found = re.findall(r"\(([^)]*)\)|(\S+)", text)
    return tuple(
        tuple(inside.split()) if inside else tuple(axis for axis in (single,) if axis not in ("1", "()"))
        for inside, single in found
    )


def _named(groups: Groups) -> list[str]:
    return [axis for group in groups for axis in group]
