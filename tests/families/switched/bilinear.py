"""BasicSR's StyleGAN2 with bilinear enlarging, 8x8 pixels: equalized, and in the clean architecture without constants.

The clean one multiplies by the root of two behind its modulated convolutions only: its leaky ReLU has no gain.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.families.switched import SQRT2, Scaled, leaky, louder, modulated, parameter, parts, unit
from tests.progan.projects import column

Z, WIDE, SLIM = 10, 12, 8


def larger(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class ModulatedConv(nn.Module):
    def __init__(self, i: int, o: int, k: int, *, on: bool) -> None:
        super().__init__()
        self.weight = parameter(1, o, i, k, k)
        self.modulation = Scaled(Z, i, gain=1.0, on=on, mean=1.0)
        self.factor = (i * k * k) ** -0.5 if on else 1.0

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        weight = self.weight[0] * self.factor
        return modulated(x, weight, self.modulation(w), demodulate=weight.shape[2] > 1)


class StyleConv(nn.Module):
    """`weight` is the strength of the noise."""

    def __init__(self, i: int, o: int, *, on: bool) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv(i, o, 3, on=on)
        self.weight = parameter(1, std=0.3)
        if on:
            self.activate = parts(bias=parameter(o, std=0.2))
        else:
            self.bias = parameter(1, o, 1, 1)
        self.on = on

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        y = self.modulated_conv(x, w)
        if self.on:
            return louder(y + self.weight * noise + column(self.activate.bias))
        return leaky(y * SQRT2 + self.weight * noise + self.bias)


class Generator(nn.Module):
    """The clean one has an activation between its linear layers, which the equalized ones contain."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        linear = [Scaled(Z, Z, gain=1.0, lr=0.01 if on else 1.0, on=on) for _ in range(2)]
        between: list[Any] = [] if on else [nn.LeakyReLU(0.2)]
        self.style_mlp = nn.Sequential(nn.Identity(), linear[0], *between, linear[1], *between)
        self.constant_input = parts(weight=parameter(1, WIDE, 4, 4))
        self.style_conv1 = StyleConv(WIDE, WIDE, on=on)
        self.to_rgb1 = parts(modulated_conv=ModulatedConv(WIDE, 3, 1, on=on), bias=parameter(1, 3, 1, 1))
        self.style_convs = parts(StyleConv(WIDE, SLIM, on=on), StyleConv(SLIM, SLIM, on=on))
        self.to_rgbs = parts(parts(modulated_conv=ModulatedConv(SLIM, 3, 1, on=on), bias=parameter(1, 3, 1, 1)))
        self.noises = nn.Module()
        for n, size in enumerate((4, 8, 8)):
            self.noises.register_buffer(f"noise{n}", torch.randn(1, 1, size, size))
        self.on = on

    def forward(self, z: Tensor) -> Tensor:
        w = unit(z)
        for layer in self.style_mlp:
            w = louder(layer(w)) if self.on and isinstance(layer, Scaled) else layer(w)
        x = self.style_conv1(self.constant_input.weight.expand(len(w), -1, -1, -1), w, self.noises.noise0)
        image = larger(self.to_rgb1.modulated_conv(x, w) + self.to_rgb1.bias)
        x = self.style_convs[0](larger(x), w, self.noises.noise1)
        x = self.style_convs[1](x, w, self.noises.noise2)
        return image + self.to_rgbs[0].modulated_conv(x, w) + self.to_rgbs[0].bias
