"""StyleGAN2's generator as an ONNX graph, from the canonical parameters of `networks/stylegan2.py`.

Only convolutions with constant weights, matrix products and elementwise operators; the batch is free. An upsampling
layer is a transposed convolution, which multiplies no zeros, and a depthwise filter behind it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.arrays import correlate
from eqlr_tools.networks.doubling import ORIGINAL, Form
from eqlr_tools.networks.stylegan2 import FIR, latents, mapping_layers, resolutions, synthesise
from eqlr_tools.networks.stylegan2 import truncated as truncated_reference
from eqlr_tools.onnx_export.choices import Choices, Made, limit
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.modulation import modulation, styles
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options, Precision
from eqlr_tools.onnx_export.pieces import (
    Parameters,
    as_bytes,
    doubled,
    finish_image,
    leaky_relu,
    limited,
    mapped,
    truncated,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork

_AVERAGED_LATENTS = 10_000
_ROOT_HALF = math.sqrt(0.5)


@dataclass(frozen=True)
class StyleGAN2:
    """The generator: `parameters` are canonical and effective, `clamp` limits activations, or is None."""

    parameters: Mapping[str, NDArray]
    clamp: float | None = None
    form: Form = ORIGINAL

    mixes_samples = False

    @property
    def facts(self) -> dict[str, Fact]:
        p = self.parameters
        widths = [len(p[f"synthesis.b{size}.conv1.bias"]) for size in self.sizes]
        noisy = sum(name.endswith(".noise_strength") for name in p)
        return {
            "resolution": self.sizes[-1],
            "connections": self.architecture,
            "image channels": self.image_channels,
            "channels": " ".join(f"{size}:{width}" for size, width in zip(self.sizes, widths, strict=True)),
            "z": self.latent_size if mapping_layers(p) else "none: no mapping network",
            "w": self.width,
            "mapping layers": mapping_layers(p),
            "labels": p["mapping.label.weight"].shape[1] if self.conditional else 0,
            "layers with noise": noisy,
            "clamp": "none" if self.clamp is None else self.clamp,
        }

    def half_weights(self) -> dict[str, NDArray]:
        """The weights of the styled convolutions."""
        return {layer: self.parameters[f"{layer}.weight"] for layer in self.layers}

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        p = self.parameters
        if "z" in inputs:
            w = latents(p, inputs["z"], inputs.get("label"), self.form.gain)
            psi = float(inputs["truncation_psi"]) if "truncation_psi" in inputs else 1.0
            w = truncated_reference(p, w, psi)
        else:
            w = inputs["w_plus"] if "w_plus" in inputs else inputs["w"]
        if part == "mapping":
            wide = np.repeat(w[:, None], self.styled_places, axis=1)
            return {"w_plus": wide} if options.latent is Latent.w_plus else {"w": w}
        image = synthesise(p, w, clamp=self.clamp, noise=self._noise(inputs, options), form=self.form)
        return {"image": as_bytes(image) if options.image is Image.uint8 else image}

    def _noise(self, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray] | None:
        if options.noise is Noise.const:
            return None
        maps = {layer: inputs.get(noise_input(layer), inputs.get(random_noise(layer))) for layer in self.layers}
        return {layer: values for layer, values in maps.items() if values is not None}

    @property
    def sizes(self) -> list[int]:
        return resolutions(self.parameters)

    @property
    def layers(self) -> list[str]:
        """The styled convolutions, in order."""
        layers = [f"synthesis.b{size}.{conv}" for size in self.sizes for conv in ("conv0", "conv1")]
        return [layer for layer in layers if f"{layer}.weight" in self.parameters]

    @property
    def styled_places(self) -> int:
        """How many w a w+ has."""
        return self.form.styled_places(len(self.sizes))

    @property
    def image_channels(self) -> int:
        return len(self.parameters[f"synthesis.b{self.sizes[-1]}.torgb.weight"])

    @property
    def architecture(self) -> str:
        """NVIDIA's word for how features become an image."""
        if f"synthesis.b{self.sizes[-1]}.skip.weight" in self.parameters:
            return "resnet"
        return "skip" if "synthesis.b4.torgb.weight" in self.parameters else "orig"

    def graphs(self, options: Options) -> dict[str, Graph]:
        """The graphs by part: one called `generator`, or `mapping` and `synthesis`.

        Raises UsageError if the graph shall start from z and there is no mapping network.
        """
        if not mapping_layers(self.parameters) and (options.split or options.latent is Latent.z):
            raise UsageError("the file holds no mapping network that leads from z to w", hint="--input w starts there")
        if not options.split:
            graph = Graph("generator", options.opset)
            self._synthesis(graph, self._latent(graph, options), options)
            return {"generator": graph}
        mapping, synthesis = Graph("mapping", options.opset), Graph("synthesis", options.opset)
        self._mapping(mapping, options)
        self._synthesis(synthesis, self._w_input(synthesis, options), options)
        return {"mapping": mapping, "synthesis": synthesis}

    def _mapping(self, graph: Graph, options: Options) -> None:
        w = self._mapped(graph)
        if options.latent is not Latent.w_plus:
            graph.output(w, "w", [BATCH, self.width])
            return
        single = graph.reshape(w, [0, 1, self.width], "mapping/single")
        repeats = graph.constant("mapping.places", np.array([1, self.styled_places, 1], dtype=np.int64))
        graph.output(
            graph.node("Tile", [single, repeats], "mapping/repeat"), "w_plus", [BATCH, self.styled_places, self.width]
        )

    @property
    def width(self) -> int:
        return int(self.parameters["synthesis.b4.conv1.style.weight"].shape[1])

    def _latent(self, graph: Graph, options: Options) -> list[str]:
        if options.latent is not Latent.z:
            return self._w_input(graph, options)
        column = graph.reshape(self._mapped(graph), [0, self.width, 1, 1], "w/column")
        return [column] * self.styled_places

    def _mapped(self, graph: Graph) -> str:
        p = self.parameters
        z = graph.input("z", [BATCH, self.latent_size])
        label = graph.input("label", [BATCH, p["mapping.label.weight"].shape[1]]) if self.conditional else None
        w = mapped(graph, p, z, label, mapping_layers(p), self.form.gain)
        return truncated(graph, p["mapping.w_avg"], w) if "mapping.w_avg" in p else w

    @property
    def conditional(self) -> bool:
        return "mapping.label.weight" in self.parameters

    @property
    def latent_size(self) -> int:
        embedded = self.parameters["mapping.label.weight"].shape[0] if self.conditional else 0
        return int(self.parameters["mapping.fc0.weight"].shape[1] - embedded)

    def _w_input(self, graph: Graph, options: Options) -> list[str]:
        """One column per place, from the input `w` or `w_plus`."""
        if options.latent is not Latent.w_plus:
            w = graph.input("w", [BATCH, self.width])
            return [graph.reshape(w, [0, self.width, 1, 1], "w/column")] * self.styled_places
        every = graph.input("w_plus", [BATCH, self.styled_places, self.width])
        return self.columns(graph, every, "w_plus")

    def columns(self, graph: Graph, every: str, name: str) -> list[str]:
        """(samples, places, w) as a column (samples, w, 1, 1) per place."""
        columns = []
        for place in range(self.styled_places):
            index = graph.constant(f"w_plus.place{place}", np.array(place, dtype=np.int64))
            one = graph.node("Gather", [every, index], f"{name}/place{place}", axis=1)
            columns.append(graph.reshape(one, [0, self.width, 1, 1], f"{name}/column{place}"))
        return columns

    def _synthesis(self, graph: Graph, columns: list[str], options: Options) -> None:
        Synthesis(graph, self, options).emit(columns)


class Synthesis:
    """Emits the blocks one after the other. `x` is the activation, `half` whether it is in half precision."""

    def __init__(self, graph: Graph, network: StyleGAN2, options: Options) -> None:
        self.graph, self.options, self.form = graph, options, network.form
        self.p: Parameters = network.parameters
        self.sizes, self.clamp, self.channels = network.sizes, network.clamp, network.image_channels
        self.fir = self.p.get("fir", FIR)
        self.x = graph.constant("synthesis.const", self.p["synthesis.const"][None])
        self.half = False

    def emit(self, columns: list[str]) -> None:
        image: str | None = None
        for number, size in enumerate(self.sizes):
            block, (first, second, last) = f"synthesis.b{size}", self.form.places(number)
            beside = self._beside(block) if f"{block}.skip.weight" in self.p else None
            if f"{block}.conv0.weight" in self.p:
                self._layer(f"{block}.conv0", columns[first], size, up=size > 4)
            if size > 4:
                self.between(number)
            self._layer(f"{block}.conv1", columns[second], size, residual=beside is not None)
            if beside is not None:
                self.convert(None, f"{block}/sum")
                self.x = self.graph.node("Add", [self.x, beside], f"{block}/sum")
            if f"{block}.torgb.weight" in self.p:
                image = self._added(image, self._colour(f"{block}.torgb", columns[last], size), block)
        assert image is not None
        finish_image(self.graph, image, (self.channels, self.sizes[-1], self.sizes[-1]), self.options.image)

    def _added(self, image: str | None, colour: str, block: str) -> str:
        if image is None:
            return colour
        image = doubled(self.graph, image, self.channels, self.form.image, self.p, f"{block}/upsampled_image")
        return self.graph.node("Add", [image, colour], f"{block}/image")

    def _beside(self, block: str) -> str:
        """The other branch of a residual block, in single precision: 1x1 before doubling; sqrt(1/2) in the weight."""
        layer, weight = f"{block}.skip", self.p[f"{block}.skip.weight"]
        x = self.graph.cast(self.x, np.float32, f"{layer}/cast") if self.half else self.x
        stored = self.graph.constant(f"{layer}.weight", weight * _ROOT_HALF)
        x = self.graph.node("Conv", [x, stored], f"{layer}/conv")
        x = doubled(self.graph, x, len(weight), self.form.features, self.p, f"{layer}/doubled")
        return self._limited(x, layer, _ROOT_HALF)

    def _limited(self, x: str, layer: str, gain: float = 1.0) -> str:
        return limited(self.graph, x, None if self.clamp is None else self.clamp * gain, layer)

    def between(self, number: int) -> None:
        """Called between the two layers of a size, whose number counts from 1: nothing happens there in StyleGAN2."""

    def _layer(self, layer: str, w: str, size: int, *, up: bool = False, residual: bool = False) -> None:
        graph = self.graph
        half = self.options.precision is not Precision.fp32 and layer not in self.options.keep_fp32
        clamp_gain = _ROOT_HALF if residual else 1.0
        gain = self.form.gain * clamp_gain
        parts = modulation(graph, self.p, layer, w, half=self.options.half_type if half else None, gain=gain)
        self.convert(self.options.half_type if half else None, layer)
        with graph.computing_in(self.options.half_type if half else np.float32):
            by_filter = up and self.form.features == "fir"
            x = self._doubled(layer, parts.weight.shape[1]) if up and not by_filter else self.x
            x = graph.node("Mul", [x, parts.styles], f"{layer}/modulate")
            bias = self.p[f"{layer}.bias"] * gain
            if by_filter:
                x = self._transposed(x, layer, parts.weight)
                x = graph.node("Mul", [x, parts.demodulation], f"{layer}/demodulate")
                x = self._filtered(x, layer, bias)
            else:
                weight = graph.constant(f"{layer}.weight", parts.weight)
                x = graph.node("Conv", [x, weight], f"{layer}/conv", pads=[1, 1, 1, 1])
                x = graph.node("Mul", [x, parts.demodulation], f"{layer}/demodulate")
                shift = graph.constant(f"{layer}.bias", bias[:, None, None])
                x = graph.node("Add", [x, shift], f"{layer}/add_bias")
            x = self._with_noise(x, layer, size, gain)
            self.x = self._limited(leaky_relu(graph, x, layer), layer, clamp_gain)

    def _doubled(self, layer: str, channels: int) -> str:
        return doubled(self.graph, self.x, channels, self.form.features, self.p, f"{layer}/doubled")

    def convert(self, half: np.dtype[Any] | None, name: str) -> None:
        """Bring the activation to a type of sixteen bits, or to single precision."""
        if (half is not None) != self.half:
            self.x = self.graph.cast(self.x, np.float32 if half is None else half, f"{name}/cast")
            self.half = half is not None

    def _transposed(self, x: str, layer: str, weight: NDArray) -> str:
        """Correlating with zeros between the pixels is transposed convolution with the kernel turned round."""
        turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
        return self.graph.node(
            "ConvTranspose", [x, self.graph.constant(f"{layer}.weight", turned)], f"{layer}/conv", strides=[2, 2]
        )

    def _filtered(self, x: str, layer: str, bias: NDArray) -> str:
        """Every channel through the filter, of gain 4 for the pixels that the zeros would have taken; adds the bias."""
        channels = len(bias)
        kernel = np.tile(self.fir[::-1, ::-1] * 4.0, (channels, 1, 1, 1))
        kind = self.graph.float_type.name
        inputs = [
            x,
            self.graph.constant(f"fir.{channels}.{kind}", kernel),
            self.graph.constant(f"{layer}.bias", bias),
        ]
        return self.graph.node("Conv", inputs, f"{layer}/filter", group=channels, pads=[1, 1, 1, 1])

    def _with_noise(self, x: str, layer: str, size: int, gain: float) -> str:
        graph, mode = self.graph, self.options.noise
        if mode is Noise.none or f"{layer}.noise_strength" not in self.p:
            return x
        strength = self.p[f"{layer}.noise_strength"] * gain
        strength = strength.reshape(-1, 1, 1) if strength.ndim else strength
        if mode is Noise.const:
            if f"{layer}.noise" not in self.p:
                return x
            noise = graph.constant(f"{layer}.noise", self.p[f"{layer}.noise"][None, None] * strength)
        else:
            raw = self._given_noise(layer, size) if mode is Noise.input else self._random_noise(x, layer)
            noise = graph.node("Mul", [raw, graph.constant(f"{layer}.noise_strength", strength)], f"{layer}/noise")
        return graph.node("Add", [x, noise], f"{layer}/add_noise")

    def _given_noise(self, layer: str, size: int) -> str:
        given = self.graph.input(noise_input(layer), [BATCH, 1, size, size])
        return self.graph.cast(given, self.options.half_type, f"{layer}/half_noise") if self.half else given

    def _random_noise(self, x: str, layer: str) -> str:
        """A map per sample: as many as the activation has, whose first channel lends its shape."""
        bounds = [
            self.graph.constant(f"first.{part}", np.array([number], dtype=np.int64))
            for part, number in (("start", 0), ("end", 1), ("axis", 1))
        ]
        like = self.graph.node("Slice", [x, *bounds], f"{layer}/first_channel")
        return self.graph.node("RandomNormalLike", [like], random_noise(layer))

    def _colour(self, layer: str, w: str, size: int) -> str:
        """To RGB, in single precision: so few channels leave that modulating the weights costs least."""
        graph = self.graph
        gain = self.form.gain if self.form.colour_activated else 1.0
        weight = self.p[f"{layer}.weight"][:, :, 0, 0] * gain
        style = graph.reshape(styles(graph, self.p, layer, w), [0, 1, weight.shape[1]], f"{layer}/style_row")
        kernel = graph.node("Mul", [style, graph.constant(f"{layer}.weight", weight)], f"{layer}/modulate")
        x = graph.cast(self.x, np.float32, f"{layer}/cast") if self.half else self.x
        pixels = graph.reshape(x, [0, weight.shape[1], size * size], f"{layer}/pixels")
        colour = graph.reshape(
            graph.node("MatMul", [kernel, pixels], f"{layer}/matmul"), [0, len(weight), size, size], f"{layer}/image"
        )
        if f"{layer}.bias" in self.p:
            bias = graph.constant(f"{layer}.bias", self.p[f"{layer}.bias"][:, None, None] * gain)
            colour = graph.node("Add", [colour, bias], f"{layer}/add_bias")
        colour = leaky_relu(graph, colour, layer) if self.form.colour_activated else colour
        return self._limited(colour, layer)


def noise_input(layer: str) -> str:
    """The name of the input that takes a layer's noise, (samples, 1, height, width)."""
    return "noise_" + layer.removeprefix("synthesis.").replace(".", "_")


def random_noise(layer: str) -> str:
    """The name of a layer's random noise inside the graph."""
    return f"{layer}/random_noise"


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The generator, with an average w of its own if the file holds none."""
    parameters = _with_constant(canonical)
    form = Form(**canonical.naming.form)
    notes = []
    if "mapping.w_avg" not in parameters and mapping_layers(parameters):
        parameters["mapping.w_avg"] = _average(parameters, form)
        notes.append(
            f"the file holds no average w; that of {_AVERAGED_LATENTS:,} seeded latents is used for truncation"
        )
    noisy = any(name.endswith(".noise_strength") for name in parameters)
    if noisy and not any(name.endswith(".noise") for name in parameters):
        notes.append("the file holds no noise images: --noise const adds none, random draws them, input takes them")
    multiplier = canonical.lr_multiplier
    facts: dict[str, Fact] = {} if multiplier is None else {"mapping lr multiplier": multiplier}
    return Made(StyleGAN2(parameters, limit(canonical, choices), form), facts, tuple(notes))


def _with_constant(canonical: CanonicalNetwork) -> dict[str, NDArray]:
    """The parameters; a convolution that only ever sees the constant is taken into the constant."""
    parameters = {name: canonical.values(name) for name in canonical.parts}
    if "synthesis.initial.weight" in parameters:
        weight, bias = (parameters.pop(f"synthesis.initial.{part}") for part in ("weight", "bias"))
        constant = correlate(parameters["synthesis.const"][None], weight, padding=weight.shape[2] // 2)
        parameters["synthesis.const"] = constant[0] + bias[:, None, None]
    return parameters


def _average(parameters: dict[str, NDArray], form: Form) -> NDArray:
    """The mean w over latents (and labels), as the training code keeps it."""
    rng = np.random.default_rng(0)
    label = None
    embedded = 0
    if "mapping.label.weight" in parameters:
        embedded, labels = parameters["mapping.label.weight"].shape
        label = np.eye(labels)[rng.integers(labels, size=_AVERAGED_LATENTS)]
    width = parameters["mapping.fc0.weight"].shape[1] - embedded
    z = rng.standard_normal((_AVERAGED_LATENTS, width))
    average: NDArray = latents(parameters, z, label, form.gain).mean(axis=0)
    return average
