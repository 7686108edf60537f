"""StyleGAN3's generator as an ONNX graph, from the canonical parameters of `networks/stylegan3.py`.

Only convolutions with constant weights, matrix products and elementwise operators; the batch is free. As in
`modulation.py`, styles multiply the activation and demodulation its convolution:

    (W s / |W s|) * x / sqrt(m)  =  d (W * (s x)),    d_o = 1 / sqrt( sum_i s_i^2 Q_oi )

where Q_oi = m (sum_k W_oik^2 + eps mean(W_o^2) / in). The eps belongs to weights and styles of size 1, which makes it
a part of the sum, and every scale of W_o and s cancels: W is stored divided by its norm. The activation's sqrt(2) is
positive and goes through the linear upsampling and leaky ReLU, so it is in Q and in the bias. `output_scale` and the
clamp of to-RGB are in its weight, bias and limits.

In half precision, s is divided by its largest entry, so that no convolution overflows. Only convolutions are in half
precision, and only the largest, which make up half of all multiplications: each costs about 70 dB of noise, and with
all of them, or with the long filters, networks of 14 layers kept 50 to 60 dB. The last two are never among them, since
nothing filters their errors any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks import stylegan2
from eqlr_tools.networks.stylegan2 import DEMODULATION_EPS, latents
from eqlr_tools.networks.stylegan3 import Form, Layer, input_grid, synthesise, with_label_table
from eqlr_tools.networks.stylegan3 import truncated as truncated_reference
from eqlr_tools.onnx_export.choices import Choices, Made
from eqlr_tools.onnx_export.fir import downsampled, sliced, upsampled, upsampling
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.modulation import normalised_weight
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options, Precision
from eqlr_tools.onnx_export.pieces import as_bytes, dense, finish_image, inverse_root, limited, mapped, truncated
from eqlr_tools.rewriting.stylegan3_form import stated_form
from eqlr_tools.scaling import SQRT2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork

_HALVED_SHARE = 0.5
"""Of all multiplications in convolutions, how many half precision takes over at least."""

_LAST_IN_SINGLE = 2

_SMALLEST = 1e-15
_AVERAGED_LATENTS = 10_000


@dataclass(frozen=True)
class StyleGAN3:
    """The generator: `parameters` are canonical and effective, with a table for labels."""

    parameters: Mapping[str, NDArray]
    form: Form

    mixes_samples = False

    @property
    def facts(self) -> dict[str, Fact]:
        p, form = self.parameters, self.form
        first, last = form.layers[0], form.layers[-1]
        radial = any(p[f"{layer.name}.down_filter"].ndim == 2 for layer in form.layers[:-1] if self._filtered(layer))
        widths = [f"{layer.out_size}:{len(p[f'{layer.name}.bias'])}" for layer in form.layers[:-1]]
        return {
            "resolution": form.resolution,
            "image channels": len(p[f"{last.name}.bias"]),
            "channels": " ".join(widths),
            "kernel": int(p[f"{first.name}.weight"].shape[2]),
            "radial filters": "yes" if radial else "no",
            "input": f"{form.size} pixels, {form.rate:g} per width of the image",
            "z": self.latent_size,
            "w": self.width,
            "mapping layers": stylegan2.mapping_layers(p),
            "labels": p["mapping.label.weight"].shape[1] if self.conditional else 0,
            "clamp": "none" if form.clamp is None else form.clamp,
        }

    def half_weights(self) -> dict[str, NDArray]:
        """The normalised weights of the layers that half precision stores."""
        return {name: normalised_weight(self.parameters[f"{name}.weight"])[0] for name in self.half_layers}

    @property
    def half_layers(self) -> list[str]:
        """The layers whose convolutions half precision takes over, the largest first."""
        costs = {x.name: self.parameters[f"{x.name}.weight"].size * x.in_size**2 for x in self.form.layers[:-1]}
        wanted, chosen = _HALVED_SHARE * sum(costs.values()), list[str]()
        for layer in sorted(list(costs)[:-_LAST_IN_SINGLE], key=lambda name: -costs[name]):
            if wanted > 0:
                chosen.append(layer)
                wanted -= costs[layer]
        return chosen

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        p = self.parameters
        if "z" in inputs:
            label = inputs.get("label")
            psi = float(inputs["truncation_psi"]) if "truncation_psi" in inputs else 1.0
            w = truncated_reference(p, latents(p, inputs["z"], label), psi, label)
        else:
            w = inputs["w_plus"] if "w_plus" in inputs else inputs["w"]
        if part == "mapping":
            wide = np.repeat(w[:, None], self.form.places, axis=1)
            return {"w_plus": wide} if options.latent is Latent.w_plus else {"w": w}
        image = synthesise(p, self.form, w)
        return {"image": as_bytes(image) if options.image is Image.uint8 else image}

    @property
    def conditional(self) -> bool:
        return "mapping.label.weight" in self.parameters

    @property
    def latent_size(self) -> int:
        embedded = self.parameters["mapping.label.weight"].shape[0] if self.conditional else 0
        return int(self.parameters["mapping.fc0.weight"].shape[1] - embedded)

    @property
    def width(self) -> int:
        return int(self.parameters["synthesis.input.style.weight"].shape[1])

    def graphs(self, options: Options) -> dict[str, Graph]:
        """The graphs by part: one called `generator`, or `mapping` and `synthesis`. Raises UsageError for noise."""
        if options.noise not in (Noise.const, Noise.none):
            raise UsageError(
                f"StyleGAN3 adds no noise: --noise {options.noise.value} has no meaning", hint="leave it out"
            )
        if not options.split:
            graph = Graph("generator", options.opset)
            rows = (
                [self._mapped(graph)] * self.form.places if options.latent is Latent.z else self._rows(graph, options)
            )
            Synthesis(graph, self, options).emit(rows)
            return {"generator": graph}
        mapping, synthesis = Graph("mapping", options.opset), Graph("synthesis", options.opset)
        self._mapping(mapping, options)
        Synthesis(synthesis, self, options).emit(self._rows(synthesis, options))
        return {"mapping": mapping, "synthesis": synthesis}

    def _mapping(self, graph: Graph, options: Options) -> None:
        w = self._mapped(graph)
        if options.latent is not Latent.w_plus:
            graph.output(w, "w", [BATCH, self.width])
            return
        single = graph.reshape(w, [0, 1, self.width], "mapping/single")
        repeats = graph.constant("mapping.places", np.array([1, self.form.places, 1], dtype=np.int64))
        every = graph.node("Tile", [single, repeats], "mapping/repeat")
        graph.output(every, "w_plus", [BATCH, self.form.places, self.width])

    def _mapped(self, graph: Graph) -> str:
        """From z, and a label, to w, truncated towards the average: of all, or of the label's class."""
        p = self.parameters
        z = graph.input("z", [BATCH, self.latent_size])
        label = graph.input("label", [BATCH, p["mapping.label.weight"].shape[1]]) if self.conditional else None
        w = mapped(graph, p, z, label, stylegan2.mapping_layers(p))
        average = p["mapping.w_avg"]
        if average.ndim == 1 or label is None:
            return truncated(graph, average, w)
        psi = graph.input("truncation_psi", [])
        mean = graph.node("MatMul", [label, graph.constant("mapping.w_avg", average)], "truncation/average")
        away = graph.node("Sub", [w, mean], "truncation/difference")
        return graph.node("Add", [mean, graph.node("Mul", [away, psi], "truncation/scaled")], "truncation")

    def _rows(self, graph: Graph, options: Options) -> list[str]:
        """(samples, w) for every place, from the input `w` or `w_plus`."""
        if options.latent is not Latent.w_plus:
            return [graph.input("w", [BATCH, self.width])] * self.form.places
        every = graph.input("w_plus", [BATCH, self.form.places, self.width])
        places = range(self.form.places)
        indices = [graph.constant(f"w_plus.place{place}", np.array(place, dtype=np.int64)) for place in places]
        return [graph.node("Gather", [every, indices[place]], f"w_plus/place{place}", axis=1) for place in places]

    def _filtered(self, layer: Layer) -> bool:
        return f"{layer.name}.down_filter" in self.parameters


class Synthesis:
    """Emits the layers one after the other. `x` is the activation, in single precision."""

    def __init__(self, graph: Graph, network: StyleGAN3, options: Options) -> None:
        self.graph, self.network, self.options = graph, network, options
        self.p, self.form = network.parameters, network.form
        self.x = ""

    def emit(self, rows: list[str]) -> None:
        self._input(rows[0])
        for layer, w in zip(self.form.layers[:-1], rows[1:-1], strict=True):
            self._layer(layer, w)
        self._colour(self.form.layers[-1], rows[-1])

    def _style(self, layer: str, w: str) -> str:
        """(samples, in)."""
        return dense(self.graph, w, self.p[f"{layer}.style.weight"], self.p[f"{layer}.style.bias"], f"{layer}.style")

    def _input(self, w: str) -> None:
        """W a sin(2 pi (F M u + phases)). Frequencies are turned first, then shifted: the shift is the third row.

        With F M = (f0, f1, -(f0 x + f1 y)), where (f0, f1) = F turned by (cos, sin), no matrix has to be put together.
        """
        graph, p, name = self.graph, self.p, "synthesis.input"
        channels = len(p[f"{name}.phases"])
        style = graph.reshape(self._style(name, w), [0, 2, 2], f"{name}/pairs")
        turn, shift = (self._row(style, place, f"{name}/{what}") for place, what in ((0, "turn"), (1, "shift")))
        square = graph.node("Mul", [turn, turn], f"{name}/square")
        length = inverse_root(graph, graph.reduce("ReduceMean", square, [1], f"{name}/mean"), f"{name}/inverse")
        # The mean of two squares is half their sum.
        scale = graph.node("Mul", [length, graph.constant(f"{name}.sqrt_half", 1 / SQRT2)], f"{name}/scale")
        turn = graph.node("Mul", [turn, scale], f"{name}/unit_turn")
        shift = graph.node("Mul", [shift, scale], f"{name}/unit_shift")
        x, y = p[f"{name}.freqs"].T
        stored = graph.constant(f"{name}.freqs", np.stack([np.concatenate([x, y]), np.concatenate([y, -x])]))
        pair = graph.reshape(graph.node("MatMul", [turn, stored], f"{name}/turned"), [0, 2, channels], f"{name}/pair")
        column = graph.reshape(shift, [0, 2, 1], f"{name}/shift_column")
        moved = graph.node("Mul", [pair, column], f"{name}/moved")
        minus = graph.constant(f"{name}.minus", np.full((1, 1, 2), -1.0))
        third = graph.node("MatMul", [minus, moved], f"{name}/third")
        rows = graph.node("Concat", [pair, third], f"{name}/rows", axis=1)
        frequencies = graph.node("Transpose", [rows], f"{name}/frequencies", perm=[0, 2, 1])
        amplitude = self._amplitude(frequencies, channels)
        points = p[f"{name}.transform"] @ input_grid(self.form) * (2 * np.pi)
        angle = graph.node("MatMul", [frequencies, graph.constant(f"{name}.points", points)], f"{name}/angle")
        phases = graph.constant(f"{name}.phases", p[f"{name}.phases"][:, None] * (2 * np.pi))
        waves = graph.node("Sin", [graph.node("Add", [angle, phases], f"{name}/shifted")], f"{name}/waves")
        waves = graph.node("Mul", [waves, amplitude], f"{name}/damped")
        image = graph.reshape(waves, [0, channels, self.form.size, self.form.size], f"{name}/image")
        weight = graph.constant(f"{name}.weight", p[f"{name}.weight"][:, :, None, None])
        self.x = graph.node("Conv", [image, weight], f"{name}/conv")

    def _row(self, pairs: str, place: int, name: str) -> str:
        index = self.graph.constant(f"synthesis.input.place{place}", np.array(place, dtype=np.int64))
        return self.graph.node("Gather", [pairs, index], name, axis=1)

    def _amplitude(self, frequencies: str, channels: int) -> str:
        """(samples, channels, 1): what is left of frequencies that the transform puts out of band."""
        graph, name, form = self.graph, "synthesis.input", self.form
        linear = graph.constant(f"{name}.transform", self.p[f"{name}.transform"][:, :2])
        seen = graph.node("MatMul", [frequencies, linear], f"{name}/transformed")
        length = graph.reduce("ReduceL2", seen, [2], f"{name}/length")
        band = form.rate / 2 - form.bandwidth
        per_length = graph.constant(f"{name}.per_length", -1 / band)
        falling = graph.node("Mul", [length, per_length], f"{name}/falling")
        start = graph.constant(f"{name}.start", 1 + form.bandwidth / band)
        raw = graph.node("Add", [falling, start], f"{name}/raw_amplitude")
        bounds = [graph.constant(f"{name}.{side}", value) for side, value in (("min", 0.0), ("max", 1.0))]
        return graph.node("Clip", [raw, *bounds], f"{name}/amplitude")

    def _layer(self, layer: Layer, w: str) -> None:
        graph, p, name = self.graph, self.p, layer.name
        half = self._half_type(name)
        style = self._style(name, w)
        weight, _ = normalised_weight(p[f"{name}.weight"])
        if half is not None:
            largest = graph.reduce("ReduceMax", graph.node("Abs", [style], f"{name}/abs"), [1], f"{name}/largest")
            largest = graph.node("Max", [largest, graph.constant("style.smallest", _SMALLEST)], f"{name}/largest_style")
            style = graph.node("Div", [style, largest], f"{name}/normalised_style")
        demodulation = self._column(self._demodulation(name, style, weight), len(weight))
        style = self._column(style, weight.shape[1])
        fir, taps = (p.get(f"{name}.{way}_filter", np.ones(1)) for way in ("down", "up"))
        channels, kernel = len(weight), weight.shape[2]
        length = layer.in_size + kernel - 1
        wanted = (layer.out_size - 1) * layer.down + len(fir)
        way = upsampling(length, taps, layer.up, layer.padding[0], wanted)
        x, pads = self._seen(layer, kernel, way.crop)
        x = graph.node("Mul", [x, style], f"{name}/modulate")
        x = self._convolved(x, name, weight, pads, half)
        x = graph.node("Mul", [x, demodulation], f"{name}/demodulate")
        bias = graph.constant(f"{name}.bias", p[f"{name}.bias"][:, None, None] * SQRT2)
        x = graph.node("Add", [x, bias], f"{name}/add_bias")
        x = upsampled(graph, x, name, channels, length - sum(way.crop), way)
        x = limited(graph, x, self.form.clamp, name)
        self.x = downsampled(graph, x, name, channels, fir, layer.down, way.size, layer.out_size)

    def _half_type(self, layer: str) -> np.dtype[Any] | None:
        options = self.options
        single = options.precision is Precision.fp32 or layer in options.keep_fp32
        return None if single or layer not in self.network.half_layers else options.half_type

    def _convolved(self, x: str, layer: str, weight: NDArray, pads: list[int], half: np.dtype[Any] | None) -> str:
        graph = self.graph
        with graph.computing_in(np.float32 if half is None else half):
            stored = graph.constant(f"{layer}.weight", weight)
        x = x if half is None else graph.cast(x, half, f"{layer}/half")
        x = graph.node("Conv", [x, stored], f"{layer}/conv", pads=pads)
        return x if half is None else graph.cast(x, np.float32, f"{layer}/single")

    def _column(self, value: str, channels: int) -> str:
        return self.graph.reshape(value, [0, channels, 1, 1], f"{value}_column")

    def _demodulation(self, layer: str, style: str, weight: NDArray) -> str:
        """d times the activation's sqrt(2), in single precision."""
        graph, fan_in = self.graph, weight[0].size
        eps = DEMODULATION_EPS * np.square(weight).sum(axis=(1, 2, 3)) / fan_in / weight.shape[1]
        powers = (np.square(weight).sum(axis=(2, 3)) + eps[:, None]) * self.p[f"{layer}.magnitude"] / SQRT2**2
        square = graph.node("Mul", [style, style], f"{layer}/style_squared")
        power = graph.node("MatMul", [square, graph.constant(f"{layer}.squares", powers.T)], f"{layer}/power")
        return inverse_root(graph, power, f"{layer}/demodulation")

    def _seen(self, layer: Layer, kernel: int, crop: tuple[int, int]) -> tuple[str, list[int]]:
        """The part of the activation that the layer sees, and the padding of its convolution, which crops so much."""
        before, behind = (kernel - 1 - pixels for pixels in crop)
        pads = [max(before, 0), max(before, 0), max(behind, 0), max(behind, 0)]
        start, end = max(-before, 0), layer.in_size - max(-behind, 0)
        if (start, end) == (0, layer.in_size):
            return self.x, pads
        return sliced(self.graph, self.x, start, end, layer.name), pads

    def _colour(self, layer: Layer, w: str) -> None:
        """To RGB, in single precision: so few channels leave that modulating the weights costs least."""
        graph, p, name, size = self.graph, self.p, layer.name, layer.out_size
        scale = self.form.output_scale
        weight = p[f"{name}.weight"][:, :, 0, 0] * (scale / np.sqrt(p[f"{name}.magnitude"]))
        colours, channels = weight.shape
        style = graph.reshape(self._style(name, w), [0, 1, channels], f"{name}/style_row")
        kernel = graph.node("Mul", [style, graph.constant(f"{name}.weight", weight)], f"{name}/modulate")
        pixels = graph.reshape(self.x, [0, channels, size * size], f"{name}/pixels")
        product = graph.node("MatMul", [kernel, pixels], f"{name}/matmul")
        image = graph.reshape(product, [0, colours, size, size], f"{name}/image")
        bias = graph.constant(f"{name}.bias", p[f"{name}.bias"][:, None, None] * scale)
        image = graph.node("Add", [image, bias], f"{name}/add_bias")
        if self.form.clamp is not None:
            bounds = [graph.constant(f"{name}.{side}", sign * scale * self.form.clamp) for side, sign in _SIDES]
            image = graph.node("Clip", [image, *bounds], f"{name}/clamp")
        finish_image(graph, image, (colours, size, size), self.options.image)


_SIDES = (("min", -1.0), ("max", 1.0))


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The generator, with an average w of its own if the file holds none."""
    parameters = with_label_table({name: canonical.values(name) for name in canonical.parts})
    parameters.pop("synthesis.input.grid", None)
    parameters.setdefault("synthesis.input.transform", np.eye(3))
    form = stated_form(canonical)
    if choices.clamp is not None:
        form = replace(form, clamp=choices.clamp if np.isfinite(choices.clamp) else None)
    notes: tuple[str, ...] = ()
    if "mapping.w_avg" not in parameters:
        parameters["mapping.w_avg"] = _average(parameters)
        notes = (f"the file holds no average w; that of {_AVERAGED_LATENTS:,} seeded latents is used for truncation",)
    multiplier = canonical.lr_multiplier
    facts: dict[str, Fact] = {} if multiplier is None else {"mapping lr multiplier": multiplier}
    return Made(StyleGAN3(parameters, form), facts, notes)


def _average(parameters: dict[str, NDArray]) -> NDArray:
    """The mean w over latents (and labels), as the training code keeps it."""
    rng = np.random.default_rng(0)
    label = None
    size = parameters["mapping.fc0.weight"].shape[1]
    if "mapping.label.weight" in parameters:
        embedded, labels = parameters["mapping.label.weight"].shape
        label, size = np.eye(labels)[rng.integers(labels, size=_AVERAGED_LATENTS)], size - embedded
    average: NDArray = latents(parameters, rng.standard_normal((_AVERAGED_LATENTS, size)), label).mean(axis=0)
    return average
