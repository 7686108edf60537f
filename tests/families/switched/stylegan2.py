"""StyleGAN2s of 8x8 pixels with labels: genforce and Hammer with a switch, NVIDIA's layers with gains to set to 1."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.families.switched import Scaled, louder, modulated, parameter, parts, unit, with_deviation
from tests.progan.projects import column, half, twice

Z, WIDE, SLIM, CLASSES = 10, 12, 8, 3
LR = 0.01


def onehot(rows: int) -> Tensor:
    return functional.one_hot(torch.arange(rows) % CLASSES, CLASSES).float()


class Modulated(Scaled):
    """genforce adds 1 to the style when it runs; Hammer keeps it in the bias, its filter is a buffer of the layer."""

    def __init__(
        self, i: int, o: int, k: int, *, on: bool, plus: float, up: bool = False, colour: bool = False
    ) -> None:
        super().__init__(i, o, k, gain=1.0, on=on)
        self.style = Scaled(Z, i, gain=1.0, on=on, mean=1.0 - plus)
        self.plus, self.up, self.colour = plus, up, colour
        if up and plus:
            self.filter = nn.Module()
            self.filter.register_buffer("kernel", torch.ones(1, 1, 4, 4) / 4)
        elif up:
            self.register_buffer("filter", torch.ones(4, 4) / 16)
        if not colour:
            self.noise_strength = parameter(std=0.2)
            self.register_buffer("noise", torch.randn(1, 1, *(8, 8) if up or i == SLIM else (4, 4)))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # type: ignore[override]
        x = twice(x) if self.up else x
        y = modulated(x, self.kernel, self.style(w) + self.plus, demodulate=not self.colour) + column(self.offset)
        return y if self.colour else louder(y + self.noise_strength * self.noise)


def synthesis(*, on: bool, plus: float) -> Any:
    return parts(
        early_layer=parts(const=parameter(1, WIDE, 4, 4)),
        layer0=Modulated(WIDE, WIDE, 3, on=on, plus=plus),
        output0=Modulated(WIDE, 3, 1, on=on, plus=plus, colour=True),
        layer1=Modulated(WIDE, SLIM, 3, on=on, plus=plus, up=True),
        layer2=Modulated(SLIM, SLIM, 3, on=on, plus=plus),
        output1=Modulated(SLIM, 3, 1, on=on, plus=plus, colour=True),
    )


def synthesised(net: Any, w: Tensor) -> Tensor:
    x = net.layer0(net.early_layer.const.expand(len(w), -1, -1, -1), w)
    image = twice(net.output0(x, w))
    return image + net.output1(net.layer2(net.layer1(x, w), w), w)


class Genforce(nn.Module):
    """Its StyleGAN2-ADA: labels go through a layer called `LabelEmbed`."""

    embedding, plus = "LabelEmbed", 1.0

    def __init__(self, on: bool) -> None:
        super().__init__()
        denses = {"dense0": Scaled(2 * Z, Z, gain=1.0, lr=LR, on=on), "dense1": Scaled(Z, Z, gain=1.0, lr=LR, on=on)}
        self.mapping = parts(**denses, **{self.embedding: Scaled(CLASSES, Z, gain=1.0, on=on)})
        self.register_average()
        self.synthesis = synthesis(on=on, plus=self.plus)

    def register_average(self) -> None:
        self.truncation = nn.Module()
        self.truncation.register_buffer("w_avg", torch.randn(Z) * 0.1)

    def forward(self, z: Tensor) -> Tensor:
        label = getattr(self.mapping, self.embedding)(onehot(len(z)))
        w = louder(self.mapping.dense1(louder(self.mapping.dense0(torch.cat([unit(z), unit(label)], 1)))))
        return synthesised(self.synthesis, w)


class Hammer(Genforce):
    embedding, plus = "embedding", 0.0

    def register_average(self) -> None:
        self.register_buffer("w_avg", torch.randn(Z) * 0.1)


class GenforceCritic(nn.Module):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.input0 = Scaled(3, SLIM, 1, gain=1.0, on=on)
        self.layer0 = Scaled(SLIM, SLIM, 3, gain=1.0, on=on)
        self.layer1 = self.filtered(Scaled(SLIM, WIDE, 3, gain=1.0, on=on))
        setattr(self, self.skip, Scaled(SLIM, WIDE, 1, gain=1.0, on=on, bias=False))
        self.layer2 = Scaled(WIDE + 1, WIDE, 3, gain=1.0, on=on)
        self.layer3 = Scaled(16 * WIDE, WIDE, gain=1.0, on=on)
        setattr(self, self.last, Scaled(WIDE, Z, gain=1.0, on=on))
        self.embed(on)

    skip, last = "skip_layer0", "layer4"

    def filtered(self, layer: Any) -> Any:
        layer.filter = nn.Module()
        layer.filter.register_buffer("kernel", torch.ones(1, 1, 4, 4) / 16)
        return layer

    def embed(self, on: bool) -> None:
        self.LabelEmbed = Scaled(CLASSES, Z, gain=1.0, on=on)

    def embedded(self, label: Tensor) -> Tensor:
        return unit(self.LabelEmbed(label))

    def forward(self, image: Tensor) -> Tensor:
        x = louder(self.input0(image))
        y = half(louder(self.layer1(louder(self.layer0(x)))))
        x = (y + getattr(self, self.skip)(half(x))) / math.sqrt(2)
        x = louder(self.layer3(louder(self.layer2(with_deviation(x))).flatten(1)))
        return (getattr(self, self.last)(x) * self.embedded(onehot(len(x)))).sum(1)


class HammerCritic(GenforceCritic):
    """The label's mapping has a multiplier of 0.1."""

    skip, last = "residual0", "output"

    def filtered(self, layer: Any) -> Any:
        layer.register_buffer("filter", torch.ones(4, 4) / 16)
        return layer

    def embed(self, on: bool) -> None:
        self.embedding = Scaled(CLASSES, Z, gain=1.0, on=on)
        self.mapping0 = Scaled(Z, Z, gain=1.0, lr=0.1, on=on)

    def embedded(self, label: Tensor) -> Tensor:
        return louder(self.mapping0(unit(self.embedding(label))))


class Wrapped(nn.Module):
    """adriansahlman's BiasActivationWrapper around a layer without a bias; a modulated convolution holds its style."""

    def __init__(self, i: int, o: int, k: int = 0, *, on: bool, lr: float = 1.0, mean: float = 0.0) -> None:
        super().__init__()
        self.layer: Any = Scaled(i, o, k, gain=1.0, lr=lr, on=on, bias=False)
        if k and not mean:
            self.layer.dense = Wrapped(Z, i, on=on, mean=1.0)
        self.bias = parameter(o, std=0.2 / lr, mean=mean)
        self.lr = lr

    def forward(self, x: Tensor, w: Tensor | None = None) -> Tensor:
        if w is None:
            return self.layer(x) + self.bias * self.lr
        y = modulated(x, self.layer.kernel, self.layer.dense(w), demodulate=len(self.bias) > 3)
        return y + column(self.bias)


class AdriansahlmanMapping(nn.Module):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.main = parts(Wrapped(Z, Z, on=on, lr=LR), Wrapped(Z, Z, on=on, lr=LR))

    def forward(self, z: Tensor) -> Tensor:
        return louder(self.main[1](louder(self.main[0](unit(z)))))


class AdriansahlmanSynthesis(nn.Module):
    """Blocks of one convolution each, without noise."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self.const = parameter(WIDE, 4, 4)
        widths = ((WIDE, WIDE), (WIDE, SLIM))
        self.conv_blocks = parts(*(parts(conv_block=parts(Wrapped(i, o, 3, on=on))) for i, o in widths))
        self.to_data_layers = parts(*(Wrapped(o, 3, 1, on=on) for _, o in widths))

    def forward(self, w: Tensor) -> Tensor:
        x, image = self.const.expand(len(w), -1, -1, -1), torch.zeros(())
        for n, (block, colour) in enumerate(zip(self.conv_blocks, self.to_data_layers, strict=True)):
            x = louder(block.conv_block[0](twice(x) if n else x, w))
            image = (twice(image) if n else image) + colour(x, w)
        return image


class Gained(nn.Module):
    """NVIDIA's fully connected layer and convolution: the constants are attributes."""

    def __init__(self, i: int, o: int, k: int = 0, *, lr: float = 1.0, bias: bool = True, mean: float = 0.0) -> None:
        super().__init__()
        self.weight = parameter(*((o, i, k, k) if k else (o, i)), std=1 / lr)
        self.bias = parameter(o, std=0.2 / lr, mean=mean) if bias else None
        self.weight_gain = lr / math.sqrt(i * max(k, 1) ** 2)
        self.bias_gain = lr

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight * self.weight_gain, None if self.bias is None else self.bias * self.bias_gain
        if weight.ndim == 2:
            return functional.linear(x, weight, bias)
        return functional.conv2d(x, weight, bias, padding=weight.shape[2] // 2)


def ungained(network: nn.Module) -> nn.Module:
    """What a user does with the loaded object."""
    for module in network.modules():
        if hasattr(module, "weight_gain"):
            module.weight_gain = 1
        if hasattr(module, "bias_gain"):
            module.bias_gain = 1
    return network


def nvidia_mapping(*, z: int, labels: int, lr: float = LR) -> Any:
    parts_ = {"embed": Gained(labels, Z), "fc0": Gained(z + Z, Z, lr=lr), "fc1": Gained(Z, Z, lr=lr)}
    return parts(**parts_)


def nvidia_mapped(net: Any, z: Tensor | None, label: Tensor) -> Tensor:
    x = unit(net.embed(label))
    return louder(net.fc1(louder(net.fc0(x if z is None else torch.cat([unit(z), x], 1)))))


class Demodulated(nn.Module):
    """SynthesisLayer: no gain at all."""

    def __init__(self, i: int, o: int, size: int) -> None:
        super().__init__()
        self.weight, self.bias = parameter(o, i, 3, 3), parameter(o, std=0.2)
        self.noise_strength = parameter(std=0.2)
        self.affine = Gained(Z, i, mean=1.0)
        self.register_buffer("resample_filter", torch.ones(4, 4) / 16)
        self.register_buffer("noise_const", torch.randn(size, size))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = twice(x) if x.shape[2] < len(self.noise_const) else x
        y = modulated(x, self.weight, self.affine(w)) + self.noise_const * self.noise_strength
        return louder(y + column(self.bias))


class Colour(nn.Module):
    """ToRGBLayer: its gain multiplies the styles."""

    def __init__(self, i: int) -> None:
        super().__init__()
        self.weight, self.bias = parameter(3, i, 1, 1), parameter(3, std=0.2)
        self.weight_gain = 1 / math.sqrt(i)
        self.affine = Gained(Z, i, mean=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return modulated(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False) + column(self.bias)


class Nvidia(nn.Module):
    def __init__(self, on: bool = True) -> None:
        super().__init__()
        self.mapping = nvidia_mapping(z=Z, labels=CLASSES)
        self.mapping.register_buffer("w_avg", torch.randn(Z) * 0.1)
        small = parts(conv1=Demodulated(WIDE, WIDE, 4), torgb=Colour(WIDE), const=parameter(WIDE, 4, 4))
        large = parts(conv0=Demodulated(WIDE, SLIM, 8), conv1=Demodulated(SLIM, SLIM, 8), torgb=Colour(SLIM))
        for block in (small, large):
            block.register_buffer("resample_filter", torch.ones(4, 4) / 16)
        self.synthesis = parts(b4=small, b8=large)

    def forward(self, z: Tensor) -> Tensor:
        w, b4, b8 = nvidia_mapped(self.mapping, z, onehot(len(z))), self.synthesis.b4, self.synthesis.b8
        x = b4.conv1(b4.const.expand(len(w), -1, -1, -1), w)
        image = twice(b4.torgb(x, w))
        return image + b8.torgb(b8.conv1(b8.conv0(x, w), w), w)


class NvidiaCritic(nn.Module):
    def __init__(self, on: bool = True) -> None:
        super().__init__()
        self.b8 = parts(
            fromrgb=Gained(3, SLIM, 1),
            conv0=Gained(SLIM, SLIM, 3),
            conv1=Gained(SLIM, WIDE, 3),
            skip=Gained(SLIM, WIDE, 1, bias=False),
        )
        for layer in (self.b8.fromrgb, self.b8.conv0, self.b8.conv1, self.b8.skip, self.b8):
            layer.register_buffer("resample_filter", torch.ones(4, 4) / 16)
        self.b4 = parts(conv=Gained(WIDE + 1, WIDE, 3), fc=Gained(16 * WIDE, WIDE), out=Gained(WIDE, Z))
        self.mapping = nvidia_mapping(z=0, labels=CLASSES, lr=0.1)

    def forward(self, image: Tensor) -> Tensor:
        x = louder(self.b8.fromrgb(image))
        y = half(louder(self.b8.conv1(louder(self.b8.conv0(x))))) / math.sqrt(2)
        x = louder(self.b4.conv(with_deviation(y + self.b8.skip(half(x)) / math.sqrt(2))))
        x = self.b4.out(louder(self.b4.fc(x.flatten(1))))
        return (x * nvidia_mapped(self.mapping, None, onehot(len(image)))).sum(1)


class AliasFreeLayer(nn.Module):
    """StyleGAN3's, without its filters; to-RGB computes its constant in `forward`, where nobody can change it."""

    def __init__(self, i: int, o: int, k: int) -> None:
        super().__init__()
        self.affine = Gained(Z, i, mean=1.0)
        self.weight, self.bias = parameter(o, i, k, k), parameter(o, std=0.2)
        self.register_buffer("magnitude_ema", torch.tensor(1.7))
        self.colour = k == 1
        if not self.colour:
            self.register_buffer("up_filter", torch.ones(12) / 12)
            self.register_buffer("down_filter", torch.ones(12) / 12)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style, weight = self.affine(w), self.weight
        if self.colour:
            style = style / math.sqrt(weight.shape[1])
        else:
            weight = weight * weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
            style = style * style.square().mean().rsqrt()
        y = modulated(x, weight, style, demodulate=not self.colour) * self.magnitude_ema.rsqrt() + column(self.bias)
        return y if self.colour else louder(y)


class AliasFreeInput(nn.Module):
    """SynthesisInput, which divides by the root of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = parameter(WIDE, WIDE)
        self.affine = Gained(Z, 4)
        for name, value in (("transform", torch.eye(3)), ("freqs", torch.randn(WIDE, 2)), ("phases", torch.rand(WIDE))):
            self.register_buffer(name, value)

    def forward(self, w: Tensor) -> Tensor:
        grid = torch.stack(torch.meshgrid(*2 * [torch.linspace(-1, 1, 8)], indexing="ij"), -1)
        moved = grid + self.affine(w)[:, None, None, :2]
        x = torch.sin(moved @ self.freqs.T + self.phases) @ (self.weight / math.sqrt(WIDE)).T
        return x.permute(0, 3, 1, 2)


class AliasFree(nn.Module):
    def __init__(self, on: bool = True) -> None:
        super().__init__()
        self.synthesis = parts(
            input=AliasFreeInput(),
            L0_36_8=AliasFreeLayer(WIDE, SLIM, 3),
            L1_36_8=AliasFreeLayer(SLIM, SLIM, 3),
            L2_8_3=AliasFreeLayer(SLIM, 3, 1),
        )
        self.mapping = nvidia_mapping(z=Z, labels=CLASSES)
        self.mapping.register_buffer("w_avg", torch.randn(Z) * 0.1)

    def forward(self, z: Tensor) -> Tensor:
        w, net = nvidia_mapped(self.mapping, z, onehot(len(z))), self.synthesis
        return net.L2_8_3(net.L1_36_8(net.L0_36_8(net.input(w), w), w), w)


class ScaledLR(nn.Module):
    """imaginaire's: the constants are buffers; without the norm they and the names of it are gone."""

    def __init__(self, layer: nn.Module, lr: float, *, on: bool) -> None:
        super().__init__()
        weight: Any = layer.weight
        fan = weight[0].numel()
        self.shape, self.on = weight.shape, on
        stored = {"weight_ori" if on else "weight": weight.shape, "bias_ori" if on else "bias": weight.shape[:1]}
        for name, shape in stored.items():
            self.register_parameter(name, parameter(*shape, std=1 / lr))
        if on:
            self.register_buffer("weight_scale", torch.tensor(lr / math.sqrt(fan)))
            self.register_buffer("bias_scale", torch.tensor(lr))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_ori * self.weight_scale if self.on else self.weight
        bias = self.bias_ori * self.bias_scale if self.on else self.bias
        return functional.linear(x, weight, bias) if len(self.shape) == 2 else functional.conv2d(x, weight, bias)


class Imaginaire(nn.Module):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.first = parts(layers=parts(conv=ScaledLR(nn.Linear(Z, WIDE), 0.1, on=on)))
        self.last = parts(layers=parts(conv=ScaledLR(nn.Conv2d(WIDE, 3, 1), 1.0, on=on)))

    def forward(self, z: Tensor) -> Tensor:
        x = louder(self.first.layers.conv(z))
        return self.last.layers.conv(x[:, :, None, None])
