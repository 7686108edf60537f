"""Small networks of projects whose code has a switch for equalization, written from the facts with the original names.

Each is a module that takes the switch (`on`), so that a file of the equalized one can be baked and loaded strictly into
the plain one. Nothing is shared with eqlr_tools; constants are computed here from channels and kernel sizes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SQRT2 = math.sqrt(2.0)


def parts(*listed: nn.Module, **named: Any) -> Any:
    """A module that only holds others: numbered ones, or named modules and parameters."""
    module: Any = nn.ModuleList(listed) if listed else nn.Module()
    for name, value in named.items():
        setattr(module, name, value)
    return module


def parameter(*shape: int, std: float = 1.0, mean: float = 0.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * std + mean)


class Scaled(nn.Module):
    """A layer whose code multiplies its weight by c * lr and its bias by lr; switched off, both by lr alone.

    `stored` is the shape of a weight that is not stored (out, in, k, k), with `fan` its fan-in.
    """

    def __init__(
        self,
        i: int,
        o: int,
        k: int = 0,
        *,
        on: bool,
        gain: float = SQRT2,
        lr: float = 1.0,
        bias: bool = True,
        mean: float = 0.0,
        stored: tuple[int, ...] = (),
        fan: int = 0,
    ) -> None:
        super().__init__()
        shape = stored or ((o, i, k, k) if k else (o, i))
        self.weight = parameter(*shape, std=1.0 / lr)
        self.bias = parameter(o, std=0.2 / lr, mean=mean) if bias else None
        self.lr = lr
        self.multiplier = lr * (gain / math.sqrt(fan or i * max(k, 1) ** 2) if on else 1.0)

    @property
    def kernel(self) -> Tensor:
        return self.weight * self.multiplier

    @property
    def offset(self) -> Tensor | None:
        return None if self.bias is None else self.bias * self.lr

    def forward(self, x: Tensor, padding: int | None = None) -> Tensor:
        if self.weight.ndim == 2:
            return functional.linear(x, self.kernel, self.offset)
        pad = self.weight.shape[2] // 2 if padding is None else padding
        return functional.conv2d(x, self.kernel, self.offset, padding=pad)


def leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2)


def louder(x: Tensor) -> Tensor:
    return leaky(x) * SQRT2


def unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-8)


def instance(x: Tensor) -> Tensor:
    x = x - x.mean((2, 3), keepdim=True)
    return x * torch.rsqrt((x * x).mean((2, 3), keepdim=True) + 1e-8)


def with_deviation(x: Tensor) -> Tensor:
    """Minibatch standard deviation over the whole batch."""
    figure = torch.sqrt(((x - x.mean(0, keepdim=True)) ** 2).mean(0) + 1e-8).mean()
    return torch.cat([x, figure.expand(len(x), 1, *x.shape[2:])], 1)


def modulated(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True) -> Tensor:
    """StyleGAN2's convolution; weight (out, in, k, k), a style per sample."""
    if demodulate:
        each = weight[None] * style[:, None, :, None, None]
        figure = torch.rsqrt((each * each).sum((2, 3, 4)) + 1e-8)[:, :, None, None]
    out = functional.conv2d(x * style[:, :, None, None], weight, padding=weight.shape[2] // 2)
    return out * figure if demodulate else out
