"""The rules that most families are made of, under the names that the papers give them, and questions they share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from eqlr_tools.families.family import Rule, View
from eqlr_tools.families.multipliers import MultiplierRule, inferred_multiplier
from eqlr_tools.scaling import dense_fan_in, modulated_fan_in

SCALES = ("scale", "lr_mul")
"""Where a pickled module of rosinality's EqualLinear, and of those made after it, states its constants."""


def linear(pattern: str, **changes: Any) -> Rule:
    """A fully connected layer, weight (out, in)."""
    return Rule(pattern, **{"kind": "linear", "fan_in": dense_fan_in, "rank": (2,), **changes})


def conv(pattern: str, **changes: Any) -> Rule:
    """A convolution, weight (out, in, k, k)."""
    return Rule(pattern, **{"kind": "conv2d", "fan_in": dense_fan_in, "rank": (4,), **changes})


def modulated(pattern: str, **changes: Any) -> Rule:
    """StyleGAN2's modulated and demodulated convolution, weight (1, out, in, k, k), its bias in another module."""
    defaults = {
        "kind": "modulated_conv2d",
        "fan_in": modulated_fan_in,
        "rank": (5,),
        "bias": None,
        "demodulated": True,
    }
    return Rule(pattern, **{**defaults, **changes})


def mapping(pattern: str, lr: MultiplierRule = inferred_multiplier, **changes: Any) -> Rule:
    """A layer of a mapping network: a multiplier that the file rarely states applies to weight and bias."""
    return linear(pattern, lr_multiplier=lr, bias_rule="lr_multiplier", **changes)


def switched_off(name: str) -> Callable[[View, str], str]:
    """The doubt of families whose code has a switch: what the file's configuration says of it, if it says no."""

    def doubt(view: View, prefix: str) -> str:
        return f"its configuration says {name} = False" if view.said(name) is False else ""

    return doubt


_ALONE_ABOVE = 10.0
"""rms from which layers on their own are a mapping network with lr 0.01, stored near 100."""


def small_alone(view: View, prefix: str, layers: str) -> str:
    """The doubt of a mapping network on its own: it has the names of any little MLP, and only its size tells it."""
    inside = [name.removeprefix(prefix) for name in view.shapes if name.startswith(prefix)]
    matches = [re.match(rf"{layers}\.weight", name) for name in inside]
    weights = [f"{prefix}{match[0]}" for match in matches if match]
    alone = bool(weights) and all(re.match(rf"{layers}\.|truncation\.", name) for name in inside)
    if alone and max(map(view.rms, weights)) < _ALONE_ABOVE:
        return "nothing else says that these are the layers of a mapping network"
    return ""
