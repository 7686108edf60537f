"""Counts of a tensor's values, in one pass over blocks that stay in cache. Counts of parts add up to the whole's.

8- and 16-bit types have so few patterns that a histogram of them is everything there is to know. Of wider floats
the histogram of the top 16 bits is taken, which places every value in its binade exactly, and the sums and extremes
beside it are computed from the values themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME, DType
from eqlr_tools.checkpoints.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INFINITY = float("inf")


@dataclass(frozen=True)
class Counts:
    """What is known of some values of one dtype. `+` joins the counts of two parts.

    `sum`, `sum_of_squares` and the extremes are over finite values; `smallest` is the least non-zero magnitude.
    """

    dtype: str
    count: int = 0
    zeros: int = 0
    nans: int = 0
    infinities: int = 0
    minimum: float = _INFINITY
    maximum: float = -_INFINITY
    smallest: float = _INFINITY
    sum: float = 0.0
    sum_of_squares: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        if other.dtype != self.dtype:
            raise ValueError(f"counts of {self.dtype} and {other.dtype} do not add up")
        return Counts(
            self.dtype,
            self.count + other.count,
            self.zeros + other.zeros,
            self.nans + other.nans,
            self.infinities + other.infinities,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            min(self.smallest, other.smallest),
            self.sum + other.sum,
            self.sum_of_squares + other.sum_of_squares,
        )

    @property
    def finite(self) -> int:
        return self.count - self.nans - self.infinities


def count_tensor(tensor: Tensor) -> Counts:
    """Count all elements of a tensor, block by block; memory does not grow with the tensor."""
    total = Counts(tensor.dtype.name)
    if tensor.dtype.is_float and tensor.dtype.itemsize <= 2:
        patterns = np.zeros(1 << 8 * tensor.dtype.itemsize, dtype=np.int64)
        for block in tensor.blocks():
            patterns += np.bincount(block, minlength=len(patterns))
        return _count_patterns(patterns, tensor.dtype)
    for block in tensor.blocks():
        total = total + count_values(tensor.dtype.values(block), tensor.dtype.name)
    return total


def count_values(values: NDArray, dtype: str) -> Counts:
    """Count one block of numbers. Complex ones are counted by magnitude."""
    wide = np.abs(values).astype(np.float64) if values.dtype.kind == "c" else values.astype(np.float64)
    nans = infinities = 0
    if not np.isfinite(wide.sum()) and not np.isfinite(wide).all():
        nans = int(np.isnan(wide).sum())
        infinities = int(np.isinf(wide).sum())
        wide = wide[np.isfinite(wide)]
    if wide.size == 0:
        return Counts(dtype, values.size, nans=nans, infinities=infinities)
    magnitudes = np.abs(wide)
    nonzero = magnitudes[magnitudes > 0]
    with np.errstate(over="ignore"):
        squares = float(np.dot(wide, wide))
    return Counts(
        dtype,
        values.size,
        int(wide.size - nonzero.size),
        nans,
        infinities,
        float(wide.min()),
        float(wide.max()),
        float(nonzero.min()) if nonzero.size else _INFINITY,
        float(wide.sum()),
        squares,
    )


def _count_patterns(patterns: NDArray[np.int64], dtype: DType) -> Counts:
    values = _pattern_values(dtype.name)
    seen = patterns > 0
    numbers, times = values[seen], patterns[seen]
    finite = np.isfinite(numbers)
    numbers, times_finite = numbers[finite], times[finite]
    magnitudes = np.abs(numbers)
    nonzero = magnitudes[magnitudes > 0]
    nans = int(times[np.isnan(values[seen])].sum())
    return Counts(
        dtype.name,
        int(patterns.sum()),
        int(times_finite[magnitudes == 0].sum()),
        nans,
        int(times.sum() - times_finite.sum()) - nans,
        float(numbers.min()) if numbers.size else _INFINITY,
        float(numbers.max()) if numbers.size else -_INFINITY,
        float(nonzero.min()) if nonzero.size else _INFINITY,
        float(np.dot(numbers, times_finite)),
        float(np.dot(numbers * numbers, times_finite)),
    )


@cache
def _pattern_values(dtype_name: str) -> NDArray[np.float64]:
    """The number that each bit pattern of an 8- or 16-bit float stands for."""
    dtype = BY_NAME[dtype_name]
    patterns = np.arange(1 << 8 * dtype.itemsize, dtype=dtype.bits_dtype)
    return dtype.values(patterns).astype(np.float64)
