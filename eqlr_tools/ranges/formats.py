"""Number formats that weights are stored in for deployment: their limits, and the error of rounding to them.

Rounding is to nearest, ties to even, once, as casts of torch, numpy and ml_dtypes do it. Three magnitudes say what
becomes of a value, and each is a point halfway between two representable numbers, so a tie decides whether the point
itself belongs to the side above: a tie goes to the neighbour whose last bit is 0.

    flushed      |w| <= smallest subnormal / 2                (the tie goes to zero, which is even)
    subnormal    up to, not including, smallest normal - smallest subnormal / 2     (the tie goes to the normal)
    overflow     from largest + half its last place            (the tie goes up if the largest number is odd)

Overflow means infinity, or NaN in float8_e4m3fn, which has no infinity. Its largest number, 448, is even: 464 stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Format:
    """A binary floating format: bits of fraction, exponent of the smallest normal number, largest number."""

    name: str
    fraction_bits: int
    min_exponent: int
    largest: float
    largest_is_even: bool = False

    @property
    def smallest(self) -> float:
        """The smallest subnormal number."""
        return math.ldexp(1.0, self.min_exponent - self.fraction_bits)

    def bounds(self, dtype: np.dtype) -> tuple[float, float, float]:
        """The least magnitudes of `dtype` that are kept, become normal, and overflow."""
        return _bounds(self, dtype)

    def rounding_errors(self, values: NDArray[Any], powers: NDArray[Any]) -> NDArray[Any]:
        """`values - stored(values)`, exactly, in their own type (float32 or float64), for values that do not overflow.

        `powers` is `powers_of_two(values)`. Adding and subtracting 1.5 * 2^(p-1) units, p being the significand bits
        of the type, leaves a whole number of units. The unit is the format's last place at the value's exponent, or
        the smallest subnormal.
        """
        bits, _, significand_bits = _LAYOUT[values.dtype]
        if self.fraction_bits == 7 and values.dtype == np.float32:
            # bfloat16 is the upper half of float32. The magic number of its large values would overflow.
            rounded: NDArray[Any] = ((values.view(bits) + bits(0x8000)) & bits(0xFFFF0000)).view(np.float32)
            np.subtract(values, rounded, out=rounded)
            return rounded
        magic: NDArray[Any] = np.maximum(powers, values.dtype.type(math.ldexp(1.0, self.min_exponent)))
        magic *= values.dtype.type(1.5 * 2.0 ** (significand_bits - 1 - self.fraction_bits))
        rounded = values + magic
        rounded -= magic
        np.subtract(values, rounded, out=rounded)
        return rounded


FORMATS = (
    Format("fp16", 10, -14, 65504.0),
    Format("bf16", 7, -126, math.ldexp(2 - 2**-7, 127)),
    Format("fp8_e4m3", 3, -6, 448.0, largest_is_even=True),
    Format("fp8_e5m2", 2, -14, 57344.0),
)

FP16_LARGEST = 65504.0

_LAYOUT: dict[Any, tuple[Any, int, int]] = {
    np.dtype(np.float32): (np.uint32, 0x7F800000, 24),
    np.dtype(np.float64): (np.uint64, 0x7FF0000000000000, 53),
}


def powers_of_two(values: NDArray[Any]) -> NDArray[Any]:
    """The largest power of two in each magnitude, 0 of a subnormal: the exponent field alone."""
    bits, exponent_field, _ = _LAYOUT[values.dtype]
    powers: NDArray[Any] = (values.view(bits) & bits(exponent_field)).view(values.dtype)
    return powers


@cache
def _bounds(form: Format, dtype: np.dtype) -> tuple[float, float, float]:
    ulp = math.ldexp(1.0, math.frexp(form.largest)[1] - 1 - form.fraction_bits)
    overflow = form.largest + ulp / 2
    kept = _above(form.smallest / 2, dtype)
    normal = math.ldexp(1.0, form.min_exponent) - form.smallest / 2
    return kept, normal, _above(overflow, dtype) if form.largest_is_even else overflow


def _above(value: float, dtype: np.dtype) -> float:
    """The next number of `dtype` above a value that it represents."""
    return float(np.nextafter(dtype.type(value), dtype.type(np.inf)))
