"""StyleGAN1's generator as an ONNX graph, from the canonical parameters of `networks/stylegan1.py`.

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

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.arrays import leaky_relu as leaky_relu_reference
from eqlr_tools.networks.stylegan1 import (
    BLUR,
    NO_BLUR,
    GeneratorForm,
    generator_form,
    latents,
    styled_layers,
    synthesise,
)
from eqlr_tools.networks.stylegan1 import truncated as truncated_reference
from eqlr_tools.networks.stylegan2 import mapping_layers, resolutions
from eqlr_tools.onnx_export.choices import Choices, Made
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.modulation import normalised_weight
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options, Precision
from eqlr_tools.onnx_export.pieces import (
    Parameters,
    as_bytes,
    dense,
    enlarged,
    finish_image,
    leaky_relu,
    nearest_kernel,
    normalised,
    truncated,
)
from eqlr_tools.onnx_export.stylegan2 import noise_input, random_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork

_AVERAGED_LATENTS = 10_000
_MAX_SINGLE_SIZE = 32
_SMALLEST = 1e-15
"""Stands in for an activation of zero, by which nothing can be divided."""


@dataclass(frozen=True)
class StyleGAN1:
    """The generator: `parameters` are canonical and effective; `resolution` is one of the sizes that they have."""

    parameters: Mapping[str, NDArray]
    resolution: int
    alpha: float = 1.0
    form: GeneratorForm = field(default_factory=GeneratorForm)
    mixes_samples = False

    @property
    def sizes(self) -> list[int]:
        """The sizes up to the wanted one."""
        return [size for size in resolutions(self.parameters) if size <= self.resolution]

    @property
    def layers(self) -> list[str]:
        """The styled layers, the constant's first."""
        return styled_layers(self.parameters, self.resolution)

    @property
    def facts(self) -> dict[str, Fact]:
        p = self.parameters
        widths = [p[f"synthesis.b{size}.conv1.weight"].shape[0] for size in self.sizes]
        return {
            "resolution": self.resolution,
            "image channels": self.colours,
            "channels": " ".join(f"{size}:{width}" for size, width in zip(self.sizes, widths, strict=True)),
            "z": self.latent_size if self.has_mapping else "none",
            "w": self.width,
            "mapping layers": mapping_layers(p),
            "labels": self.labels,
            "alpha": self.alpha,
            "resampling": "bilinear" if self.form.bilinear else "nearest",
            "blur": "no" if np.array_equal(p.get("blur", BLUR), NO_BLUR) else "yes",
            "tanh": "yes" if self.form.tanh else "no",
            "truncated styles": f"{min(self.form.truncated_places, len(self.layers))} of {len(self.layers)}",
        }

    @property
    def has_mapping(self) -> bool:
        return mapping_layers(self.parameters) > 0

    @property
    def colours(self) -> int:
        return len(self.parameters[f"synthesis.b{self.resolution}.torgb.bias"])

    @property
    def labels(self) -> int:
        return self.parameters["mapping.label.weight"].shape[1] if "mapping.label.weight" in self.parameters else 0

    @property
    def latent_size(self) -> int:
        embedded = self.parameters["mapping.label.weight"].shape[0] if self.labels else 0
        return int(self.parameters["mapping.fc0.weight"].shape[1]) - embedded

    @property
    def width(self) -> int:
        return int(self.parameters["synthesis.b4.conv1.gamma.weight"].shape[1])

    @property
    def truncates_all(self) -> bool:
        return self.form.truncated_places >= len(self.layers)

    def half_weights(self) -> dict[str, NDArray]:
        """The normalised weights of the convolutions that half precision is for."""
        half = [layer for layer in self.layers[1:] if _size(layer) > self.single_up_to]
        return {layer: normalised_weight(self.parameters[f"{layer}.weight"])[0] for layer in half}

    @property
    def single_up_to(self) -> int:
        """The size up to which convolutions stay in single precision whatever the options say."""
        return min(self.resolution // 4, _MAX_SINGLE_SIZE)

    def is_half(self, layer: str, options: Options) -> bool:
        """True if a convolution runs in sixteen bits."""
        half = options.precision is not Precision.fp32 and layer not in options.keep_fp32
        return half and _size(layer) > self.single_up_to

    def noise_key(self, layer: str) -> str:
        """What a layer's noise goes by: the layer, or its size where both layers share it."""
        return layer.rpartition(".")[0] if self.form.shared_noise else layer

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        p = self.parameters
        if "z" in inputs:
            w = latents(p, inputs["z"], self.form, inputs.get("label"))
            psi = float(inputs["truncation_psi"]) if "truncation_psi" in inputs else 1.0
            w = truncated_reference(p, w, psi, self.form, len(self.layers))
        else:
            w = inputs["w_plus"] if "w_plus" in inputs else inputs["w"]
        if part == "mapping":
            return {"w_plus": w} if self._splits_into_places(options) else {"w": w[:, 0]}
        noise = self._noise(inputs, options)
        image = synthesise(p, w, self.form, noise=noise, resolution=self.resolution, alpha=self.alpha)
        return {"image": as_bytes(image) if options.image is Image.uint8 else image}

    def _noise(self, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray] | None:
        if options.noise is Noise.const:
            return None
        keys = {layer: self.noise_key(layer) for layer in self.layers}
        maps = {layer: inputs.get(noise_input(key), inputs.get(random_noise(key))) for layer, key in keys.items()}
        return {layer: values for layer, values in maps.items() if values is not None}

    def _splits_into_places(self, options: Options) -> bool:
        """True if the mapping must return one w per layer: it is wanted, or only some of them are truncated."""
        return options.latent is Latent.w_plus or not self.truncates_all

    def graphs(self, options: Options) -> dict[str, Graph]:
        """The graphs by part: one called `generator`, or `mapping` and `synthesis`."""
        if not self.has_mapping and (options.split or options.latent is Latent.z):
            raise UsageError("the file holds no mapping network", hint="--input w or --input w+ starts behind it")
        if not options.split:
            graph = Graph("generator", options.opset)
            styles = self._latents(graph) if options.latent is Latent.z else self._given(graph, options.latent)
            _Synthesis(graph, self, options).emit(styles)
            return {"generator": graph}
        mapping, synthesis = Graph("mapping", options.opset), Graph("synthesis", options.opset)
        in_places = self._splits_into_places(options)
        self._mapping(mapping, in_places)
        given = self._given(synthesis, Latent.w_plus if in_places else Latent.w)
        _Synthesis(synthesis, self, options).emit(given)
        return {"mapping": mapping, "synthesis": synthesis}

    def _mapping(self, graph: Graph, in_places: bool) -> None:
        places = self._latents(graph)
        if not in_places:
            graph.output(places[0], "w", [BATCH, self.width])
            return
        single = {w: graph.reshape(w, [0, 1, self.width], f"{w}/single") for w in dict.fromkeys(places)}
        together = graph.node("Concat", [single[w] for w in places], "mapping/places", axis=1)
        graph.output(together, "w_plus", [BATCH, len(places), self.width])

    def _latents(self, graph: Graph) -> list[str]:
        """From z, one w per styled layer: the first ones truncated."""
        p = self.parameters
        x = graph.input("z", [BATCH, self.latent_size])
        if self.labels:
            weight = graph.constant("mapping.label.weight", p["mapping.label.weight"].T)
            embedded = graph.node("MatMul", [graph.input("label", [BATCH, self.labels]), weight], "mapping.label")
            x = graph.node("Concat", [x, embedded], "mapping/concat", axis=1)
        x = normalised(graph, x, "mapping/normalise")
        for i in range(mapping_layers(p)):
            name = f"mapping.fc{i}"
            x = dense(graph, x, p[f"{name}.weight"], p[f"{name}.bias"], name)
            if i < mapping_layers(p) - 1 or not self.form.mapping_ends_linear:
                x = graph.node("LeakyRelu", [x], f"{name}/leaky_relu", alpha=self.form.mapping_slope)
        near = truncated(graph, p["mapping.w_avg"], x)
        return [near if place < self.form.truncated_places else x for place in range(len(self.layers))]

    def _given(self, graph: Graph, latent: Latent) -> list[str]:
        places = len(self.layers)
        if latent is not Latent.w_plus:
            return [graph.input("w", [BATCH, self.width])] * places
        every = graph.input("w_plus", [BATCH, places, self.width])
        numbers = [graph.constant(f"w_plus.place{place}", np.array(place, dtype=np.int64)) for place in range(places)]
        return [graph.node("Gather", [every, number], f"{number}/w", axis=1) for number in numbers]


class _Synthesis:
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
        self._add_noise(layer, _size(layer), self.x)
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


def _size(layer: str) -> int:
    return int(layer.split(".")[1].removeprefix("b"))


def _column(values: NDArray) -> NDArray:
    """Per channel, against height and width."""
    return values[:, None, None]


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The generator at a size: the one that the user says, else the file's level of detail, else the largest."""
    parameters = {name: canonical.values(name) for name in canonical.parts}
    resolution, alpha, notes = grown(parameters, choices, "synthesis.", "torgb")
    form = generator_form(canonical.naming.form, parameters)
    if "mapping.w_avg" not in parameters and mapping_layers(parameters):
        parameters["mapping.w_avg"] = _average(parameters, form)
        notes.append(
            f"the file holds no average w; that of {_AVERAGED_LATENTS:,} seeded latents is used for truncation"
        )
    if not any(name.endswith(".noise") for name in parameters):
        notes.append("the file holds no noise maps, so there is no noise; --noise random draws it as the project does")
    multiplier = canonical.lr_multiplier
    facts: dict[str, Fact] = {} if multiplier is None else {"mapping lr multiplier": multiplier}
    return Made(StyleGAN1(parameters, resolution, alpha, form), facts, tuple(notes))


def grown(parameters: Parameters, choices: Choices, part: str, layer: str) -> tuple[int, float, list[str]]:
    """The size of a growing network, how far it is faded in, and what the user should know of that.

    A level of detail of 1.3 says that the largest size but one is in use, and faded in by 0.7.
    """
    has = [size for size in resolutions(parameters, part) if f"{part}b{size}.{layer}.weight" in parameters]
    lod = float(parameters.get("lod", np.zeros(())))
    said = has[-1] >> int(lod)
    resolution = choices.resolution or said
    if resolution not in has:
        raise UsageError(f"--resolution {resolution}: the network has {', '.join(map(str, has))}")
    alpha = choices.alpha
    if alpha is None:
        alpha = 1.0 - (lod - int(lod)) if resolution == said else 1.0
    if alpha != 1.0 and resolution > 4 and resolution // 2 not in has:
        raise UsageError(f"--alpha {alpha:g}: the file has no {layer} for {resolution // 2}, the size before")
    if lod:
        return resolution, alpha, [f"the file's level of detail is {lod:g}: {said} pixels, faded in by {alpha:g}"]
    grows = len(has) > 1 and not choices.resolution
    return resolution, alpha, ["exported at its largest size; --resolution N takes one that was trained"] * grows


def _average(parameters: dict[str, NDArray], form: GeneratorForm) -> NDArray:
    """The mean w over latents (and labels), as the training code keeps it."""
    rng = np.random.default_rng(0)
    label, embedded = None, 0
    if "mapping.label.weight" in parameters:
        embedded, labels = parameters["mapping.label.weight"].shape
        label = np.eye(labels)[rng.integers(labels, size=_AVERAGED_LATENTS)]
    width = parameters["mapping.fc0.weight"].shape[1] - embedded
    average: NDArray = latents(parameters, rng.standard_normal((_AVERAGED_LATENTS, width)), form, label).mean(axis=0)
    return average
