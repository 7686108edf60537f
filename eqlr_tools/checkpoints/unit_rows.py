"""A tensor that is in no file: another one with each of its rows divided by its own size, computed where it is read.

    row' = row * factor / (epsilon + rms(row)),   rms(row) = |row|_2 / sqrt(elements of a row)

All in float64, rounded once to the type of the tensor. It is lazy like any other tensor: its rows are measured in one
pass when the first element is asked for, one number per row is kept, and every read costs what it reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.allowance import Allowance
from eqlr_tools.checkpoints.sources import MemorySource, survives_fork
from eqlr_tools.checkpoints.tensors import BLOCK_BYTES, Storage, Tensor, contiguous_strides

if TYPE_CHECKING:
    from numpy.typing import NDArray


def with_unit_rows(tensor: Tensor, epsilon: float, factor: float) -> Tensor:
    """The tensor with rows of about the rms `factor`; a row is all that belongs to one index of the first axis."""
    source = _UnitRows(tensor, epsilon, factor)
    storage = Storage(source, 0, tensor.nbytes)
    return replace(tensor, storage=storage, strides=contiguous_strides(tensor.shape), offset=0)


@dataclass(frozen=True)
class _UnitRows:
    """The bytes of such a tensor, little-endian. Tensors read whole elements, and only those can be asked for."""

    stored: Tensor
    epsilon: float
    factor: float

    @property
    def name(self) -> str:
        return self.stored.storage.source.name

    @property
    def size(self) -> int:
        return self.stored.nbytes

    @property
    def allowance(self) -> Allowance:
        return self.stored.storage.source.allowance

    @property
    def survives_fork(self) -> bool:
        return survives_fork(self.stored.storage.source)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        dtype = self.stored.dtype
        first, count = offset // dtype.itemsize, len(buffer) // dtype.itemsize
        done = 0
        for block in self._whole.blocks(span=(first, first + count)):
            start = first + done
            rows = np.arange(start, start + block.size) // self._row_elements
            bits = dtype.bits(dtype.values(block) * self._constants[rows])
            buffer[done * dtype.itemsize : (done + block.size) * dtype.itemsize] = bits.tobytes()
            done += block.size

    def read(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        self.readinto(offset, memoryview(buffer))
        return bytes(buffer)

    @property
    def _row_elements(self) -> int:
        return self.stored.numel // self.stored.shape[0]

    @cached_property
    def _whole(self) -> Tensor:
        """The tensor itself; a view that is not contiguous would be gathered for every block, and is so once."""
        tensor = self.stored
        if tensor.is_contiguous:
            return tensor
        data = tensor.bits().tobytes()
        storage = Storage(MemorySource(self.name, data, self.allowance), 0, len(data))
        return replace(tensor, storage=storage, strides=contiguous_strides(tensor.shape), offset=0)

    @cached_property
    def _constants(self) -> NDArray[np.float64]:
        """What each row is multiplied by. Rows that fit are measured a block at a time, longer ones in several."""
        rows, length = self.stored.shape[0], self._row_elements
        step = max(BLOCK_BYTES // (length * self.stored.dtype.itemsize), 1)
        squares = np.zeros(rows)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for first in range(0, rows, step):
                last = min(first + step, rows)
                for block in self._whole.blocks(span=(first * length, last * length)):
                    squares[first:last] += self._squares(block).reshape(last - first, -1).sum(axis=1)
            return self.factor / (self.epsilon + np.sqrt(squares / length))

    def _squares(self, block: NDArray[Any]) -> NDArray[np.float64]:
        return np.square(self.stored.dtype.values(block).astype(np.float64))
