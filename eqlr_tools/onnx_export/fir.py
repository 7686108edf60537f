"""Resampling with long FIR filters as depthwise convolutions with constant weights (the matrices of `networks/fir.py`).

Upsampling by U multiplies no zeros: of the filter's taps, output pixel U i + p sees every U-th. So there are U small
filters per axis, one for each p, and their results are laid side by side. Measured in ONNX Runtime on a CPU, the two
axes one after the other, this takes a third to a half of the time of a depthwise transposed convolution.

What the network crops away is not computed: the convolution before leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.onnx_export.graph import Graph
from eqlr_tools.onnx_export.pieces import leaky_relu

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEIGHT, WIDTH = 2, 3


@dataclass(frozen=True)
class Upsampling:
    """One axis: `phases` (U, taps) are correlated with the input, of which `crop` pixels at either end are not seen.

    `pads` are the zeros around what is seen, `size` the number of pixels that come out, a multiple of U.
    """

    phases: NDArray
    crop: tuple[int, int]
    pads: tuple[int, int]
    size: int


def upsampling(length: int, taps: NDArray, up: int, padding: int, wanted: int) -> Upsampling:
    """The first `wanted` pixels, or a few more, of an axis of this length with so many zeros before it.

    Pixel U i + p of the result sees pixel i + q - t through tap r + U t, where q U + r = p + taps - 1 - padding.
    """
    steps = -(-wanted // up)
    starts = [divmod(phase + len(taps) - 1 - padding, up) for phase in range(up)]
    seen = [(q, taps[r::up]) for q, r in starts]
    first = min(q - len(own) + 1 for q, own in seen)
    last = max(q for q, _ in seen)
    phases = np.zeros((up, last - first + 1))
    for phase, (q, own) in enumerate(seen):
        phases[phase, q - len(own) + 1 - first : q + 1 - first] = up * own[::-1]
    behind = steps - 1 + last - (length - 1)
    return Upsampling(phases, (max(first, 0), max(-behind, 0)), (max(-first, 0), max(behind, 0)), steps * up)


def upsampled(graph: Graph, x: str, layer: str, channels: int, size: int, way: Upsampling) -> str:
    """Both axes of a square activation of this size, and leaky ReLU behind them."""
    x = _phases(graph, x, layer, (channels, size, size), way, WIDTH)
    return _phases(graph, x, layer, (channels, size, way.size), way, HEIGHT)


def _phases(graph: Graph, x: str, layer: str, shape: tuple[int, int, int], way: Upsampling, axis: int) -> str:
    channels, height, width = shape
    name = f"{layer}/up_{'height' if axis == HEIGHT else 'width'}"
    # Between the pixels of a row, or between rows: where the phases of one pixel come to lie.
    apart = [0, channels, way.size // len(way.phases), 1, width] if axis == HEIGHT else [0, channels, height, -1, 1]
    parts = []
    for number, taps in enumerate(way.phases):
        kernel = _kernel(graph, f"{name[len(layer) + 1 :]}.{number}", layer, taps, channels, axis)
        part = graph.node("Conv", [x, kernel], f"{name}{number}", group=channels, pads=_pads(way.pads, axis))
        if axis == HEIGHT:
            part = leaky_relu(graph, part, f"{name}{number}")
        parts.append(graph.reshape(part, apart, f"{name}{number}/apart"))
    together = graph.node("Concat", parts, f"{name}/beside", axis=3 if axis == HEIGHT else 4)
    rows, columns = (way.size, width) if axis == HEIGHT else (height, way.size)
    return graph.reshape(together, [0, channels, rows, columns], name)


def downsampled(
    graph: Graph, x: str, layer: str, channels: int, fir: NDArray, down: int, size: int, wanted: int
) -> str:
    """Both axes of a square activation of this size: every `down`-th pixel of what the filter makes of it."""
    name = f"{layer}/down"
    if fir.ndim == 1:
        for axis, part in ((HEIGHT, "height"), (WIDTH, "width")):
            kernel = _kernel(graph, f"down_{part}", layer, fir[::-1], channels, axis)
            strides = [down, 1] if axis == HEIGHT else [1, down]
            x = graph.node("Conv", [x, kernel], f"{name}_{part}", group=channels, strides=strides)
    else:
        kernel = graph.constant(f"{layer}.down_filter", np.tile(fir[::-1, ::-1], (channels, 1, 1, 1)))
        x = graph.node("Conv", [x, kernel], f"{name}_both", group=channels, strides=[down, down])
    if (size - len(fir)) // down + 1 == wanted:
        return x
    return sliced(graph, x, 0, wanted, name)


def sliced(graph: Graph, x: str, start: int, end: int, name: str) -> str:
    """Rows and columns from `start` to `end` of a square activation."""
    bounds = [
        graph.constant(f"slice.{start}.start", np.array([start, start], dtype=np.int64)),
        graph.constant(f"slice.{end}.end", np.array([end, end], dtype=np.int64)),
        graph.constant("slice.axes", np.array([HEIGHT, WIDTH], dtype=np.int64)),
    ]
    return graph.node("Slice", [x, *bounds], f"{name}/slice")


def _kernel(graph: Graph, part: str, layer: str, taps: NDArray, channels: int, axis: int) -> str:
    shape = (1, 1, -1, 1) if axis == HEIGHT else (1, 1, 1, -1)
    return graph.constant(f"{layer}.{part}", np.tile(taps.reshape(shape), (channels, 1, 1, 1)))


def _pads(pads: tuple[int, int], axis: int) -> list[int]:
    before, behind = pads
    return [before, 0, behind, 0] if axis == HEIGHT else [0, before, 0, behind]
