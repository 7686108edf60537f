"""StyleGAN3 (Karras et al., 2021), configurations T and R: canonical names, and what is computed from them.

Every tensor is *effective*: run-time constants are multiplied in, biases included.

    generator; a layer's name L{i}_{S}_{C} holds its number, the size of its output and its channels
                                                      shape
    mapping.*                                         as in `stylegan2.py`
    mapping.embedding.weight                          (labels, E)    StyleGAN-XL: what a class becomes before its
                                                                     layer mapping.label, which is activated there
    mapping.w_avg                                     (w,); (labels, w) in StyleGAN-XL
    synthesis.input.weight                            (C, C)
    synthesis.input.freqs, .phases, .transform        (C, 2), (C,), (3, 3)
    synthesis.input.style.weight, .style.bias         (4, w), (4,)
    synthesis.L{i}_{S}_{C}
        .weight, .bias                                (out, in, k, k), (out,)     k is 3 in T, 1 in R and in the last
        .magnitude                                    ()             mean square of the layer's input in training
        .style.weight, .style.bias                    (in, w), (in,)
        .up_filter                                    (taps,)        not of the last, which is to-RGB
        .down_filter                                  (taps,), or (taps, taps) where it is radial

Conventions:

* w has a place for the input and one for each layer. Styles lie around 1, which is in their bias.
* The input is W a sin(2 pi (F M u + phases)) at every pixel u = (x, y, 1), where M rotates and shifts by what the style
  (cos, sin, x, y) / |(cos, sin)| says, then applies `transform`; a fades frequencies out that this puts out of band.
* A layer's weights and styles are divided by their root mean square, multiplied, and demodulated with eps 1e-8: any
  scale of either cancels exactly. NVIDIA's code takes the mean of styles over the whole batch; here it is each
  sample's own, which matters to the eps alone. To-RGB is neither normalised nor demodulated.
* Weights are divided by sqrt(magnitude), in to-RGB too.
* A convolution pads by k - 1. Then: bias, upsampling, leaky ReLU with slope 0.2 times sqrt(2), clamp, downsampling
  (`fir.py`). To-RGB has only bias and clamp, and the image is its output times `output_scale`.
* Sizes: with an output of `out` pixels from `in`, the upsampled activation is padded by
  (out - 1) down + 1 - (in + k - 1) up + taps_up + taps_down - 2 in all, half of that plus up before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.arrays import SLOPE, correlate, leaky_relu
from eqlr_tools.networks.fir import along_height, along_width, downsampling, separated, upsampling
from eqlr_tools.networks.stylegan2 import DEMODULATION_EPS, latents
from eqlr_tools.networks.threads import for_each, slices
from eqlr_tools.scaling import SQRT2, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

Parameters = Mapping[str, "NDArray"]

PREFIX = "synthesis."
BANDWIDTH = 2.0
CLAMP = 256.0
OUTPUT_SCALE = 0.25
MAX_SIZE = 4096 + 64
"""Pixels: nobody has trained half as many. A name that says more would only exhaust memory."""

_CACHED_BYTES = 1 << 20
"""Of upsampled activation that are computed at a time."""

OVERSAMPLING = 2
"""How much finer than its input and output a layer's activation is sampled: in NVIDIA's code, for every layer."""


@dataclass(frozen=True)
class Layer:
    """What a layer does with sizes. `padding` is that of the upsampled activation; less than 0 crops."""

    name: str
    in_size: int
    out_size: int
    up: int = 1
    down: int = 1
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Form:
    """What the parameters leave open. `rate` is the sampling rate of the input: its pixels per width of the image."""

    layers: tuple[Layer, ...]
    rate: float
    bandwidth: float = BANDWIDTH
    clamp: float | None = CLAMP
    output_scale: float = OUTPUT_SCALE

    @property
    def size(self) -> int:
        """Of the input."""
        return self.layers[0].in_size

    @property
    def resolution(self) -> int:
        return self.layers[-1].out_size

    @property
    def places(self) -> int:
        """How many w a w+ has."""
        return len(self.layers) + 1


def layer_names(names: Iterable[str]) -> list[str]:
    """`L0_36_512` and its like, in order."""
    found = {match[1]: int(match[2]) for match in map(_LAYER.fullmatch, names) if match}
    return sorted(found, key=lambda name: found[name])


_LAYER = re.compile(r"synthesis\.(L(\d+)_\d+_\d+)\.weight")


def output_size(name: str) -> int:
    """The size that a layer's name tells."""
    return int(name.split("_")[1])


def form_of(shapes: Mapping[str, Shape]) -> Form:
    """What the names and shapes of canonical parameters say, the rest being as in NVIDIA's code.

    Raises UsageError where they are those of no network.
    """
    names = layer_names(shapes)
    for name in names:
        _require_layer(shapes, f"{PREFIX}{name}", output_size(name))
    sizes = [output_size(name) for name in names]
    layers = []
    for name, before, size in zip(names, [sizes[0], *sizes], sizes, strict=False):
        up, down = factors(shapes, f"{PREFIX}{name}")
        if not up:
            raise UsageError(
                f"{PREFIX}{name}.up_filter is shorter than one pixel of {PREFIX}{name}.down_filter",
                hint="the network is a variant that eqlr has no names for",
            )
        padding = _padding(shapes, f"{PREFIX}{name}", before, size, up, down)
        layers.append(Layer(f"{PREFIX}{name}", before, size, up, down, padding))
    return Form(tuple(layers), input_rate(sizes[-1], [(layer.up, layer.down) for layer in layers]))


def _require_layer(shapes: Mapping[str, Shape], layer: str, size: int) -> None:
    weight = shapes[f"{layer}.weight"]
    filters = [shapes[name] for way in ("up", "down") if (name := f"{layer}.{way}_filter") in shapes]
    square = len(weight) == 4 and weight[2] == weight[3] > 0
    if not (square and 0 < size <= MAX_SIZE and all(shape and min(shape) >= OVERSAMPLING for shape in filters)):
        raise UsageError(
            f"{layer} is no layer of StyleGAN3: weight {weight}, filters {filters}",
            hint="the network is a variant that eqlr has no names for",
        )


def factors(shapes: Mapping[str, Shape], layer: str) -> tuple[int, int]:
    """By how much a layer samples up and down again. Its filters are as long, in pixels of the coarser side.

    A layer's output is as fine as its input or finer, so the way down is `OVERSAMPLING`.
    """
    if f"{layer}.down_filter" not in shapes or f"{layer}.up_filter" not in shapes:
        return 1, 1
    taps_per_pixel = shapes[f"{layer}.down_filter"][0] // OVERSAMPLING
    return shapes[f"{layer}.up_filter"][0] // max(taps_per_pixel, 1), OVERSAMPLING


def input_rate(resolution: int, steps: Sequence[tuple[int, int]]) -> float:
    """The sampling rate of the input: that of the output, a power of two, less what the layers add."""
    rate = Fraction(1 << (resolution - 1).bit_length())
    for up, down in steps:
        rate *= Fraction(down, up)
    return float(rate)


def _padding(
    shapes: Mapping[str, Shape], layer: str, in_size: int, out_size: int, up: int, down: int
) -> tuple[int, int]:
    kernel = shapes[f"{layer}.weight"][2]
    taps = [shapes.get(f"{layer}.{way}_filter", (1,))[0] for way in ("up", "down")]
    total = (out_size - 1) * down + 1 - (in_size + kernel - 1) * up + sum(taps) - 2
    first = (total + up) // 2
    return first, total - first


def generate(p: Parameters, form: Form, z: NDArray, *, label: NDArray | None = None, psi: float = 1.0) -> NDArray:
    """Images from latents. Computes in the dtype of `z`; parameters should have the same."""
    return synthesise(p, form, truncated(p, latents(p, z, label), psi, label))


def with_label_table(p: Parameters) -> dict[str, NDArray]:
    """StyleGAN-XL's two label layers as one, which is a table: a one-hot label only ever picks a row.

    `mapping.label` is then as in StyleGAN2, linear.
    """
    parameters = dict(p)
    embedding = parameters.pop("mapping.embedding.weight", None)
    if embedding is not None:
        rows = leaky_relu(embedding @ p["mapping.label.weight"].T + p["mapping.label.bias"])
        parameters["mapping.label.weight"] = rows.T
        parameters["mapping.label.bias"] = np.zeros(rows.shape[1], dtype=rows.dtype)
    return parameters


def truncated(p: Parameters, w: NDArray, psi: float, label: NDArray | None = None) -> NDArray:
    """Pull w towards its average, which is that of its class where every class has one."""
    if psi == 1.0:
        return w
    average = p["mapping.w_avg"]
    if average.ndim == 2:
        average = label @ average
    pulled: NDArray = average + psi * (w - average)
    return pulled


def synthesise(p: Parameters, form: Form, w: NDArray) -> NDArray:
    """The synthesis network: w to images. `w` is (samples, w), or (samples, places, w) with a place per layer."""
    places = w if w.ndim == 3 else np.broadcast_to(w[:, None], (len(w), form.places, w.shape[1]))
    return np.stack([_synthesised(p, form, sample) for sample in places])


def _synthesised(p: Parameters, form: Form, w: NDArray) -> NDArray:
    """One sample at a time, since an upsampled activation is large."""
    x = _input(p, form, w[0])
    for layer, style in zip(form.layers[:-1], w[1:-1], strict=True):
        x = _layer(p, layer, x, style, form.clamp)
    image = _convolved(p, form.layers[-1].name, x, w[-1], demodulate=False)
    return form.output_scale * _limited(image, form.clamp)


def _input(p: Parameters, form: Form, w: NDArray) -> NDArray:
    """Fourier features, turned and shifted by what w says."""
    style = p["synthesis.input.style.weight"] @ w + p["synthesis.input.style.bias"]
    cosine, sine, x, y = style / np.linalg.norm(style[:2])
    rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    shift = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
    moved = (rotation @ shift @ p["synthesis.input.transform"])[:2]
    frequencies = p["synthesis.input.freqs"] @ moved
    waves = frequencies @ input_grid(form) + p["synthesis.input.phases"][:, None]
    away = (np.linalg.norm(frequencies[:, :2], axis=1) - form.bandwidth) / (form.rate / 2 - form.bandwidth)
    weight = p["synthesis.input.weight"] * np.clip(1 - away, 0, 1)
    features: NDArray = weight @ np.sin(2 * np.pi * waves)
    return features.astype(w.dtype).reshape(-1, form.size, form.size)


def input_grid(form: Form) -> NDArray:
    """(3, pixels): x, y and 1 of every pixel of the input, row by row. The image is from -1/2 to 1/2."""
    steps = (np.arange(form.size) + 0.5 - form.size / 2) / form.rate
    x, y = np.meshgrid(steps, steps)
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)])


def stored_grid(form: Form) -> NDArray:
    """(1, rows, columns, 2): x and y of every pixel, which some projects store."""
    return input_grid(form)[:2].T.reshape(1, form.size, form.size, 2)


def _layer(p: Parameters, layer: Layer, x: NDArray, w: NDArray, clamp: float | None) -> NDArray:
    """The filters work on every channel for itself, so a few channels at a time stay in the cache."""
    x = _convolved(p, layer.name, x, w)
    up = upsampling(x.shape[1], p.get(f"{layer.name}.up_filter", np.ones(1)), layer.up, layer.padding)
    pairs = [
        (downsampling(len(up), rows, layer.down), downsampling(len(up), columns, layer.down))
        for rows, columns in separated(p.get(f"{layer.name}.down_filter", np.ones(1)))
    ]
    out = np.empty((len(x), len(pairs[0][0]), len(pairs[0][1])), dtype=x.dtype)

    def work(channels: slice) -> None:
        out[channels] = _filtered(x[channels], up, pairs, clamp)

    for_each(work, slices(len(x), _CACHED_BYTES // (len(up) * x.shape[1] * x.itemsize)))
    return out


def _filtered(x: NDArray, up: NDArray, pairs: Sequence[tuple[NDArray, NDArray]], clamp: float | None) -> NDArray:
    """Columns are filtered first and last. Between, some rows at a time, so that nothing large is written down."""
    tall = along_height(up, x).reshape(-1, x.shape[2])
    narrow = [np.empty((len(tall), len(columns)), dtype=x.dtype) for _, columns in pairs]
    for rows in slices(len(tall), _CACHED_BYTES // (len(up) * x.itemsize)):
        seen = along_width(up * SQRT2, tall[rows])
        np.maximum(seen, SLOPE * seen, out=seen)
        if clamp is not None:
            np.clip(seen, -clamp, clamp, out=seen)
        for (_, columns), part in zip(pairs, narrow, strict=True):
            part[rows] = along_width(columns, seen)
    return sum(
        along_height(rows, part.reshape(len(x), len(up), -1)) for (rows, _), part in zip(pairs, narrow, strict=True)
    )  # type: ignore[return-value]


def _convolved(p: Parameters, layer: str, x: NDArray, w: NDArray, *, demodulate: bool = True) -> NDArray:
    style = p[f"{layer}.style.weight"] @ w + p[f"{layer}.style.bias"]
    kernel = p[f"{layer}.weight"]
    if demodulate:
        kernel = kernel / np.sqrt(np.square(kernel).mean(axis=(1, 2, 3), keepdims=True))
        style = style / np.sqrt(np.square(style).mean())
    kernel = kernel * style[:, None, None]
    if demodulate:
        kernel = kernel / np.sqrt(np.square(kernel).sum(axis=(1, 2, 3), keepdims=True) + DEMODULATION_EPS)
    kernel = kernel / np.sqrt(p[f"{layer}.magnitude"])
    out: NDArray = correlate(x[None], kernel, padding=kernel.shape[2] - 1)[0] + p[f"{layer}.bias"][:, None, None]
    return out


def _limited(x: NDArray, clamp: float | None) -> NDArray:
    return x if clamp is None else np.clip(x, -clamp, clamp)
