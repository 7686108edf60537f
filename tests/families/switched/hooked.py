"""mmgeneration's networks of 8x8 pixels: its EqualizedLR is a hook, and fused resampling is another one behind it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.families.switched import SQRT2, instance, leaky, louder, modulated, parameter, parts, unit, with_deviation
from tests.progan.projects import column, half, spread, twice

Z, WIDE, SLIM, CLASSES = 10, 12, 8, 3


class EqualizedLR:
    """Sets `weight` before each call; what is stored is called `weight_orig`."""

    def __init__(self, gain: float, lr_mul: float) -> None:
        self.name, self.gain, self.lr_mul = "weight", gain, lr_mul

    def __call__(self, module: Any, inputs: Any) -> None:
        stored = module.weight_orig
        fan = stored[0].numel() if stored.ndim < 5 else stored[0, 0].numel()
        module.weight = stored * (self.gain * self.lr_mul / math.sqrt(fan))


def hooked(module: Any, gain: float = SQRT2, lr: float = 1.0, *, on: bool = True) -> Any:
    nn.init.normal_(module.weight, std=1 / lr)
    if getattr(module, "bias", None) is not None:
        nn.init.normal_(module.bias, std=0.2)
    if on:
        stored = module._parameters.pop("weight")
        module.register_parameter("weight_orig", stored)
        module.weight = stored.data
        module.register_forward_pre_hook(EqualizedLR(gain, lr))
    return module


def _spread(module: Any, inputs: Any) -> None:
    module.weight = spread(module.weight) / (1 if isinstance(module, nn.ConvTranspose2d) else 4)


class Conv(nn.Module):
    """EqualizedLRConvModule, and with `fused` "up" or "down" its two heirs."""

    def __init__(
        self, i: int, o: int, k: int = 3, *, gain: float = SQRT2, on: bool = True, fused: str = "", bias: bool = True
    ) -> None:
        super().__init__()
        if fused == "up":
            conv: Any = nn.ConvTranspose2d(i, o, k, stride=2, padding=1, bias=bias)
        else:
            conv = nn.Conv2d(i, o, k, stride=2 if fused else 1, padding=k // 2, bias=bias)
        self.conv = hooked(conv, gain, on=on)
        if fused:
            self.conv.register_forward_pre_hook(_spread)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ActLinear(nn.Module):
    """EqualLinearActModule: the bias stands outside and is multiplied by lr."""

    def __init__(self, i: int, o: int, *, lr: float = 1.0, mean: float = 0.0) -> None:
        super().__init__()
        self.linear = hooked(nn.Linear(i, o, bias=False), 1.0, lr)
        self.bias = parameter(o, std=0.2 / lr, mean=mean)
        self.lr_mul = lr

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.bias * self.lr_mul


class Pggan(nn.Module):
    """`conv_module_cfg` alone is handed on; with `fused_upconv` the first layer of a block is not of its modules."""

    def __init__(self, on: bool, *, fused: bool) -> None:
        super().__init__()
        self.noise2feat = parts(
            linear=hooked(nn.Linear(Z, 16 * WIDE, bias=False), SQRT2 / 4), bias=parameter(1, WIDE, 1, 1, std=0.2)
        )
        self.torgb_layers = parts(Conv(WIDE, 3, 1, gain=1.0), Conv(SLIM, 3, 1, gain=1.0))
        up = Conv(WIDE, SLIM, fused="up") if fused else Conv(WIDE, SLIM, on=on)
        self.conv_blocks = parts(Conv(WIDE, WIDE, on=on), up, Conv(SLIM, SLIM, on=on))
        self.fused = fused

    def forward(self, z: Tensor) -> Tensor:
        x = unit(leaky(self.noise2feat.linear(unit(z)).reshape(-1, WIDE, 4, 4) + self.noise2feat.bias))
        x = unit(leaky(self.conv_blocks[0](x)))
        small = twice(self.torgb_layers[0](x))
        x = unit(leaky(self.conv_blocks[1](x if self.fused else twice(x))))
        return self.torgb_layers[1](unit(leaky(self.conv_blocks[2](x)))) * 0.7 + small * 0.3


class PgganCritic(nn.Module):
    """`conv_module_cfg` and `fromrgb_layer_cfg` are handed on; the decision head and fused layers are as they are."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self.fromrgb_layers = parts(Conv(3, WIDE, 1, on=on), Conv(3, SLIM, 1, on=on))
        self.conv_blocks = parts(Conv(WIDE, WIDE, on=on), Conv(SLIM, SLIM, on=on), Conv(SLIM, WIDE, fused="down"))
        self.decision = parts(
            linear0=hooked(nn.Linear(16 * (WIDE + 1), WIDE)), linear1=hooked(nn.Linear(WIDE, 1 + CLASSES), 1.0)
        )

    def forward(self, image: Tensor) -> Tensor:
        x = leaky(self.conv_blocks[2](leaky(self.conv_blocks[1](leaky(self.fromrgb_layers[1](image))))))
        x = leaky(self.conv_blocks[0](x * 0.7 + leaky(self.fromrgb_layers[0](half(image))) * 0.3))
        return self.decision.linear1(leaky(self.decision.linear0(with_deviation(x).flatten(1))))


class StyledBlock(nn.Module):
    """StyleConv: the first one begins with a constant, the others with a convolution that is not fused."""

    def __init__(self, i: int, o: int, *, initial: bool = False) -> None:
        super().__init__()
        blur = nn.Module()
        blur.register_buffer("kernel", torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16)
        self.conv1 = parts(input=parameter(1, o, 4, 4)) if initial else parts(Conv(i, o), blur)
        self.conv2 = Conv(o, o)
        self.noise_injector1, self.noise_injector2 = (parts(weight=parameter(1)) for _ in range(2))
        self.adain1, self.adain2 = (parts(affine=hooked(nn.Linear(Z, 2 * o))) for _ in range(2))
        self.initial = initial

    def forward(self, x: Tensor | None, w: Tensor) -> Tensor:
        y = self.conv1.input.expand(len(w), -1, -1, -1) if x is None else self.conv1[0](twice(x))
        for noise, adain, conv in (
            (self.noise_injector1, self.adain1, self.conv2),
            (self.noise_injector2, self.adain2, None),
        ):
            y = leaky(y + noise.weight * torch.linspace(-1, 1, y.shape[2] * y.shape[3]).reshape(1, 1, *y.shape[2:]))
            gamma, beta = adain.affine(w)[:, :, None, None].chunk(2, 1)
            y = instance(y) * gamma + beta
            y = conv(y) if conv else y
        return y


class Styled(nn.Module):
    """StyleGAN1, whose networks hand no configuration on."""

    def __init__(self, on: bool = True) -> None:
        super().__init__()
        self.style_mapping = parts(nn.Identity(), ActLinear(Z, Z, lr=0.01), ActLinear(Z, Z, lr=0.01))
        self.convs = parts(StyledBlock(WIDE, WIDE, initial=True), StyledBlock(WIDE, SLIM))
        self.to_rgbs = parts(Conv(WIDE, 3, 1), Conv(SLIM, 3, 1))

    def forward(self, z: Tensor) -> Tensor:
        w = leaky(self.style_mapping[2](leaky(self.style_mapping[1](unit(z)))))
        x = self.convs[0](None, w)
        return self.to_rgbs[1](self.convs[1](x, w)) * 0.7 + twice(self.to_rgbs[0](x)) * 0.3


class StyledCritic(nn.Module):
    """StyleGAN1's: the second convolution of a block is fused with averaging."""

    def __init__(self, on: bool = True) -> None:
        super().__init__()
        self.convs = parts(
            parts(Conv(SLIM, WIDE), nn.Identity(), Conv(WIDE, WIDE, fused="down")),
            parts(Conv(WIDE + 1, WIDE), Conv(WIDE, WIDE, 4)),
        )
        self.from_rgb = parts(Conv(3, SLIM), Conv(3, WIDE))
        self.final_linear = parts(ActLinear(WIDE, 1))

    def forward(self, image: Tensor) -> Tensor:
        first, last = self.convs
        x = leaky(first[2](leaky(first[0](leaky(self.from_rgb[0](image))))))
        x = x * 0.7 + leaky(self.from_rgb[1](half(image))) * 0.3
        return self.final_linear[0](last[1](leaky(last[0](with_deviation(x)))).mean((2, 3)))


class ModulatedConv(nn.Module):
    """5-D, its hook on the module itself."""

    def __init__(self, i: int, o: int, k: int) -> None:
        super().__init__()
        self.style_modulation = ActLinear(Z, i, mean=1.0)
        self.weight = parameter(1, o, i, k, k)
        hooked(self, 1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return modulated(x, self.weight[0], self.style_modulation(w), demodulate=self.weight.shape[-1] > 1)


class StyledConv2(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(i, o, 3)
        self.noise_injector = parts(weight=parameter(1))
        self.activate = parts(bias=parameter(o, std=0.2))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        y = self.conv(x, w)
        field = torch.linspace(-1, 1, y.shape[2] * y.shape[3]).reshape(1, 1, *y.shape[2:])
        return louder(y + self.noise_injector.weight * field + column(self.activate.bias))


class Styled2(nn.Module):
    """StyleGAN2 with labels."""

    def __init__(self, on: bool = True) -> None:
        super().__init__()
        self.embed = ActLinear(CLASSES, Z)
        self.style_mapping = parts(ActLinear(2 * Z, Z, lr=0.01), ActLinear(Z, Z, lr=0.01))
        self.constant_input = parts(input=parameter(1, WIDE, 4, 4))
        self.conv1 = StyledConv2(WIDE, WIDE)
        self.to_rgb1 = parts(conv=ModulatedConv(WIDE, 3, 1), bias=parameter(1, 3, 1, 1))
        self.convs = parts(StyledConv2(WIDE, SLIM), StyledConv2(SLIM, SLIM))
        self.to_rgbs = parts(parts(conv=ModulatedConv(SLIM, 3, 1), bias=parameter(1, 3, 1, 1)))

    def forward(self, z: Tensor) -> Tensor:
        label = functional.one_hot(torch.arange(len(z)) % CLASSES, CLASSES).float()
        w = torch.cat([unit(z), unit(self.embed(label))], 1)
        w = louder(self.style_mapping[1](louder(self.style_mapping[0](w))))
        x = self.conv1(self.constant_input.input.expand(len(w), -1, -1, -1), w)
        image = twice(self.to_rgb1.conv(x, w) + self.to_rgb1.bias)
        x = self.convs[1](self.convs[0](twice(x), w), w)
        return image + self.to_rgbs[0].conv(x, w) + self.to_rgbs[0].bias


class Styled2Critic(nn.Module):
    def __init__(self, on: bool = True) -> None:
        super().__init__()

        def down(i: int, o: int, k: int = 3, *, blurred: bool = False, bias: bool = True) -> Any:
            blur = nn.Module()
            blur.register_buffer("kernel", torch.ones(4, 4) / 16)
            layers = [blur] * blurred + [Conv(i, o, k, gain=1.0, bias=False)]
            return parts(*layers, *[parts(bias=parameter(o, std=0.2))] * bias)

        block = parts(
            conv1=down(SLIM, SLIM),
            conv2=down(SLIM, WIDE, blurred=True),
            skip=down(SLIM, WIDE, 1, blurred=True, bias=False),
        )
        self.convs = parts(down(3, SLIM, 1), block)
        self.final_conv = down(WIDE + 1, WIDE)
        self.final_linear = parts(ActLinear(16 * WIDE, WIDE), ActLinear(WIDE, 1))

    def forward(self, image: Tensor) -> Tensor:
        def activated(layers: Any, x: Tensor) -> Tensor:
            conv, bias = list(layers)[-2:]
            return louder(conv(x) + column(bias.bias))

        block = self.convs[1]
        x = activated(self.convs[0], image)
        x = (half(activated(block.conv2, activated(block.conv1, x))) + block.skip[1](half(x))) / SQRT2
        x = activated(self.final_conv, with_deviation(x)).flatten(1)
        return self.final_linear[1](louder(self.final_linear[0](x)))
