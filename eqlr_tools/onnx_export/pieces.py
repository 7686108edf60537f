"""Parts that the graphs of several architectures share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.arrays import SLOPE
from eqlr_tools.networks.doubling import BORDERS, FIR_PADDING, SMOOTH, Resampling
from eqlr_tools.networks.stylegan2 import FIR
from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.options import Image
from eqlr_tools.scaling import SQRT2

if TYPE_CHECKING:
    from numpy.typing import NDArray

Parameters = Mapping[str, "NDArray"]

NORMALISATION_EPS = 1e-8


def inverse_root(graph: Graph, value: str, name: str) -> str:
    """1 / sqrt(value)."""
    return graph.node("Reciprocal", [graph.node("Sqrt", [value], f"{name}/sqrt")], name)


def normalised(
    graph: Graph,
    value: str,
    name: str,
    axis: int = 1,
    *,
    eps: float = NORMALISATION_EPS,
    outside: bool = False,
    by_deviation: bool = False,
) -> str:
    """Divide by the root mean square along an axis, or the standard deviation; `eps` stands under the root unless it is
    `outside`."""
    away = value
    if by_deviation:
        away = graph.node("Sub", [value, graph.reduce("ReduceMean", value, [axis], f"{name}/centre")], f"{name}/away")
    square = graph.node("Mul", [away, away], f"{name}/square")
    mean = graph.reduce("ReduceMean", square, [axis], f"{name}/mean")
    added = graph.constant("normalisation.eps", eps)
    if outside:
        root = graph.node("Add", [graph.node("Sqrt", [mean], f"{name}/root"), added], f"{name}/root_eps")
        return graph.node("Div", [value, root], name)
    length = inverse_root(graph, graph.node("Add", [mean, added], f"{name}/mean_eps"), f"{name}/inverse")
    return graph.node("Mul", [value, length], name)


def dense(graph: Graph, value: str, weight: NDArray, bias: NDArray, name: str) -> str:
    """weight @ value + bias, for vectors."""
    stored = [graph.constant(f"{name}.weight", weight), graph.constant(f"{name}.bias", bias)]
    return graph.node("Gemm", [value, *stored], name, transB=1)


def leaky_relu(graph: Graph, value: str, name: str, slope: float = SLOPE) -> str:
    """max(x, 0.2 x). A gain behind it is folded into what is before it: it is positively homogeneous."""
    return graph.node("LeakyRelu", [value], f"{name}/leaky_relu", alpha=slope)


def limited(graph: Graph, value: str, clamp: float | None, name: str) -> str:
    """Clip to [-clamp, clamp], where the network does."""
    if clamp is None:
        return value
    kind = graph.float_type.name
    sides = (("min", -clamp), ("max", clamp))
    bounds = [graph.constant(f"clamp.{side}.{clamp:.9g}.{kind}", limit) for side, limit in sides]
    return graph.node("Clip", [value, *bounds], f"{name}/clamp")


def mapped(
    graph: Graph, parameters: Parameters, latent: str | None, label: str | None, layers: int, gain: float = SQRT2
) -> str:
    """StyleGAN2's mapping network; the gain of its activations is in the constants. Discriminators have no latent."""
    parts = [] if latent is None else [normalised(graph, latent, "mapping/normalise")]
    if label is not None:
        weight, bias = parameters["mapping.label.weight"], parameters["mapping.label.bias"]
        embedded = dense(graph, label, weight, bias, "mapping.label")
        parts.append(normalised(graph, embedded, "mapping.label/normalise"))
    x = graph.node("Concat", parts, "mapping/concat", axis=1) if len(parts) > 1 else parts[0]
    for i in range(layers):
        name = f"mapping.fc{i}"
        weight, bias = parameters[f"{name}.weight"] * gain, parameters[f"{name}.bias"] * gain
        x = leaky_relu(graph, dense(graph, x, weight, bias, name), name)
    return x


def truncated(graph: Graph, average: NDArray, w: str) -> str:
    """average + truncation_psi (w - average), with the strength as an input of the graph."""
    psi = graph.input("truncation_psi", [])
    mean = graph.constant("mapping.w_avg", average)
    away = graph.node("Sub", [w, mean], "truncation/difference")
    return graph.node("Add", [mean, graph.node("Mul", [away, psi], "truncation/scaled")], "truncation")


def doubled(graph: Graph, image: str, channels: int, how: Resampling, parameters: Parameters, name: str) -> str:
    """Twice the size, in any of the ways of `networks/doubling.py`."""
    if how in FIR_PADDING:
        return upsampled(graph, image, channels, parameters.get("fir", FIR), name, padding=FIR_PADDING[how])
    if how not in BORDERS:
        return bilinear(graph, image, name)
    large = bilinear(graph, image, f"{name}/bilinear")
    kernel = smoothing(graph, parameters.get("smooth", SMOOTH), channels)
    return smoothed(graph, large, kernel, channels, BORDERS[how], name)


def smoothing(graph: Graph, kernel: NDArray, channels: int, name: str = "smooth") -> str:
    """A 3x3 kernel as the weight of a depthwise convolution."""
    repeated = np.tile(kernel, (channels, 1, 1, 1))
    return graph.constant(f"{name}.{channels}.{graph.float_type.name}", repeated)


def smoothed(graph: Graph, image: str, kernel: str, channels: int, border: str, name: str) -> str:
    """Every channel correlated with a 3x3 kernel, the image continued around its border."""
    around = graph.constant("smooth.pads", np.array([0, 0, 1, 1, 0, 0, 1, 1], dtype=np.int64))
    padded = graph.node("Pad", [image, around], f"{name}/padded", mode=border)
    return graph.node("Conv", [padded, kernel], name, group=channels)


def upsampled(
    graph: Graph, image: str, channels: int, fir: NDArray, name: str, *, padding: tuple[int, int] = (2, 1)
) -> str:
    """Twice the size, filtered: with a zero behind every pixel, padded, times a 4x4 filter of gain 4.

    Zeros are never multiplied. Of the filter's taps, each of the four pixels that one becomes sees 2x2, which fit
    into a 3x3 kernel: four kernels per channel, and DepthToSpace lays their results side by side.
    """
    kind = graph.float_type.name
    phases = _phases(fir * 4.0, padding[0])
    kernel = graph.constant(f"fir.upsample.{channels}.{padding[0]}.{kind}", np.tile(phases, (channels, 1, 1, 1)))
    pixels = graph.node("Conv", [image, kernel], f"{name}/phases", group=channels, pads=[1, 1, 1, 1])
    return graph.node("DepthToSpace", [pixels], name, blocksize=2, mode="CRD")


def bilinear(graph: Graph, image: str, name: str) -> str:
    """Twice the size by bilinear interpolation, pixel centres aligned, edges repeated."""
    scales = graph.constant("bilinear.scales", np.array([1.0, 1.0, 2.0, 2.0]), np.float32)
    return graph.node("Resize", [image, "", scales], name, mode="linear", coordinate_transformation_mode="half_pixel")


def nearest_kernel(weight: NDArray) -> NDArray:
    """Repeating every pixel and then convolving, as the 4x4 kernel (in, out, 4, 4) of one transposed convolution.

    Its stride is 2 and its padding 1: it sums the taps that meet the same pixel.
    """
    return _four_shifted(weight[:, :, ::-1, ::-1]).transpose(1, 0, 2, 3)


def mean_kernel(weight: NDArray) -> NDArray:
    """Convolving and then taking the mean of 2x2 pixels, as the kernel of one convolution of stride 2 and padding 1."""
    return _four_shifted(weight) / 4.0


def _four_shifted(weight: NDArray) -> NDArray:
    kernel = np.zeros((*weight.shape[:2], 4, 4))
    for row, column in np.ndindex(2, 2):
        kernel[:, :, row : row + 3, column : column + 3] += weight
    return kernel


def enlarged(graph: Graph, image: str, *, interpolated: bool, name: str) -> str:
    """Twice the size, interpolated or every pixel repeated."""
    if interpolated:
        return bilinear(graph, image, name)
    scales = graph.constant("nearest.scales", np.array([1.0, 1.0, 2.0, 2.0]), np.float32)
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.node("Resize", [image, "", scales], name, **how)


def with_group_deviation(graph: Graph, x: str, channels: int, group_size: int, maps: int = 1) -> str:
    """Further channels, `maps` of them: the mean deviation within groups of up to G samples, n, n + N/G, n + 2N/G ...

    G is `group_size`. The number of samples is free, so the shape of the groups is computed in the graph.
    """

    def integers(name: str, *values: int) -> str:
        return graph.constant(name, np.array(values, dtype=np.int64))

    shape = graph.node("Shape", [x], "deviation/shape")
    samples = graph.node("Gather", [shape, integers("zero", 0)], "deviation/samples")
    group = graph.node("Min", [samples, integers("group", group_size)], "deviation/group")
    rest = integers("deviation.rest", -1, maps, channels // maps, 4, 4)
    groups = graph.node("Concat", [group, rest], "deviation/groups", axis=0)
    grouped = graph.node("Reshape", [x, groups], "deviation/grouped")
    mean = graph.reduce("ReduceMean", grouped, [0], "deviation/mean")
    away = graph.node("Sub", [grouped, mean], "deviation/away")
    square = graph.node("Mul", [away, away], "deviation/square")
    variance = graph.reduce("ReduceMean", square, [0], "deviation/variance")
    safe = graph.node("Add", [variance, graph.constant("deviation.eps", NORMALISATION_EPS)], "deviation/variance_eps")
    root = graph.node("Sqrt", [safe], "deviation/root")
    each = graph.reduce("ReduceMean", root, [3, 4, 5], "deviation/each")
    each = graph.reshape(each, [-1, maps, 1, 1], "deviation/column")
    repeats = graph.node("Concat", [group, integers("deviation.map", 1, 4, 4)], "deviation/repeats", axis=0)
    extra = graph.node("Tile", [each, repeats], "deviation/channel")
    return graph.node("Concat", [x, extra], "deviation", axis=1)


def _phases(fir: NDArray, padding: int) -> NDArray:
    """(4, 1, 3, 3): output pixel 2i + p sees input pixel i - 1 + t through a tap of the flipped filter.

    Pixel 2i + p of the result starts at 2i + p - padding of the image with zeros, whose pixel 2j is pixel j.
    """
    flipped = fir[::-1, ::-1]
    kernels = np.zeros((2, 2, 3, 3))
    for p, q, t, u in np.ndindex(2, 2, 3, 3):
        row, column = 2 * t - 2 + padding - p, 2 * u - 2 + padding - q
        if 0 <= row < 4 and 0 <= column < 4:
            kernels[p, q, t, u] = flipped[row, column]
    return kernels.reshape(4, 1, 3, 3)


def finish_image(graph: Graph, image: str, shape: tuple[int, int, int], form: Image, name: str = "image") -> None:
    """The graph's output `image`, or of another name.

    As bytes, [-1, 1] becomes 0 to 255 in rounded steps, as every project saves it.
    """
    channels, height, width = shape
    if form is Image.float:
        graph.output(image, name, [BATCH, channels, height, width])
        return
    scaled = graph.node("Mul", [image, graph.constant("image.scale", 127.5)], f"{name}/scaled")
    # 127.5 x + 127.5 and half a step, since the cast cuts off.
    shifted = graph.node("Add", [scaled, graph.constant("image.shift", 128.0)], f"{name}/shifted")
    bounds = [graph.constant("image.min", 0.0), graph.constant("image.max", 255.0)]
    limited_ = graph.node("Clip", [shifted, *bounds], f"{name}/limited")
    last = graph.node("Transpose", [limited_], f"{name}/nhwc", perm=[0, 2, 3, 1])
    pixels = graph.cast(last, np.uint8, f"{name}/bytes")
    graph.output(pixels, name, [BATCH, height, width, channels], np.uint8)


def as_bytes(image: NDArray) -> NDArray:
    """What `finish_image` does for bytes, in numpy."""
    return np.clip(image * 127.5 + 128.0, 0.0, 255.0).astype(np.uint8).transpose(0, 2, 3, 1)
