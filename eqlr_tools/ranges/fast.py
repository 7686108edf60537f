"""The optional accelerator: the inner loops of counting, compiled by numba. The numbers are the same, bit for bit.

Everything that these loops compute is exact (counts, extremes, conversions, single products); the sums, whose rounding
depends on their order, are numpy's dot products here as there. The compiled code is kept beside this file, or
in the user's cache directory, so that only the first run ever compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORTHWHILE_FROM_BYTES = 1 << 30
"""Importing numba and loading the compiled code takes half a second: as long as numpy alone needs for about 1 GB."""

Extremes = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Kernels:
    """The compiled loops.

    `count_patterns(bits, histogram)` adds to the histogram of an 8- or 16-bit type. `count_f32(bits, histogram, flags,
    selected, wide, squares)` adds to the histogram of top halves, writes the magnitudes in flagged bins to `selected`,
    the values and their squares as float64 to `wide` and `squares`, and returns how many were selected, the largest
    magnitude, the smallest less one (zeros wrap around), and the ordered keys of the smallest and largest value.
    """

    count_patterns: Callable[[NDArray[Any], NDArray[np.int64]], None]
    count_f32: Callable[..., Extremes]


def load(nbytes: int) -> Kernels | None:
    """The kernels, if numba is installed and there is enough to do."""
    return _compiled() if nbytes >= WORTHWHILE_FROM_BYTES else None


def value_of_key(key: int) -> float:
    """Undo the mapping that makes float32 patterns ordered as signed integers."""
    bits = np.array([key if key >= 0 else key ^ 0x7FFFFFFF], dtype=np.int32)
    return float(bits.view(np.float32)[0])


@cache
def _compiled() -> Kernels | None:
    try:
        import numba
    except ImportError:
        return None

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            result: Callable[..., Any] = numba.njit(nogil=True, cache=True)(function)
        except RuntimeError:  # Nowhere to keep the compiled code.
            result = numba.njit(nogil=True)(function)
        return result

    return Kernels(compiled(_count_patterns), compiled(_count_f32))


def _count_patterns(bits: NDArray[Any], histogram: NDArray[np.int64]) -> None:
    for index in range(bits.size):
        histogram[bits[index]] += 1


def _count_f32(
    bits: NDArray[np.uint32],
    histogram: NDArray[np.int64],
    flags: NDArray[np.bool_],
    selected: NDArray[np.uint32],
    wide: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> Extremes:
    values = bits.view(np.float32)
    signed = bits.view(np.int32)
    mask = np.uint32(0x7FFFFFFF)
    one = np.uint32(1)
    chosen = 0
    for index in range(bits.size):
        pattern = bits[index]
        place = pattern >> np.uint32(16)
        histogram[place] += 1
        if flags[place]:
            selected[chosen] = pattern & mask
            chosen += 1
    largest, smallest = np.uint32(0), np.uint32(0xFFFFFFFF)
    lowest, highest = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    for index in range(bits.size):
        magnitude = bits[index] & mask
        largest = max(largest, magnitude)
        smallest = min(smallest, np.uint32(magnitude - one))
        key = signed[index] ^ np.int32(np.uint32(signed[index] >> np.int32(31)) & mask)
        lowest = min(lowest, key)
        highest = max(highest, key)
    for index in range(bits.size):
        number = np.float64(values[index])
        wide[index] = number
        squares[index] = number * number
    return chosen, int(largest), int(smallest), int(lowest), int(highest)
