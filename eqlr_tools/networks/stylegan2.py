"""StyleGAN2 (Karras et al., 2020): the canonical names of its parameters, and what is computed from them.

Every tensor is *effective*: run-time constants are multiplied in, biases included. A family's file maps its own
names and layouts onto these.

    generator, with R = 4, 8, ... resolution          shape
    mapping.label.weight, .bias                       (E, labels), (E,)    only conditional ones
    mapping.fc{i}.weight, .bias                       (out, in), (out,)    i from 0
    mapping.w_avg                                     (w,)
    synthesis.const                                   (C, 4, 4)
    synthesis.b{R}.conv0, .conv1, .torgb              conv0 from R = 8 on
        .weight                                       (out, in, k, k)
        .bias                                         (out,)
        .style.weight, .style.bias                    (in, w), (in,)
        .noise_strength, .noise                       (), (R, R)           not of torgb
    fir                                               (4, 4)

    discriminator, with R = resolution, ..., 8
    b{resolution}.fromrgb.weight, .bias               (C, 3, 1, 1), (C,)
    b{R}.conv0.weight, .bias                          (C, C, 3, 3), (C,)
    b{R}.conv1.weight, .bias                          (C', C, 3, 3), (C',)     halves the size
    b{R}.skip.weight                                  (C', C, 1, 1)            halves the size
    b4.conv.weight, .bias                             (C, C + 1, 3, 3), (C,)
    b4.fc.weight, .bias                               (C, 16 C), (C,)          input in order channel, row, column
    b4.out.weight, .bias                              (1, C), (1,); (M, C) if conditional
    mapping.*                                         as above, only conditional ones
    fir                                               (4, 4)

Conventions, each of which differs somewhere among the families:

* Every kernel is correlated with its input. conv0 sees its input with a zero behind every pixel, padded by 2.
* A style is `style.weight @ w + style.bias`; the 1 around which styles lie is in the bias.
* Modulated kernels are demodulated by 1 / sqrt(sum over in, k, k of (style * weight)**2 + 1e-8), but not in torgb.
  This cancels any scale of the weight; canonical is the He-scaled one, so that the sum is near 1 and eps nothing.
* The activation is leaky ReLU with slope 0.2 times sqrt(2), in the mapping and the discriminator as well; torgb and
  styles and b4.out are linear. Both branches of a discriminator block are multiplied by sqrt(1/2).
* `fir` sums to 1. Upsampling multiplies it by 4. It is [1, 3, 3, 1] by [1, 3, 3, 1] / 64 nearly everywhere.
* Noise is `noise_strength * noise`, added behind the demodulated convolution and before the bias.
* z is divided by its root mean square; a label's embedding too, and is then concatenated to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.arrays import (
    correlate,
    correlate_spread,
    filtered,
    insert_zeros,
    leaky_relu,
    normalised,
    with_group_deviation,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEMODULATION_EPS = 1e-8
FIR = np.outer([1.0, 3.0, 3.0, 1.0], [1.0, 3.0, 3.0, 1.0]) / 64.0

Parameters = Mapping[str, "NDArray"]


def resolutions(names: Mapping[str, object] | set[str], part: str = "synthesis.") -> list[int]:
    """The resolutions of a network's blocks, from its canonical names, in rising order."""
    heads = {name.removeprefix(part).partition(".")[0] for name in names if name.startswith(f"{part}b")}
    return sorted(int(head[1:]) for head in heads if head[1:].isdigit())


def mapping_layers(names: Mapping[str, object] | set[str]) -> int:
    """The number of layers of the mapping network."""
    return sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in names)


def generate(
    p: Parameters, z: NDArray, *, label: NDArray | None = None, psi: float = 1.0, clamp: float | None = None
) -> NDArray:
    """Images from latents. Computes in the dtype of `z`; parameters should have the same."""
    return synthesise(p, truncated(p, latents(p, z, label), psi), clamp=clamp)


def latents(p: Parameters, z: NDArray, label: NDArray | None = None) -> NDArray:
    """The mapping network: z (and label) to w."""
    x = normalised(z)
    if label is not None:
        embedded = label @ p["mapping.label.weight"].T + p["mapping.label.bias"]
        x = np.concatenate([x, normalised(embedded)], axis=1)
    for i in range(mapping_layers(p)):
        x = leaky_relu(x @ p[f"mapping.fc{i}.weight"].T + p[f"mapping.fc{i}.bias"])
    return x


def truncated(p: Parameters, w: NDArray, psi: float) -> NDArray:
    """Pull w towards its average."""
    return w if psi == 1.0 else p["mapping.w_avg"] + psi * (w - p["mapping.w_avg"])


def synthesise(
    p: Parameters, w: NDArray, *, clamp: float | None = None, noise: Mapping[str, NDArray] | None = None
) -> NDArray:
    """The synthesis network: w to images.

    `w` is (samples, w), or (samples, places, w): one per layer, torgb sharing its place with the next conv0. `clamp`
    limits every activation, as `conv_clamp` of NVIDIA's code does. `noise` holds a map (samples, 1, R, R) per layer,
    instead of the network's own; a layer that is not in it has none.
    """
    places = w if w.ndim == 3 else np.broadcast_to(w[:, None], (len(w), 2 * len(resolutions(p)), w.shape[1]))
    noise = {name[: -len(".noise")]: p[name] for name in p if name.endswith(".noise")} if noise is None else noise
    x = np.broadcast_to(p["synthesis.const"], (len(w), *p["synthesis.const"].shape)).astype(w.dtype)
    image: NDArray | None = None
    for number, resolution in enumerate(resolutions(p)):
        block, first = f"synthesis.b{resolution}", 2 * number - 1
        if resolution > 4:
            x = _styled(p, f"{block}.conv0", x, places[:, first], noise, clamp, upsample=True)
        x = _styled(p, f"{block}.conv1", x, places[:, first + 1], noise, clamp)
        colour = _modulated(p, f"{block}.torgb", x, places[:, first + 2], demodulate=False)
        colour = _limited(colour + _per_channel(p, block), clamp)
        image = colour if image is None else filtered(insert_zeros(image), _fir(p), (2, 1), gain=4.0) + colour
    assert image is not None
    return image


def discriminate(p: Parameters, image: NDArray, *, group_size: int = 4, clamp: float | None = None) -> NDArray:
    """Logits of images; those of a conditional discriminator before its projection."""
    sizes = resolutions(p, "")
    x = _activated(_convolved(p, f"b{sizes[-1]}.fromrgb", image), clamp)
    for resolution in reversed(sizes[1:]):
        block = f"b{resolution}"
        y = filtered(x, _fir(p), (1, 1))[:, :, ::2, ::2]
        y = _limited(correlate(y, p[f"{block}.skip.weight"]), clamp)
        x = _activated(_convolved(p, f"{block}.conv0", x, padding=1), clamp)
        x = _activated(_convolved(p, f"{block}.conv1", filtered(x, _fir(p), (2, 2)), stride=2), clamp)
        x = (x + y) * np.sqrt(0.5).astype(x.dtype)
    x = _activated(_convolved(p, "b4.conv", with_group_deviation(x, group_size), padding=1), clamp)
    x = leaky_relu(x.reshape(len(x), -1) @ p["b4.fc.weight"].T + p["b4.fc.bias"])
    logits: NDArray = x @ p["b4.out.weight"].T + p["b4.out.bias"]
    return logits


def _activated(x: NDArray, clamp: float | None) -> NDArray:
    return _limited(leaky_relu(x), clamp)


def _styled(
    p: Parameters,
    layer: str,
    x: NDArray,
    w: NDArray,
    noise: Mapping[str, NDArray],
    clamp: float | None,
    *,
    upsample: bool = False,
) -> NDArray:
    x = _modulated(p, layer, x, w, upsample=upsample)
    if f"{layer}.noise_strength" in p and layer in noise:
        x = x + p[f"{layer}.noise_strength"] * noise[layer]
    return _activated(x + p[f"{layer}.bias"][:, None, None], clamp)


def _modulated(
    p: Parameters, layer: str, x: NDArray, w: NDArray, *, demodulate: bool = True, upsample: bool = False
) -> NDArray:
    weight = p[f"{layer}.weight"]
    styles = w @ p[f"{layer}.style.weight"].T + p[f"{layer}.style.bias"]
    images = []
    for sample, style in zip(x, styles, strict=True):
        kernel = weight * style[:, None, None]
        if demodulate:
            power = np.square(kernel).sum(axis=(1, 2, 3), keepdims=True)
            kernel = kernel / np.sqrt(power + DEMODULATION_EPS)
        images.append(_applied(p, sample[None], kernel, upsample))
    return np.concatenate(images)


def _applied(p: Parameters, x: NDArray, kernel: NDArray, upsample: bool) -> NDArray:
    if not upsample:
        return correlate(x, kernel, padding=kernel.shape[2] // 2)
    return filtered(correlate_spread(x, kernel), _fir(p), (1, 1), gain=4.0)


def _convolved(p: Parameters, layer: str, x: NDArray, *, stride: int = 1, padding: int = 0) -> NDArray:
    out: NDArray = (
        correlate(x, p[f"{layer}.weight"], stride=stride, padding=padding) + p[f"{layer}.bias"][:, None, None]
    )
    return out


def _per_channel(p: Parameters, block: str) -> NDArray:
    return p[f"{block}.torgb.bias"][:, None, None]


def _limited(x: NDArray, clamp: float | None) -> NDArray:
    return x if clamp is None else np.clip(x, -clamp, clamp)


def _fir(p: Parameters) -> NDArray:
    return p.get("fir", FIR)
