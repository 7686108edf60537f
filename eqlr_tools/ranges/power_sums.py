"""Power sums of a tensor's values, for its moments.

They are float64. The order of addition is fixed, so that numpy and the compiled loops of `fast` round alike: the
elements of a block lie in rows of `LANES`, the rows are added one after the other, lane by lane, then the lanes of the
blocks, and numpy adds up what the lanes hold in the end. From then on sums are exact fractions: counts of the same
parts add up to the same result in any order and grouping. Cutting a tensor elsewhere changes the rounding inside the
lanes: sums then agree to about 1e-12 of the sum of magnitudes.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.ranges.scratch import scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

LANES = 1 << 9
"""Enough for long loops over a row, few enough to stay in the L1 cache, whose padding costs a small tensor nothing."""

_PLAIN_EXPONENTS = (-200, 200)
"""float64 blocks whose largest value lies outside are scaled by a power of two before squaring."""

_Sums = tuple[Fraction, Fraction, Fraction, Fraction]


class PowerSums:
    """Sums of x, x², x³ and x⁴ in float64, exact from one cut of the tensor to the next; see the module's docstring."""

    def __init__(self) -> None:
        self.lanes = np.zeros((4, LANES))
        self._exponent = 0
        self._totals = [Fraction(0)] * 4

    def add(self, values: NDArray[Any], largest: float) -> None:
        """Add a block of at most BLOCK_ELEMENTS finite values; `largest` is their largest magnitude."""
        if values.dtype == np.float64:
            self._use_unit_for(largest)
        padded = -(-values.size // LANES) * LANES
        wide, powers = scratch.wide[:padded], scratch.powers[:padded]
        wide[: values.size] = values
        wide[values.size :] = 0.0
        if self._exponent:
            np.ldexp(wide, -self._exponent, out=wide)
        self._add_lanes(0, wide)
        self._add_lanes(1, np.multiply(wide, wide, out=powers))
        self._add_lanes(2, np.multiply(powers, wide, out=wide))
        self._add_lanes(3, np.multiply(powers, powers, out=powers))

    def _add_lanes(self, power: int, values: NDArray[np.float64]) -> None:
        self.lanes[power] += np.add.reduce(values.reshape(-1, LANES), axis=0)

    def totals(self) -> _Sums:
        self._flush()
        first, second, third, fourth = self._totals
        return first, second, third, fourth

    def _use_unit_for(self, largest: float) -> None:
        exponent = math.frexp(largest)[1]
        if largest == 0 or _PLAIN_EXPONENTS[0] < exponent < _PLAIN_EXPONENTS[1]:
            exponent = 0
        if exponent != self._exponent:
            self._flush()
            self._exponent = exponent

    def _flush(self) -> None:
        unit = Fraction(2) ** self._exponent
        for power, total in enumerate(self.lanes.sum(axis=1).tolist()):
            self._totals[power] += Fraction(total) * unit ** (power + 1)
        self.lanes[:] = 0.0


def weighted_power_sums(numbers: NDArray[np.float64], times: NDArray[np.float64]) -> _Sums:
    """Sums of x, x², x³ and x⁴ over few different float32 numbers that occur so many times.

    Significands of one exponent are added first, which is exact while the sums need no more than 53 bits; it leaves so
    few terms that adding them up exactly costs nothing.
    """
    if not numbers.size:
        return Fraction(0), Fraction(0), Fraction(0), Fraction(0)
    significands, exponents = np.frexp(numbers)
    starts = np.flatnonzero(np.diff(exponents, prepend=exponents[0] - 1))
    terms = times.copy()
    sums = []
    for power in (1, 2, 3, 4):
        terms *= significands
        totals = np.add.reduceat(terms, starts)
        sums.append(Fraction(math.fsum(np.ldexp(totals, exponents[starts] * power))))
    return sums[0], sums[1], sums[2], sums[3]
