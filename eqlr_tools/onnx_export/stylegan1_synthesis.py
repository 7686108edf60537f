"""The layers of StyleGAN1's generator as nodes of a graph.

Repeating every pixel and then convolving with a 3x3 kernel is one transposed convolution of stride 2 whose 4x4 kernel
sums the taps that meet the same pixel. The blur behind it stays a depthwise convolution of its own: it sees zeros
beyond the edges, where the transposed convolution alone would give something else.

A bias rides on the last convolution before the noise. The constant's layer is computed up to its style when the graph
is made, unless noise comes in.

In half precision the convolutions alone run in sixteen bits. Behind a style activations may be of any size, so every
sample is divided by its largest one first, and every output channel's weights by their norm; both are multiplied in
again in single precision, in which blur, noise, bias, instance norm and style are computed throughout: the norm's sums
of squares are what overflows and loses its digits.

Rounding weights and activations to eleven bits costs 71 dB in each convolution. Here, where one follows the other, the
errors of all add up, so the smallest images, a sixth of the work at 1024 pixels, are convolved in single precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.arrays import leaky_relu as leaky_relu_reference
from eqlr_tools.networks.stylegan1 import BLUR, NO_BLUR
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.modulation import normalised_weight
from eqlr_tools.onnx_export.options import Noise, Options
from eqlr_tools.onnx_export.pieces import Parameters, dense, enlarged, finish_image, leaky_relu, nearest_kernel
from eqlr_tools.onnx_export.stylegan2 import noise_input, random_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.onnx_export.stylegan1 import StyleGAN1

_SMALLEST = 1e-15
"""Stands in for an activation of zero, by which nothing can be divided."""


class Synthesis:
    """Emits the layers one after the other. `x` is the activation, in single precision between them."""

    def __init__(self, graph: Graph, network: StyleGAN1, options: Options) -> None:
        self.graph, self.network, self.options, self.form = graph, network, options, network.form
        self.p: Parameters = network.parameters
        blur = self.p.get("blur", BLUR)
        self.blur = None if np.array_equal(blur, NO_BLUR) else blur
        self.noise: dict[str, str] = {}
        self.x = ""

    def emit(self, styles: list[str]) -> None:
        graph, network = self.graph, self.network
        before = ""
        bare = self.form.bare_start and network.resolution == 4
        for place, (layer, w) in enumerate(zip(network.layers, styles, strict=True)):
            gamma, beta = ("", "") if bare and place else self._styles(layer, w)
            if place == 0:
                self._constant(layer, gamma)
            else:
                first = layer.endswith("conv0")
                before = self.x if first else before
                self._layer(layer, up=first, bare=bare)
            if bare and place:
                break
            scaled = graph.node("Mul", [self.x, gamma], f"{layer}/scale")
            self.x = graph.node("Add", [scaled, beta], f"{layer}/shift")
        image = self._colour(network.resolution, self.x)
        if network.alpha != 1.0 and network.resolution > 4:
            small = self._colour(network.resolution // 2, before)
            old = enlarged(graph, small, interpolated=self.form.bilinear, name="fade/enlarged")
            new = graph.node("Mul", [image, graph.constant("fade.alpha", network.alpha)], "fade/new")
            rest = graph.node("Mul", [old, graph.constant("fade.rest", 1 - network.alpha)], "fade/old")
            image = graph.node("Add", [new, rest], "fade")
        if self.form.tanh and not bare:
            image = graph.node("Tanh", [image], "tanh")
        size = network.resolution
        finish_image(graph, image, (network.colours, size, size), self.options.image)

    def _styles(self, layer: str, w: str) -> tuple[str, str]:
        return self._style(layer, "gamma", w), self._style(layer, "beta", w)

    def _style(self, layer: str, part: str, w: str) -> str:
        name = f"{layer}.{part}"
        row = dense(self.graph, w, self.p[f"{name}.weight"], self.p[f"{name}.bias"], name)
        return self.graph.reshape(row, [0, len(self.p[f"{name}.bias"]), 1, 1], f"{name}/column")

    def _constant(self, layer: str, gamma: str) -> None:
        """The constant up to its style: a constant of the graph as long as no noise comes in."""
        graph, p = self.graph, self.p
        start = p["synthesis.const"][None] + _column(p.get(f"{layer}.bias", np.zeros(1)))
        if self.options.noise in (Noise.none, Noise.const):
            if self.options.noise is Noise.const and f"{layer}.noise" in p:
                start = start + _column(p[f"{layer}.noise_strength"]) * p[f"{layer}.noise"]
            start = leaky_relu_reference(start, 1.0) if self.form.constant_activated else start
            start = start - start.mean(axis=(2, 3), keepdims=True)
            start = start / np.sqrt(np.square(start).mean(axis=(2, 3), keepdims=True) + self.form.norm_eps)
            self.x = graph.constant("synthesis.const", start)
            return
        bounds = [graph.constant(f"first.{end}", np.array([n], dtype=np.int64)) for end, n in _FIRST]
        like = graph.node("Slice", [gamma, *bounds], f"{layer}/first_channel")
        repeats = graph.constant(f"{layer}.repeats", np.array([1, 1, 4, 4], dtype=np.int64))
        self.x = graph.constant("synthesis.const", start)
        self._add_noise(layer, 4, graph.node("Tile", [like, repeats], f"{layer}/like"))
        self.x = leaky_relu(graph, self.x, layer) if self.form.constant_activated else self.x
        self._normalise(layer)

    def _layer(self, layer: str, *, up: bool, bare: bool) -> None:
        """Everything up to the style, or the convolution alone."""
        graph = self.graph
        blurs = up and self.blur is not None
        early = blurs and (self.form.bias_before_blur or self.form.activated_before_blur)
        late = blurs and not early
        bias = self.p[f"{layer}.bias"]
        if self.network.is_half(layer, self.options):
            self._half_convolution(layer, up=up)
            if not late:
                shift = graph.constant(f"{layer}.bias", _column(bias))
                self.x = graph.node("Add", [self.x, shift], f"{layer}/add_bias")
        else:
            self._convolution(layer, self.p[f"{layer}.weight"], None if late else bias, up=up)
        if up and self.form.activated_before_blur:
            self.x = graph.node("LeakyRelu", [self.x], f"{layer}/leaky_relu_before_blur", alpha=0.2)
        if blurs:
            self._blur(layer, bias if late else None)
        if bare:
            return
        self._add_noise(layer, size_of(layer), self.x)
        self.x = leaky_relu(graph, self.x, layer)
        self._normalise(layer)

    def _half_convolution(self, layer: str, *, up: bool) -> None:
        """In sixteen bits, on activations divided by their largest and weights by their norms; both put back."""
        graph = self.graph
        weight, norms = normalised_weight(self.p[f"{layer}.weight"])
        size = graph.node("Abs", [self.x], f"{layer}/abs")
        largest = graph.reduce("ReduceMax", size, [1, 2, 3], f"{layer}/largest")
        largest = graph.node("Max", [largest, graph.constant("smallest", _SMALLEST)], f"{layer}/largest_activation")
        small = graph.node("Div", [self.x, largest], f"{layer}/normalised")
        with graph.computing_in(self.options.half_type):
            self.x = graph.cast(small, self.options.half_type, f"{layer}/half")
            self._convolution(layer, weight, None, up=up)
        single = graph.cast(self.x, np.float32, f"{layer}/single")
        factor = graph.node("Mul", [largest, graph.constant(f"{layer}.norms", _column(norms))], f"{layer}/factor")
        self.x = graph.node("Mul", [single, factor], f"{layer}/restored")

    def _convolution(self, layer: str, weight: NDArray, bias: NDArray | None, *, up: bool) -> None:
        graph = self.graph
        transposed = up and not self.form.bilinear
        if up and self.form.bilinear:
            self.x = enlarged(graph, self.x, interpolated=True, name=f"{layer}/doubled")
        stored = nearest_kernel(weight) if transposed else weight
        inputs = [self.x, graph.constant(f"{layer}.weight", stored)]
        if bias is not None:
            inputs.append(graph.constant(f"{layer}.bias", bias))
        if transposed:
            self.x = graph.node("ConvTranspose", inputs, f"{layer}/conv", strides=[2, 2], pads=[1] * 4)
        else:
            self.x = graph.node("Conv", inputs, f"{layer}/conv", pads=[1] * 4)

    def _blur(self, layer: str, bias: NDArray | None) -> None:
        assert self.blur is not None
        graph, channels = self.graph, len(self.p[f"{layer}.bias"])
        kernel = np.tile(self.blur, (channels, 1, 1, 1))
        inputs = [self.x, graph.constant(f"blur.{channels}", kernel)]
        if bias is not None:
            inputs.append(graph.constant(f"{layer}.bias", bias))
        self.x = graph.node("Conv", inputs, f"{layer}/blur", group=channels, pads=[1] * 4)

    def _add_noise(self, layer: str, size: int, like: str) -> None:
        graph, mode, name = self.graph, self.options.noise, f"{layer}.noise_strength"
        stored = f"{layer}.noise" in self.p
        if mode is Noise.none or name not in self.p or (mode is Noise.const and not stored):
            return
        if mode is Noise.const:
            noise = graph.constant(f"{layer}.noise", self.p[f"{layer}.noise"][None, None])
        else:
            noise = self._fresh_noise(self.network.noise_key(layer), size, like)
        strength = graph.constant(name, _column(self.p[name]))
        scaled = graph.node("Mul", [noise, strength], f"{layer}/noise")
        self.x = graph.node("Add", [self.x, scaled], f"{layer}/add_noise")

    def _fresh_noise(self, key: str, size: int, like: str) -> str:
        """An input, or a map per sample that the graph draws: as many as `like` has, whose first channel shapes it."""
        graph = self.graph
        if key not in self.noise:
            if self.options.noise is Noise.input:
                self.noise[key] = graph.input(noise_input(key), [BATCH, 1, size, size])
            else:
                bounds = [graph.constant(f"first.{end}", np.array([n], dtype=np.int64)) for end, n in _FIRST]
                first = graph.node("Slice", [like, *bounds], f"{key}/noise_shape")
                self.noise[key] = graph.node("RandomNormalLike", [first], random_noise(key))
        return self.noise[key]

    def _normalise(self, layer: str) -> None:
        graph, channels = self.graph, len(self.p[f"{layer}.gamma.bias"])
        ones = graph.constant(f"norm.scale.{channels}", np.ones(channels))
        zeros = graph.constant(f"norm.shift.{channels}", np.zeros(channels))
        inputs = [self.x, ones, zeros]
        self.x = graph.node("InstanceNormalization", inputs, f"{layer}/instance_norm", epsilon=self.form.norm_eps)

    def _colour(self, size: int, x: str) -> str:
        name = f"synthesis.b{size}.torgb"
        stored = [self.graph.constant(f"{name}.{kind}", self.p[f"{name}.{kind}"]) for kind in ("weight", "bias")]
        return self.graph.node("Conv", [x, *stored], f"{name}/conv")


_FIRST = (("start", 0), ("end", 1), ("axis", 1))


def size_of(layer: str) -> int:
    return int(layer.split(".")[1].removeprefix("b"))


def _column(values: NDArray) -> NDArray:
    """Per channel, against height and width."""
    return values[:, None, None]
