"""One layer, as the rest of the program sees it: its tensors and the constants that belong to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from eqlr_tools.families.multipliers import Multiplier
from eqlr_tools.scaling import SQRT2


@dataclass(frozen=True)
class Layer:
    """One layer: its tensors and the constants that turn what is stored into what is applied.

    `w = scale * v`, and the effective bias is `bias_scale * b`. `scale` is 1 for a plain layer and None where the
    effective weight is not a multiple of one tensor (weight norm), or where nobody knows the constant. `demodulated`
    layers divide by the norm of their own weights afterwards, which cancels any scale. `layout` names the axes where
    they are not torch's. `origin` says who gave the learning-rate multiplier. `scale_tensors` hold the constants in
    the file, and have no place in a baked one.
    """

    name: str
    kind: str
    weight: str
    shape: tuple[int, ...]
    scale: float | None = 1.0
    fan_in: int = 0
    gain: float = 1.0
    lr_multiplier: float = 1.0
    bias: str | None = None
    bias_scale: float = 1.0
    baked_weight: str = ""
    baked_bias: str = ""
    scale_tensors: tuple[str, ...] = ()
    demodulated: bool = False
    layout: str = ""
    origin: str = "family"
    why: str = ""

    @property
    def equalized(self) -> bool:
        """True if a run-time constant belongs to this layer, be it 1 by coincidence."""
        return self.why != ""

    @property
    def formula(self) -> str:
        """The constant with its numbers filled in."""
        if not self.equalized:
            return "w = v (normalised by its own size at run time)" if self.demodulated else "w = v"
        if self.scale is None:
            return "w = c·v, c is not known"
        if self.scale_tensors:
            return f"c = {self.scale:.6g} (stored in {self.scale_tensors[0]})"
        gain = "√2" if math.isclose(self.gain, SQRT2) else f"{self.gain:g}"
        factor = gain if self.lr_multiplier == 1 else f"{gain}·{self.lr_multiplier:g}"
        source = {"inferred": " (multiplier inferred from the weights' size)", "stated": " (stated in the file)"}
        return f"c = {factor}/√{self.fan_in} = {self.scale:.6g}{source.get(self.origin, '')}"

    def with_constant(self, scale: float, bias_scale: float, fan_in: int, gain: float, lr: Multiplier) -> Layer:
        """This layer as an equalized one, its constant computed from fan-in, gain and multiplier."""
        return replace(
            self,
            scale=scale,
            bias_scale=bias_scale,
            fan_in=fan_in,
            gain=gain,
            lr_multiplier=lr.value,
            origin=lr.origin,
            why="family",
        )

    def with_stated(
        self, names: tuple[str, str], attribute: Callable[[str, str], Any], gain: float, fan_in: int
    ) -> Layer | None:
        """This layer with the constants that attributes of its pickled module state; None if the file has none."""
        weight, bias = (attribute(self.name, name) for name in names)
        if not isinstance(weight, int | float) or not (math.isfinite(weight) and weight > 0):
            return None
        bias_scale = float(bias) if isinstance(bias, int | float) and bias > 0 else 1.0
        multiplier = weight * math.sqrt(fan_in) / gain
        lr = Multiplier(float(f"{multiplier:.12g}"), "stated")
        return self.with_constant(float(weight), bias_scale if self.bias else 1.0, fan_in, gain, lr)
