"""What is known of a tensor's values once they are counted (`counters`). Counts of parts add up to the whole's.

Everything but the power sums is the same however a tensor is cut into parts; `power_sums` says what is true of those.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME, DType
from eqlr_tools.ranges.layouts import F32, Cuts, Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

Filled = tuple["NDArray[Any]", "NDArray[np.int64]"]
"""Patterns that occur, ascending, and how often."""


@dataclass(frozen=True, eq=False)
class Counts:
    """What is known of some values of one dtype. `+` joins the counts of two parts of a tensor.

    `minimum`, `maximum` and `power_sums` (of x, x², x³, x⁴) are over finite values, `smallest` is the least non-zero
    magnitude. `bins` are the patterns of an 8- or 16-bit float that occur, or the top halves of anything wider, and
    `times` says how often. `watched` counts between the edges of `cuts`. `channel_maxima` are patterns of the largest
    finite magnitude of each output channel.
    """

    dtype: str
    count: int
    nans: int
    minimum: float
    maximum: float
    smallest: float
    power_sums: tuple[Fraction, Fraction, Fraction, Fraction]
    bins: NDArray[np.intp]
    times: NDArray[np.int64]
    watched: NDArray[np.int64]
    channel_maxima: NDArray[Any]
    cuts: Cuts | None

    def __add__(self, other: Counts) -> Counts:
        if other.dtype != self.dtype or other.cuts is not self.cuts:
            raise ValueError("only counts of one dtype, taken for one constant, add up")
        a, b = self.power_sums, other.power_sums
        return Counts(
            self.dtype,
            self.count + other.count,
            self.nans + other.nans,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            min(self.smallest, other.smallest),
            (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]),
            *joined([(self.bins, self.times), (other.bins, other.times)]),
            self.watched + other.watched,
            np.maximum(self.channel_maxima, other.channel_maxima),
            self.cuts,
        )

    @property
    def layout(self) -> Layout:
        """The wide float that the histogram and the patterns are of; of 8- and 16-bit floats, what they widen to."""
        return self.cuts.layout if self.cuts else F32

    @cached_property
    def infinities(self) -> int:
        if self.cuts is None:
            return int(self.times[np.isinf(pattern_values(self.dtype)[self.bins])].sum())
        return int(self.times[(self.bins & 0x7FFF) >= self._first_beyond].sum()) - self.nans

    @property
    def _first_beyond(self) -> int:
        return self.layout.infinity >> self.layout.shift

    @cached_property
    def moments(self) -> tuple[Fraction, Fraction, Fraction, float | None]:
        """Mean, mean square, variance and kurtosis of the finite values, of which there is at least one."""
        first, second, third, fourth = (total / self.finite for total in self.power_sums)
        variance = second - first * first
        if self.minimum == self.maximum or variance <= 0:
            return first, second, Fraction(0), None
        central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
        return first, second, variance, nearest_float(central / variance**2)

    @property
    def finite(self) -> int:
        return self.count - self.nans - self.infinities

    @cached_property
    def magnitudes(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The bins of a wide type's finite values without their sign, ascending, and the cumulative counts."""
        finite = (self.bins & 0x7FFF) < self._first_beyond
        places = self.bins[finite] & 0x7FFF
        order = np.argsort(places, kind="stable")
        return places[order], np.cumsum(self.times[finite][order])

    @cached_property
    def ascending(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The filled bins of a wide type's finite values, from the most negative up, and the cumulative counts."""
        finite = (self.bins & 0x7FFF) < self._first_beyond
        bins, times = self.bins[finite], self.times[finite]
        positive = int(np.searchsorted(bins, 0x8000))
        order = np.concatenate([np.arange(len(bins) - 1, positive - 1, -1), np.arange(positive)])
        return bins[order], np.cumsum(times[order])

    @cached_property
    def ascending_values(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The finite values of an 8- or 16-bit float that occur, ascending, and how often each does."""
        values = pattern_values(self.dtype)[self.bins]
        finite = np.isfinite(values)
        values, times = values[finite], self.times[finite]
        # Patterns of one sign are in order of magnitude, and the negative ones are the upper half.
        positive = int(np.count_nonzero(self.bins[finite] < len(pattern_values(self.dtype)) // 2))
        if not (values[positive:] <= 0).all():  # No format but E8M0, which has no sign.
            return values, times
        order = np.concatenate([np.arange(len(values) - 1, positive - 1, -1), np.arange(positive)])
        return values[order], times[order]


def nearest_float(value: Fraction) -> float | None:
    """The nearest float64; None if it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return None


def joined(parts: list[Filled]) -> Filled:
    """What occurs in any of the parts, and how often in all."""
    if len(parts) == 1:
        return parts[0][0].astype(np.intp), parts[0][1].astype(np.int64)
    table = np.zeros(1 << 16, dtype=np.int64)
    for bins, times in parts:
        table[bins] += times
    filled = np.flatnonzero(table)
    return filled, table[filled]


@cache
def pattern_values(dtype_name: str) -> NDArray[np.float32]:
    """The number that each bit pattern of an 8- or 16-bit float stands for."""
    dtype = BY_NAME[dtype_name]
    with np.errstate(invalid="ignore"):  # Signalling NaNs become quiet ones.
        return dtype.values(np.arange(1 << 8 * dtype.itemsize, dtype=dtype.bits_dtype)).astype(np.float32)


def is_narrow(dtype: DType) -> bool:
    """True for floats whose histogram is complete."""
    return dtype.is_float and dtype.itemsize <= 2


def wide_bits(dtype: DType, bits: NDArray[Any]) -> NDArray[Any]:
    """Patterns as they are counted: of float32 and float64 their own; of integers, booleans and the magnitudes of
    complex numbers those of float64."""
    if dtype.name in ("F32", "F64"):
        return bits
    if dtype.name == "C32":
        parts = bits.view(np.float16).astype(np.float64)
        wide = np.hypot(parts[::2], parts[1::2])
    else:
        values = dtype.values(bits)
        wide = np.abs(values).astype(np.float64) if dtype.kind == "complex" else values.astype(np.float64)
    return wide.view(np.uint64)
