"""Power sums of a tensor's values, for its moments.

They are float64: numpy's dot products of `ROW` elements each, added up row by row, and from then on exact fractions. So
counts of the same parts add up to the same result in any order and grouping. Cutting a tensor elsewhere changes the
rounding inside the rows: sums then agree to about 1e-12 of the sum of magnitudes.
"""

from __future__ import annotations

import math
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_ELEMENTS = 1 << 17
"""Enough to spread the cost of the calls, few enough for the float32 block to stay in the L2 cache."""

ROW = 1 << 13
"""Elements of one dot product: below the length from which BLAS would start threads."""

_PLAIN_EXPONENTS = (-200, 200)
"""float64 blocks whose largest value lies outside are scaled by a power of two before squaring."""

_ONES = np.ones(ROW)


_Sums = tuple[Fraction, Fraction, Fraction, Fraction]


class _Buffers(threading.local):
    """Working memory of a thread, for whatever it counts one after the other."""

    def __init__(self) -> None:
        self.wide = np.zeros((BLOCK_ELEMENTS // ROW, ROW))
        self.squares = np.zeros((BLOCK_ELEMENTS // ROW, ROW))


_buffers = _Buffers()


class PowerSums:
    """Sums of x, x², x³ and x⁴ in float64, exact from row to row on; see the module's docstring."""

    def __init__(self) -> None:
        self._rows = np.zeros((4, BLOCK_ELEMENTS // ROW))
        self._exponent = 0
        self._totals = [Fraction(0)] * 4

    @property
    def buffers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where a kernel puts the values of a block and their squares before `add_prepared`."""
        return _buffers.wide.reshape(-1), _buffers.squares.reshape(-1)

    def add(self, values: NDArray[Any], largest: float) -> None:
        """Add a block of at most BLOCK_ELEMENTS finite values; `largest` is their largest magnitude."""
        if values.dtype == np.float64:
            self._use_unit_for(largest)
        wide, squares = (buffer[: values.size] for buffer in self.buffers)
        wide[:] = values
        if self._exponent:
            np.ldexp(wide, -self._exponent, out=wide)
        np.multiply(wide, wide, out=squares)
        self.add_prepared(values.size)

    def add_prepared(self, size: int) -> None:
        """Add the block whose values and squares are in the buffers."""
        rows = -(-size // ROW)
        wide, squares = _buffers.wide[:rows], _buffers.squares[:rows]
        if size % ROW:
            wide[-1, size % ROW :] = 0.0
            squares[-1, size % ROW :] = 0.0
        sums = self._rows[:, :rows]
        sums[0] += np.vecdot(wide, _ONES)
        sums[1] += np.vecdot(wide, wide)
        sums[2] += np.vecdot(squares, wide)
        sums[3] += np.vecdot(squares, squares)

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
        for power in range(4):
            self._totals[power] += Fraction(math.fsum(self._rows[power])) * unit ** (power + 1)
        self._rows[:] = 0.0


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
