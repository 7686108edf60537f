"""What storing weights in another number format would do to them: overflow, underflow, noise.

The signal-to-noise ratio of a format is 10 * log10(sum w² / sum (w - stored(w))²). It is None where nothing is lost,
and where something overflows, since there the error has no size.

Symmetric int8 takes q = round(w / s) with s = abs max / 127 of the tensor or of the output channel. A constant factor
in the weights cancels, so its ratio is the same for stored and effective weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.ranges.formats import FORMATS, FP16_LARGEST
from eqlr_tools.ranges.scaled import Scaled

if TYPE_CHECKING:
    from eqlr_tools.ranges.noise import Noise


@dataclass(frozen=True)
class Hazard:
    """How many finite weights would overflow, be flushed to zero, or become subnormal; shares are of all weights."""

    overflow: int
    overflow_share: float
    flushed: int
    flushed_share: float
    subnormal: int
    subnormal_share: float
    snr_db: float | None


@dataclass(frozen=True)
class Accumulation:
    """The largest sum that a layer of these weights can reach for inputs within [-1, 1]: abs max times fan-in."""

    bound: float
    exceeds_fp16: bool


def hazards_of(scaled: Scaled, noise: Mapping[str, Noise]) -> dict[str, Hazard]:
    """The hazards of storing the values in each format. `noise` has the measured errors by format."""
    found = {}
    count = max(scaled.counts.count, 1)
    dtype = np.dtype(scaled.counts.layout.float_type)
    nonzero = int(scaled.at_least(np.array([np.finfo(dtype).smallest_subnormal]))[0])
    for form in FORMATS:
        kept, normal, over = scaled.at_least(np.array(form.bounds(dtype))).tolist()
        flushed, subnormal = nonzero - kept, kept - normal
        snr = None if over or form.name not in noise else noise[form.name].snr_db
        found[form.name] = Hazard(over, over / count, flushed, flushed / count, subnormal, subnormal / count, snr)
    return found


def accumulation_of(abs_max: float | None, terms: int | None) -> Accumulation | None:
    """The bound of a sum of so many products; None where there are no weights, or they are not summed as they are."""
    if abs_max is None or not terms or not math.isfinite(abs_max * terms):
        return None
    return Accumulation(abs_max * terms, abs_max * terms > FP16_LARGEST)
