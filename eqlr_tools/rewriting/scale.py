"""Multiplication and division of stored bits by a constant, and its addition, rounded once to the stored type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME, DType

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Scale:
    """x -> x * multiply / divide + add.

    float64 computes in float64. Everything else computes in float32 with the constant rounded to float32, which is
    what torch does with `weight * c` at run time, so a baked weight is the very number that the network applied.
    With more than one of the three the arithmetic is in float64, so that there is still one rounding.
    """

    multiply: float = 1.0
    divide: float = 1.0
    add: float = 0.0

    @property
    def factor(self) -> float:
        return self.multiply / self.divide

    def __call__(self, bits: NDArray, dtype: DType) -> NDArray:
        """Scale a block of bit patterns; may reuse its memory."""
        if dtype.itemsize <= 2:
            return np.take(_table(self, dtype.name), bits, mode="clip", out=bits)
        with np.errstate(over="ignore", invalid="ignore"):
            return self._arithmetic(dtype.values(bits)).view(dtype.bits_dtype)

    def _arithmetic(self, values: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any]
        if values.dtype == np.float64 or self.add != 0.0 or (self.multiply != 1.0 and self.divide != 1.0):
            wide = values.astype(np.float64)
            return (wide * self.multiply / self.divide + self.add).astype(values.dtype)
        if self.divide != 1.0:
            result = np.divide(values, np.float32(self.divide), out=values)
        else:
            result = np.multiply(values, np.float32(self.multiply), out=values)
        return result


@lru_cache(maxsize=64)
def _table(scale: Scale, dtype_name: str) -> NDArray:
    """The result for every bit pattern of an 8- or 16-bit float. NaNs keep their payload."""
    dtype = BY_NAME[dtype_name]
    patterns = np.arange(1 << 8 * dtype.itemsize, dtype=dtype.bits_dtype)
    values = dtype.values(patterns).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = dtype.bits(scale._arithmetic(values.copy()))
    return np.where(np.isnan(values), patterns, scaled)
