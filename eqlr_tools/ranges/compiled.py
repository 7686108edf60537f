"""The inner loops of counting, compiled by numba. Only `fast` imports this module, where numba is installed.

Counts and extremes are exact whatever their order; sums are added in the order that `power_sums` fixes. The compiled
code is kept beside this file or in the user's cache directory, so that only the first run ever compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Loop = TypeVar("Loop", bound=Callable[..., Any])


def _compiled(function: Loop) -> Loop:
    try:
        return numba.njit(nogil=True, cache=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # Nowhere to keep the compiled code.
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


@_compiled
def count_patterns(bits: NDArray[Any], histogram: NDArray[np.int64]) -> None:
    """Add the patterns of an 8- or 16-bit type to their histogram."""
    for index in range(bits.size):
        histogram[bits[index]] += 1


@_compiled
def count_tops(
    bits: NDArray[np.uint32],
    histogram: NDArray[np.int64],
    flags: NDArray[np.bool_],
    edges: NDArray[np.uint32],
    watched: NDArray[np.int64],
) -> None:
    """Add the top halves to their histogram, and the magnitudes in flagged bins to the counts between the edges."""
    for index in range(bits.size):
        top = bits[index] >> np.uint32(16)
        histogram[top] += 1
        if flags[top]:
            magnitude = bits[index] & np.uint32(0x7FFFFFFF)
            below, above = 0, edges.size
            while above - below > 1:
                middle = (below + above) // 2
                if edges[middle] <= magnitude:
                    below = middle
                else:
                    above = middle
            watched[below] += 1


@_compiled
def extremes(bits: NDArray[np.uint32]) -> tuple[int, int, int, int]:
    """Of float32 patterns the largest as unsigned and as signed numbers, the least unsigned, and the least magnitude
    less one, where zeros wrap around to the largest number."""
    signed = bits.view(np.int32)
    largest, least, nearest = np.uint32(0), np.uint32(0xFFFFFFFF), np.uint32(0xFFFFFFFF)
    largest_signed = np.int32(-0x80000000)
    for index in range(bits.size):
        largest = max(largest, bits[index])
        least = min(least, bits[index])
        largest_signed = max(largest_signed, signed[index])
        nearest = min(nearest, np.uint32((bits[index] & np.uint32(0x7FFFFFFF)) - np.uint32(1)))
    return int(largest), int(largest_signed), int(least), int(nearest)


@_compiled
def raise_maxima(maxima: NDArray[Any], bits: NDArray[Any], mask: Any, first: int, inner: int) -> None:
    """Raise each channel's maximum by the magnitudes of a run of elements that begins at flat index `first`."""
    row = first // inner
    start, end = 0, (row + 1) * inner - first
    while start < bits.size:
        run = bits[start:end]
        largest = mask & run[0]
        for index in range(run.size):
            largest = max(largest, mask & run[index])
        channel = row % maxima.size
        maxima[channel] = max(maxima[channel], largest)
        row += 1
        start, end = end, end + inner


@_compiled
def add_powers(values: NDArray[np.float32], lanes: NDArray[np.float64]) -> None:
    """Add the powers of a block of finite values to the lanes, as `PowerSums.add` does.

    Four rows share each load and store of the block's own lanes.
    """
    sums = np.zeros_like(lanes)
    first, second, third, fourth = sums[0], sums[1], sums[2], sums[3]
    width = lanes.shape[1]
    whole = values.size // (4 * width) * (4 * width)
    for start in range(0, whole, 4 * width):
        row0 = values[start : start + width]
        row1 = values[start + width : start + 2 * width]
        row2 = values[start + 2 * width : start + 3 * width]
        row3 = values[start + 3 * width : start + 4 * width]
        for lane in range(width):
            a, b, c, d = np.float64(row0[lane]), np.float64(row1[lane]), np.float64(row2[lane]), np.float64(row3[lane])
            aa, bb, cc, dd = a * a, b * b, c * c, d * d
            first[lane] = (((first[lane] + a) + b) + c) + d
            second[lane] = (((second[lane] + aa) + bb) + cc) + dd
            third[lane] = (((third[lane] + aa * a) + bb * b) + cc * c) + dd * d
            fourth[lane] = (((fourth[lane] + aa * aa) + bb * bb) + cc * cc) + dd * dd
    for index in range(whole, values.size):
        lane = index % width
        a = np.float64(values[index])
        first[lane] += a
        second[lane] += a * a
        third[lane] += a * a * a
        fourth[lane] += (a * a) * (a * a)
    for power in range(4):
        for lane in range(width):
            lanes[power, lane] += sums[power, lane]


@_compiled
def count_f32(
    bits: NDArray[np.uint32],
    histogram: NDArray[np.int64],
    flags: NDArray[np.bool_],
    edges: NDArray[np.uint32],
    watched: NDArray[np.int64],
    maxima: NDArray[np.uint32],
    first: int,
    inner: int,
    lanes: NDArray[np.float64],
) -> tuple[int, int, int]:
    """Count a block of float32 patterns that begins at flat index `first`, in one call.

    Returns the patterns of the lowest and the highest value, and the least magnitude less one. If one of the first two
    is not finite nothing was counted.
    """
    largest, largest_signed, least, nearest = extremes(bits)
    lowest = largest if largest >> 31 else least
    highest = largest_signed if largest_signed >= 0 else least
    if lowest & 0x7FFFFFFF < 0x7F800000 and highest & 0x7FFFFFFF < 0x7F800000:
        count_tops(bits, histogram, flags, edges, watched)
        raise_maxima(maxima, bits, np.uint32(0x7FFFFFFF), first, inner)
        add_powers(bits.view(np.float32), lanes)
    return lowest, highest, nearest
