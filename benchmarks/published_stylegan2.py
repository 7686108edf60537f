"""StyleGAN2's synthesis network as its papers and public code formulate it, in torch: what `export.py` compares with.

Stored weights times a constant at run time, a kernel per sample, one grouped convolution per batch, the norm of the
modulated kernels, and upsampling by zeros between the pixels and a filter. Written from the formulas.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


class ModulatedConv(nn.Module):
    """Convolution with weights of each sample's own; `up` doubles the size, `demodulate` divides by the norm."""

    def __init__(self, weight: NDArray, style: tuple[NDArray, NDArray], *, up: bool, demodulate: bool) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(math.prod(weight.shape[1:]))
        self.style_scale = 1 / math.sqrt(style[0].shape[1])
        self.weight = _parameter(weight[None] / self.scale)
        self.style_weight = _parameter(style[0] / self.style_scale)
        self.style_bias = _parameter(style[1])
        self.up, self.demodulate = up, demodulate
        self.register_buffer("fir", torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2) / 64)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        style = functional.linear(w, self.style_weight * self.style_scale, self.style_bias)
        weight = self.scale * self.weight * style[:, None, :, None, None]
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum([2, 3, 4]) + 1e-8)[:, :, None, None, None]
        out, kernel = weight.shape[1], weight.shape[-1]
        x = x.reshape(1, batch * channels, height, width)
        if not self.up:
            weight = weight.reshape(batch * out, channels, kernel, kernel)
            y = functional.conv2d(x, weight, padding=kernel // 2, groups=batch)
            return y.reshape(batch, out, height, width)
        weight = weight.flip([3, 4]).transpose(1, 2).reshape(batch * channels, out, kernel, kernel)
        y = functional.conv_transpose2d(x, weight, stride=2, groups=batch)
        return filtered(y.reshape(batch, out, 2 * height + 1, 2 * width + 1), self.fir * 4, (1, 1))


class Layer(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU times sqrt(2), clamp."""

    def __init__(self, p: dict[str, NDArray], name: str, *, up: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(p[f"{name}.weight"], _style(p, name), up=up, demodulate=True)
        self.bias = _parameter(p[f"{name}.bias"])
        self.strength = _parameter(p[f"{name}.noise_strength"])
        self.register_buffer("noise", _tensor(p[f"{name}.noise"]))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.conv(x, w) + self.strength * self.noise
        x = functional.leaky_relu(x + self.bias[:, None, None], 0.2) * math.sqrt(2)
        return x.clamp(-256, 256)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation."""

    def __init__(self, p: dict[str, NDArray], name: str) -> None:
        super().__init__()
        self.conv = ModulatedConv(p[f"{name}.weight"], _style(p, name), up=False, demodulate=False)
        self.bias = _parameter(p[f"{name}.bias"])

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return (self.conv(x, w) + self.bias[:, None, None]).clamp(-256, 256)


class Synthesis(nn.Module):
    """w to image."""

    def __init__(self, p: dict[str, NDArray], sizes: list[int]) -> None:
        super().__init__()
        self.const = _parameter(p["synthesis.const"])
        self.first = Layer(p, "synthesis.b4.conv1", up=False)
        self.first_colour = ToRGB(p, "synthesis.b4.torgb")
        blocks = [f"synthesis.b{size}" for size in sizes[1:]]
        self.up = nn.ModuleList(Layer(p, f"{block}.conv0", up=True) for block in blocks)
        self.flat = nn.ModuleList(Layer(p, f"{block}.conv1", up=False) for block in blocks)
        self.colour = nn.ModuleList(ToRGB(p, f"{block}.torgb") for block in blocks)
        self.register_buffer("fir", torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2) / 64)

    def forward(self, w: Tensor) -> Tensor:
        x = self.first(self.const.expand(w.shape[0], -1, -1, -1), w)
        image = self.first_colour(x, w)
        for up, flat, colour in zip(self.up, self.flat, self.colour, strict=True):
            x = flat(up(x, w), w)
            image = filtered(with_zeros(image), self.fir * 4, (2, 1)) + colour(x, w)
        return image


def with_zeros(x: Tensor) -> Tensor:
    """A zero behind every pixel, in both directions."""
    batch, channels, height, width = x.shape
    x = functional.pad(x.reshape(batch, channels, height, 1, width, 1), [0, 1, 0, 0, 0, 1])
    return x.reshape(batch, channels, 2 * height, 2 * width)


def filtered(x: Tensor, fir: Tensor, padding: tuple[int, int]) -> Tensor:
    """Every channel through the filter."""
    channels = x.shape[1]
    kernel = fir.flip([0, 1])[None, None].repeat(channels, 1, 1, 1)
    return functional.conv2d(functional.pad(x, padding * 2), kernel, groups=channels)


def _style(p: dict[str, NDArray], name: str) -> tuple[NDArray, NDArray]:
    return p[f"{name}.style.weight"], p[f"{name}.style.bias"]


def _tensor(values: NDArray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _parameter(values: NDArray) -> nn.Parameter:
    return nn.Parameter(_tensor(values), requires_grad=False)
