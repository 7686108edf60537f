"""A histogram as a line of text: one character for one or more binades, the same ones in every row of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
