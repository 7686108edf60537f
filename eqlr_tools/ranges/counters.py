"""One pass over a tensor's blocks, which stay in cache while everything about them is counted.

8- and 16-bit floats have so few patterns that a histogram of them is everything there is to know. Of wider types the
histogram of the top 16 bits is taken, which places every value in its binade; what falls inside a watched bin
(`layouts.Cuts`) is counted at full resolution; extremes and power sums come from the values themselves. Integers,
booleans and complex magnitudes are counted as float64.

Each step is numpy's, or a loop of `compiled` that gives the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME, DType
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.ranges.channels import Channels
from eqlr_tools.ranges.counting import Counts, Filled, is_narrow, joined, pattern_values, wide_bits
from eqlr_tools.ranges.layouts import F32, cuts_for
from eqlr_tools.ranges.power_sums import PowerSums, weighted_power_sums
from eqlr_tools.ranges.reading import layout_of
from eqlr_tools.ranges.scratch import BLOCK_ELEMENTS, NARROW_BLOCK_ELEMENTS, scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 1 << 12
"""Up to here sorting is faster than a table of all bins."""

_FEW_BINS = 8
"""Up to here comparing a block with every bin is faster than looking its values up."""

_INFINITY = float("inf")


def count_tensor(
    tensor: Tensor,
    scale: float = 1.0,
    channels: Channels | None = None,
    span: tuple[int, int] | None = None,
    loops: ModuleType | None = None,
) -> Counts:
    """Count the elements of a tensor, or those of a span of flat indices; memory does not grow with either."""
    counter = counter_for(tensor.dtype, scale, channels or Channels(1, max(tensor.numel, 1)), loops)
    first, end = span or (0, tensor.numel)
    for block in tensor.blocks(counter.block_elements * tensor.dtype.itemsize, (first, end)):
        counter.add(block, first)
        first += block.size
    return counter.counts()


def counter_for(
    dtype: DType, scale: float, channels: Channels, loops: ModuleType | None = None
) -> NarrowCounter | WideCounter:
    """An empty counter for values of this type, which will be asked about `scale` times the values, too."""
    if is_narrow(dtype):
        return NarrowCounter(dtype, channels, loops)
    return WideCounter(dtype, scale, channels, loops)


class _Histogram:
    """Counts of patterns: a table of all of them or, of few values, a list of those that occur."""

    def __init__(self, size: int = 1 << 16) -> None:
        self._size = size
        self._few: list[Filled] = []
        self._table: NDArray[np.int64] | None = None

    @property
    def table(self) -> NDArray[np.int64]:
        if self._table is None:
            self._table = np.zeros(self._size, dtype=np.int64)
        return self._table

    def add_few(self, patterns: NDArray[Any]) -> NDArray[Any]:
        """Count at most `_FEW` patterns and return those that occur."""
        ordered = np.sort(patterns)
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        bins, times = ordered[starts], np.diff(starts, append=ordered.size)
        self._few.append((bins, times))
        return bins

    def add(self, patterns: NDArray[np.intp]) -> NDArray[np.int64]:
        """Count a block and return its own table."""
        block = np.bincount(patterns, minlength=self._size)
        table = self.table
        np.add(table, block, out=table)
        return block

    def filled(self) -> Filled:
        """The patterns that occur, ascending, and how often."""
        parts = self._few
        if self._table is not None:
            bins = np.flatnonzero(self._table)
            parts = [*parts, (bins, self._table[bins])]
        return joined(parts)


class NarrowCounter:
    """Counts 8- and 16-bit floats: one histogram."""

    block_elements = NARROW_BLOCK_ELEMENTS

    def __init__(self, dtype: DType, channels: Channels, loops: ModuleType | None) -> None:
        self._dtype = dtype
        self._loops = loops
        self._channels = channels
        self._histogram = _Histogram(1 << 8 * dtype.itemsize)
        self._magnitudes, self._finite, self._beyond = _narrow_magnitudes(dtype.name)
        self._maxima = np.zeros(channels.count, dtype=dtype.bits_dtype)

    def add(self, bits: NDArray[Any], first: int) -> None:
        for start in range(0, bits.size, self.block_elements):
            self._add_block(bits[start : start + self.block_elements], first + start)

    def _add_block(self, bits: NDArray[Any], first: int) -> None:
        if self._all_finite(bits):
            mask = bits.dtype.type((1 << (8 * bits.itemsize - 1)) - 1)
            if self._loops:
                self._loops.raise_maxima(self._maxima, bits, mask, first, self._channels.inner)
                return
            magnitudes = bits & mask
        else:
            magnitudes = np.take(self._magnitudes, bits)
        self._channels.add_maxima(self._maxima, magnitudes, first)

    def _all_finite(self, bits: NDArray[Any]) -> bool:
        """Count a block, and say whether its magnitudes are simply all bits but the sign."""
        if bits.size <= _FEW:
            bins = self._histogram.add_few(bits)
            return self._beyond is not None and bool(self._finite[bins].all())
        if self._loops:
            table = self._histogram.table
            before = [int(table[part].sum()) for part in self._beyond or ()]
            self._loops.count_patterns(bits, table)
            return self._beyond is not None and before == [int(table[part].sum()) for part in self._beyond]
        places = scratch.places[: bits.size]
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

    `may_have_the_smallest` says whether a look at the block can find a new smallest magnitude.
    """

    lowest: float
    highest: float
    may_have_the_smallest: bool = True


class WideCounter:
    """Counts float32 and float64 patterns, and as float64 whatever is no float."""

    block_elements = BLOCK_ELEMENTS

    def __init__(self, dtype: DType, scale: float, channels: Channels, loops: ModuleType | None) -> None:
        self._dtype = dtype
        self._loops = loops
        self._layout = layout_of(dtype)
        self._cuts = cuts_for(self._layout, abs(scale))
        self._channels = channels
        self._histogram = _Histogram()
        self._watched = np.zeros(len(self._cuts.edges), dtype=np.int64)
        self._maxima = np.zeros(channels.count, dtype=self._layout.bits_type)
        self._sums = PowerSums()
        self._nans = self._count = 0
        self._minimum, self._maximum = _INFINITY, -_INFINITY
        self._smallest = self._layout.infinity
        self._patterns = scratch.patterns[self._layout.bits_type]

    def add(self, bits: NDArray[Any], first: int) -> None:
        layout = self._layout
        bits = wide_bits(self._dtype, bits)
        for start in range(0, bits.size, self.block_elements):
            self._add_block(bits[start : start + self.block_elements].view(layout.bits_type), first + start)

    def _add_block(self, bits: NDArray[Any], first: int) -> None:
        self._count += bits.size
        layout = self._layout
        if self._loops and layout is F32 and self._add_compiled(self._loops, bits, first):
            return
        found = self._count_bins(bits)
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
        self._sums.add(values, self._largest)
        if found.may_have_the_smallest:
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
        places = scratch.places[: bits.size]
        np.copyto(places, tops, casting="unsafe")
        block = self._histogram.add(places)
        self._watch(bits, tops, block)
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
        return _Extremes(lowest, highest, bool(block[:end].any() or block[0x8000 : 0x8000 + end].any()))

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

    def _add_compiled(self, loops: ModuleType, bits: NDArray[Any], first: int) -> bool:
        """Add a block by compiled loops. If some of its values are not finite nothing is done, and False returned."""
        lowest, highest, nearest = loops.count_f32(
            bits,
            self._histogram.table,
            self._cuts.flags,
            self._cuts.edges,
            self._watched,
            self._maxima,
            first,
            self._channels.inner,
            self._sums.lanes,
        )
        values = np.array([lowest, highest], dtype=np.uint32).view(np.float32).tolist()
        if not all(map(math.isfinite, values)):
            return False
        self._minimum, self._maximum = min(self._minimum, values[0]), max(self._maximum, values[1])
        self._smallest = min(self._smallest, nearest + 1)
        return True

    def _watch(self, bits: NDArray[Any], tops: NDArray[Any], block: NDArray[np.int64]) -> None:
        """Count at full resolution what the block has in watched bins."""
        filled = self._cuts.bins[block[self._cuts.bins] != 0].astype(bits.dtype)
        if not filled.size:
            return
        if filled.size <= _FEW_BINS:
            flags, more = scratch.flags[: bits.size], scratch.more_flags[: bits.size]
            np.equal(tops, filled[0], out=flags)
            for place in filled[1:]:
                np.logical_or(flags, np.equal(tops, place, out=more), out=flags)
        else:
            flags = np.take(self._cuts.flags, tops, mode="clip")
        found = np.flatnonzero(flags)
        self._watched += self._cuts.count(bits[found] & bits.dtype.type(self._layout.magnitude_mask))

    def counts(self) -> Counts:
        layout = self._layout
        smallest = np.array([self._smallest], dtype=layout.bits_type).view(layout.float_type)
        return Counts(
            self._dtype.name,
            self._count,
            self._nans,
            float(self._minimum) + 0.0,  # -0 becomes 0
            float(self._maximum) + 0.0,
            float(smallest[0]),
            self._sums.totals(),
            *self._histogram.filled(),
            self._watched,
            self._maxima,
            self._cuts,
        )
