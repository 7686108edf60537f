"""Modulated convolution with constant weights.

As published (Karras et al., 2020), every sample has weights of its own, `W s` in, divided by their norm, and a
batch becomes one grouped convolution whose number of groups is the batch: no exporter can leave that batch free, and
many runtimes refuse weights that are no constants. A convolution is linear in its input channels, so

    (W s / |W s|) * x  =  d (W * (s x)),    d_o = 1 / sqrt( sum_i s_i^2 sum_k W_oik^2 + eps )

with W constant, and d from one constant matrix of summed squares. The activation's gain, sqrt(2), is positive and goes
through leaky ReLU, so it is folded into d, noise and bias.

In half precision, s^2 and the accumulated sums overflow. What NVIDIA's training code does is done here, exactly: W
is divided per output channel by b_o = max|W_o| sqrt(fan_in), s per sample by a = max|s|. Demodulation cancels both,
if eps is divided by (a b)^2 as well. Then |W * (s x)| <= max|x| sqrt(fan_in), far from 65504 when x is clamped to 256.
Styles and d are computed in single precision throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.stylegan2 import DEMODULATION_EPS
from eqlr_tools.onnx_export.graph import Graph
from eqlr_tools.onnx_export.pieces import Parameters, inverse_root
from eqlr_tools.scaling import SQRT2

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_SMALLEST = 1e-15
"""Stands in for a norm of zero; its square is still a number in single precision."""


@dataclass(frozen=True)
class Modulation:
    """What a layer needs besides its input: factors per (sample, in), weights, factors per (sample, out)."""

    styles: str
    weight: NDArray
    demodulation: str


def styles(graph: Graph, parameters: Parameters, layer: str, w: str) -> str:
    """style.weight @ w + style.bias as (samples, in, 1, 1); w is (samples, w, 1, 1), so a 1x1 convolution does it."""
    weight = graph.constant(f"{layer}.style.weight", parameters[f"{layer}.style.weight"][:, :, None, None])
    bias = graph.constant(f"{layer}.style.bias", parameters[f"{layer}.style.bias"])
    return graph.node("Conv", [w, weight, bias], f"{layer}/style")


def modulation(
    graph: Graph, parameters: Parameters, layer: str, w: str, *, half: DTypeLike | None, gain: float = SQRT2
) -> Modulation:
    """Styles, weights and demodulation of a layer, the activation's gain included.

    `half` is the type of sixteen bits that the layer computes in, or None.
    """
    weight = parameters[f"{layer}.weight"]
    style = styles(graph, parameters, layer, w)
    if half is not None:
        return _prenormalised(graph, layer, weight, style, half, gain)
    eps = np.full(len(weight), DEMODULATION_EPS)
    power = _power(graph, layer, style, np.square(weight).sum(axis=(2, 3)), eps, gain)
    return Modulation(style, weight, inverse_root(graph, power, f"{layer}/demodulation"))


def normalised_weight(weight: NDArray) -> tuple[NDArray, NDArray]:
    """Every output channel divided by its norm max|W_o| sqrt(fan_in), and the norms."""
    fan_in = math.prod(weight.shape[1:])
    norms: NDArray = np.maximum(np.abs(weight).max(axis=(1, 2, 3)) * math.sqrt(fan_in), _SMALLEST)
    return weight / norms[:, None, None, None], norms


def _prenormalised(graph: Graph, layer: str, weight: NDArray, style: str, half: DTypeLike, gain: float) -> Modulation:
    weight, norms = normalised_weight(weight)
    largest = graph.reduce("ReduceMax", graph.node("Abs", [style], f"{layer}/abs"), [1], f"{layer}/largest")
    largest = graph.node("Max", [largest, graph.constant("style.smallest", _SMALLEST)], f"{layer}/largest_style")
    small = graph.node("Div", [style, largest], f"{layer}/normalised_style")
    power = _power(graph, layer, small, np.square(weight).sum(axis=(2, 3)), None, gain)
    eps = graph.constant(f"{layer}.eps", (DEMODULATION_EPS / gain**2 / np.square(norms))[:, None, None])
    square = graph.node("Mul", [largest, largest], f"{layer}/largest_squared")
    power = graph.node("Add", [power, graph.node("Div", [eps, square], f"{layer}/eps")], f"{layer}/power_eps")
    demodulation = inverse_root(graph, power, f"{layer}/demodulation")
    return Modulation(
        graph.cast(small, half, f"{layer}/half_style"),
        weight,
        graph.cast(demodulation, half, f"{layer}/half_demodulation"),
    )


def _power(graph: Graph, layer: str, style: str, squares: NDArray, eps: NDArray | None, gain: float) -> str:
    """The squared norm of the modulated weights over gain squared: 1 / sqrt of it is gain / norm."""
    squared = graph.node("Mul", [style, style], f"{layer}/style_squared")
    inputs = [squared, graph.constant(f"{layer}.squares", squares[:, :, None, None] / gain**2)]
    if eps is not None:
        inputs.append(graph.constant(f"{layer}.eps", eps / gain**2))
    return graph.node("Conv", inputs, f"{layer}/power")
