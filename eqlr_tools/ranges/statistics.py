"""From counts to the figures that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from eqlr_tools.ranges.counting import nearest_float
from eqlr_tools.ranges.hazards import Accumulation, Hazard, accumulation_of, hazards_of
from eqlr_tools.ranges.noise import Noise
from eqlr_tools.ranges.quantiles import QUANTILES
from eqlr_tools.ranges.scaled import OrderStatistics, Scaled

ADAM_LEARNING_RATE = 1e-3

_SHARES = [f"{share:g}" for share in QUANTILES]


@dataclass(frozen=True)
class Histogram:
    """How many non-zero finite magnitudes lie in [2^e, 2^(e+1)), for consecutive exponents e."""

    exponents: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Statistics:
    """The range of a tensor. None where there is no finite value to speak of.

    `binades` is log2(abs_max / min_nonzero): the powers of two between the smallest and the largest magnitude.
    `kurtosis` is the fourth standardised moment: 3 for a normal distribution. `channel_spread` is the largest over
    the smallest non-zero abs max of the output channels.
    """

    rms: float | None
    std: float | None
    mean: float | None
    min: float | None
    max: float | None
    min_nonzero: float | None
    abs_max: float | None
    binades: float | None
    kurtosis: float | None
    zeros: int
    nans: int
    infinities: int
    adam_steps_per_rms: float | None
    channel_spread: float | None
    quantiles: dict[str, float | None]
    quantiles_exact: bool
    histogram: Histogram
    hazards: dict[str, Hazard]
    int8_snr_db: dict[str, float | None]
    snr_exact: bool
    accumulation: Accumulation | None

    @property
    def nonfinite(self) -> int:
        return self.nans + self.infinities


@dataclass(frozen=True)
class Measured:
    """What a second reading found out: exact order statistics, noise."""

    order: OrderStatistics | None = None
    noise: Mapping[str, Noise] = field(default_factory=dict)
    int8_snr_db: Mapping[str, float | None] = field(default_factory=dict)
    noise_is_exact: bool = True


def statistics_of(scaled: Scaled, measured: Measured | None = None, summed_terms: int | None = None) -> Statistics:
    """The statistics of counted values times a constant that fits them (`Scaled.fits`). `summed_terms`: how many
    products of them a layer adds up.

    `adam_steps_per_rms`: Adam moves a weight by about its learning rate per step, whatever the gradient, so with
    lr 1e-3 it takes rms / 1e-3 steps to move one by a whole rms.
    """
    measured = measured or Measured()
    counts = scaled.counts
    minimum = maximum = abs_max = smallest = None
    if counts.finite:
        minimum, maximum = sorted([scaled.product(counts.minimum), scaled.product(counts.maximum)])
        abs_max = max(abs(minimum), abs(maximum))
    histogram = _histogram(scaled)
    if histogram.counts:
        smallest = abs(scaled.product(counts.smallest))
    rms, std, mean, kurtosis = _moments(scaled)
    exact = counts.cuts is None or measured.order is not None
    return Statistics(
        rms=rms,
        std=std,
        mean=mean,
        min=minimum,
        max=maximum,
        min_nonzero=smallest,
        abs_max=abs_max,
        binades=_binades(abs_max, smallest),
        kurtosis=kurtosis,
        zeros=counts.finite - sum(histogram.counts),
        nans=counts.nans,
        infinities=counts.infinities,
        adam_steps_per_rms=None if rms is None else _finite(rms / ADAM_LEARNING_RATE),
        channel_spread=_channel_spread(scaled),
        quantiles=dict(zip(_SHARES, map(_finite, scaled.quantiles(QUANTILES, measured.order)), strict=True)),
        quantiles_exact=exact,
        histogram=histogram,
        hazards=hazards_of(scaled, measured.noise),
        int8_snr_db=dict(measured.int8_snr_db),
        snr_exact=measured.noise_is_exact,
        accumulation=accumulation_of(abs_max, summed_terms),
    )


def spread(sizes: list[float]) -> float | None:
    """The learning-speed spread: the largest rms over the smallest. None without two non-zero sizes."""
    positive = [size for size in sizes if size > 0]
    return max(positive) / min(positive) if positive else None


def _moments(scaled: Scaled) -> tuple[float | None, float | None, float | None, float | None]:
    """rms, standard deviation, mean and kurtosis from the power sums, exactly up to the rounding of the sums."""
    counts = scaled.counts
    if counts.finite == 0:
        return None, None, None, None
    mean, square, variance, kurtosis = counts.moments
    scale = Fraction(counts.layout.float_type(scaled.scale).item())
    return _root(square * scale**2), _root(variance * scale**2), nearest_float(mean * scale), kurtosis


def _histogram(scaled: Scaled) -> Histogram:
    """Magnitudes by binade."""
    edges = scaled.counts.layout.binade_edges
    reached = scaled.at_least(np.append(edges, np.inf))
    counts = reached[:-1] - reached[1:]
    filled = np.flatnonzero(counts)
    if not filled.size:
        return Histogram()
    low, high = int(filled[0]), int(filled[-1])
    first = math.frexp(float(edges[low]))[1] - 1
    return Histogram(list(range(first, first + high - low + 1)), counts[low : high + 1].tolist())


def _channel_spread(scaled: Scaled) -> float | None:
    counts = scaled.counts
    maxima = counts.layout.values(counts.channel_maxima)
    nonzero = maxima[maxima > 0]
    if counts.channel_maxima.size < 2 or not nonzero.size:
        return None
    return nearest_float(Fraction(float(nonzero.max())) / Fraction(float(nonzero.min())))


def _binades(largest: float | None, smallest: float | None) -> float | None:
    if not largest or not smallest:
        return None
    return math.log2(largest) - math.log2(smallest)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _root(square: Fraction) -> float | None:
    """The square root, also of numbers whose square no float64 holds."""
    if square == 0:
        return 0.0
    shift = (square.denominator.bit_length() - square.numerator.bit_length()) // 2
    root = math.sqrt(square * Fraction(4) ** shift)
    try:
        return math.ldexp(root, -shift)
    except OverflowError:
        return None
