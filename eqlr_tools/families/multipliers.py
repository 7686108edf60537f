"""Where a layer's learning-rate multiplier comes from: the family, the file, the user, or the weights' size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from eqlr_tools.families.family import View

Origin = Literal["family", "stated", "given", "inferred"]


@dataclass(frozen=True)
class Multiplier:
    """A learning-rate multiplier, and who says so."""

    value: float
    origin: Origin = "family"


USUAL_MULTIPLIER = 0.01
"""Of the mapping network, in StyleGAN and in every project that follows it, unless it is told otherwise."""

MultiplierRule = Callable[["View", list[str]], Multiplier]
"""From the view and the names of all weights that share the multiplier."""


def inferred_multiplier(view: View, names: list[str]) -> Multiplier:
    """The learning-rate multiplier that the weights' size says: their initial std is 1 / lr_multiplier.

    Training moves the size by small factors, so only the power of ten is read from it, of the median layer.
    """
    sizes = [size for size in map(view.rms, names) if size > 0]
    if not sizes:
        return Multiplier(1.0, "inferred")
    return Multiplier(min(10.0 ** -round(math.log10(statistics.median(sizes))), 1.0), "inferred")


def stated_multiplier(*keys: str) -> MultiplierRule:
    """The multiplier that the file's own configuration states under one of these keys, else the inferred one."""

    def rule(view: View, names: list[str]) -> Multiplier:
        for key in keys:
            value = view.said(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
                return Multiplier(float(value), "stated")
        return inferred_multiplier(view, names)

    return rule
