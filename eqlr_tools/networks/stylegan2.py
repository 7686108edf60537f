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
    synthesis.b{R}.skip.weight                        (C', C, 1, 1)        only of residual ones
    fir                                               (4, 4)
    smooth                                            (3, 3)               only where resampling smooths

    discriminator, with R = resolution, ..., 8
    b{resolution}.fromrgb.weight, .bias               (C, 3, 1, 1), (C,)
    b{R}.conv0.weight, .bias                          (C, C, 3, 3), (C,)
    b{R}.conv1.weight, .bias                          (C', C, 3, 3), (C',)     halves the size
    b{R}.skip.weight                                  (C', C, 1, 1)            halves the size; only of residual ones
    b{R}.fromrgb.weight, .bias                        as that of the top, only of ones that skip
    b4.conv.weight, .bias                             (C, C + 1, 3, 3), (C,)   (C, C, 3, 3) without deviation
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
* z is divided by its root mean square; a label's embedding too, and is then concatenated to it. The mapping network
  of a discriminator has no z; the logit is the product of what it gives and `b4.out`, divided by sqrt(M).
* Three ways from features to images, told apart by their tensors. A generator that skips has torgb at every size, and
  enlarged images are summed up; others have it at the last size only. A residual one adds skip(x) to the two
  convolutions of a size and multiplies by sqrt(1/2); `orig` has neither. Discriminators: residual as above, `orig`
  without skip, and one that skips has fromrgb at every size, fed by the halved image.

What projects compute differently beside their tensors is a `Form` (`networks/doubling.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.arrays import (
    correlate,
    correlate_spread,
    filtered,
    leaky_relu,
    normalised,
    with_group_deviation,
)
from eqlr_tools.networks.doubling import ORIGINAL, SMOOTH, Form, doubled
from eqlr_tools.scaling import SQRT2

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
    p: Parameters,
    z: NDArray,
    *,
    label: NDArray | None = None,
    psi: float = 1.0,
    clamp: float | None = None,
    form: Form = ORIGINAL,
) -> NDArray:
    """Images from latents. Computes in the dtype of `z`; parameters should have the same."""
    return synthesise(p, truncated(p, latents(p, z, label, form.gain), psi), clamp=clamp, form=form)


def latents(p: Parameters, z: NDArray | None, label: NDArray | None = None, gain: float = SQRT2) -> NDArray:
    """The mapping network: z and label to w. Discriminators have no z, others may have no label."""
    parts = [] if z is None else [normalised(z)]
    if label is not None:
        parts.append(normalised(label @ p["mapping.label.weight"].T + p["mapping.label.bias"]))
    x = np.concatenate(parts, axis=1)
    for i in range(mapping_layers(p)):
        x = leaky_relu(x @ p[f"mapping.fc{i}.weight"].T + p[f"mapping.fc{i}.bias"], gain)
    return x


def truncated(p: Parameters, w: NDArray, psi: float) -> NDArray:
    """Pull w towards its average."""
    return w if psi == 1.0 else p["mapping.w_avg"] + psi * (w - p["mapping.w_avg"])


def synthesise(
    p: Parameters,
    w: NDArray,
    *,
    clamp: float | None = None,
    noise: Mapping[str, NDArray] | None = None,
    form: Form = ORIGINAL,
) -> NDArray:
    """The synthesis network: w to images.

    `w` is (samples, w), or (samples, places, w): one per layer, torgb sharing its place with the next conv0. `clamp`
    limits every activation, as `conv_clamp` of NVIDIA's code does. `noise` holds a map (samples, 1, R, R) per layer,
    instead of the network's own; a layer that is not in it has none.
    """
    sizes = resolutions(p)
    places = w if w.ndim == 3 else np.broadcast_to(w[:, None], (len(w), form.styled_places(len(sizes)), w.shape[1]))
    noise = {name[: -len(".noise")]: p[name] for name in p if name.endswith(".noise")} if noise is None else noise
    layer = _Layer(p, noise, clamp, form)
    x = np.broadcast_to(p["synthesis.const"], (len(w), *p["synthesis.const"].shape)).astype(w.dtype)
    image: NDArray | None = None
    for number, resolution in enumerate(sizes):
        block, (first, second, last) = f"synthesis.b{resolution}", form.places(number)
        before = x
        if f"{block}.conv0.weight" in p:
            x = layer.styled(f"{block}.conv0", x, places[:, first], upsample=resolution > 4)
        residual = f"{block}.skip.weight" in p
        gain = np.sqrt(0.5) if residual else 1.0
        x = layer.styled(f"{block}.conv1", x, places[:, second], gain=gain)
        if residual:
            beside = doubled(correlate(before, p[f"{block}.skip.weight"]), form.features, _fir(p), _smooth(p)) * gain
            x = _limited(beside, clamp, gain) + x
        if f"{block}.torgb.weight" in p:
            colour = layer.colour(f"{block}.torgb", x, places[:, last])
            image = colour if image is None else doubled(image, form.image, _fir(p), _smooth(p)) + colour
    assert image is not None
    return image


def discriminate(
    p: Parameters,
    image: NDArray,
    *,
    label: NDArray | None = None,
    group_size: int = 4,
    clamp: float | None = None,
) -> NDArray:
    """Logits of images. Without a label, those of a conditional discriminator before its projection."""
    sizes = resolutions(p, "")
    skips = f"b{sizes[0]}.fromrgb.weight" in p and len(sizes) > 1
    x = _activated(_convolved(p, f"b{sizes[-1]}.fromrgb", image), clamp)
    for resolution in reversed(sizes[1:]):
        block = f"b{resolution}"
        residual = f"{block}.skip.weight" in p
        gain = np.sqrt(0.5) if residual else 1.0
        y = _activated(_convolved(p, f"{block}.conv0", x, padding=1), clamp)
        y = _convolved(p, f"{block}.conv1", filtered(y, _fir(p), (2, 2)), stride=2)
        y = _activated(y, clamp, gain)
        if residual:
            x = filtered(x, _fir(p), (1, 1))[:, :, ::2, ::2]
            y = y + _limited(correlate(x, p[f"{block}.skip.weight"]) * gain, clamp, gain)
        x = y.astype(image.dtype)
        if skips:
            image = filtered(image, _fir(p), (1, 1))[:, :, ::2, ::2]
            x = x + _activated(_convolved(p, f"b{resolution // 2}.fromrgb", image), clamp)
    extra = p["b4.conv.weight"].shape[1] - x.shape[1]
    x = with_group_deviation(x, group_size, maps=extra) if extra else x
    x = _activated(_convolved(p, "b4.conv", x, padding=1), clamp)
    x = leaky_relu(x.reshape(len(x), -1) @ p["b4.fc.weight"].T + p["b4.fc.bias"])
    logits: NDArray = x @ p["b4.out.weight"].T + p["b4.out.bias"]
    if label is None:
        return logits
    projected: NDArray = (logits * latents(p, None, label)).sum(axis=1, keepdims=True) / np.sqrt(logits.shape[1])
    return projected


def _activated(x: NDArray, clamp: float | None, gain: float = 1.0) -> NDArray:
    return _limited(leaky_relu(x, SQRT2 * gain), clamp, gain)


class _Layer:
    """The layers of a synthesis network, with what they have in common."""

    def __init__(self, p: Parameters, noise: Mapping[str, NDArray], clamp: float | None, form: Form) -> None:
        self.p, self.noise, self.clamp, self.form = p, noise, clamp, form

    def styled(self, layer: str, x: NDArray, w: NDArray, *, upsample: bool = False, gain: float = 1.0) -> NDArray:
        x = self._modulated(layer, x, w, upsample=upsample)
        if f"{layer}.noise_strength" in self.p and layer in self.noise:
            strength = self.p[f"{layer}.noise_strength"]
            x = x + strength.reshape(-1, 1, 1) * self.noise[layer]
        return self._activated(x + self._bias(layer), self.form.gain * gain, gain)

    def colour(self, layer: str, x: NDArray, w: NDArray) -> NDArray:
        colour = self._modulated(layer, x, w, demodulate=False)
        if f"{layer}.bias" in self.p:
            colour = colour + self._bias(layer)
        if self.form.colour_activated:
            return self._activated(colour, self.form.gain, 1.0)
        return _limited(colour, self.clamp)

    def _activated(self, x: NDArray, gain: float, clamp_gain: float) -> NDArray:
        return _limited(leaky_relu(x, gain), self.clamp, clamp_gain)

    def _modulated(
        self, layer: str, x: NDArray, w: NDArray, *, demodulate: bool = True, upsample: bool = False
    ) -> NDArray:
        weight = self.p[f"{layer}.weight"]
        styles = w @ self.p[f"{layer}.style.weight"].T + self.p[f"{layer}.style.bias"]
        images = []
        for sample, style in zip(x, styles, strict=True):
            kernel = weight * style[:, None, None]
            if demodulate:
                power = np.square(kernel).sum(axis=(1, 2, 3), keepdims=True)
                kernel = kernel / np.sqrt(power + DEMODULATION_EPS)
            images.append(self._applied(sample[None], kernel, upsample))
        return np.concatenate(images)

    def _applied(self, x: NDArray, kernel: NDArray, upsample: bool) -> NDArray:
        how = self.form.features
        if upsample and how == "fir":
            return filtered(correlate_spread(x, kernel), _fir(self.p), (1, 1), gain=4.0)
        x = doubled(x, how, _fir(self.p), _smooth(self.p)) if upsample else x
        return correlate(x, kernel, padding=kernel.shape[2] // 2)

    def _bias(self, layer: str) -> NDArray:
        bias: NDArray = self.p[f"{layer}.bias"]
        return bias[:, None, None]


def _convolved(p: Parameters, layer: str, x: NDArray, *, stride: int = 1, padding: int = 0) -> NDArray:
    out: NDArray = (
        correlate(x, p[f"{layer}.weight"], stride=stride, padding=padding) + p[f"{layer}.bias"][:, None, None]
    )
    return out


def _limited(x: NDArray, clamp: float | None, gain: float = 1.0) -> NDArray:
    return x if clamp is None else np.clip(x, -clamp * gain, clamp * gain)


def _fir(p: Parameters) -> NDArray:
    return p.get("fir", FIR)


def _smooth(p: Parameters) -> NDArray:
    return p.get("smooth", SMOOTH)
