"""A histogram as a line of text: one character for one or more binades, the same ones in every row of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"

_TAIL = 1e-2
"""The share of a layer's smallest weights that may lie outside the axis; a few tiny ones would stretch it for all."""


@dataclass(frozen=True)
class Axis:
    """Exponents from `low` up, `step` binades to a character, `width` characters."""

    low: int
    step: int
    width: int

    @property
    def title(self) -> str:
        """What the first and the last character stand for."""
        return f"2^{self.low}..2^{self.low + self.step * self.width}"

    def line(self, histogram: dict[str, Any]) -> str:
        """The histogram in this axis's characters; the highest is full, anything at all is more than a blank."""
        sums = [0] * self.width
        for exponent, count in zip(histogram["exponents"], histogram["counts"], strict=True):
            place = (exponent - self.low) // self.step
            if 0 <= place < self.width:
                sums[place] += count
        highest = max(sums)
        return "".join(BLOCKS[math.ceil(len(BLOCKS) * count / highest) - 1] if count else " " for count in sums)


def common_axis(histograms: Sequence[dict[str, Any]], max_width: int) -> Axis:
    """The axis that all histograms fit on, but for the last per cent at the small end."""
    lows = [low for low in map(_low_end, histograms) if low is not None]
    if not lows:
        return Axis(0, 1, 1)
    low = min(lows)
    high = max(histogram["exponents"][-1] for histogram in histograms if histogram["exponents"])
    step = math.ceil((high - low + 1) / max_width)
    return Axis(low, step, math.ceil((high - low + 1) / step))


def _low_end(histogram: dict[str, Any]) -> int | None:
    total, below = sum(histogram["counts"]), 0
    for exponent, count in zip(histogram["exponents"], histogram["counts"], strict=True):
        below += count
        if below > total * _TAIL:
            return int(exponent)
    return None


_FLAT = 0.01
"""A series that stays within a per cent is drawn flat: its noise would look like a trend."""


def trend(values: Sequence[float | None], max_width: int) -> str:
    """A series as one line, the lowest block for its smallest value and the full one for its largest.

    A value that is missing is a blank. Neighbours share a character, by their mean, where there are too many.
    """
    groups = _in_groups(values, max_width)
    known = [value for value in groups if value is not None]
    if not known:
        return " " * len(groups)
    low, high = min(known), max(known)
    flat = high - low <= _FLAT * max(abs(low), abs(high))
    top = len(BLOCKS) - 1
    places = [None if v is None else top // 2 if flat else round(top * (v - low) / (high - low)) for v in groups]
    return "".join(" " if place is None else BLOCKS[place] for place in places)


def _in_groups(values: Sequence[float | None], count: int) -> list[float | None]:
    count = min(count, len(values))
    bounds = [place * len(values) // count for place in range(count + 1)] if count else []
    means: list[float | None] = []
    for first, end in pairwise(bounds):
        known = [value for value in values[first:end] if value is not None and math.isfinite(value)]
        means.append(math.fsum(known) / len(known) if known else None)
    return means
