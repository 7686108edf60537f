"""GFPGAN as an ONNX graph: a U-Net, and StyleGAN2's synthesis with conditions, from `networks/gfpgan.py`'s names.

The U-Net's factors are folded as in the clean architecture: sqrt(2) of an activation into the convolution before it,
1 / sqrt(2) of a block's sum into its branches. A 1x1 convolution without bias commutes with bilinear interpolation,
so in blocks that double the size it runs before it, on a quarter of the pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.doubling import Form
from eqlr_tools.networks.gfpgan import Resampling, restore
from eqlr_tools.networks.stylegan2 import FIR
from eqlr_tools.onnx_export.choices import Choices, Made
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options
from eqlr_tools.onnx_export.pieces import as_bytes, bilinear, leaky_relu
from eqlr_tools.onnx_export.stylegan2 import StyleGAN2, Synthesis
from eqlr_tools.scaling import SQRT2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork

_DECODER = "stylegan_decoder."


@dataclass(frozen=True)
class GFPGAN:
    """`parameters` are canonical and effective; how the network resamples is in no file."""

    parameters: Mapping[str, NDArray]
    resampling: Resampling
    mixes_samples = False

    @property
    def levels(self) -> int:
        """Blocks on the way down, as many as on the way up."""
        return sum(name.startswith("conv_body_down.") and name.endswith(".skip.weight") for name in self.parameters)

    @property
    def decoder(self) -> StyleGAN2:
        """The decoder as a StyleGAN2 whose mapping network is missing."""
        form = Form(features=self.resampling, image=self.resampling)
        return StyleGAN2(_as_stylegan2(self.parameters, self.levels, self.resampling), form=form)

    @property
    def conditions_half(self) -> bool:
        """True if the conditions are for the second half of the channels."""
        return len(self.parameters["condition_scale.0.2.bias"]) < len(
            self.decoder.parameters["synthesis.b8.conv0.bias"]
        )

    @property
    def facts(self) -> dict[str, Fact]:
        return {
            "resolution": 4 << self.levels,
            "resampling": self.resampling,
            "conditions": "half of the channels" if self.conditions_half else "all channels",
        }

    def half_weights(self) -> dict[str, NDArray]:
        """The decoder's; the U-Net stays in single precision."""
        return self.decoder.half_weights()

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        p = dict(self.parameters)
        if options.noise is Noise.none:
            strengths = [name for name in p if name.startswith(f"{_DECODER}style_conv") and p[name].ndim == 0]
            p |= {name: np.zeros(()) for name in strengths}
        image = restore(p, inputs["face"], resampling=self.resampling, sft_half=self.conditions_half)
        return {"image": as_bytes(image) if options.image is Image.uint8 else image}

    def graphs(self, options: Options) -> dict[str, Graph]:
        """One graph, from `face` to `image`. Raises UsageError for what the network has not."""
        if options.split or options.latent is not Latent.z or options.noise not in (Noise.const, Noise.none):
            raise UsageError("GFPGAN takes a face: no --split, no --input, and --noise const or none")
        graph = Graph("restorer", options.opset)
        _Restorer(graph, self, options).emit()
        return {"restorer": graph}


class _Restorer:
    def __init__(self, graph: Graph, network: GFPGAN, options: Options) -> None:
        self.graph, self.network, self.options = graph, network, options
        self.p = network.parameters

    def emit(self) -> None:
        graph, levels = self.graph, self.network.levels
        size = 4 << levels
        face = graph.input("face", [BATCH, self.p["conv_body_first.weight"].shape[1], size, size])
        x = leaky_relu(graph, self._conv(face, "conv_body_first", SQRT2), "conv_body_first")
        skips: list[str] = []
        for i in range(levels):
            x = self._down(x, f"conv_body_down.{i}")
            skips.insert(0, x)
        x = leaky_relu(graph, self._conv(x, "final_conv", SQRT2), "final_conv")
        columns = self._latents(x)
        conditions = []
        for i in range(levels):
            x = self._up(graph.node("Add", [x, skips[i]], f"conv_body_up.{i}/add_skip"), f"conv_body_up.{i}")
            conditions.append((self._condition(x, f"condition_scale.{i}"), self._condition(x, f"condition_shift.{i}")))
        _Decoder(graph, self.network, self.options, conditions).emit(columns)

    def _conv(self, x: str, layer: str, gain: float = 1.0) -> str:
        weight = self.p[f"{layer}.weight"]
        stored = [self.graph.constant(f"{layer}.weight", weight * gain)]
        if f"{layer}.bias" in self.p:
            stored.append(self.graph.constant(f"{layer}.bias", self.p[f"{layer}.bias"] * gain))
        return self.graph.node("Conv", [x, *stored], f"{layer}/conv", pads=[weight.shape[2] // 2] * 4)

    def _down(self, x: str, block: str) -> str:
        graph = self.graph
        y = leaky_relu(graph, self._conv(x, f"{block}.conv1", SQRT2), f"{block}.conv1")
        if self.network.resampling == "fir":
            weight = graph.constant(f"{block}.conv2.weight", self.p[f"{block}.conv2.weight"])
            bias = graph.constant(f"{block}.conv2.bias", self.p[f"{block}.conv2.bias"])
            y = self._filtered(y, f"{block}.conv2", pads=2, stride=1)
            y = graph.node("Conv", [y, weight, bias], f"{block}.conv2/conv", strides=[2, 2])
            x = self._filtered(x, f"{block}.skip", pads=1, stride=2)
        else:
            y = self._conv(self._halved(y, f"{block}.conv2/halved"), f"{block}.conv2")
            x = self._halved(x, f"{block}.skip/halved")
        y = leaky_relu(graph, y, f"{block}.conv2")
        return graph.node("Add", [y, self._conv(x, f"{block}.skip", 1 / SQRT2)], f"{block}/sum")

    def _up(self, x: str, block: str) -> str:
        graph = self.graph
        y = leaky_relu(graph, self._conv(x, f"{block}.conv1", SQRT2), f"{block}.conv1")
        y = self._conv(bilinear(graph, y, f"{block}.conv2/doubled"), f"{block}.conv2")
        y = leaky_relu(graph, y, f"{block}.conv2")
        beside = bilinear(graph, self._conv(x, f"{block}.skip", 1 / SQRT2), f"{block}.skip/doubled")
        return graph.node("Add", [y, beside], f"{block}/sum")

    def _halved(self, x: str, name: str) -> str:
        return self.graph.node("AveragePool", [x], name, kernel_shape=[2, 2], strides=[2, 2])

    def _filtered(self, x: str, layer: str, *, pads: int, stride: int) -> str:
        channels = self.p[f"{layer}.weight"].shape[1]
        kernel = self.graph.constant(f"fir.down.{channels}", np.tile(FIR[::-1, ::-1], (channels, 1, 1, 1)))
        return self.graph.node(
            "Conv", [x, kernel], f"{layer}/filter", group=channels, pads=[pads] * 4, strides=[stride, stride]
        )

    def _latents(self, x: str) -> list[str]:
        """A w for every place, as columns, from the final linear layer."""
        graph, width = self.graph, self.network.decoder.width
        flat = graph.node("Flatten", [x], "final_linear/flatten", axis=1)
        stored = [graph.constant(f"final_linear.{part}", self.p[f"final_linear.{part}"]) for part in ("weight", "bias")]
        every = graph.node("Gemm", [flat, *stored], "final_linear", transB=1)
        places = graph.reshape(every, [0, -1, width], "final_linear/places")
        return self.network.decoder.columns(graph, places, "final_linear")

    def _condition(self, x: str, layer: str) -> str:
        hidden = leaky_relu(self.graph, self._conv(x, f"{layer}.0", SQRT2), f"{layer}.0")
        return self._conv(hidden, f"{layer}.2")


class _Decoder(Synthesis):
    """Synthesis that resamples as the network does, and applies a condition behind the first layer of a size."""

    def __init__(self, graph: Graph, network: GFPGAN, options: Options, conditions: list[tuple[str, str]]) -> None:
        super().__init__(graph, network.decoder, options)
        self.conditions, self.half_channels = conditions, network.conditions_half

    def between(self, number: int) -> None:
        if number > len(self.conditions):
            return
        scale, shift = self.conditions[number - 1]
        graph, name = self.graph, f"condition{number}"
        self.convert(None, name)
        x = self.x
        if self.half_channels:
            middle = self.p[f"synthesis.b{8 << (number - 1)}.conv0.bias"].size // 2
            kept = self._channels(0, middle, f"{name}/kept")
            x = self._channels(middle, 2 * middle, f"{name}/changed")
        x = graph.node("Add", [graph.node("Mul", [x, scale], f"{name}/scaled"), shift], f"{name}/shifted")
        self.x = graph.node("Concat", [kept, x], f"{name}/both", axis=1) if self.half_channels else x

    def _channels(self, start: int, end: int, name: str) -> str:
        places = (("start", start), ("end", end), ("axis", 1))
        bounds = [self.graph.constant(f"channels.{at}", np.array([at], dtype=np.int64)) for _, at in places]
        return self.graph.node("Slice", [self.x, *bounds], name)


def _as_stylegan2(p: Mapping[str, NDArray], levels: int, resampling: Resampling) -> dict[str, NDArray]:
    """The decoder under StyleGAN2's canonical names. A filtering layer's kernel runs backwards there."""
    found = {"synthesis.const": p[f"{_DECODER}constant_input.weight"]}

    def layer(stored: str, canonical: str, noise: int | None, *, up: bool = False) -> None:
        conv = f"{_DECODER}{stored}.modulated_conv"
        weight = p[f"{conv}.weight"]
        found[f"{canonical}.weight"] = weight[:, :, ::-1, ::-1] if up and resampling == "fir" else weight
        found[f"{canonical}.style.weight"] = p[f"{conv}.modulation.weight"]
        found[f"{canonical}.style.bias"] = p[f"{conv}.modulation.bias"]
        found[f"{canonical}.bias"] = p[f"{_DECODER}{stored}.bias"]
        if noise is not None:
            found[f"{canonical}.noise_strength"] = p[f"{_DECODER}{stored}.weight"]
            found[f"{canonical}.noise"] = p[f"{_DECODER}noises.noise{noise}"]

    layer("style_conv1", "synthesis.b4.conv1", 0)
    layer("to_rgb1", "synthesis.b4.torgb", None)
    for i in range(levels):
        block = f"synthesis.b{8 << i}"
        layer(f"style_convs.{2 * i}", f"{block}.conv0", 2 * i + 1, up=True)
        layer(f"style_convs.{2 * i + 1}", f"{block}.conv1", 2 * i + 2)
        layer(f"to_rgbs.{i}", f"{block}.torgb", None)
    return found


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The network, resampling as its family usually does unless the user says otherwise.

    Raises UsageError for one latent for all layers: with `input_is_latent` off, which no file says, the mapping network
    runs on it first.
    """
    parameters = {name: canonical.values(name) for name in canonical.parts}
    width = parameters[f"{_DECODER}style_conv1.modulated_conv.modulation.weight"].shape[1]
    if len(parameters["final_linear.bias"]) == width:
        raise UsageError(
            f"network {canonical.recognition.network.name} gives its decoder one latent for all layers "
            "(different_w=False), and no file says whether a mapping network comes between",
            hint="eqlr export makes graphs of networks with a latent for every layer",
        )
    resampling: Resampling = choices.resampling or ("fir" if canonical.recognition.equalized else "bilinear")
    other = "bilinear" if resampling == "fir" else "fir"
    note = f"resampling is taken as {resampling}, which no file says; if the pictures are wrong, --resampling {other}"
    return Made(GFPGAN(parameters, resampling), notes=() if choices.resampling else (note,))
