"""ProGAN's generator as an ONNX graph, from the canonical parameters of `networks/progan.py`.

Repeating every pixel and then convolving with a 3x3 kernel is one transposed convolution of stride 2 whose 4x4 kernel
sums the taps that meet the same pixel: 16 multiplications per input pixel instead of 36.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.progan import generate
from eqlr_tools.networks.stylegan2 import resolutions
from eqlr_tools.onnx_export.choices import Choices, Made
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options, Precision
from eqlr_tools.onnx_export.pieces import as_bytes, enlarged, finish_image, leaky_relu, nearest_kernel, normalised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork


@dataclass(frozen=True)
class ProGAN:
    """`parameters` are canonical and effective; `resolution` is one of the sizes that they have."""

    parameters: Mapping[str, NDArray]
    resolution: int
    alpha: float = 1.0
    tanh: bool = False
    input_normalised: bool = True
    mixes_samples = False

    @property
    def sizes(self) -> list[int]:
        """The sizes up to the wanted one."""
        return [size for size in resolutions(self.parameters, "") if size <= self.resolution]

    @property
    def facts(self) -> dict[str, Fact]:
        p = self.parameters
        layers = ["b4.conv", *(f"b{size}.conv1" for size in self.sizes[1:])]
        widths = zip(self.sizes, (len(p[f"{layer}.bias"]) for layer in layers), strict=True)
        return {
            "resolution": self.resolution,
            "image channels": len(p["b4.torgb.bias"]),
            "channels": " ".join(f"{size}:{width}" for size, width in widths),
            "z": p["b4.input.weight"].shape[1],
            "alpha": self.alpha,
            "tanh": "yes" if self.tanh else "no",
        }

    def half_weights(self) -> dict[str, NDArray]:
        """The 3x3 convolutions."""
        wanted = ["b4.conv", *(f"b{size}.conv{n}" for size in self.sizes[1:] for n in (0, 1))]
        return {layer: self.parameters[f"{layer}.weight"] for layer in wanted}

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        image = generate(
            self.parameters,
            inputs["z"],
            resolution=self.resolution,
            alpha=self.alpha,
            tanh=self.tanh,
            input_normalised=self.input_normalised,
        )
        return {"image": as_bytes(image) if options.image is Image.uint8 else image}

    def graphs(self, options: Options) -> dict[str, Graph]:
        """One graph, from `z` to `image`. Raises UsageError for what the network has not."""
        if options.split or options.latent is not Latent.z or options.noise not in (Noise.const, Noise.none):
            raise UsageError("ProGAN has neither mapping network nor noise: no --split, --input or --noise")
        graph = Graph("generator", options.opset)
        _Emitter(graph, self, options).emit()
        return {"generator": graph}


class _Emitter:
    def __init__(self, graph: Graph, network: ProGAN, options: Options) -> None:
        self.graph, self.network, self.options, self.p = graph, network, options, network.parameters

    def emit(self) -> None:
        graph, network = self.graph, self.network
        x = self._input()
        x = self._activated(self._conv(x, "b4.conv"), "b4.conv")
        before = x
        for size in network.sizes[1:]:
            before = x
            x = self._activated(self._doubled(x, f"b{size}.conv0"), f"b{size}.conv0")
            x = self._activated(self._conv(x, f"b{size}.conv1"), f"b{size}.conv1")
        image = self._colour(x, before)
        if network.tanh:
            image = graph.node("Tanh", [image], "tanh")
        shape = (len(self.p["b4.torgb.bias"]), network.resolution, network.resolution)
        finish_image(graph, image, shape, self.options.image)

    def _input(self) -> str:
        graph, weight = self.graph, self.p["b4.input.weight"]
        z = normalised(graph, graph.input("z", [BATCH, weight.shape[1]]), "z/normalise")
        stored = [graph.constant("b4.input.weight", weight)]
        stored.append(graph.constant("b4.input.bias", np.repeat(self.p["b4.input.bias"], 16)))
        dense = graph.node("Gemm", [z, *stored], "b4.input", transB=1)
        x = leaky_relu(graph, graph.reshape(dense, [0, len(weight) // 16, 4, 4], "b4.input/pixels"), "b4.input")
        return normalised(graph, x, "b4.input/normalise") if self.network.input_normalised else x

    def _activated(self, x: str, layer: str) -> str:
        """In single precision, since squares are summed."""
        return normalised(self.graph, leaky_relu(self.graph, x, layer), f"{layer}/normalise")

    def _conv(self, x: str, layer: str) -> str:
        padding = self.p[f"{layer}.weight"].shape[2] // 2
        return self._product("Conv", x, layer, self.p[f"{layer}.weight"], pads=[padding] * 4)

    def _doubled(self, x: str, layer: str) -> str:
        stored = nearest_kernel(self.p[f"{layer}.weight"])
        return self._product("ConvTranspose", x, layer, stored, pads=[1] * 4, strides=[2, 2])

    def _product(self, operator: str, x: str, layer: str, weight: NDArray, **attributes: list[int]) -> str:
        graph = self.graph
        half = self.options.precision is not Precision.fp32 and layer not in self.options.keep_fp32
        half = half and not layer.endswith("torgb")
        kind = self.options.half_type if half else np.dtype(np.float32)
        with graph.computing_in(kind):
            stored = [
                graph.constant(f"{layer}.weight", weight),
                graph.constant(f"{layer}.bias", self.p[f"{layer}.bias"]),
            ]
            x = graph.cast(x, kind, f"{layer}/half") if half else x
            x = graph.node(operator, [x, *stored], f"{layer}/conv", **attributes)
        return graph.cast(x, np.float32, f"{layer}/single") if half else x

    def _colour(self, x: str, before: str) -> str:
        """To RGB, and the size before, which reaches the image enlarged, where it is faded in."""
        graph, network = self.graph, self.network
        image = self._conv(x, f"b{network.resolution}.torgb")
        if network.alpha == 1.0 or len(network.sizes) == 1:
            return image
        small = self._conv(before, f"b{network.resolution // 2}.torgb")
        old = enlarged(graph, small, interpolated=False, name="fade/enlarged")
        new = graph.node("Mul", [image, graph.constant("fade.alpha", network.alpha)], "fade/new")
        rest = graph.node("Mul", [old, graph.constant("fade.rest", 1 - network.alpha)], "fade/old")
        return graph.node("Add", [new, rest], "fade")


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The generator at a size, the largest unless the user says otherwise."""
    parameters = {name: canonical.values(name) for name in canonical.parts}
    sizes = resolutions(parameters, "")
    resolution = choices.resolution or sizes[-1]
    if resolution not in sizes:
        raise UsageError(f"--resolution {resolution}: the network has {', '.join(map(str, sizes))}")
    notes = () if choices.resolution else ("exported at its largest size; --resolution N takes one that was trained",)
    alpha = 1.0 if choices.alpha is None else choices.alpha
    return Made(ProGAN(parameters, resolution, alpha, **canonical.naming.form), notes=notes)
