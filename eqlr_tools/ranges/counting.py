"""Counts of a tensor's values, in one pass over blocks that stay in cache. Counts of parts add up to the whole's.

8- and 16-bit floats have so few patterns that a histogram of them is everything there is to know. Of wider types the
histogram of the top 16 bits is taken, which places every value in its binade; what falls inside a watched bin
(`layouts.Cuts`) is counted at full resolution; extremes and power sums come from the values themselves. Integers,
booleans and complex magnitudes are counted as float64.

Power sums are float64: numpy's dot products of `ROW` elements each, added up row by row, and from then on exact
fractions. So counts of the same parts add up to the same result in any order and grouping. Cutting a tensor elsewhere
changes the rounding inside the rows: sums then agree to about 1e-12 of the sum of magnitudes, everything else is equal.
"""

from __future__ import annotations

import math
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

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_ELEMENTS = 1 << 17
"""Enough to spread the cost of the calls, few enough for the float32 block to stay in the L2 cache."""

ROW = 1 << 13
"""Elements of one dot product: below the length from which BLAS would start threads."""

_PLAIN_EXPONENTS = (-200, 200)
"""float64 blocks whose largest value lies outside are scaled by a power of two before squaring."""

_FEW_BINS = 3

_INFINITY = float("inf")


@dataclass(frozen=True, eq=False)
class Counts:
    """What is known of some values of one dtype. `+` joins the counts of two parts of a tensor.

    `minimum`, `maximum` and `power_sums` (of x, x², x³, x⁴) are over finite values, `smallest` is the least non-zero
    magnitude. `histogram` counts patterns of an 8- or 16-bit float, and top halves of anything wider. `watched` counts
    between the edges of `cuts`. `channel_maxima` are patterns of the largest finite magnitude of each output channel.
    """

    dtype: str
    count: int
    nans: int
    minimum: float
    maximum: float
    smallest: float
    power_sums: tuple[Fraction, Fraction, Fraction, Fraction]
    histogram: NDArray[np.int64]
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
            self.histogram + other.histogram,
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
            return int(self.histogram[np.isinf(pattern_values(self.dtype))].sum())
        top = self.layout.infinity >> self.layout.shift
        beyond = int(self.histogram[top:0x8000].sum() + self.histogram[0x8000 + top :].sum())
        return beyond - self.nans

    @property
    def finite(self) -> int:
        return self.count - self.nans - self.infinities

    @cached_property
    def ascending(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The filled bins of a wide type's finite values, from the most negative up, and the cumulative counts."""
        top = self.layout.infinity >> self.layout.shift
        order = np.concatenate([np.arange(0x8000 + top - 1, 0x7FFF, -1), np.arange(top)])
        filled = order[self.histogram[order] > 0]
        return filled, np.cumsum(self.histogram[filled])


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


class NarrowCounter:
    """Counts 8- and 16-bit floats: one histogram."""

    def __init__(self, dtype: DType, channels: Channels, kernels: Kernels | None) -> None:
        self._dtype = dtype
        self._kernels = kernels
        self._channels = channels
        self._histogram = np.zeros(1 << 8 * dtype.itemsize, dtype=np.int64)
        self._magnitudes, self._finite = _narrow_magnitudes(dtype.name)
        self._maxima = np.zeros(channels.count, dtype=dtype.bits_dtype)
        self._ordered = dtype.name in ("F16", "BF16", "F8_E4M3", "F8_E5M2")

    def add(self, bits: NDArray[Any], first: int) -> None:
        unusual = self._histogram[~self._finite].sum()
        if self._kernels:
            self._kernels.count_patterns(bits, self._histogram)
        else:
            self._histogram += np.bincount(bits, minlength=len(self._histogram))
        if self._ordered and self._histogram[~self._finite].sum() == unusual:
            magnitudes = bits & bits.dtype.type((1 << (8 * bits.itemsize - 1)) - 1)
        else:
            magnitudes = np.take(self._magnitudes, bits)
        self._channels.add_maxima(self._maxima, magnitudes, first)

    def counts(self) -> Counts:
        seen = (self._histogram > 0) & self._finite
        numbers = pattern_values(self._dtype.name)[seen].astype(np.float64)
        times = self._histogram[seen].astype(np.float64)
        nonzero = np.abs(numbers[numbers != 0])
        sums = [Fraction(math.fsum(numbers**power * times)) for power in (1, 2, 3, 4)]
        widened = np.abs(pattern_values(self._dtype.name)[self._maxima]).view(np.uint32)
        return Counts(
            self._dtype.name,
            int(self._histogram.sum()),
            int(self._histogram[np.isnan(pattern_values(self._dtype.name))].sum()),
            float(numbers.min(initial=_INFINITY)),
            float(numbers.max(initial=-_INFINITY)),
            float(nonzero.min(initial=_INFINITY)),
            (sums[0], sums[1], sums[2], sums[3]),
            self._histogram,
            np.zeros(0, dtype=np.int64),
            widened,
            None,
        )


@cache
def _narrow_magnitudes(dtype_name: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """For every pattern the pattern of its magnitude (0 if it is no finite number), and whether it is finite."""
    values = pattern_values(dtype_name)
    finite = np.isfinite(values)
    patterns = np.arange(len(values), dtype=BY_NAME[dtype_name].bits_dtype)
    signed = bool((values[finite] < 0).any())
    magnitudes = patterns & patterns.dtype.type(len(values) // 2 - 1) if signed else patterns
    return np.where(finite, magnitudes, magnitudes.dtype.type(0)), finite


class WideCounter:
    """Counts float32 and float64 patterns, and as float64 whatever is no float."""

    def __init__(self, dtype: DType, scale: float, channels: Channels, kernels: Kernels | None) -> None:
        self._dtype = dtype
        self._kernels = kernels
        self._layout = F32 if dtype.name == "F32" else F64
        self._cuts = cuts_for(self._layout, abs(scale))
        self._channels = channels
        self._histogram = np.zeros(1 << 16, dtype=np.int64)
        self._watched = np.zeros(len(self._cuts.edges), dtype=np.int64)
        self._maxima = np.zeros(channels.count, dtype=self._layout.bits_type)
        self._sums = PowerSums()
        self._nans = self._count = 0
        self._minimum, self._maximum = _INFINITY, -_INFINITY
        self._smallest = self._layout.infinity
        size = BLOCK_ELEMENTS
        self._scratch = np.empty(size, dtype=self._layout.bits_type)
        self._places = np.empty(size, dtype=np.intp)

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
        magnitudes = np.bitwise_and(bits, layout.bits_type(layout.magnitude_mask), out=self._scratch[: bits.size])
        values = bits.view(layout.float_type)
        if found is None:
            finite = magnitudes < layout.infinity
            self._nans += int(np.count_nonzero(magnitudes > layout.infinity))
            values = np.where(finite, values, layout.float_type(0))
            magnitudes = np.where(finite, magnitudes, layout.bits_type(0))
            kept = values[finite]
            found = float(kept.min(initial=_INFINITY)), float(kept.max(initial=-_INFINITY)), None
        lowest, highest, smallest = found
        self._minimum, self._maximum = min(self._minimum, lowest), max(self._maximum, highest)
        self._channels.add_maxima(self._maxima, magnitudes, first)
        if smallest is None:
            # Zeros wrap around to the largest number there is.
            self._sums.add(values, max(abs(lowest), abs(highest)) if lowest <= highest else 0.0)
            smallest = int(np.subtract(magnitudes, layout.bits_type(1), out=magnitudes).min())
        else:
            self._sums.add_prepared(values.size)
        self._smallest = min(self._smallest, smallest + 1)

    def _count_bins(self, bits: NDArray[Any]) -> tuple[float, float, None] | None:
        """Add to the histogram and the watched bins; return the extremes, None if some values are not finite."""
        layout = self._layout
        places = self._places[: bits.size]
        np.copyto(places, bits.view(np.uint16)[layout.bits // 16 - 1 :: layout.bits // 16])
        block = np.bincount(places, minlength=1 << 16)
        self._histogram += block
        magnitudes = np.bitwise_and(bits, layout.bits_type(layout.magnitude_mask), out=self._scratch[: bits.size])
        self._watch(magnitudes, places, block)
        top = layout.infinity >> layout.shift
        if block[top:0x8000].any() or block[0x8000 + top :].any():
            return None
        values = bits.view(layout.float_type)
        return float(values.min()), float(values.max()), None

    def _count_compiled(self, kernels: Kernels, bits: NDArray[Any]) -> tuple[float, float, int] | None:
        """The same by the compiled loop, which also finds the smallest magnitude and prepares the sums."""
        chosen, largest, smallest, low, high = kernels.count_f32(
            bits, self._histogram, self._cuts.flags, self._scratch, *self._sums.buffers
        )
        if chosen:
            self._watched += self._cuts.count(self._scratch[:chosen])
        if largest >= self._layout.infinity:
            return None
        return value_of_key(low), value_of_key(high), int(smallest)

    def _watch(self, magnitudes: NDArray[Any], places: NDArray[np.intp], block: NDArray[np.int64]) -> None:
        """Count at full resolution what the block has in watched bins: few bins by comparison, many by a table."""
        bins = self._cuts.bins[block[self._cuts.bins] > 0]
        bins = np.unique(bins & 0x7FFF)
        if bins.size > _FEW_BINS:
            found = np.flatnonzero(np.take(self._cuts.flags, places, mode="clip"))
            self._watched += self._cuts.count(magnitudes[found])
            return
        shift, bits_type = self._layout.shift, self._layout.bits_type
        for place in bins.tolist():
            above_edge = magnitudes - bits_type(place << shift)
            found = np.flatnonzero(above_edge < bits_type(1 << shift))
            self._watched += self._cuts.count(magnitudes[found])

    def counts(self) -> Counts:
        layout = self._layout
        smallest = np.array([self._smallest], dtype=layout.bits_type).view(layout.float_type)
        return Counts(
            self._dtype.name,
            self._count,
            self._nans,
            self._minimum,
            self._maximum,
            float(smallest[0]),
            self._sums.totals(),
            self._histogram,
            self._watched,
            self._maxima,
            self._cuts,
        )


class PowerSums:
    """Sums of x, x², x³ and x⁴ in float64, exact from row to row on; see the module's docstring."""

    def __init__(self) -> None:
        rows = BLOCK_ELEMENTS // ROW
        self._wide = np.zeros((rows, ROW))
        self._squares = np.zeros((rows, ROW))
        self._ones = np.ones(ROW)
        self._rows = np.zeros((4, rows))
        self._exponent = 0
        self._totals = [Fraction(0)] * 4

    @property
    def buffers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where a kernel puts the values of a block and their squares before `add_prepared`."""
        return self._wide.reshape(-1), self._squares.reshape(-1)

    def add(self, values: NDArray[Any], largest: float) -> None:
        """Add a block of at most BLOCK_ELEMENTS finite values; `largest` is their largest magnitude."""
        flat = self._wide.reshape(-1)[: values.size]
        flat[:] = values
        if values.dtype == np.float64:
            self._rescale(flat, largest)
        np.multiply(flat, flat, out=self._squares.reshape(-1)[: values.size])
        self.add_prepared(values.size)

    def add_prepared(self, size: int) -> None:
        """Add the block whose values and squares are in the buffers."""
        rows = -(-size // ROW)
        wide, squares = self._wide[:rows], self._squares[:rows]
        wide.reshape(-1)[size:] = 0.0
        squares.reshape(-1)[size:] = 0.0
        sums = self._rows[:, :rows]
        sums[0] += np.vecdot(wide, self._ones)
        sums[1] += np.vecdot(wide, wide)
        sums[2] += np.vecdot(squares, wide)
        sums[3] += np.vecdot(squares, squares)

    def totals(self) -> tuple[Fraction, Fraction, Fraction, Fraction]:
        self._flush()
        first, second, third, fourth = self._totals
        return first, second, third, fourth

    def _rescale(self, wide: NDArray[np.float64], largest: float) -> None:
        exponent = math.frexp(largest)[1]
        if largest == 0 or _PLAIN_EXPONENTS[0] < exponent < _PLAIN_EXPONENTS[1]:
            exponent = 0
        if exponent != self._exponent:
            self._flush()
            self._exponent = exponent
        if exponent:
            np.ldexp(wide, -exponent, out=wide)

    def _flush(self) -> None:
        unit = Fraction(2) ** self._exponent
        for power in range(4):
            self._totals[power] += Fraction(math.fsum(self._rows[power])) * unit ** (power + 1)
        self._rows[:] = 0.0


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
