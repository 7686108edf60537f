"""The discriminator of labml's StyleGAN2 as an ONNX graph, from the canonical parameters of `networks/labml.py`.

sqrt(1/2) behind a block goes into its skip and, since leaky ReLU is positively homogeneous, its second convolution.
In half precision the blocks run in fp16, what follows them in single.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.doubling import SMOOTH
from eqlr_tools.networks.labml import DEVIATION_EPS, GROUP, SHIFT, discriminate
from eqlr_tools.networks.stylegan2 import resolutions
from eqlr_tools.onnx_export.choices import Choices, Made
from eqlr_tools.onnx_export.discriminating import half_weights, is_half, refuse_generator_options
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Options
from eqlr_tools.onnx_export.pieces import dense, leaky_relu, smoothed, smoothing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork

_ROOT_HALF = 0.5**0.5


@dataclass(frozen=True)
class LabmlDiscriminator:
    """`parameters` are canonical and effective."""

    parameters: Mapping[str, NDArray]
    mixes_samples = True

    @property
    def sizes(self) -> list[int]:
        return resolutions(self.parameters, "")

    @property
    def facts(self) -> dict[str, Fact]:
        widths = [len(self.parameters[f"b{size}.conv1.bias"]) for size in self.sizes[1:]]
        return {
            "resolution": self.sizes[-1],
            "image channels": self.parameters[f"b{self.sizes[-1]}.fromrgb.weight"].shape[1],
            "channels": " ".join(f"{size}:{width}" for size, width in zip(self.sizes[1:], widths, strict=True)),
            "batch": "multiples of 4, as its deviation is of groups of four",
        }

    def half_weights(self) -> dict[str, NDArray]:
        """The weights of the blocks, by layer."""
        return half_weights(self.parameters)

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        return {"logits": discriminate(self.parameters, inputs["image"])}

    def graphs(self, options: Options) -> dict[str, Graph]:
        """One graph, from `image` to `logits`. Raises UsageError for what only generators have."""
        refuse_generator_options(options)
        graph = Graph("discriminator", options.opset)
        _Emitter(graph, self, options).emit()
        return {"discriminator": graph}


class _Emitter:
    def __init__(self, graph: Graph, network: LabmlDiscriminator, options: Options) -> None:
        self.graph, self.p, self.sizes, self.options = graph, network.parameters, network.sizes, options

    def emit(self) -> None:
        graph, top = self.graph, f"b{self.sizes[-1]}.fromrgb"
        image = graph.input("image", [BATCH, self.p[f"{top}.weight"].shape[1], self.sizes[-1], self.sizes[-1]])
        self.p = {**self.p, f"{top}.bias": self.p[f"{top}.bias"] - SHIFT * self.p[f"{top}.weight"].sum(axis=(1, 2, 3))}
        x = leaky_relu(graph, self._conv(image, top), top)
        for size in reversed(self.sizes[1:]):
            block = f"b{size}"
            beside = self._conv(self._half_size(x, f"{block}.skip"), f"{block}.skip", gain=_ROOT_HALF)
            x = leaky_relu(graph, self._conv(x, f"{block}.conv0", padding=1), f"{block}.conv0")
            x = leaky_relu(graph, self._conv(x, f"{block}.conv1", padding=1, gain=_ROOT_HALF), f"{block}.conv1")
            x = graph.node("Add", [self._half_size(x, f"{block}.conv1"), beside], f"{block}/sum")
        x = self._conv(self._with_deviation(x), "b4.conv")
        flat = graph.node("Flatten", [x], "b4/flatten", axis=1)
        logits = dense(graph, flat, self.p["b4.out.weight"], self.p["b4.out.bias"], "b4.out")
        graph.output(logits, "logits", [BATCH, len(self.p["b4.out.bias"])])

    def _conv(self, x: str, layer: str, *, padding: int = 0, gain: float = 1.0) -> str:
        graph, half = self.graph, is_half(layer, self.options)
        kind = self.options.half_type if half else np.dtype(np.float32)
        with graph.computing_in(kind):
            stored = [
                graph.constant(f"{layer}.{part}", self.p[f"{layer}.{part}"] * gain) for part in ("weight", "bias")
            ]
            x = graph.cast(x, kind, f"{layer}/half") if half else x
            x = graph.node("Conv", [x, *stored], f"{layer}/conv", pads=[padding] * 4)
        return graph.cast(x, np.float32, f"{layer}/single") if half else x

    def _half_size(self, x: str, layer: str) -> str:
        """Smoothed, then the mean of two by two pixels, which is what interpolation to half the size is."""
        skip = self.p[f"{layer.partition('.')[0]}.skip.weight"]
        channels = skip.shape[1] if layer.endswith("skip") else skip.shape[0]
        kernel = smoothing(self.graph, self.p.get(f"{layer}.smooth", SMOOTH), channels, f"{layer}.smooth")
        x = smoothed(self.graph, x, kernel, channels, "edge", f"{layer}/smoothed")
        return self.graph.node("AveragePool", [x], f"{layer}/halved", kernel_shape=[2, 2], strides=[2, 2])

    def _with_deviation(self, x: str) -> str:
        """One more channel: sqrt of the unbiased variance within groups of four, averaged over everything."""
        graph = self.graph
        groups = graph.reshape(x, [GROUP, -1], "deviation/groups")
        mean = graph.reduce("ReduceMean", groups, [0], "deviation/mean")
        away = graph.node("Sub", [groups, mean], "deviation/away")
        square = graph.reduce(
            "ReduceMean", graph.node("Mul", [away, away], "deviation/square"), [0], "deviation/biased"
        )
        unbiased = graph.constant("deviation.unbiased", GROUP / (GROUP - 1))
        variance = graph.node("Mul", [square, unbiased], "deviation/variance")
        safe = graph.node("Add", [variance, graph.constant("deviation.eps", DEVIATION_EPS)], "deviation/variance_eps")
        root = graph.node("Sqrt", [safe], "deviation/root")
        one = graph.reshape(graph.reduce("ReduceMean", root, [1], "deviation/one"), [1, 1, 1, 1], "deviation/value")
        # A channel of zeros of every sample, to which the value is added: the batch is free.
        bounds = [
            graph.constant(f"first.{part}", np.array([number], dtype=np.int64))
            for part, number in (("start", 0), ("end", 1), ("axis", 1))
        ]
        first = graph.node("Slice", [x, *bounds], "deviation/first_channel")
        zeros = graph.node("Sub", [first, first], "deviation/zeros")
        return graph.node("Concat", [x, graph.node("Add", [zeros, one], "deviation/channel")], "deviation", axis=1)


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The discriminator."""
    return Made(LabmlDiscriminator({name: canonical.values(name) for name in canonical.parts}))
