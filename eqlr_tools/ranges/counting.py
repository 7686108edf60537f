"""Counts of a tensor's values, in one pass over blocks that stay in cache. Counts of parts add up to the whole's.

8- and 16-bit floats have so few patterns that a histogram of them is everything there is to know. Of wider types the
histogram of the top 16 bits is taken, which places every value in its binade; what falls inside a watched bin
(`layouts.Cuts`) is counted at full resolution; extremes and power sums come from the values themselves. Integers,
booleans and complex magnitudes are counted as float64.

Everything but the power sums is the same however a tensor is cut into parts; `power_sums` says what is true of those.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME, DType
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.ranges.channels import Channels
from eqlr_tools.ranges.fast import Kernels, value_of_key
from eqlr_tools.ranges.layouts import F32, F64, Cuts, Layout, cuts_for
from eqlr_tools.ranges.power_sums import BLOCK_ELEMENTS, PowerSums, weighted_power_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 1 << 12
"""Up to here sorting is faster than a table of all bins."""

_INFINITY = float("inf")

_Filled = tuple["NDArray[Any]", "NDArray[np.int64]"]
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


def nearest_float(value: Fraction) -> float | None:
    """The nearest float64; None if it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return None


def joined(parts: list[_Filled]) -> _Filled:
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


def count_tensor(
    tensor: Tensor,
    scale: float = 1.0,
    channels: Channels | None = None,
    span: tuple[int, int] | None = None,
    kernels: Kernels | None = None,
) -> Counts:
    """Count the elements of a tensor, or those of a span of flat indices; memory does not grow with either."""
    counter = counter_for(tensor.dtype, scale, channels or Channels(1, max(tensor.numel, 1)), kernels)
    first, end = span or (0, tensor.numel)
    for block in tensor.blocks(BLOCK_ELEMENTS * tensor.dtype.itemsize, (first, end)):
        counter.add(block, first)
        first += block.size
    return counter.counts()


def counter_for(
    dtype: DType, scale: float, channels: Channels, kernels: Kernels | None = None
) -> NarrowCounter | WideCounter:
    """An empty counter for values of this type, which will be asked about `scale` times the values, too."""
    if is_narrow(dtype):
        return NarrowCounter(dtype, channels, kernels)
    return WideCounter(dtype, scale, channels, kernels)


class _Histogram:
    """Counts of patterns: a table of all of them or, of few values, a list of those that occur."""

    def __init__(self, size: int = 1 << 16) -> None:
        self._size = size
        self._few: list[_Filled] = []
        self._table: NDArray[np.int64] | None = None

    @property
    def table(self) -> NDArray[np.int64]:
        if self._table is None:
            self._table = np.zeros(self._size, dtype=np.int64)
        return self._table

    def add_few(self, patterns: NDArray[Any]) -> NDArray[Any]:
        """Count at most `_FEW` patterns and return those that occur."""
        bins, times = np.unique(patterns, return_counts=True)
        self._few.append((bins, times))
        return bins

    def add(self, patterns: NDArray[np.intp]) -> NDArray[np.int64]:
        """Count a block and return its own table."""
        block = np.bincount(patterns, minlength=self._size)
        table = self.table
        np.add(table, block, out=table)
        return block

    def filled(self) -> _Filled:
        """The patterns that occur, ascending, and how often."""
        parts = self._few
        if self._table is not None:
            bins = np.flatnonzero(self._table)
            parts = [*parts, (bins, self._table[bins])]
        return joined(parts)


class _Scratch(threading.local):
    """Working memory of a thread, for whatever it counts one after the other."""

    def __init__(self) -> None:
        self.places = np.empty(BLOCK_ELEMENTS, dtype=np.intp)
        self.patterns = {kind: np.empty(BLOCK_ELEMENTS, dtype=kind) for kind in (np.uint32, np.uint64)}


_scratch = _Scratch()


class NarrowCounter:
    """Counts 8- and 16-bit floats: one histogram."""

    def __init__(self, dtype: DType, channels: Channels, kernels: Kernels | None) -> None:
        self._dtype = dtype
        self._kernels = kernels
        self._channels = channels
        self._histogram = _Histogram(1 << 8 * dtype.itemsize)
        self._magnitudes, self._finite, self._beyond = _narrow_magnitudes(dtype.name)
        self._maxima = np.zeros(channels.count, dtype=dtype.bits_dtype)

    def add(self, bits: NDArray[Any], first: int) -> None:
        for start in range(0, bits.size, BLOCK_ELEMENTS):
            self._add_block(bits[start : start + BLOCK_ELEMENTS], first + start)

    def _add_block(self, bits: NDArray[Any], first: int) -> None:
        if self._all_finite(bits):
            magnitudes = bits & bits.dtype.type((1 << (8 * bits.itemsize - 1)) - 1)
        else:
            magnitudes = np.take(self._magnitudes, bits)
        self._channels.add_maxima(self._maxima, magnitudes, first)

    def _all_finite(self, bits: NDArray[Any]) -> bool:
        """Count a block, and say whether its magnitudes are simply all bits but the sign."""
        if bits.size <= _FEW:
            bins = self._histogram.add_few(bits)
            return self._beyond is not None and bool(self._finite[bins].all())
        if self._kernels:
            table = self._histogram.table
            before = [int(table[part].sum()) for part in self._beyond or ()]
            self._kernels.count_patterns(bits, table)
            return self._beyond is not None and before == [int(table[part].sum()) for part in self._beyond]
        places = _scratch.places[: bits.size]
        np.copyto(places, bits)
        block = self._histogram.add(places)
        return self._beyond is not None and not any(block[part].any() for part in self._beyond)

    def counts(self) -> Counts:
        bins, times = self._histogram.filled()
        values = pattern_values(self._dtype.name)[bins]
        seen = np.isfinite(values)
        numbers = values[seen].astype(np.float64)
        weights = times[seen].astype(np.float64)
        nonzero = np.abs(numbers[numbers != 0])
        sums = weighted_power_sums(numbers, weights)
        widened = np.abs(pattern_values(self._dtype.name)[self._maxima]).view(np.uint32)
        return Counts(
            self._dtype.name,
            int(times.sum()),
            int(times[np.isnan(values)].sum()),
            float(numbers.min(initial=_INFINITY)),
            float(numbers.max(initial=-_INFINITY)),
            float(nonzero.min(initial=_INFINITY)),
            sums,
            bins,
            times,
            np.zeros(0, dtype=np.int64),
            widened,
            None,
        )


@cache
def _narrow_magnitudes(dtype_name: str) -> tuple[NDArray[Any], NDArray[np.bool_], tuple[slice, slice] | None]:
    """For every pattern the pattern of its magnitude (0 if it is no finite number), and whether it is finite.

    Where the largest magnitudes are the ones that are not finite, also where those stand, of either sign.
    """
    values = pattern_values(dtype_name)
    finite = np.isfinite(values)
    patterns = np.arange(len(values), dtype=BY_NAME[dtype_name].bits_dtype)
    half = len(values) // 2
    signed = bool((values[finite] < 0).any())
    magnitudes = patterns & patterns.dtype.type(half - 1) if signed else patterns
    top = int(np.count_nonzero(finite[:half]))
    ordered = signed and np.array_equal(finite[:half], finite[half:]) and bool(finite[:top].all())
    beyond = (slice(top, half), slice(half + top, 2 * half)) if ordered else None
    return np.where(finite, magnitudes, magnitudes.dtype.type(0)), finite, beyond


@dataclass(frozen=True)
class _Extremes:
    """What is known of a block of finite values. Extremes that cannot be new are left at infinity.

    `smallest` is the pattern of the smallest non-zero magnitude; where it is None, `may_have_the_smallest` says whether
    a look at the block can find a new one.
    """

    lowest: float
    highest: float
    smallest: int | None = None
    may_have_the_smallest: bool = True
    squares_are_ready: bool = False


class WideCounter:
    """Counts float32 and float64 patterns, and as float64 whatever is no float."""

    def __init__(self, dtype: DType, scale: float, channels: Channels, kernels: Kernels | None) -> None:
        self._dtype = dtype
        self._kernels = kernels
        self._layout = F32 if dtype.name == "F32" else F64
        self._cuts = cuts_for(self._layout, abs(scale))
        self._channels = channels
        self._histogram = _Histogram()
        self._watched = np.zeros(len(self._cuts.edges), dtype=np.int64)
        self._maxima = np.zeros(channels.count, dtype=self._layout.bits_type)
        self._sums = PowerSums()
        self._nans = self._count = 0
        self._minimum, self._maximum = _INFINITY, -_INFINITY
        self._smallest = self._layout.infinity
        self._patterns = _scratch.patterns[self._layout.bits_type]

    def add(self, bits: NDArray[Any], first: int) -> None:
        layout = self._layout
        bits = wide_bits(self._dtype, bits)
        for start in range(0, bits.size, BLOCK_ELEMENTS):
            self._add_block(bits[start : start + BLOCK_ELEMENTS].view(layout.bits_type), first + start)

    def _add_block(self, bits: NDArray[Any], first: int) -> None:
        self._count += bits.size
        layout = self._layout
        kernels = self._kernels if layout is F32 else None
        found = self._count_compiled(kernels, bits) if kernels else self._count_bins(bits)
        magnitudes = np.bitwise_and(bits, layout.bits_type(layout.magnitude_mask), out=self._patterns[: bits.size])
        values = bits.view(layout.float_type)
        if found is None:
            finite = magnitudes < layout.infinity
            self._nans += int(np.count_nonzero(magnitudes > layout.infinity))
            values = np.where(finite, values, layout.float_type(0))
            magnitudes = np.where(finite, magnitudes, layout.bits_type(0))
            kept = values[finite]
            found = _Extremes(kept.min(initial=_INFINITY), kept.max(initial=-_INFINITY))
        self._minimum, self._maximum = min(self._minimum, found.lowest), max(self._maximum, found.highest)
        self._channels.add_maxima(self._maxima, magnitudes, first)
        if found.squares_are_ready:
            self._sums.add_prepared(values.size)
        else:
            self._sums.add(values, self._largest)
        if found.smallest is not None:
            self._smallest = min(self._smallest, found.smallest)
        elif found.may_have_the_smallest:
            # Zeros wrap around to the largest number there is.
            self._smallest = min(self._smallest, int(np.subtract(magnitudes, 1, out=magnitudes).min()) + 1)

    @property
    def _largest(self) -> float:
        """The largest finite magnitude so far."""
        return max(abs(self._minimum), abs(self._maximum)) if self._minimum <= self._maximum else 0.0

    def _count_bins(self, bits: NDArray[Any]) -> _Extremes | None:
        """Add to the histogram and the watched bins; return the extremes, None if some values are not finite."""
        layout = self._layout
        values = bits.view(layout.float_type)
        if bits.size <= _FEW:
            return _Extremes(values.min(), values.max()) if self._count_few(bits) else None
        tops = np.right_shift(bits, layout.bits_type(layout.shift), out=self._patterns[: bits.size])
        places = _scratch.places[: bits.size]
        np.copyto(places, tops, casting="unsafe")
        block = self._histogram.add(places)
        self._watch(bits, places, block)
        top = layout.infinity >> layout.shift
        if block[top:0x8000].any() or block[0x8000 + top :].any():
            return None
        # Only a block with something in the bin of an extreme or beyond it can move it.
        lowest, highest = _INFINITY, -_INFINITY
        if not self._minimum < 0 or block[0x8000 + self._bin_of(-self._minimum) : 0x8000 + top].any():
            lowest = values.min()
        if not self._maximum > 0 or block[self._bin_of(self._maximum) : top].any():
            highest = values.max()
        end = (self._smallest >> layout.shift) + 1
        return _Extremes(lowest, highest, None, bool(block[:end].any() or block[0x8000 : 0x8000 + end].any()))

    def _bin_of(self, magnitude: float) -> int:
        pattern = np.array([magnitude], dtype=self._layout.float_type).view(self._layout.bits_type)
        return int(pattern[0]) >> self._layout.shift

    def _count_few(self, bits: NDArray[Any]) -> bool:
        """The same of a small block, without a look at every bin there is; True if all values are finite."""
        layout = self._layout
        places = (bits >> layout.bits_type(layout.shift)).astype(np.uint16)
        bins = self._histogram.add_few(places)
        if self._cuts.flags[bins].any():
            self._watched += self._cuts.count(bits[self._cuts.flags[places]] & layout.bits_type(layout.magnitude_mask))
        return not bool(((bins & 0x7FFF) >= layout.infinity >> layout.shift).any())

    def _count_compiled(self, kernels: Kernels, bits: NDArray[Any]) -> _Extremes | None:
        """The same by the compiled loop, which also finds the smallest magnitude and prepares the sums."""
        chosen, largest, smallest, low, high = kernels.count_f32(
            bits, self._histogram.table, self._cuts.flags, self._patterns, *self._sums.buffers
        )
        if chosen:
            self._watched += self._cuts.count(self._patterns[:chosen])
        if largest >= self._layout.infinity:
            return None
        return _Extremes(value_of_key(low), value_of_key(high), int(smallest) + 1, squares_are_ready=True)

    def _watch(self, bits: NDArray[Any], places: NDArray[np.intp], block: NDArray[np.int64]) -> None:
        """Count at full resolution what the block has in watched bins."""
        if block[self._cuts.bins].any():
            found = np.flatnonzero(np.take(self._cuts.flags, places, mode="clip"))
            self._watched += self._cuts.count(bits[found] & bits.dtype.type(self._layout.magnitude_mask))

    def counts(self) -> Counts:
        layout = self._layout
        smallest = np.array([self._smallest], dtype=layout.bits_type).view(layout.float_type)
        return Counts(
            self._dtype.name,
            self._count,
            self._nans,
            float(self._minimum),
            float(self._maximum),
            float(smallest[0]),
            self._sums.totals(),
            *self._histogram.filled(),
            self._watched,
            self._maxima,
            self._cuts,
        )


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
