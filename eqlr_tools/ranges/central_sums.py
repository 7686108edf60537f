"""Power sums of values that lie close together and far from zero.

The fourth central moment is a difference of sums of x⁴, x³·mean, ..., each (mean / std)⁴ times as large: rounded to
float64, they leave no digit of it from mean = 10 000 std on. A second reading takes the sums of d = x - m instead,
where m is the mean of the first. Those of x follow without rounding:

    sum x^p = sum over k of  binomial(p, k) · m^(p-k) · sum d^k
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.ranges.counting import Counts
from eqlr_tools.ranges.reading import numbers
from eqlr_tools.ranges.scratch import BLOCK_ELEMENTS

_FAR = 16
"""From here on, in standard deviations, the mean costs more than five of the sixteen digits."""


def with_central_sums(tensor: Tensor, counts: Counts) -> Counts:
    """The counts with sums taken around the mean, where that matters."""
    if not counts.finite or counts.minimum == counts.maximum:
        return counts
    mean, _, variance, _ = counts.moments
    if mean * mean <= _FAR**2 * variance:
        return counts
    unit = math.frexp(max(abs(counts.minimum), abs(counts.maximum)))[1]
    middle = float(mean / Fraction(2) ** unit)
    parts: list[list[float]] = [[] for _ in range(4)]
    for block in tensor.blocks(BLOCK_ELEMENTS * tensor.dtype.itemsize):
        values = numbers(tensor.dtype, block)
        away = np.ldexp(values[np.isfinite(values)].astype(np.float64), -unit) - middle
        power = np.ones_like(away)
        for sums in parts:
            power *= away
            sums.append(float(power.sum()))
    central = [Fraction(counts.finite), *(Fraction(math.fsum(sums)) for sums in parts)]
    shift = Fraction(middle)
    totals = (
        sum(math.comb(p, k) * shift ** (p - k) * central[k] for k in range(p + 1)) * Fraction(2) ** (unit * p)
        for p in (1, 2, 3, 4)
    )
    first, second, third, fourth = map(Fraction, totals)
    return replace(counts, power_sums=(first, second, third, fourth))
