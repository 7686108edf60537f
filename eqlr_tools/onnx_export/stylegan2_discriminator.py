"""StyleGAN2's discriminator as an ONNX graph, from the canonical parameters of `networks/stylegan2.py`.

Both branches of a block end in sqrt(1/2). In the convolutions' branch it cancels the activation's sqrt(2), in the
other it goes into the weight, so neither factor is left in the graph.

In half precision the blocks run in fp16 and what follows them, the deviation within groups and the dense layers, in
single: the deviation is a small difference of squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.arrays import SLOPE
from eqlr_tools.networks.stylegan2 import FIR, discriminate, resolutions
from eqlr_tools.onnx_export.choices import Choices, Made, limit
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Image, Latent, Options, Precision
from eqlr_tools.onnx_export.pieces import dense, limited
from eqlr_tools.scaling import SQRT2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork

_GROUP = 4
_DEVIATION_EPS = 1e-8


@dataclass(frozen=True)
class StyleGAN2Discriminator:
    """The discriminator: `parameters` are canonical and effective, `clamp` limits activations, or is None."""

    parameters: Mapping[str, NDArray]
    clamp: float | None = None
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
            "channels": " ".join(f"{size}:{width}" for size, width in zip(self.sizes[1:], widths, strict=True)),
            "clamp": "none" if self.clamp is None else self.clamp,
        }

    def half_weights(self) -> dict[str, NDArray]:
        """The weights of the blocks, by layer."""
        names = [name.removesuffix(".weight") for name in self.parameters if name.endswith(".weight")]
        return {name: self.parameters[f"{name}.weight"] for name in names if not name.startswith("b4.")}

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        return {"logits": discriminate(self.parameters, inputs["image"], group_size=_GROUP, clamp=self.clamp)}

    def graphs(self, options: Options) -> dict[str, Graph]:
        """One graph, from `image` to `logits`. Raises UsageError for what only generators have."""
        if options.split or options.latent is not Latent.z or options.image is not Image.float:
            raise UsageError("--split, --input and --image are about generators; this network is a discriminator")
        graph = Graph("discriminator", options.opset)
        _Discriminator(graph, self, options).emit()
        return {"discriminator": graph}


class _Discriminator:
    """Emits the layers one after the other. `x` is the activation, `half` whether it is in half precision."""

    def __init__(self, graph: Graph, network: StyleGAN2Discriminator, options: Options) -> None:
        self.graph, self.p, self.sizes, self.clamp = graph, network.parameters, network.sizes, network.clamp
        self.options = options
        self.fir = self.p.get("fir", FIR)[::-1, ::-1]
        size, channels = self.sizes[-1], self.p[f"b{self.sizes[-1]}.fromrgb.weight"].shape[1]
        self.x = graph.input("image", [BATCH, channels, size, size])
        self.half = False

    def emit(self) -> None:
        self._conv(f"b{self.sizes[-1]}.fromrgb", gain=SQRT2)
        for size in reversed(self.sizes[1:]):
            block = f"b{size}"
            beside = self._skip(f"{block}.skip")
            self._conv(f"{block}.conv0", gain=SQRT2)
            self._filter(f"{block}.conv1", pads=2, stride=1)
            self._conv(f"{block}.conv1", gain=1.0, stride=2, padding=0)
            self._in_half(False, f"{block}/sum")
            self.x = self.graph.node("Add", [self.x, beside], f"{block}/sum")
        self._deviation()
        self._conv("b4.conv", gain=SQRT2)
        flat = self.graph.node("Flatten", [self.x], "b4/flatten", axis=1)
        weight, bias = self.p["b4.fc.weight"] * SQRT2, self.p["b4.fc.bias"] * SQRT2
        hidden = dense(self.graph, flat, weight, bias, "b4.fc")
        hidden = self.graph.node("LeakyRelu", [hidden], "b4.fc/leaky_relu", alpha=SLOPE)
        out = self.p["b4.out.weight"]
        logits = dense(self.graph, hidden, out, self.p["b4.out.bias"], "b4.out")
        self.graph.output(logits, "logits", [BATCH, len(out)])

    def _wants_half(self, layer: str) -> bool:
        half = self.options.precision is not Precision.fp32 and not layer.startswith("b4.")
        return half and layer not in self.options.keep_fp32

    def _in_half(self, half: bool, name: str) -> None:
        if half != self.half:
            self.x = self.graph.cast(self.x, self.options.half_type if half else np.float32, f"{name}/cast")
            self.half = half

    def _conv(self, layer: str, *, gain: float, stride: int = 1, padding: int | None = None) -> None:
        """Convolution, activation and clamp; a positive gain behind them is in weight, bias and clamp."""
        self._in_half(self._wants_half(layer), layer)
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
        self._in_half(self._wants_half(layer), layer)
        self._filter(layer, pads=1, stride=2)
        with self.graph.computing_in(self.options.half_type if self.half else np.float32):
            weight = self.graph.constant(f"{layer}.weight", self.p[f"{layer}.weight"] / SQRT2)
            self.x = self._limited(self.graph.node("Conv", [self.x, weight], f"{layer}/conv"), 1 / SQRT2, layer)
        self._in_half(False, f"{layer}/end")
        beside = self.x
        self.x, self.half = kept
        return beside

    def _filter(self, layer: str, *, pads: int, stride: int) -> None:
        channels = self.p[f"{layer}.weight"].shape[1]
        with self.graph.computing_in(self.options.half_type if self.half else np.float32):
            kind = self.graph.float_type.name
            kernel = self.graph.constant(f"fir.{channels}.{kind}", np.tile(self.fir, (channels, 1, 1, 1)))
            self.x = self.graph.node(
                "Conv", [self.x, kernel], f"{layer}/filter", group=channels, pads=[pads] * 4, strides=[stride, stride]
            )

    def _deviation(self) -> None:
        """One more channel: the mean deviation within groups of up to four samples, n, n + N/4, n + 2N/4, n + 3N/4.

        The number of samples is free, so the shape of the groups is computed in the graph.
        """
        graph, channels = self.graph, self.p["b4.conv.weight"].shape[1] - 1
        shape = graph.node("Shape", [self.x], "deviation/shape")
        samples = graph.node("Gather", [shape, self._integers("zero", 0)], "deviation/samples")
        group = graph.node("Min", [samples, self._integers("group", _GROUP)], "deviation/group")
        rest = self._integers("deviation.rest", -1, channels, 4, 4)
        groups = graph.node("Concat", [group, rest], "deviation/groups", axis=0)
        grouped = graph.node("Reshape", [self.x, groups], "deviation/grouped")
        away = graph.node(
            "Sub", [grouped, graph.reduce("ReduceMean", grouped, [0], "deviation/mean")], "deviation/away"
        )
        square = graph.node("Mul", [away, away], "deviation/square")
        variance = graph.reduce("ReduceMean", square, [0], "deviation/variance")
        safe = graph.node("Add", [variance, graph.constant("deviation.eps", _DEVIATION_EPS)], "deviation/variance_eps")
        root = graph.node("Sqrt", [safe], "deviation/root")
        each = graph.reshape(
            graph.reduce("ReduceMean", root, [2, 3, 4], "deviation/each"), [-1, 1, 1, 1], "deviation/column"
        )
        repeats = graph.node("Concat", [group, self._integers("deviation.map", 1, 4, 4)], "deviation/repeats", axis=0)
        extra = graph.node("Tile", [each, repeats], "deviation/channel")
        self.x = graph.node("Concat", [self.x, extra], "deviation", axis=1)

    def _integers(self, name: str, *values: int) -> str:
        return self.graph.constant(name, np.array(values, dtype=np.int64))


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The discriminator, if it takes no labels."""
    parameters = {name: canonical.values(name) for name in canonical.parts}
    if any(name.startswith("mapping.") for name in parameters):
        raise UsageError(
            f"network {canonical.recognition.network.name} is a conditional discriminator, which is not exported",
            hint="--network NAME takes another network",
        )
    return Made(StyleGAN2Discriminator(parameters, limit(canonical, choices)))
