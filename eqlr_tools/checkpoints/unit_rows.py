"""A tensor with each of its rows divided by its own size.

    row' = row * factor / (epsilon + rms(row)),   rms(row) = |row|_2 / sqrt(elements of a row)

All in float64, rounded once to the type of the tensor. Its rows are measured in one pass when the first element is
asked for, one number per row is kept, and every read costs what it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.computed import Computed
from eqlr_tools.checkpoints.tensors import BLOCK_BYTES, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


def with_unit_rows(tensor: Tensor, epsilon: float, factor: float) -> Tensor:
    """The tensor with rows of about the rms `factor`; a row is all that belongs to one index of the first axis."""
    return _UnitRows(tensor, epsilon, factor).tensor()


@dataclass(frozen=True)
class _UnitRows(Computed):
    epsilon: float
    factor: float

    def computed(self, bits: NDArray, first: int) -> NDArray:
        rows = np.arange(first, first + bits.size) // self._row_elements
        return self.dtype.bits(self.dtype.values(bits) * self._constants[rows])

    @property
    def _row_elements(self) -> int:
        return self.stored.numel // self.stored.shape[0]

    @cached_property
    def _constants(self) -> NDArray[np.float64]:
        """What each row is multiplied by. Rows that fit are measured a block at a time, longer ones in several."""
        rows, length = self.stored.shape[0], self._row_elements
        step = max(BLOCK_BYTES // (length * self.stored.dtype.itemsize), 1)
        squares = np.zeros(rows)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for first in range(0, rows, step):
                last = min(first + step, rows)
                for block in self.whole.blocks(span=(first * length, last * length)):
                    squares[first:last] += self._squares(block).reshape(last - first, -1).sum(axis=1)
            return self.factor / (self.epsilon + np.sqrt(squares / length))

    def _squares(self, block: NDArray[Any]) -> NDArray[np.float64]:
        return np.square(self.stored.dtype.values(block).astype(np.float64))
