"""What the size of weights says of a network that no family knows: a hint for people, never a reason to rewrite.

With `rms` near its gain after training and a fan-in of hundreds, an equalized layer has rms * sqrt(fan_in) far above
what any initialisation of plain layers gives (0.6 to 1.4). Single layers drift too far for it; medians do not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from eqlr_tools.families.family import View
from eqlr_tools.families.layer import Layer

_LEAST_LAYERS = 4
_RMS_ABOVE = 0.5
_SCALED_ABOVE = 8.0


def has_equalized_size(view: View, layer: Layer) -> bool:
    """True if this one layer's weights have it: enough to ask about the layer, where its neighbours are equalized."""
    rms = view.rms(layer.weight)
    return rms > _RMS_ABOVE and rms * math.sqrt(layer.fan_in) > _SCALED_ABOVE


def looks_equalized(view: View, layers: Iterable[Layer]) -> str:
    """Say so if the weights have the size of equalized ones; empty if not, or if there are few to go by."""
    sizes = []
    for layer in layers:
        fan_in = math.prod(layer.shape[1:])
        size = view.rms(layer.weight) if len(layer.shape) > 1 and fan_in > 1 and layer.kind != "tensor" else 0.0
        if size > 0:
            sizes.append((size, size * math.sqrt(fan_in)))
    if len(sizes) < _LEAST_LAYERS:
        return ""
    rms, scaled = (statistics.median(column) for column in zip(*sizes, strict=True))
    if rms <= _RMS_ABOVE or scaled <= _SCALED_ABOVE:
        return ""
    return f"no family knows its names, but its weights have the size of equalized ones (median rms {rms:.3g})"
