"""StyleGAN1's generator as ONNX graphs, from the canonical parameters of `networks/stylegan1.py`.

The mapping network and what the options choose stand here, the layers in `stylegan1_synthesis.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.errors import UsageError
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
from eqlr_tools.onnx_export.growing import grown
from eqlr_tools.onnx_export.modulation import normalised_weight
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options, Precision
from eqlr_tools.onnx_export.pieces import (
    as_bytes,
    dense,
    normalised,
    truncated,
)
from eqlr_tools.onnx_export.stylegan1_synthesis import Synthesis, size_of
from eqlr_tools.onnx_export.stylegan2 import noise_input, random_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork

_AVERAGED_LATENTS = 10_000
_MAX_SINGLE_SIZE = 32


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
        half = [layer for layer in self.layers[1:] if size_of(layer) > self.single_up_to]
        return {layer: normalised_weight(self.parameters[f"{layer}.weight"])[0] for layer in half}

    @property
    def single_up_to(self) -> int:
        """The size up to which convolutions stay in single precision whatever the options say."""
        return min(self.resolution // 4, _MAX_SINGLE_SIZE)

    def is_half(self, layer: str, options: Options) -> bool:
        """True if a convolution runs in sixteen bits."""
        half = options.precision is not Precision.fp32 and layer not in options.keep_fp32
        return half and size_of(layer) > self.single_up_to

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
            Synthesis(graph, self, options).emit(styles)
            return {"generator": graph}
        mapping, synthesis = Graph("mapping", options.opset), Graph("synthesis", options.opset)
        in_places = self._splits_into_places(options)
        self._mapping(mapping, in_places)
        given = self._given(synthesis, Latent.w_plus if in_places else Latent.w)
        Synthesis(synthesis, self, options).emit(given)
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
