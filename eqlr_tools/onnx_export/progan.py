"""The generators of ProGAN and BMSG-GAN as ONNX graphs, from the canonical parameters of `networks/progan.py`.

Repeating every pixel and then convolving with a 3x3 kernel is one transposed convolution of stride 2 whose 4x4 kernel
sums the taps that meet the same pixel: 16 multiplications per input pixel instead of 36.

A BMSG-GAN makes the image of every size. Its graph has the largest as `image`, the first output, and the others as
`image_4`, `image_8` and so on, each by a 1x1 convolution of what is there anyway. With a size that the user names the
graph ends there.

In half precision as many of the last 3x3 convolutions run in fp16 as leave 60 dB, for the largest sizes hold most of
the pixels. Normalising every pixel carries the rounding of each layer on undiminished, 67 to 70 dB below the signal,
so that all layers of a 256 pixel generator together would leave 56 dB. How many there may be is found by rounding
weights: the input and the output of a layer are rounded as finely, which makes three times their noise, 4.8 dB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.progan import PAPER, Form, formed, generate
from eqlr_tools.networks.stylegan2 import resolutions
from eqlr_tools.onnx_export.checking import snr_db
from eqlr_tools.onnx_export.choices import Choices, Made
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options, Precision
from eqlr_tools.onnx_export.pieces import (
    as_bytes,
    bilinear,
    enlarged,
    finish_image,
    leaky_relu,
    nearest_kernel,
    normalised,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.rewriting.canonical import CanonicalNetwork


_HALF_LAYERS = (8, 6, 4, 3, 2, 1)
_HALF_SNR_DB = 60.0
_MARGIN_DB = 4.8 + 1.0
_TRIAL_SAMPLES = 2


@dataclass(frozen=True)
class ProGAN:
    """`parameters` are canonical and effective; `resolution` is one of their sizes, `also` are smaller ones to show."""

    parameters: Mapping[str, NDArray]
    resolution: int
    alpha: float = 1.0
    form: Form = PAPER
    also: tuple[int, ...] = ()
    mixes_samples = False

    @property
    def sizes(self) -> list[int]:
        """The sizes up to the wanted one."""
        return [size for size in resolutions(self.parameters, "") if size <= self.resolution]

    @property
    def outputs(self) -> dict[str, int]:
        """The size of each image."""
        return {"image": self.resolution, **{f"image_{size}": size for size in self.also}}

    @property
    def facts(self) -> dict[str, Fact]:
        p = self.parameters
        layers = ["b4.conv", *(f"b{size}.conv1" for size in self.sizes[1:])]
        widths = zip(self.sizes, (len(p[f"{layer}.bias"]) for layer in layers), strict=True)
        return {
            "resolution": self.resolution,
            "image channels": len(p[f"b{self.resolution}.torgb.bias"]),
            "channels": " ".join(f"{size}:{width}" for size, width in widths),
            "z": self.latent,
            "alpha": self.alpha,
            "tanh": "yes" if self.form.ends_in_tanh(self.resolution) else "no",
        }

    @property
    def latent(self) -> int:
        """The length of z: what the first layer takes, less the embedded label."""
        width: int = self.parameters["b4.input.weight"].shape[1]
        return width - (self.parameters["b4.label.weight"].shape[1] if self.classes else 0)

    @property
    def classes(self) -> int:
        return len(self.parameters.get("b4.label.weight", ()))

    @property
    def layers(self) -> list[str]:
        """The 3x3 convolutions."""
        return [*self.first_layers, *(f"b{size}.conv{n}" for size in self.sizes[1:] for n in (0, 1))]

    def half_weights(self) -> dict[str, NDArray]:
        return {layer: self.parameters[f"{layer}.weight"] for layer in self.half_layers}

    @cached_property
    def half_layers(self) -> list[str]:
        """The last convolutions, as many as can be rounded to fp16."""
        exact = self._trial({})
        for count in (len(self.layers), *(count for count in _HALF_LAYERS if count < len(self.layers))):
            chosen = self.layers[-count:]
            weights = {f"{layer}.weight": self.parameters[f"{layer}.weight"] for layer in chosen}
            found = self._trial({name: w.astype(np.float16).astype(np.float64) for name, w in weights.items()})
            if min(snr_db(*pair) for pair in zip(found, exact, strict=True)) >= _HALF_SNR_DB + _MARGIN_DB:
                return chosen
        return []

    def _trial(self, changed: Mapping[str, NDArray]) -> NDArray:
        z = np.random.default_rng(0).standard_normal((_TRIAL_SAMPLES, self.latent))
        label = np.eye(self.classes)[:1].repeat(_TRIAL_SAMPLES, axis=0) if self.classes else None
        where = {"resolution": self.resolution, "alpha": self.alpha, "form": self.form}
        with np.errstate(over="ignore", invalid="ignore"):
            return generate({**self.parameters, **changed}, z, label, **where)  # type: ignore[arg-type]

    @property
    def first_layers(self) -> list[str]:
        """The convolutions of 4x4 pixels."""
        return [layer for layer in ("b4.conv0", "b4.conv") if f"{layer}.weight" in self.parameters]

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        images = {
            name: generate(
                self.parameters,
                inputs["z"],
                inputs.get("label"),
                resolution=size,
                alpha=self.alpha if name == "image" else 1.0,
                form=self.form,
            )
            for name, size in self.outputs.items()
        }
        return {name: as_bytes(x) if options.image is Image.uint8 else x for name, x in images.items()}

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
        self.form = network.form
        halved = [Precision.fp16, Precision.mixed]
        layers = network.half_layers if options.precision in halved else network.layers
        self.half = frozenset(layers) - options.keep_fp32

    def emit(self) -> None:
        network = self.network
        x = self._input()
        for layer in network.first_layers:
            x = self._activated(self._conv(x, layer), layer)
        features = {4: x}
        for size in network.sizes[1:]:
            x = self._activated(self._doubled(x, f"b{size}.conv0"), f"b{size}.conv0")
            x = self._activated(self._conv(x, f"b{size}.conv1"), f"b{size}.conv1")
            features[size] = x
        self._show("image", network.resolution, self._colour(features))
        for size in network.also:
            self._show(f"image_{size}", size, self._conv(features[size], f"b{size}.torgb"))

    def _show(self, name: str, size: int, image: str) -> None:
        if self.form.ends_in_tanh(size):
            image = self.graph.node("Tanh", [image], "tanh" if name == "image" else f"{name}/tanh")
        shape = (len(self.p[f"b{size}.torgb.bias"]), size, size)
        finish_image(self.graph, image, shape, self.options.image, name)

    def _input(self) -> str:
        graph, weight = self.graph, self.p["b4.input.weight"]
        z = graph.input("z", [BATCH, self.network.latent])
        if self.form.latent_normalised:
            z = self._normalised(z, "z/normalise")
        if self.network.classes:
            table = graph.constant("b4.label.weight", self.p["b4.label.weight"])
            embedded = graph.node("MatMul", [graph.input("label", [BATCH, self.network.classes]), table], "b4.label")
            z = graph.node("Concat", [z, embedded], "z/labelled", axis=1)
        bias = self.p.get("b4.input.bias_map", np.repeat(self.p.get("b4.input.bias", np.zeros(0)), 16))
        stored = [graph.constant("b4.input.weight", weight), graph.constant("b4.input.bias", bias)]
        dense = graph.node("Gemm", [z, *stored], "b4.input", transB=1)
        shape = [0, len(weight) // 16, 4, 4]
        if self.form.input_whole:
            whole = self._activated(dense, "b4.input", normal=self.form.input_normalised)
            return graph.reshape(whole, shape, "b4.input/pixels")
        pixels = graph.reshape(dense, shape, "b4.input/pixels")
        return self._activated(pixels, "b4.input", normal=self.form.input_normalised)

    def _normalised(self, x: str, name: str) -> str:
        form = self.form
        return normalised(self.graph, x, name, eps=form.eps, outside=form.eps_outside, by_deviation=form.by_deviation)

    def _activated(self, x: str, layer: str, *, normal: bool | None = None) -> str:
        """In single precision, since squares are summed."""
        if not (self.form.normalised if normal is None else normal):
            return leaky_relu(self.graph, x, layer, self.form.slope)
        if self.form.norm_first:
            return leaky_relu(self.graph, self._normalised(x, f"{layer}/normalise"), layer, self.form.slope)
        return self._normalised(leaky_relu(self.graph, x, layer, self.form.slope), f"{layer}/normalise")

    def _conv(self, x: str, layer: str) -> str:
        padding = self.p[f"{layer}.weight"].shape[2] // 2
        return self._product("Conv", x, layer, self.p[f"{layer}.weight"], pads=[padding] * 4)

    def _doubled(self, x: str, layer: str) -> str:
        if self.form.bilinear:
            return self._conv(bilinear(self.graph, x, f"{layer}/enlarged"), layer)
        stored = nearest_kernel(self.p[f"{layer}.weight"])
        return self._product("ConvTranspose", x, layer, stored, pads=[1] * 4, strides=[2, 2])

    def _product(self, operator: str, x: str, layer: str, weight: NDArray, **attributes: list[int]) -> str:
        graph = self.graph
        half = self.options.precision is not Precision.fp32 and layer in self.half
        kind = self.options.half_type if half else np.dtype(np.float32)
        with graph.computing_in(kind):
            stored = [
                graph.constant(f"{layer}.weight", weight),
                graph.constant(f"{layer}.bias", self.p[f"{layer}.bias"]),
            ]
            x = graph.cast(x, kind, f"{layer}/half") if half else x
            x = graph.node(operator, [x, *stored], f"{layer}/conv", **attributes)
        return graph.cast(x, np.float32, f"{layer}/single") if half else x

    def _colour(self, features: Mapping[int, str]) -> str:
        """To RGB, and the size before, which reaches the image enlarged, where it is faded in."""
        graph, network = self.graph, self.network
        image = self._conv(features[network.resolution], f"b{network.resolution}.torgb")
        if network.alpha == 1.0 or len(network.sizes) == 1:
            return image
        before = network.resolution // 2
        small = self._conv(features[before], f"b{before}.torgb")
        old = enlarged(graph, small, interpolated=self.form.bilinear, name="fade/enlarged")
        return faded(graph, image, old, network.alpha)


def faded(graph: Graph, new: str, old: str, alpha: float) -> str:
    """alpha new + (1 - alpha) old."""
    new = graph.node("Mul", [new, graph.constant("fade.alpha", alpha)], "fade/new")
    rest = graph.node("Mul", [old, graph.constant("fade.rest", 1 - alpha)], "fade/old")
    return graph.node("Add", [new, rest], "fade")


@dataclass(frozen=True)
class Size:
    """The size that a growing network is exported at, how far it is faded in, and what to tell about it."""

    resolution: int
    alpha: float
    notes: tuple[str, ...]


def chosen_size(canonical: CanonicalNetwork, choices: Choices, colour: str, share_before: float) -> Size:
    """What the user says, else what the file says (`lod`, or the share of the size before), else the largest size.

    Raises UsageError for a size that the network has no colours for.
    """
    sizes = [size for size in resolutions(canonical.parts, "") if f"b{size}.{colour}.weight" in canonical.parts]
    lod = float(canonical.values("lod")) if "lod" in canonical.parts else 0.0
    said = sizes[-1] >> math.floor(lod) if 0 < lod < len(sizes) else sizes[-1]
    resolution = choices.resolution or said
    if resolution not in sizes:
        raise UsageError(f"--resolution {resolution}: the network has {', '.join(map(str, sizes))}")
    notes = []
    alpha = choices.alpha
    if alpha is None:
        share = lod % 1.0 if lod else share_before
        alpha = 1.0 - share if resolution == said else 1.0
        notes += [f"its last size is faded in to {alpha:g}, as the file says"] if alpha != 1.0 else []
    if alpha != 1.0 and resolution > 4 and resolution // 2 not in sizes:
        raise UsageError(f"--alpha {alpha:g}: the network has no colours of size {resolution // 2} to fade from")
    if not choices.resolution and lod:
        notes.append(f"exported at size {resolution}, which its lod of {lod:g} says")
    elif not choices.resolution and len(sizes) > 1:
        notes.append("exported at its largest size; --resolution N takes one that was trained")
    return Size(resolution, alpha, tuple(notes))


def require_whole(canonical: CanonicalNetwork) -> None:
    """Raise UsageError for a network with parts that the exported one would lack."""
    name, leftover = canonical.recognition.network.name, canonical.leftover
    labels = canonical.recognition.said("label_size")
    if leftover or (isinstance(labels, int) and labels):
        what = f"{leftover[0]} is no part of it" if leftover else f"it takes labels (label_size = {labels})"
        raise UsageError(
            f"network {name} is a variant of {canonical.family.id} that is not exported: {what}",
            hint="--network NAME takes another network; --model package.module:factory exports any module of yours",
        )


def made(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """The generator at a size."""
    require_whole(canonical)
    form = formed(Form, canonical.form)
    size = chosen_size(canonical, choices, "torgb", form.faded)
    network = ProGAN(_parameters(canonical), size.resolution, size.alpha, form)
    return Made(network, notes=(*size.notes, *_cautions(canonical)))


def made_multiscale(canonical: CanonicalNetwork, choices: Choices) -> Made:
    """BMSG-GAN's generator: all sizes, or the one that the user wants. Faded, it is a ProGAN's."""
    if choices.alpha is not None:
        return made(canonical, choices)
    require_whole(canonical)
    sizes = [size for size in resolutions(canonical.parts, "") if f"b{size}.torgb.weight" in canonical.parts]
    last = choices.resolution or sizes[-1]
    if last not in sizes:
        raise UsageError(f"--resolution {last}: the network has {', '.join(map(str, sizes))}")
    also: Sequence[int] = () if choices.resolution else sizes[:-1]
    notes = () if choices.resolution else ("images of all sizes are outputs; --resolution N takes one",)
    return Made(ProGAN(_parameters(canonical), last, 1.0, formed(Form, canonical.form), tuple(also)), notes=notes)


def _parameters(canonical: CanonicalNetwork) -> dict[str, NDArray]:
    return {name: canonical.values(name) for name in canonical.parts if name not in ("lod", "every_size")}


def _cautions(canonical: CanonicalNetwork) -> tuple[str, ...]:
    return (canonical.naming.caution,) if canonical.naming.caution else ()
