"""Counts seen through a constant: how the values `c * v` are distributed, though only `v` was counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.ranges.counting import Counts
from eqlr_tools.ranges.layouts import bounds_of, first_reaching

if TYPE_CHECKING:
    from numpy.typing import NDArray

OrderStatistics = dict[int, float]
"""Exact values by their rank among the finite values of a tensor, counted from 0."""


@dataclass(frozen=True, eq=False)
class Scaled:
    """`counts` of stored values, and the constant that the network multiplies them by.

    Products are those of the network: float32 of anything up to float32, float64 of float64.
    """

    counts: Counts
    scale: float = 1.0

    def product(self, value: float) -> float:
        """The effective value of a stored one."""
        layout = self.counts.layout
        return float(layout.scaled(np.array([value], dtype=layout.float_type), self.scale)[0])

    @property
    def fits(self) -> bool:
        """True if no product of a finite value overflows, and none of a non-zero one becomes zero."""
        counts = self.counts
        ends = (counts.minimum, counts.maximum) if counts.finite else ()
        return all(math.isfinite(self.product(end)) for end in ends) and self.product(counts.smallest) != 0

    def at_least(self, bounds: NDArray[np.float64]) -> NDArray[np.int64]:
        """How many finite stored values have an effective magnitude of at least each of some of `bounds_of`."""
        counted: NDArray[np.int64] = self._reached[np.searchsorted(bounds_of(self.counts.layout), bounds)]
        return counted

    @cached_property
    def _reached(self) -> NDArray[np.int64]:
        """For all of `bounds_of`."""
        layout, cuts = self.counts.layout, self.counts.cuts
        if cuts is None:
            values, times = self.products
            if self.scale < 0:
                values, times = values[::-1], times[::-1]
            below = np.concatenate([[0], np.cumsum(times)])
            bounds = bounds_of(layout)
            positive = self.counts.finite - below[np.searchsorted(values, bounds, side="left")]
            both: NDArray[np.int64] = positive + below[np.searchsorted(values, -bounds, side="right")]
            return both
        patterns = first_reaching(layout, abs(self.scale))
        bins = (patterns >> layout.bits_type(layout.shift)).astype(np.intp)
        places, cumulative = self.counts.magnitudes
        below = np.concatenate([[0], cumulative])
        inside = (patterns & layout.bits_type((1 << layout.shift) - 1)) != 0
        # In the bin of a pattern count from its edge on, up to the first edge of the next watched bin.
        watched_above = np.concatenate([np.cumsum(self.counts.watched[::-1])[::-1], [0]])
        here = np.searchsorted(cuts.edges, patterns, side="left")
        next_bin = (bins + 1).astype(layout.bits_type) << layout.bits_type(layout.shift)
        there = np.searchsorted(cuts.edges, next_bin, side="left")
        rest = np.where(inside, watched_above[here] - watched_above[there], 0)
        counted: NDArray[np.int64] = below[-1] - below[np.searchsorted(places, bins + inside)] + rest
        return counted

    @cached_property
    def products(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The effective values of an 8- or 16-bit float and how often each occurs, in ascending order of the stored."""
        values, times = self.counts.ascending_values
        return self.counts.layout.scaled(values, self.scale).astype(np.float64), times

    def quantiles(self, shares: Sequence[float], exact: OrderStatistics | None) -> list[float | None]:
        """The values that shares of the finite values lie below, between order statistics as numpy's default does.

        Of wide types without `exact` the place inside a bin is interpolated.
        """
        finite = self.counts.finite
        if finite == 0:
            return [None] * len(shares)
        places = [quantile_rank(share if self.scale >= 0 else round(1 - share, 12), finite) for share in shares]
        lows = self._ranked([rank for rank, _ in places], exact)
        highs = self._ranked([rank + 1 if between else rank for rank, between in places], exact)
        return [_between(low, high, part) for low, high, (_, part) in zip(lows, highs, places, strict=True)]

    def _ranked(self, ranks: list[int], exact: OrderStatistics | None) -> list[float]:
        """The products of some ranks."""
        if self.counts.cuts is None:
            values, times = self.products
            found: list[float] = values[np.searchsorted(np.cumsum(times), ranks, side="right")].tolist()
            return found
        layout = self.counts.layout
        stored = [exact[rank] if exact is not None else self._interpolated(rank) for rank in ranks]
        products: list[float] = layout.scaled(np.array(stored, dtype=layout.float_type), self.scale).tolist()
        return products

    def _interpolated(self, rank: int) -> float:
        place, inside, times_in_bin = bin_of_rank(self.counts, rank)
        low, high = _bin_limits(self.counts, place)
        value = low + (high - low) * ((inside + 0.5) / times_in_bin)
        return min(max(value, self.counts.minimum), self.counts.maximum)


def _between(low: float, high: float, share: float) -> float:
    gap = high - low
    return low + gap * share if math.isfinite(gap) else low * (1 - share) + high * share


def quantile_rank(share: float, finite: int) -> tuple[int, float]:
    """The order statistic at or below a quantile, and how far the quantile lies towards the next one."""
    position = share * (finite - 1)
    return int(position), position - int(position)


def bin_of_rank(counts: Counts, rank: int) -> tuple[int, int, int]:
    """The bin of the histogram that holds a finite value's rank, the rank inside the bin, and the bin's count.

    Negative bins come first, from the largest magnitude down; inside one the values descend in magnitude.
    """
    order, cumulative = counts.ascending
    position = int(np.searchsorted(cumulative, rank, side="right"))
    before = int(cumulative[position - 1]) if position else 0
    return int(order[position]), rank - before, int(cumulative[position]) - before


def _bin_limits(counts: Counts, place: int) -> tuple[float, float]:
    """The smallest and largest value that a bin can hold."""
    layout = counts.layout
    first = (place & 0x7FFF) << layout.shift
    edges: NDArray[Any] = layout.values(np.array([first, first + (1 << layout.shift) - 1], dtype=np.uint64))
    low, high = float(edges[0]), float(edges[1])
    return (-high, -low) if place >= 0x8000 else (low, high)
