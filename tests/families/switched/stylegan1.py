"""StyleGAN1s of 8x8 pixels: huangzh13, lernapparat, PULSE's synthesis, genforce."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.families.switched import Scaled, instance, leaky, parameter, parts, unit, with_deviation
from tests.progan.projects import column, half, twice

Z, WIDE, SLIM, CLASSES = 10, 12, 8, 3
LR = 0.01


def field(x: Tensor) -> Tensor:
    """The noise of these tests: the same at every call."""
    return torch.linspace(-1, 1, x.shape[2] * x.shape[3]).reshape(1, 1, *x.shape[2:])


class Epilogue(nn.Module):
    """Noise, activation, instance norm, style. PULSE keeps its noise outside of `top_epi`."""

    def __init__(self, channels: int, *, on: bool, outside: bool = False) -> None:
        super().__init__()
        noise = parts(weight=parameter(channels, std=0.3))
        if outside:
            self.noise = noise
        else:
            self.top_epi = parts(noise=noise)
        self.style_mod = parts(lin=Scaled(Z, 2 * channels, gain=1.0, on=on))
        self.outside = outside

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        noise = self.noise if self.outside else self.top_epi.noise
        x = instance(leaky(x + column(noise.weight) * field(x)))
        gamma, beta = self.style_mod.lin(w).reshape(len(w), 2, -1, 1, 1).unbind(1)
        return x * (gamma + 1) + beta


def mapping(*, on: bool, layers: int = 3) -> Any:
    return parts(**{f"dense{n}": Scaled(Z, Z, lr=LR, on=on) for n in range(layers)})


def mapped(denses: Any, z: Tensor) -> Tensor:
    for dense in denses.children():
        z = leaky(dense(z))
    return z


def first_block(*, on: bool, outside: bool = False) -> Any:
    return parts(
        const=parameter(1, WIDE, 4, 4),
        bias=parameter(WIDE),
        epi1=Epilogue(WIDE, on=on, outside=outside),
        conv=Scaled(WIDE, WIDE, 3, on=on),
        epi2=Epilogue(WIDE, on=on, outside=outside),
    )


def next_block(*, on: bool, outside: bool = False) -> Any:
    return parts(
        conv0_up=Scaled(WIDE, SLIM, 3, on=on),
        epi1=Epilogue(SLIM, on=on, outside=outside),
        conv1=Scaled(SLIM, SLIM, 3, on=on),
        epi2=Epilogue(SLIM, on=on, outside=outside),
    )


def features(first: Any, second: Any, w: Tensor) -> tuple[Tensor, Tensor]:
    x = first.epi1(first.const.expand(len(w), -1, -1, -1) + column(first.bias), w)
    x = first.epi2(first.conv(x), w)
    y = second.epi1(second.conv0_up(twice(x)), w)
    return x, second.epi2(second.conv1(y), w)


class Huangzh13(nn.Module):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.g_mapping = parts(map=mapping(on=on))
        self.g_synthesis = parts(
            init_block=first_block(on=on),
            blocks=parts(next_block(on=on)),
            to_rgb=parts(Scaled(WIDE, 3, 1, gain=1.0, on=on), Scaled(SLIM, 3, 1, gain=1.0, on=on)),
        )
        self.truncation = nn.Module()
        self.truncation.register_buffer("avg_latent", torch.randn(Z) * 0.1)

    def forward(self, z: Tensor) -> Tensor:
        w = torch.lerp(self.truncation.avg_latent, mapped(self.g_mapping.map, unit(z)), 0.7)
        synthesis = self.g_synthesis
        small, large = features(synthesis.init_block, synthesis.blocks[0], w)
        return synthesis.to_rgb[1](large) * 0.7 + twice(synthesis.to_rgb[0](small)) * 0.3


class Huangzh13Critic(nn.Module):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.blocks = parts(parts(conv0=Scaled(SLIM, SLIM, 3, on=on), conv1_down=Scaled(SLIM, WIDE, 3, on=on)))
        self.final_block = parts(
            conv=Scaled(WIDE + 1, WIDE, 3, on=on),
            dense0=Scaled(16 * WIDE, WIDE, on=on),
            dense1=Scaled(WIDE, 1, gain=1.0, on=on),
        )
        self.from_rgb = parts(Scaled(3, SLIM, 1, on=on), Scaled(3, WIDE, 1, on=on))

    def forward(self, image: Tensor) -> Tensor:
        block, last = self.blocks[0], self.final_block
        x = half(leaky(block.conv1_down(leaky(block.conv0(self.from_rgb[0](image))))))
        x = x * 0.7 + self.from_rgb[1](half(image)) * 0.3
        return last.dense1(leaky(last.dense0(leaky(last.conv(with_deviation(x))).flatten(1))))


class PulseSynthesis(nn.Module):
    """PULSE writes mapping and synthesis into two files. lernapparat's synthesis has blocks of the same names."""

    outside = True

    def __init__(self, on: bool) -> None:
        super().__init__()
        self.torgb = Scaled(SLIM, 3, 1, gain=1.0, on=on)
        first, second = first_block(on=on, outside=self.outside), next_block(on=on, outside=self.outside)
        self.blocks = nn.ModuleDict({"4x4": first, "8x8": second})

    def forward(self, w: Tensor) -> Tensor:
        return self.torgb(features(self.blocks["4x4"], self.blocks["8x8"], w)[1])


class _Synthesis(PulseSynthesis):
    outside = False


class Lernapparat(nn.Module):
    """Its networks stand in a Sequential of these names."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self.g_mapping = mapping(on=on)
        self.g_synthesis = _Synthesis(on)

    def forward(self, z: Tensor) -> Tensor:
        return self.g_synthesis(mapped(self.g_mapping, unit(z)))


class StyledLayer(Scaled):
    """genforce's ConvBlock with noise and style; the first one has a constant instead of a weight."""

    def __init__(self, i: int, o: int, *, on: bool, size: int, constant: bool = False, blurred: bool = False) -> None:
        super().__init__(i, o, 3, on=on)
        if constant:
            self.weight = None
            self.const = parameter(1, o, size, size)
        self.apply_noise = parts(weight=parameter(o, std=0.3))
        self.apply_noise.register_buffer("noise", torch.randn(1, 1, size, size))
        self.style = Scaled(Z, 2 * o, gain=1.0, on=on)
        if blurred:
            self.blur = nn.Module()
            self.blur.register_buffer(
                "kernel", torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).expand(o, 1, 3, 3) / 16
            )

    def forward(self, x: Tensor | None, w: Tensor) -> Tensor:  # type: ignore[override]
        constant = x is None
        y = self.const.expand(len(w), -1, -1, -1) if constant else nn.functional.conv2d(x, self.kernel, padding=1)
        if hasattr(self, "blur"):
            y = nn.functional.conv2d(y, self.blur.kernel, padding=1, groups=y.shape[1])
        y = instance(leaky(y + self.apply_noise.noise * column(self.apply_noise.weight) + column(self.offset)))
        gamma, beta = self.style(w).reshape(len(w), 2, -1, 1, 1).unbind(1)
        return y * (gamma + 1) + beta


class Genforce(nn.Module):
    """With labels, whose matrix is plain."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self.mapping = parts(
            dense0=Scaled(2 * Z, Z, lr=LR, on=on),
            dense1=Scaled(Z, Z, lr=LR, on=on),
            label_weight=parameter(CLASSES, Z),
        )
        self.truncation = nn.Module()
        self.truncation.register_buffer("w_avg", torch.randn(Z) * 0.1)
        self.synthesis = parts(
            layer0=StyledLayer(WIDE, WIDE, on=on, size=4, constant=True),
            layer1=StyledLayer(WIDE, WIDE, on=on, size=4),
            layer2=StyledLayer(WIDE, SLIM, on=on, size=8, blurred=True),
            layer3=StyledLayer(SLIM, SLIM, on=on, size=8),
            output0=Scaled(WIDE, 3, 1, gain=1.0, on=on),
            output1=Scaled(SLIM, 3, 1, gain=1.0, on=on),
        )
        self.synthesis.register_buffer("lod", torch.zeros(()))

    def forward(self, z: Tensor) -> Tensor:
        label = self.mapping.label_weight[torch.arange(len(z)) % CLASSES]
        w = leaky(self.mapping.dense1(leaky(self.mapping.dense0(unit(torch.cat([z, label], 1))))))
        net = self.synthesis
        x = net.layer1(net.layer0(None, w), w)
        return net.output1(net.layer3(net.layer2(twice(x), w), w)) * 0.7 + twice(net.output0(x)) * 0.3


class GenforceCritic(nn.Module):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.input0, self.input1 = Scaled(3, SLIM, 1, on=on), Scaled(3, WIDE, 1, on=on)
        self.layer0 = Scaled(SLIM, SLIM, 3, on=on)
        self.layer1 = Scaled(SLIM, WIDE, 3, on=on)
        self.layer1.blur = nn.Module()
        self.layer1.blur.register_buffer("kernel", torch.ones(SLIM, 1, 3, 3) / 9)
        self.layer2 = Scaled(WIDE + 1, WIDE, 3, on=on)
        self.layer3 = Scaled(16 * WIDE, WIDE, on=on)
        self.layer4 = Scaled(WIDE, CLASSES, gain=1.0, on=on)
        self.register_buffer("lod", torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        x = leaky(self.layer0(leaky(self.input0(image))))
        x = nn.functional.conv2d(x, self.layer1.blur.kernel, padding=1, groups=SLIM)
        x = half(leaky(self.layer1(x))) * 0.7 + leaky(self.input1(half(image))) * 0.3
        return self.layer4(leaky(self.layer3(leaky(self.layer2(with_deviation(x))).flatten(1))))
