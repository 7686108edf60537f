"""One layer, as the rest of the program sees it: its tensors and the constants that belong to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.unit_rows import with_unit_rows
from eqlr_tools.families.multipliers import Multiplier
from eqlr_tools.scaling import SQRT2


@dataclass(frozen=True)
class Layer:
    """One layer: its tensors and the constants that turn what is stored into what is applied.

    `w = scale * v`, and the effective bias is `bias_scale * b`. `scale` is 1 for a plain layer and None where the
    effective weight is not a multiple of one tensor (weight norm), or where nobody knows the constant. With a
    `row_epsilon` every row has a constant of its own, `w = v / (row_epsilon + rms(v_row)) * gain / sqrt(fan_in)`, and
    `scale` is None. `demodulated` layers divide by the norm of their own weights afterwards, which cancels any scale.
    `layout` names the axes where they are not torch's. `origin` says who gave the learning-rate multiplier.
    `scale_tensors` hold the constants in the file, and have no place in a baked one.
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
    row_epsilon: float | None = None
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
        if self.row_epsilon is not None:
            gain = "" if self.gain == 1.0 else f"{self.gain:g}·"
            size = f"{self.row_epsilon:g} + |v_row|/√{math.prod(self.shape[1:])}"
            return f"w = {gain}v/({size})/√{self.fan_in}, row by row"
        if self.scale is None:
            return "w = c·v, c is not known"
        if self.scale_tensors:
            return f"c = {self.scale:.6g} (stored in {self.scale_tensors[0]})"
        gain = "√2" if math.isclose(self.gain, SQRT2) else f"{self.gain:g}"
        factor = gain if self.lr_multiplier == 1 else f"{gain}·{self.lr_multiplier:g}"
        source = {"inferred": " (multiplier inferred from the weights' size)", "stated": " (stated in the file)"}
        return f"c = {factor}/√{self.fan_in} = {self.scale:.6g}{source.get(self.origin, '')}"

    @property
    def usual_size(self) -> float | None:
        """The rms of effective weights whose stored ones are as they were initialised, N(0, 1)."""
        return self.scale if self.row_epsilon is None else self.gain / math.sqrt(self.fan_in)

    def applied(self, stored: Tensor) -> tuple[Tensor, float] | None:
        """A tensor and the constant that it is multiplied by in this layer; None where that is not known."""
        if self.row_epsilon is not None:
            return with_unit_rows(stored, self.row_epsilon, self.gain / math.sqrt(self.fan_in)), 1.0
        return None if self.scale is None else (stored, self.scale)

    def with_unit_rows(self, epsilon: float, fan_in: int, gain: float) -> Layer:
        """This layer as an equalized one that divides every row by `epsilon` plus the row's rms."""
        return replace(self, scale=None, row_epsilon=epsilon, fan_in=fan_in, gain=gain, why="family")

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
