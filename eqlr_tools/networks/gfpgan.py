"""GFPGAN (Wang et al., 2021): a U-Net whose features modulate a StyleGAN2 decoder. Canonical names and conventions.

The names are those of the clean architecture; every tensor is effective, as in `stylegan2.py`. The clean architecture
itself keeps sqrt(2) elsewhere, so its *values* are not canonical (`families/gfpgan_names.py` has the factors).

    conv_body_first, final_conv              .weight, .bias
    conv_body_down.{i}, conv_body_up.{i}     .conv1.weight, .conv1.bias, .conv2.weight, .conv2.bias, .skip.weight
    toRGB.{i}, final_linear                  .weight, .bias
    condition_scale.{i}.0, .2                .weight, .bias; condition_shift alike
    stylegan_decoder.                        style_mlp.{1, 3, ...}, constant_input, style_conv1, style_convs.{n},
                                             to_rgb1, to_rgbs.{i}, noises.noise{n}

Conventions: leaky ReLU times sqrt(2) behind every convolution but skip, toRGB and the second of a condition; blocks
divide the sum of both branches by sqrt(2). There are two ways to resample, with the same names and shapes: bilinear
(the clean architecture and the "bilinear" one it was made for) and StyleGAN2's FIR filter (the first GFPGANv1). The
files do not say which, and a network computes something else with the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from eqlr_tools.networks.arrays import correlate, filtered, halved, insert_zeros, interpolated, leaky_relu, pad
from eqlr_tools.networks.stylegan2 import DEMODULATION_EPS, FIR, Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

Resampling = Literal["bilinear", "fir"]
_DECODER = "stylegan_decoder."


def restore(p: Parameters, image: NDArray, *, resampling: Resampling = "bilinear", sft_half: bool = True) -> NDArray:
    """The restored faces. The final linear layer gives a latent for every layer of the decoder."""
    levels = sum(name.startswith("conv_body_down.") and name.endswith(".skip.weight") for name in p)
    x = leaky_relu(_conv(p, "conv_body_first", image))
    skips: list[NDArray] = []
    for i in range(levels):
        x = _block(p, f"conv_body_down.{i}", x, "down", resampling)
        skips.insert(0, x)
    x = leaky_relu(_conv(p, "final_conv", x))
    latents = x.reshape(len(x), -1) @ p["final_linear.weight"].T + p["final_linear.bias"]
    width = p[f"{_DECODER}style_conv1.modulated_conv.modulation.weight"].shape[1]
    conditions = []
    for i in range(levels):
        x = _block(p, f"conv_body_up.{i}", x + skips[i], "up", "bilinear")
        for kind in ("condition_scale", "condition_shift"):
            conditions.append(_conv(p, f"{kind}.{i}.2", leaky_relu(_conv(p, f"{kind}.{i}.0", x))))
    return decode(p, latents.reshape(len(x), -1, width), conditions, resampling=resampling, sft_half=sft_half)


def decode(
    p: Parameters, latents: NDArray, conditions: list[NDArray], *, resampling: Resampling, sft_half: bool
) -> NDArray:
    """The decoder: a latent per layer, and (scale, shift) pairs for the first of the two convolutions of a size."""
    constant = p[f"{_DECODER}constant_input.weight"]
    x = np.broadcast_to(constant, (len(latents), *constant.shape)).astype(latents.dtype)
    x = _styled(p, "style_conv1", 0, x, latents[:, 0])
    image: NDArray = _modulated(p, "to_rgb1", x, latents[:, 1], demodulate=False) + _bias(p, "to_rgb1")
    blocks = sum(name.startswith(f"{_DECODER}to_rgbs.") and name.endswith("modulated_conv.weight") for name in p)
    for i in range(blocks):
        first, second = 2 * i, 2 * i + 1
        x = _styled(p, f"style_convs.{first}", first + 1, x, latents[:, first + 1], up=resampling)
        if first + 1 < len(conditions):
            x = _conditioned(x, conditions[first], conditions[second], sft_half)
        x = _styled(p, f"style_convs.{second}", second + 1, x, latents[:, second + 1])
        colour = _modulated(p, f"to_rgbs.{i}", x, latents[:, second + 2], demodulate=False)
        image = _upsampled(image, resampling) + (colour + _bias(p, f"to_rgbs.{i}"))
    return image


def _conditioned(x: NDArray, scale: NDArray, shift: NDArray, half: bool) -> NDArray:
    if not half:
        whole: NDArray = x * scale + shift
        return whole
    split = x.shape[1] // 2
    return np.concatenate([x[:, :split], x[:, split:] * scale + shift], axis=1)


def _block(p: Parameters, name: str, x: NDArray, way: Literal["up", "down"], resampling: Resampling) -> NDArray:
    y = leaky_relu(_conv(p, f"{name}.conv1", x))
    skip = p[f"{name}.skip.weight"]
    if way == "down" and resampling == "fir":
        y = correlate(filtered(y, FIR, (2, 2)), p[f"{name}.conv2.weight"], stride=2)
        y = y + p[f"{name}.conv2.bias"][:, None, None]
        x = correlate(filtered(x, FIR, (1, 1)), skip, stride=2)
    else:
        resized = halved if way == "down" else interpolated
        y, x = _conv(p, f"{name}.conv2", resized(y)), correlate(resized(x), skip)
    total: NDArray = (leaky_relu(y) + x) * np.sqrt(0.5)
    return total


def _conv(p: Parameters, layer: str, x: NDArray) -> NDArray:
    weight = p[f"{layer}.weight"]
    out: NDArray = correlate(x, weight, padding=weight.shape[2] // 2) + p[f"{layer}.bias"][:, None, None]
    return out


def _styled(p: Parameters, layer: str, number: int, x: NDArray, w: NDArray, *, up: Resampling | None = None) -> NDArray:
    x = _modulated(p, layer, x, w, up=up)
    x = x + p[f"{_DECODER}{layer}.weight"] * p[f"{_DECODER}noises.noise{number}"]
    return leaky_relu(x + _bias(p, layer))


def _modulated(
    p: Parameters, layer: str, x: NDArray, w: NDArray, *, demodulate: bool = True, up: Resampling | None = None
) -> NDArray:
    conv = f"{_DECODER}{layer}.modulated_conv"
    styles = w @ p[f"{conv}.modulation.weight"].T + p[f"{conv}.modulation.bias"]
    images = []
    for sample, style in zip(x, styles, strict=True):
        kernel = p[f"{conv}.weight"] * style[:, None, None]
        if demodulate:
            kernel = kernel / np.sqrt(np.square(kernel).sum(axis=(1, 2, 3), keepdims=True) + DEMODULATION_EPS)
        if up == "fir":
            spread = pad(insert_zeros(sample[None])[:, :, :-1, :-1], (2, 2))
            images.append(filtered(correlate(spread, kernel[:, :, ::-1, ::-1]), FIR, (1, 1), gain=4.0))
        else:
            seen = interpolated(sample[None]) if up else sample[None]
            images.append(correlate(seen, kernel, padding=kernel.shape[2] // 2))
    return np.concatenate(images)


def _bias(p: Parameters, layer: str) -> NDArray:
    bias: NDArray = p[f"{_DECODER}{layer}.bias"]
    return bias[:, None, None]


def _upsampled(image: NDArray, resampling: Resampling) -> NDArray:
    return interpolated(image) if resampling == "bilinear" else filtered(insert_zeros(image), FIR, (2, 1), gain=4.0)
