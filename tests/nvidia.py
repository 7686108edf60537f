"""NVIDIA's StyleGAN2 once more, in torch and from the facts: modules whose state dicts and outputs are the truth.

Nothing here is shared with eqlr_tools: upsampling inserts zeros, weights are modulated per sample, run-time constants
are applied to stored weights. Modules and parameters are registered in the order of NVIDIA's code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SQRT2 = math.sqrt(2.0)


def fir(x: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1.0) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    kernel = torch.outer(taps, taps) / 64 * gain
    n, c, h, w = x.shape
    spread = torch.zeros(n, c, h * up, w * up, dtype=x.dtype)
    spread[:, :, ::up, ::up] = x
    spread = functional.pad(spread, (pad[0], pad[1], pad[0], pad[1]))
    return functional.conv2d(spread, kernel.expand(c, 1, 4, 4), groups=c)[:, :, ::down, ::down]


def lrelu(x: Tensor, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    return limit(functional.leaky_relu(x, 0.2) * SQRT2 * gain, clamp, gain)


def limit(x: Tensor, clamp: float | None, gain: float = 1.0) -> Tensor:
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


class Dense(nn.Module):
    def __init__(self, i: int, o: int, lr: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i) / lr)
        self.bias = nn.Parameter((torch.randn(o) * 0.1 + bias) / (lr if bias == 0 else 1.0))
        self.lr = lr

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.weight * self.lr / math.sqrt(self.weight.shape[1])).T + self.bias * self.lr


class Mapping(nn.Module):
    def __init__(self, z: int, labels: int, w: int, layers: int = 2) -> None:
        super().__init__()
        self.layers, self.psi = layers, 1.0
        if labels:
            self.embed = Dense(labels, w)
        for i in range(layers):
            setattr(self, f"fc{i}", Dense((z + (w if labels else 0)) if i == 0 else w, w, 0.01))
        if z:
            self.register_buffer("w_avg", torch.randn(w) * 0.1)

    def forward(self, z: Tensor | None, label: Tensor | None) -> Tensor:
        parts = [part for part in (z, None if label is None else self.embed(label)) if part is not None]
        x = torch.cat([part * (part.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt() for part in parts], dim=1)
        for i in range(self.layers):
            x = lrelu(getattr(self, f"fc{i}")(x))
        return x if self.psi == 1.0 else self.w_avg + self.psi * (x - self.w_avg)


class Styled(nn.Module):
    def __init__(self, i: int, o: int, w: int, size: int, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i, 3, 3))
        self.noise_strength = nn.Parameter(torch.tensor(0.3))
        self.bias = nn.Parameter(torch.randn(o) * 0.1)
        self.register_buffer("resample_filter", torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2) / 64)
        self.register_buffer("noise_const", torch.randn(size, size))
        self.affine = Dense(w, i, bias=1.0)
        self.up = up

    def forward(self, x: Tensor, w: Tensor, gain: float, clamp: float | None) -> Tensor:
        images = []
        for image, style in zip(x, self.affine(w), strict=True):
            kernel = self.weight * style[:, None, None]
            kernel = kernel * (kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()
            if self.up:
                large = functional.conv_transpose2d(image[None], kernel.transpose(0, 1), stride=2)
                images.append(fir(large, pad=(1, 1), gain=4.0))
            else:
                images.append(functional.conv2d(image[None], kernel, padding=1))
        x = torch.cat(images) + self.noise_const * self.noise_strength + self.bias[:, None, None]
        return lrelu(x, gain, clamp)


class Colour(nn.Module):
    def __init__(self, i: int, channels: int, w: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, i, 1, 1))
        self.bias = nn.Parameter(torch.randn(channels) * 0.1)
        self.affine = Dense(w, i, bias=1.0)

    def forward(self, x: Tensor, w: Tensor, clamp: float | None) -> Tensor:
        styles = self.affine(w) / math.sqrt(self.weight.shape[1])
        pairs = zip(x, styles, strict=True)
        images = torch.cat(
            [functional.conv2d(image[None], self.weight * style[:, None, None]) for image, style in pairs]
        )
        return limit(images + self.bias[:, None, None], clamp)


class Conv(nn.Module):
    """Conv2dLayer: the discriminator's, and the residual branch of a generator."""

    def __init__(self, i: int, o: int, k: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i, k, k))
        if bias:
            self.bias = nn.Parameter(torch.randn(o) * 0.1)
        self.register_buffer("resample_filter", torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2) / 64)

    @property
    def scaled(self) -> Tensor:
        return self.weight / math.sqrt(self.weight[0].numel())


class Generator(nn.Module):
    def __init__(self, widths: dict[int, int], structure: str, *, labels: int = 0, channels: int = 3) -> None:
        super().__init__()
        self.widths, self.structure, self.clamp, self.image_pad = widths, structure, None, (2, 1)
        z, w = 10, 12
        self.synthesis = nn.Module()
        self.mapping = Mapping(z, labels, w)
        for size, width in widths.items():
            block = nn.Module()
            if size == 4:
                block.const = nn.Parameter(torch.randn(width, 4, 4))
            before = widths.get(size // 2, width)
            block.register_buffer("resample_filter", torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2) / 64)
            if size > 4:
                block.conv0 = Styled(before, width, w, size, up=True)
            block.conv1 = Styled(width, width, w, size, up=False)
            if structure == "skip" or size == max(widths):
                block.torgb = Colour(width, channels, w)
            if structure == "resnet" and size > 4:
                block.skip = Conv(before, width, 1, bias=False)
            self.synthesis.add_module(f"b{size}", block)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        w = self.mapping(z, label)
        x = image = None
        for size in self.widths:
            block = getattr(self.synthesis, f"b{size}")
            if size == 4:
                x = block.const.expand(len(z), -1, -1, -1)
            residual = self.structure == "resnet" and size > 4
            gain = math.sqrt(0.5) if residual else 1.0
            beside = fir(functional.conv2d(x, block.skip.scaled), up=2, pad=(2, 1), gain=4.0) if residual else None
            x = block.conv0(x, w, 1.0, self.clamp) if size > 4 else x
            x = block.conv1(x, w, gain, self.clamp)
            x = x if beside is None else limit(beside * gain, self.clamp, gain) + x
            image = None if image is None else fir(image, up=2, pad=self.image_pad, gain=4.0)
            if hasattr(block, "torgb"):
                colour = block.torgb(x, w, self.clamp)
                image = colour if image is None else image + colour
        return image


class Discriminator(nn.Module):
    def __init__(
        self, widths: dict[int, int], structure: str, *, labels: int = 0, channels: int = 3, maps: int = 1, out: int = 6
    ) -> None:
        super().__init__()
        self.widths, self.structure, self.clamp, self.maps = widths, structure, None, maps
        top = max(widths)
        for size in sorted(widths, reverse=True):
            block, width, after = nn.Module(), widths[size], widths.get(size // 2, widths[size])
            if structure == "skip" or size == top:
                block.fromrgb = Conv(channels, width, 1)
            if size > 4:
                block.conv0, block.conv1 = Conv(width, width, 3), Conv(width, after, 3)
                if structure == "resnet":
                    block.skip = Conv(width, after, 1, bias=False)
            else:
                block.conv = Conv(width + maps, width, 3)
                block.fc, block.out = Dense(16 * width, width), Dense(width, out if labels else 1)
                if labels:
                    self.mapping = Mapping(0, labels, out)
            self.add_module(f"b{size}", block)

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        x: Tensor | float = 0.0
        for size in sorted(self.widths, reverse=True):
            block = getattr(self, f"b{size}")
            if hasattr(block, "fromrgb"):
                x = x + self._conv(block.fromrgb, image)
                image = fir(image, down=2, pad=(1, 1)) if self.structure == "skip" else image
            if size == 4:
                break
            gain = math.sqrt(0.5) if self.structure == "resnet" else 1.0
            y = self._conv(block.conv0, x, padding=1)
            y = self._conv(block.conv1, fir(y, pad=(2, 2)), stride=2, gain=gain)
            if self.structure == "resnet":
                y = y + limit(functional.conv2d(fir(x, down=2, pad=(1, 1)), block.skip.scaled) * gain, self.clamp, gain)
            x = y
        x = self._conv(block.conv, self._with_deviation(x), padding=1)
        x = block.out(lrelu(block.fc(x.flatten(1))))
        if label is None:
            return x
        return (x * self.mapping(None, label)).sum(dim=1, keepdim=True) / math.sqrt(x.shape[1])

    def _conv(self, layer: Conv, x: Tensor, *, stride: int = 1, padding: int = 0, gain: float = 1.0) -> Tensor:
        x = functional.conv2d(x, layer.scaled, stride=stride, padding=padding) + layer.bias[:, None, None]
        return lrelu(x, gain, self.clamp)

    def _with_deviation(self, x: Tensor) -> Tensor:
        if not self.maps:
            return x
        n, c, h, w = x.shape
        size = min(4, n)
        y = x.reshape(size, -1, self.maps, c // self.maps, h, w)
        y = ((y - y.mean(dim=0)).square().mean(dim=0) + 1e-8).sqrt().mean(dim=[2, 3, 4])
        return torch.cat([x, y.repeat(size, 1)[:, :, None, None].expand(-1, -1, h, w)], dim=1)
