"""StyleGAN2's discriminator as an ONNX graph, from the canonical parameters of `networks/stylegan2.py`.

Both branches of a residual block end in sqrt(1/2). In the convolutions' branch it cancels the activation's sqrt(2), in
the other it goes into the weight, so neither factor is left in the graph.

In half precision the blocks run in fp16 and what follows them, the deviation within groups and the dense layers, in
single: the deviation is a small difference of squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.arrays import SLOPE
from eqlr_tools.networks.stylegan1 import WHOLE_BATCH
from eqlr_tools.networks.stylegan2 import FIR, discriminate, mapping_layers, resolutions
from eqlr_tools.onnx_export.choices import Choices, Made, limit
from eqlr_tools.onnx_export.discriminating import half_weights, is_half, refuse_generator_options
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Options
from eqlr_tools.onnx_export.pieces import dense, limited, mapped, with_group_deviation
from eqlr_tools.rewriting.forms import group_size
from eqlr_tools.scaling import SQRT2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork

_GROUP = 4


@dataclass(frozen=True)
class StyleGAN2Discriminator:
    """The discriminator: `parameters` are canonical and effective, `clamp` limits activations, or is None.

    `group_size` is how many samples the deviation at its end is taken of, if it has one.
    """

    parameters: Mapping[str, NDArray]
    clamp: float | None = None
    group_size: int = _GROUP
    mixes_samples = True

    @property
    def sizes(self) -> list[int]:
        return resolutions(self.parameters, "")

    @property
    def facts(self) -> dict[str, Fact]:
        top = f"b{self.sizes[-1]}.fromrgb.weight"
        widths = [len(self.parameters[f"b{size}.conv1.bias"]) for size in self.sizes[1:]]
        return {
            "resolution": self.sizes[-1],
            "image channels": self.parameters[top].shape[1],
            "connections": self.architecture,
            "channels": " ".join(f"{size}:{width}" for size, width in zip(self.sizes[1:], widths, strict=True)),
            "labels": self.labels,
            "deviation": self._deviation_fact,
            "clamp": "none" if self.clamp is None else self.clamp,
        }

    @property
    def architecture(self) -> str:
        """NVIDIA's word for how the image becomes features."""
        if f"b{self.sizes[-1]}.skip.weight" in self.parameters:
            return "resnet"
        return "skip" if "b4.fromrgb.weight" in self.parameters and len(self.sizes) > 1 else "orig"

    @property
    def labels(self) -> int:
        return self.parameters["mapping.label.weight"].shape[1] if "mapping.label.weight" in self.parameters else 0

    @property
    def deviation_maps(self) -> int:
        """The channels that the last convolution has more than the blocks give."""
        last = f"b{self.sizes[1]}.conv1" if len(self.sizes) > 1 else "b4.fromrgb"
        return int(self.parameters["b4.conv.weight"].shape[1] - len(self.parameters[f"{last}.bias"]))

    @property
    def _deviation_fact(self) -> str:
        if not self.deviation_maps:
            return "none"
        return "of the whole batch" if self.group_size == WHOLE_BATCH else f"of groups of {self.group_size}"

    def half_weights(self) -> dict[str, NDArray]:
        """The weights of the blocks, by layer."""
        return half_weights(self.parameters)

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        label = inputs.get("label")
        image, size = inputs["image"], self.group_size
        return {"logits": discriminate(self.parameters, image, label=label, group_size=size, clamp=self.clamp)}

    def graphs(self, options: Options) -> dict[str, Graph]:
        """One graph, from `image` and perhaps `label` to `logits`. Raises UsageError for what only generators have."""
        refuse_generator_options(options)
        graph = Graph("discriminator", options.opset)
        _Discriminator(graph, self, options).emit()
        return {"discriminator": graph}


class _Discriminator:
    """Emits the layers one after the other. `x` is the activation, `half` whether it is in half precision."""

    def __init__(self, graph: Graph, network: StyleGAN2Discriminator, options: Options) -> None:
        self.graph, self.p, self.sizes, self.clamp = graph, network.parameters, network.sizes, network.clamp
        self.network, self.options = network, options
        self.fir = self.p.get("fir", FIR)[::-1, ::-1]
        size, self.colours = self.sizes[-1], self.p[f"b{self.sizes[-1]}.fromrgb.weight"].shape[1]
        self.x = self.image = graph.input("image", [BATCH, self.colours, size, size])
        self.label = graph.input("label", [BATCH, network.labels]) if network.labels else None
        self.half = False

    def emit(self) -> None:
        self._conv(f"b{self.sizes[-1]}.fromrgb", gain=SQRT2)
        for size in reversed(self.sizes[1:]):
            self._block(f"b{size}")
            if self.network.architecture == "skip":
                self._add_image(f"b{size // 2}.fromrgb")
        maps = self.network.deviation_maps
        if maps:
            channels = self.p["b4.conv.weight"].shape[1] - maps
            self.x = with_group_deviation(self.graph, self.x, channels, self.network.group_size, maps)
        self._conv("b4.conv", gain=SQRT2)
        flat = self.graph.node("Flatten", [self.x], "b4/flatten", axis=1)
        weight, bias = self.p["b4.fc.weight"] * SQRT2, self.p["b4.fc.bias"] * SQRT2
        hidden = dense(self.graph, flat, weight, bias, "b4.fc")
        hidden = self.graph.node("LeakyRelu", [hidden], "b4.fc/leaky_relu", alpha=SLOPE)
        out = self.p["b4.out.weight"]
        logits = dense(self.graph, hidden, out, self.p["b4.out.bias"], "b4.out")
        if self.label is not None:
            logits = self._projected(logits, self.label, len(out))
        self.graph.output(logits, "logits", [BATCH, 1 if self.label is not None else len(out)])

    def _block(self, block: str) -> None:
        residual = self.network.architecture == "resnet"
        beside = self._skip(f"{block}.skip") if residual else ""
        self._conv(f"{block}.conv0", gain=SQRT2)
        self._filter(f"{block}.conv1", self.p[f"{block}.conv1.weight"].shape[1], pads=2, stride=1)
        self._conv(f"{block}.conv1", gain=1.0 if residual else SQRT2, stride=2, padding=0)
        self._in_half(False, f"{block}/sum")
        if residual:
            self.x = self.graph.node("Add", [self.x, beside], f"{block}/sum")

    def _add_image(self, layer: str) -> None:
        """What the halved image becomes at this size, added to the features."""
        kept, self.x = self.x, self.image
        self._filter(layer, self.colours, pads=1, stride=2)
        self.image = self.x
        self._conv(layer, gain=SQRT2)
        self._in_half(False, f"{layer}/sum")
        self.x = self.graph.node("Add", [kept, self.x], f"{layer}/sum")

    def _projected(self, logits: str, label: str, width: int) -> str:
        """The product of the outputs and what the label is mapped to, over the root of their number."""
        graph, p = self.graph, self.p
        wanted = mapped(graph, p, None, label, mapping_layers(p))
        product = graph.node("Mul", [logits, wanted], "projection/product")
        total = graph.reduce("ReduceSum", product, [1], "projection/sum")
        return graph.node("Mul", [total, graph.constant("projection.scale", width**-0.5)], "projection")

    def _in_half(self, half: bool, name: str) -> None:
        if half != self.half:
            self.x = self.graph.cast(self.x, self.options.half_type if half else np.float32, f"{name}/cast")
            self.half = half

    def _conv(self, layer: str, *, gain: float, stride: int = 1, padding: int | None = None) -> None:
        """Convolution, activation and clamp; a positive gain behind them is in weight, bias and clamp."""
        self._in_half(is_half(layer, self.options), layer)
        weight = self.p[f"{layer}.weight"] * gain
        around = weight.shape[2] // 2 if padding is None else padding
        with self.graph.computing_in(self.options.half_type if self.half else np.float32):
            stored = [self.graph.constant(f"{layer}.weight", weight)]
            stored.append(self.graph.constant(f"{layer}.bias", self.p[f"{layer}.bias"] * gain))
            x = self.graph.node("Conv", [self.x, *stored], f"{layer}/conv", pads=[around] * 4, strides=[stride, stride])
            x = self.graph.node("LeakyRelu", [x], f"{layer}/leaky_relu", alpha=SLOPE)
            self.x = self._limited(x, gain / SQRT2, layer)

    def _limited(self, x: str, gain: float, layer: str) -> str:
        clamp = None if self.clamp is None else self.clamp * gain
        return limited(self.graph, x, clamp, layer)

    def _skip(self, layer: str) -> str:
        """Every other pixel of the filtered image, through a 1x1 convolution; in single precision at its end."""
        kept = (self.x, self.half)
        self._in_half(is_half(layer, self.options), layer)
        self._filter(layer, self.p[f"{layer}.weight"].shape[1], pads=1, stride=2)
        with self.graph.computing_in(self.options.half_type if self.half else np.float32):
            weight = self.graph.constant(f"{layer}.weight", self.p[f"{layer}.weight"] / SQRT2)
            self.x = self._limited(self.graph.node("Conv", [self.x, weight], f"{layer}/conv"), 1 / SQRT2, layer)
        self._in_half(False, f"{layer}/end")
        beside = self.x
        self.x, self.half = kept
        return beside

    def _filter(self, layer: str, channels: int, *, pads: int, stride: int) -> None:
        with self.graph.computing_in(self.options.half_type if self.half else np.float32):
            kind = self.graph.float_type.name
            kernel = self.graph.constant(f"fir.{channels}.{kind}", np.tile(self.fir, (channels, 1, 1, 1)))
            self.x = self.graph.node(
                "Conv", [self.x, kernel], f"{layer}/filter", group=channels, pads=[pads] * 4, strides=[stride, stride]
            )


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The discriminator, its deviation taken of the groups that the file states, or of four samples."""
    parameters = {name: canonical.values(name) for name in canonical.parts}
    return Made(StyleGAN2Discriminator(parameters, limit(canonical, choices), group_size(canonical)))
