"""From counts to the figures that people read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eqlr_tools.ranges.counting import Counts

ADAM_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Statistics:
    """The range of a tensor. None where there is no finite value to speak of.

    `binades` is log2(abs_max / min_nonzero): the powers of two between the smallest and the largest magnitude.
    """

    rms: float | None
    std: float | None
    mean: float | None
    min_nonzero: float | None
    abs_max: float | None
    binades: float | None
    zeros: int
    nans: int
    infinities: int
    adam_steps_per_rms: float | None

    @property
    def nonfinite(self) -> int:
        return self.nans + self.infinities


def statistics_of(counts: Counts, scale: float = 1.0) -> Statistics:
    """The statistics of the values times `scale`: scaling by a constant moves every figure, and none needs a pass.

    `adam_steps_per_rms`: Adam moves a weight by about its learning rate per step, whatever the gradient, so with
    lr 1e-3 it takes rms / 1e-3 steps to move one by a whole rms.
    """
    finite = counts.finite
    if finite == 0:
        return Statistics(None, None, None, None, None, None, 0, counts.nans, counts.infinities, None)
    abs_max = max(abs(counts.minimum), abs(counts.maximum)) * scale
    mean = counts.sum / finite
    mean_square = counts.sum_of_squares / finite
    rms = math.sqrt(mean_square) * scale
    smallest = counts.smallest * scale if math.isfinite(counts.smallest) else None
    return Statistics(
        rms=_finite(rms),
        std=_finite(math.sqrt(max(mean_square - mean * mean, 0.0)) * scale),
        mean=_finite(mean * scale),
        min_nonzero=smallest,
        abs_max=_finite(abs_max),
        binades=_finite(math.log2(abs_max / smallest)) if smallest else None,
        zeros=counts.zeros,
        nans=counts.nans,
        infinities=counts.infinities,
        adam_steps_per_rms=_finite(rms / ADAM_LEARNING_RATE),
    )


def spread(sizes: list[float]) -> float | None:
    """The learning-speed spread: the largest rms over the smallest. None without two non-zero sizes."""
    positive = [size for size in sizes if size > 0]
    return max(positive) / min(positive) if positive else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
