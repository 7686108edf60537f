"""StyleGAN2 as its public code formulates it, in torch, small: what users export, and what `eqlr export a.onnx` mends.

Written from the formulas. Three formulations of a modulated layer are common: weights kept as (1, out, in, k, k) and
multiplied by a constant at every call; weights kept as (out, in, k, k) with the constant on the styles; and without
equalized learning rate, its styles around 0 and kernels kept 5-D to the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 8
FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


class Dense(nn.Module):
    """An equalized linear layer."""

    def __init__(self, into: int, out: int, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, into))
        self.bias = nn.Parameter(torch.full((out,), bias))
        self.scale = 1 / math.sqrt(into)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.scale, self.bias)


def filtered(x: Tensor, channels: int, gain: float, pad: tuple[int, int]) -> Tensor:
    """Every channel through the filter, as a depthwise convolution. torch's old exporter wants their number known."""
    kernel = (FIR * gain)[None, None].repeat(channels, 1, 1, 1)
    return functional.conv2d(functional.pad(x, [*pad, *pad]), kernel, groups=channels)


def spread(x: Tensor) -> Tensor:
    """A zero behind every pixel."""
    batch, channels, height, width = x.shape
    x = functional.pad(x.reshape(batch, channels, height, 1, width, 1), [0, 1, 0, 0, 0, 1])
    return x.reshape(batch, channels, 2 * height, 2 * width)


class FiveDimensional(nn.Module):
    """(1, out, in, k, k), times a constant, times the style; its norm over three axes; reshaped for `groups=batch`."""

    def __init__(self, into: int, out: int, kernel: int, mode: str = "plain", demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out, into, kernel, kernel))
        self.scale = 1 / math.sqrt(into * kernel**2)
        self.style = Dense(WIDTH, into, bias=1.0)
        self.mode, self.demodulate = mode, demodulate
        self.into, self.out = into, out

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        batch, into, height, width = map(int, x.shape)
        out, kernel = self.out, int(self.weight.shape[-1])
        style = self.style(w).view(batch, 1, into, 1, 1)
        weight = self.scale * self.weight * style
        if self.demodulate:
            norm = torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8)
            weight = weight * norm.view(batch, out, 1, 1, 1)
        weight = weight.view(batch * out, into, kernel, kernel)
        if self.mode == "up":
            x = x.view(1, batch * into, height, width)
            weight = weight.view(batch, out, into, kernel, kernel).transpose(1, 2)
            weight = weight.reshape(batch * into, out, kernel, kernel)
            y = functional.conv_transpose2d(x, weight, padding=0, stride=2, groups=batch)
            return filtered(y.view(batch, out, y.shape[2], y.shape[3]), self.out, 4.0, (1, 1))
        if self.mode == "down":
            x = filtered(x, self.into, 1.0, (2, 2))
            height, width = map(int, x.shape[2:])
            y = functional.conv2d(x.view(1, batch * into, height, width), weight, stride=2, groups=batch)
        else:
            y = functional.conv2d(x.view(1, batch * into, height, width), weight, padding=kernel // 2, groups=batch)
        return y.view(batch, out, y.shape[2], y.shape[3])


class FourDimensional(FiveDimensional):
    """(out, in, k, k), the norm by `square().sum`, the batch's kernels made by `reshape` of -1."""

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        batch = int(x.shape[0])
        style = self.style(w) * self.scale
        weight = self.weight[0].unsqueeze(0) * style.reshape(batch, 1, -1, 1, 1)
        if self.demodulate:
            norm = (weight.square().sum(dim=[2, 3, 4]) + 1e-8).rsqrt()
            weight = weight * norm.reshape(batch, -1, 1, 1, 1)
        x = x.reshape(1, -1, *map(int, x.shape[2:]))
        out, kernel = self.out, int(self.weight.shape[-1])
        if self.mode == "up":
            turned = weight.transpose(1, 2).reshape(batch * self.into, out, kernel, kernel).flip([2, 3])
            y = functional.conv_transpose2d(x, turned, stride=2, groups=batch)
            return filtered(y.reshape(batch, -1, *map(int, y.shape[2:])), self.out, 4.0, (1, 1))
        y = functional.conv2d(
            x, weight.reshape(batch * out, self.into, kernel, kernel), padding=kernel // 2, groups=batch
        )
        return y.reshape(batch, -1, *map(int, y.shape[2:]))


class Around0(FiveDimensional):
    """weight * (style + 1), the norm kept 5-D, the size doubled by interpolation before the convolution."""

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        if self.mode == "up":
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        batch, _, height, width = x.shape
        weight = self.weight * self.scale * (self.style(w)[:, None, :, None, None] + 1)
        if self.demodulate:
            weight = weight * torch.rsqrt((weight**2).sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
        x = x.reshape(1, -1, height, width)
        _, out, *rest = weight.shape
        weight = weight.reshape(batch * out, *rest)
        y = functional.conv2d(x, weight, padding=rest[-1] // 2, groups=batch)
        return y.reshape(-1, out, height, width)


class Generator(nn.Module):
    """A mapping of two layers, and blocks of 4 and 8 pixels with skip connections."""

    def __init__(self, layer: Callable[..., nn.Module] = FiveDimensional, widths: tuple[int, ...] = (8, 6)) -> None:
        super().__init__()
        self.mapping = nn.ModuleList(Dense(WIDTH, WIDTH) for _ in range(2))
        self.const = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.first = layer(widths[0], widths[0], 3)
        pairs = list(pairwise(widths))
        self.up = nn.ModuleList(layer(a, b, 3, "up") for a, b in pairs)
        self.flat = nn.ModuleList(layer(b, b, 3) for _, b in pairs)
        self.colour = nn.ModuleList(layer(b, 3, 1, demodulate=False) for b in widths)
        sizes = [8 << number for number in range(len(pairs)) for _ in range(2)]
        self.noise = nn.ParameterList([torch.randn(1, 1, 4, 4), *(torch.randn(1, 1, size, size) for size in sizes)])

    def forward(self, z: Tensor) -> Tensor:
        w = z * torch.rsqrt(z.pow(2).mean(1, keepdim=True) + 1e-8)
        for dense in self.mapping:
            w = functional.leaky_relu(dense(w), 0.2) * math.sqrt(2)
        x = self._activated(self.first(self.const.repeat(z.shape[0], 1, 1, 1), w), 0)
        image = self.colour[0](x, w)
        for number, (up, flat) in enumerate(zip(self.up, self.flat, strict=True)):
            x = self._activated(up(x, w), 2 * number + 1)
            x = self._activated(flat(x, w), 2 * number + 2)
            image = filtered(spread(image), 3, 4.0, (2, 1)) + self.colour[number + 1](x, w)
        return image

    def _activated(self, x: Tensor, number: int) -> Tensor:
        return functional.leaky_relu(x + 0.1 * self.noise[number], 0.2) * math.sqrt(2)
