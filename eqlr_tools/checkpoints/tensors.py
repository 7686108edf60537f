"""Lazy tensors: a dtype, a shape and a view of a storage, whose bytes are read when somebody asks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.checkpoints.sources import Source
from eqlr_tools.errors import DamagedError, UnreadableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_BYTES = 1 << 18
"""Blocks of 256 KiB stay in the L2 cache between the read and the arithmetic (`benchmarks/audit.py`)."""

_MAX_SPAN_BYTES = 1 << 26
"""What is read at once of a view, whose elements may lie far apart."""

_MAX_EXPANDED_BYTES = 1 << 26
"""A view may repeat its storage (stride 0), but what it unfolds to has to stay small."""


@dataclass(frozen=True, eq=False)
class Storage:
    """A run of bytes in a source. Two tensors on one storage are aliases: changing one would change the other."""

    source: Source
    offset: int
    nbytes: int
    byteorder: str = "little"


@dataclass(frozen=True, eq=False)
class Tensor:
    """A strided view of a storage. `offset` and `strides` count elements, as torch does.

    `parameter` and `requires_grad` are what a torch pickle said of it and are written back as they were.
    """

    storage: Storage
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    parameter: bool = False
    requires_grad: bool = False

    def __post_init__(self) -> None:
        if min((*self.shape, *self.strides, self.offset, 0)) < 0:
            raise DamagedError(f"{self.storage.source.name}: a tensor has a negative size or stride")
        if self.numel and (self._last_element + 1) * self.dtype.itemsize > self.storage.nbytes:
            raise DamagedError(
                f"{self.storage.source.name}: a tensor of shape {self.shape} does not fit its "
                f"{self.storage.nbytes:,} bytes",
                hint="the file is damaged, or its index lies; get it again",
            )
        if self.nbytes > max(self.storage.nbytes, _MAX_EXPANDED_BYTES):
            raise UnreadableError(
                f"{self.storage.source.name}: a tensor of shape {self.shape} repeats a storage of only "
                f"{self.storage.nbytes:,} bytes",
                hint="no project writes such a file; it may be made to exhaust memory",
            )

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    @property
    def is_contiguous(self) -> bool:
        return self.numel == 0 or _significant(self.shape, self.strides) == _significant(
            self.shape, contiguous_strides(self.shape)
        )

    @property
    def _last_element(self) -> int:
        return self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))

    def blocks(self, block_bytes: int = BLOCK_BYTES, span: tuple[int, int] | None = None) -> Iterator[NDArray]:
        """Yield the elements in row-major order as flat arrays of bit patterns, in one reused buffer.

        `span` restricts them to flat indices from the first to before the second.
        A view that is not contiguous is read as one piece, since its elements may lie anywhere in its span.
        """
        begin, end = span or (0, self.numel)
        if begin >= end:
            return
        if not self.is_contiguous:
            yield self._gathered()[begin:end]
            return
        itemsize = self.dtype.itemsize
        step = max(block_bytes // itemsize, 1)
        buffer = bytearray(min(step, end - begin) * itemsize)
        start = self.storage.offset + self.offset * itemsize
        for first in range(begin, end, step):
            count = min(step, end - first)
            view = memoryview(buffer)[: count * itemsize]
            self.storage.source.readinto(start + first * itemsize, view)
            yield self._in_order(np.frombuffer(view, dtype=self.dtype.bits_dtype))

    def bits(self) -> NDArray:
        """All elements as bit patterns, in the tensor's shape. Costs the tensor's size in memory."""
        parts = [block.copy() for block in self.blocks(max(self.nbytes, 1))]
        return parts[0].reshape(self.shape) if parts else np.zeros(self.shape, dtype=self.dtype.bits_dtype)

    def values(self) -> NDArray:
        """All elements as numbers (see `DType.values`), in the tensor's shape."""
        return self.dtype.values(self.bits())

    def _gathered(self) -> NDArray:
        gathered = np.empty(self.shape, dtype=self.dtype.bits_dtype)
        self._gather_into(gathered)
        return gathered.reshape(-1)

    def _gather_into(self, target: NDArray) -> None:
        """Read all that lies between the first element and the last, or half of the tensor, if that is too much."""
        itemsize = self.dtype.itemsize
        span = self._last_element + 1 - self.offset
        if span * itemsize > _MAX_SPAN_BYTES and self.numel > 1:
            axis = max(range(len(self.shape)), key=lambda axis: (self.shape[axis] > 1, self.strides[axis]))
            middle = self.shape[axis] // 2
            for first, end in ((0, middle), (middle, self.shape[axis])):
                shape = (*self.shape[:axis], end - first, *self.shape[axis + 1 :])
                half = replace(self, shape=shape, offset=self.offset + first * self.strides[axis])
                half._gather_into(target[(slice(None),) * axis + (slice(first, end),)])
            return
        raw = bytearray(span * itemsize)
        self.storage.source.readinto(self.storage.offset + self.offset * itemsize, memoryview(raw))
        flat = self._in_order(np.frombuffer(raw, dtype=self.dtype.bits_dtype))
        byte_strides = tuple(stride * itemsize for stride in self.strides)
        target[...] = np.lib.stride_tricks.as_strided(flat, self.shape, byte_strides)

    def _in_order(self, bits: NDArray) -> NDArray:
        if self.storage.byteorder == "little" or self.dtype.itemsize == 1:
            return bits
        if self.dtype.kind == "complex":
            return bits.view(f"<u{self.dtype.itemsize // 2}").byteswap().view(self.dtype.bits_dtype)
        return bits.byteswap()


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides in elements, as torch gives a fresh tensor of this shape."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
    return tuple(strides)


def _significant(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[int]:
    """Strides of the axes that have more than one element; the others say nothing about the layout."""
    return [stride for size, stride in zip(shape, strides, strict=True) if size > 1]
