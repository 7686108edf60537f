"""StyleGAN1's discriminator as an ONNX graph, from the canonical parameters of `networks/stylegan1.py`.

A 3x3 convolution and the mean of 2x2 pixels behind it are one convolution of stride 2, whose 4x4 kernel is a quarter
of the sum of the four shifted kernels: 16 multiplications per output pixel instead of 36.

In half precision the blocks run in fp16 and what follows them, the deviation within groups and the dense layers, in
single: the deviation is a small difference of squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.stylegan1 import BLUR, NO_BLUR, DiscriminatorForm, discriminate, discriminator_form
from eqlr_tools.networks.stylegan2 import resolutions
from eqlr_tools.onnx_export.choices import Choices, Made
from eqlr_tools.onnx_export.discriminating import refuse_generator_options
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.growing import grown
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Options, Precision
from eqlr_tools.onnx_export.pieces import dense, leaky_relu, mean_kernel, with_group_deviation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork


@dataclass(frozen=True)
class StyleGAN1Discriminator:
    """The discriminator: `parameters` are canonical and effective; `resolution` is one of the sizes they have."""

    parameters: Mapping[str, NDArray]
    resolution: int
    alpha: float = 1.0
    form: DiscriminatorForm = field(default_factory=DiscriminatorForm)
    mixes_samples = True

    @property
    def sizes(self) -> list[int]:
        """The sizes up to the wanted one."""
        return [size for size in resolutions(self.parameters, "") if size <= self.resolution]

    @property
    def facts(self) -> dict[str, Fact]:
        p = self.parameters
        widths = [(size, len(p[f"b{size}.conv1.bias"])) for size in self.sizes[1:]]
        return {
            "resolution": self.resolution,
            "image channels": p[f"b{self.resolution}.fromrgb.weight"].shape[1],
            "channels": " ".join(f"{size}:{width}" for size, width in widths),
            "alpha": self.alpha,
        }

    def half_weights(self) -> dict[str, NDArray]:
        """The weights of the blocks, by layer."""
        layers = [f"b{size}.{conv}" for size in self.sizes[1:] for conv in ("conv0", "conv1")]
        return {layer: self.parameters[f"{layer}.weight"] for layer in layers}

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        image, size = inputs["image"], self.resolution
        return {"logits": discriminate(self.parameters, image, self.form, resolution=size, alpha=self.alpha)}

    def graphs(self, options: Options) -> dict[str, Graph]:
        """One graph, from `image` to `logits`. Raises UsageError for what only generators have."""
        refuse_generator_options(options)
        graph = Graph("discriminator", options.opset)
        _Discriminator(graph, self, options).emit()
        return {"discriminator": graph}


class _Discriminator:
    """Emits the layers one after the other. `x` is the activation, `half` whether it is in half precision."""

    def __init__(self, graph: Graph, network: StyleGAN1Discriminator, options: Options) -> None:
        self.graph, self.network, self.options = graph, network, options
        self.p, self.form = network.parameters, network.form
        blur = self.p.get("blur", BLUR)
        self.blur = None if np.array_equal(blur, NO_BLUR) else blur
        self.x, self.half = "", False

    def emit(self) -> None:
        graph, network = self.graph, self.network
        top = network.resolution
        image = graph.input("image", [BATCH, self.p[f"b{top}.fromrgb.weight"].shape[1], top, top])
        self.x = self._seen(image, top)
        for size in reversed(network.sizes[1:]):
            self._block(size)
            if size == top and network.alpha != 1.0:
                self._fade(image, size // 2)
        self._in_half(False, "b4")
        channels = self._width_of(4)
        if self.p["b4.conv.weight"].shape[1] > channels:
            self.x = with_group_deviation(graph, self.x, channels, self.form.group_size)
        self._conv("b4.conv", self.p["b4.conv.weight"])
        flat = graph.node("Flatten", [self.x], "b4/flatten", axis=1)
        hidden = dense(graph, flat, self.p["b4.fc.weight"], self.p["b4.fc.bias"], "b4.fc")
        hidden = hidden if self.form.fc_linear else leaky_relu(graph, hidden, "b4.fc")
        out = self.p["b4.out.weight"]
        graph.output(dense(graph, hidden, out, self.p["b4.out.bias"], "b4.out"), "logits", [BATCH, len(out)])

    def _width_of(self, size: int) -> int:
        """The channels that reach the block of a size."""
        above = f"b{2 * size}.conv1" if size < self.network.resolution else f"b{size}.fromrgb"
        return int(self.p[f"{above}.weight"].shape[0])

    def _block(self, size: int) -> None:
        block = f"b{size}"
        self._in_half(self._wants_half(f"{block}.conv0"), f"{block}.conv0")
        self._conv(f"{block}.conv0", self.p[f"{block}.conv0.weight"])
        self._in_half(self._wants_half(f"{block}.conv1"), f"{block}.conv1")
        self._blur(f"{block}.conv1")
        weight = self.p[f"{block}.conv1.weight"]
        if self.form.pooled_after_activation:
            self._conv(f"{block}.conv1", weight)
            self.x = self._halved(self.x, f"{block}/halved")
        else:
            self._conv(f"{block}.conv1", mean_kernel(weight), stride=2)

    def _fade(self, image: str, size: int) -> None:
        """The size before sees the image at half its size, and stands in for the part that is not faded in."""
        graph, alpha = self.graph, self.network.alpha
        self._in_half(False, "fade")
        old = self._seen(self._halved(image, "fade/halved"), size)
        new = graph.node("Mul", [self.x, graph.constant("fade.alpha", alpha)], "fade/new")
        rest = graph.node("Mul", [old, graph.constant("fade.rest", 1 - alpha)], "fade/old")
        self.x = graph.node("Add", [new, rest], "fade")

    def _seen(self, image: str, size: int) -> str:
        """From RGB, in single precision, which costs next to nothing with so few channels."""
        name = f"b{size}.fromrgb"
        weight = self.p[f"{name}.weight"]
        stored = [self.graph.constant(f"{name}.weight", weight)]
        stored.append(self.graph.constant(f"{name}.bias", self.p[f"{name}.bias"]))
        x = self.graph.node("Conv", [image, *stored], f"{name}/conv", pads=[weight.shape[2] // 2] * 4)
        return x if self.form.fromrgb_linear else leaky_relu(self.graph, x, name)

    def _halved(self, x: str, name: str) -> str:
        return self.graph.node("AveragePool", [x], name, kernel_shape=[2, 2], strides=[2, 2])

    def _wants_half(self, layer: str) -> bool:
        return self.options.precision is not Precision.fp32 and layer not in self.options.keep_fp32

    def _in_half(self, half: bool, name: str) -> None:
        if half != self.half:
            self.x = self.graph.cast(self.x, self.options.half_type if half else np.float32, f"{name}/cast")
            self.half = half

    def _conv(self, layer: str, weight: NDArray, *, stride: int = 1) -> None:
        """Convolution and activation."""
        with self.graph.computing_in(self.options.half_type if self.half else np.float32):
            stored = [self.graph.constant(f"{layer}.weight", weight)]
            stored.append(self.graph.constant(f"{layer}.bias", self.p[f"{layer}.bias"]))
            x = self.graph.node("Conv", [self.x, *stored], f"{layer}/conv", pads=[1] * 4, strides=[stride, stride])
            self.x = leaky_relu(self.graph, x, layer)

    def _blur(self, layer: str) -> None:
        if self.blur is None:
            return
        channels = self.p[f"{layer}.weight"].shape[1]
        with self.graph.computing_in(self.options.half_type if self.half else np.float32):
            kernel = np.tile(self.blur, (channels, 1, 1, 1))
            name = f"blur.{channels}.{self.graph.float_type.name}"
            inputs = [self.x, self.graph.constant(name, kernel)]
            self.x = self.graph.node("Conv", inputs, f"{layer}/blur", group=channels, pads=[1] * 4)


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The discriminator at a size."""
    parameters = {name: canonical.values(name) for name in canonical.parts}
    resolution, alpha, notes = grown(parameters, choices, "", "fromrgb")
    form = discriminator_form(canonical.naming.form, parameters)
    return Made(StyleGAN1Discriminator(parameters, resolution, alpha, form), notes=tuple(notes))
