"""ProGANs of 8x8 pixels: akanimax's generations, pytorch_GAN_zoo, genforce's PGGAN, NVIDIA's TensorFlow variables."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.families.switched import SQRT2, Scaled, leaky, parameter, parts, unit, with_deviation
from tests.progan.projects import half, spread, twice

Z, WIDE, SLIM, CLASSES = 10, 12, 8, 3


class Akanimax(nn.Module):
    """The generator of pro_gan_pytorch 3; `older` ones call the first block by a name of its own."""

    def __init__(self, on: bool, *, older: bool = False) -> None:
        super().__init__()
        first = Scaled(Z, WIDE, on=on, stored=(Z, WIDE, 4, 4), fan=Z)
        blocks = [
            parts(conv_1=first, conv_2=Scaled(WIDE, WIDE, 3, on=on)),
            parts(conv_1=Scaled(WIDE, SLIM, 3, on=on), conv_2=Scaled(SLIM, SLIM, 3, on=on)),
        ]
        if older:
            self.initial_block = blocks.pop(0)
        self.layers = parts(*blocks)
        self.rgb_converters = parts(Scaled(WIDE, 3, 1, on=on), Scaled(SLIM, 3, 1, on=on))
        self.older = older

    def forward(self, z: Tensor) -> Tensor:
        first, second = (self.initial_block, self.layers[0]) if self.older else self.layers
        x = functional.conv_transpose2d(z[:, :, None, None], first.conv_1.kernel, first.conv_1.offset)
        x = unit(leaky(first.conv_2(leaky(x))))
        small = self.rgb_converters[0](x)
        x = unit(leaky(second.conv_2(unit(leaky(second.conv_1(twice(x)))))))
        return self.rgb_converters[1](x) * 0.7 + twice(small) * 0.3


class AkanimaxCritic(nn.Module):
    """pro_gan_pytorch 3 with classes: a plain embedding is multiplied with the last features."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        last = parts(
            conv_1=Scaled(WIDE + 1, WIDE, 3, on=on),
            conv_2=Scaled(WIDE, WIDE, 4, on=on),
            conv_3=Scaled(WIDE, 1, 1, on=on),
            label_embedder=nn.Embedding(CLASSES, WIDE, max_norm=1),
        )
        self.layers = parts(parts(conv_1=Scaled(SLIM, SLIM, 3, on=on), conv_2=Scaled(SLIM, WIDE, 3, on=on)), last)
        self.from_rgb = parts(*(nn.Sequential(Scaled(3, width, 1, on=on), nn.LeakyReLU(0.2)) for width in (SLIM, WIDE)))

    def forward(self, image: Tensor) -> Tensor:
        block, last = self.layers
        x = half(leaky(block.conv_2(leaky(block.conv_1(self.from_rgb[0](image))))))
        x = leaky(last.conv_2(leaky(last.conv_1(with_deviation(x))), padding=0))
        labels = torch.arange(len(image)) % CLASSES
        return leaky(last.conv_3(x)).flatten() + (x.flatten(1) * last.label_embedder(labels)).sum(1)


class BmsgCritic(nn.Module):
    """BMSG-GAN's, its blocks and converters in DataParallel: 5 + 7 channels are joined at 4x4 pixels."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        block = parts(conv_1=Scaled(SLIM, SLIM, 3, on=on), conv_2=Scaled(SLIM, 7, 3, on=on))
        self.layers = parts(parts(module=block))
        self.rgb_to_features = parts(parts(module=Scaled(3, SLIM, 1, on=on)))
        self.final_converter = Scaled(3, 5, 1, on=on)
        self.final_block = parts(
            conv_1=Scaled(WIDE + 1, WIDE, 3, on=on),
            conv_2=Scaled(WIDE, WIDE, 4, on=on),
            conv_3=Scaled(WIDE, 1, 1, on=on),
        )

    def forward(self, image: Tensor) -> Tensor:
        block, last = self.layers[0].module, self.final_block
        x = half(leaky(block.conv_2(leaky(block.conv_1(self.rgb_to_features[0].module(image))))))
        x = with_deviation(torch.cat([self.final_converter(half(image)), x], 1))
        return last.conv_3(leaky(last.conv_2(leaky(last.conv_1(x)), padding=0))).flatten()


class Constrained(nn.Module):
    """pytorch_GAN_zoo's wrapper: the output is multiplied, the bias with it."""

    def __init__(self, i: int, o: int, k: int = 0, *, on: bool, lr: float = 1.0) -> None:
        super().__init__()
        self.module = nn.Conv2d(i, o, k, padding=k // 2) if k else nn.Linear(i, o)
        self.factor = lr * math.sqrt(2 / (i * max(k, 1) ** 2)) if on else 1.0
        nn.init.normal_(self.module.weight, std=1 / lr)
        nn.init.normal_(self.module.bias, std=0.2 / self.factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x) * self.factor


class Zoo(nn.Module):
    """The generator of its ProGAN."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self.formatLayer = Constrained(Z, 16 * WIDE, on=on)
        self.groupScale0 = parts(Constrained(WIDE, WIDE, 3, on=on))
        self.scaleLayers = parts(parts(Constrained(WIDE, SLIM, 3, on=on), Constrained(SLIM, SLIM, 3, on=on)))
        self.toRGBLayers = parts(Constrained(WIDE, 3, 1, on=on), Constrained(SLIM, 3, 1, on=on))

    def forward(self, z: Tensor) -> Tensor:
        x = unit(leaky(self.formatLayer(unit(z))).reshape(-1, WIDE, 4, 4))
        x = unit(leaky(self.groupScale0[0](x)))
        small = twice(self.toRGBLayers[0](x))
        x = twice(x)
        for layer in self.scaleLayers[0]:
            x = unit(leaky(layer(x)))
        return self.toRGBLayers[1](x) * 0.7 + small * 0.3


class ZooCritic(nn.Module):
    """The discriminator of both its ProGAN and its StyleGAN, with a score and the classes of ACGAN."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self.scaleLayers = parts(parts(Constrained(SLIM, SLIM, 3, on=on), Constrained(SLIM, WIDE, 3, on=on)))
        self.fromRGBLayers = parts(Constrained(3, WIDE, 1, on=on), Constrained(3, SLIM, 1, on=on))
        self.mergeLayers = nn.ModuleList()
        self.decisionLayer = Constrained(WIDE, 1 + CLASSES, on=on)
        self.groupScaleZero = parts(Constrained(WIDE + 1, WIDE, 3, on=on), Constrained(16 * WIDE, WIDE, on=on))

    def forward(self, image: Tensor) -> Tensor:
        x = leaky(self.fromRGBLayers[1](image))
        for layer in self.scaleLayers[0]:
            x = leaky(layer(x))
        x = half(x) * 0.7 + leaky(self.fromRGBLayers[0](half(image))) * 0.3
        x = leaky(self.groupScaleZero[0](with_deviation(x)))
        return self.decisionLayer(leaky(self.groupScaleZero[1](x.flatten(1))))


class ZooStyled(nn.Module):
    """The generator of its StyleGAN, which has no switch: mapping, styles and convolutions are always equalized."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = parts(FC=parts(*(Constrained(WIDE, WIDE, on=True, lr=0.01) for _ in range(2))))
        self.baseScale0 = parameter(1, WIDE, 4, 4)
        self.adain00 = parts(styleModulator=Constrained(WIDE, 2 * WIDE, on=True))
        self.adain01 = parts(styleModulator=Constrained(WIDE, 2 * WIDE, on=True))
        self.noiseMod00 = parts(module=nn.Conv2d(1, 1, 1, bias=False))
        self.conv0 = Constrained(WIDE, WIDE, 3, on=True)
        self.toRGBLayers = parts(Constrained(WIDE, 3, 1, on=True))
        self.register_buffer("mean_w", torch.randn(1, WIDE))


class GenforcePggan(nn.Module):
    """`fused` layers store (in, out, k, k). The label is appended to z."""

    def __init__(self, on: bool, *, fused: bool) -> None:
        super().__init__()
        i, swapped = Z + CLASSES, (WIDE, SLIM, 3, 3)
        self.layer0 = Scaled(i, WIDE, 4, on=on)
        self.layer1 = Scaled(WIDE, WIDE, 3, on=on)
        self.layer2 = Scaled(WIDE, SLIM, 3, on=on, stored=swapped if fused else ())
        self.layer3 = Scaled(SLIM, SLIM, 3, on=on)
        self.output0 = Scaled(WIDE, 3, 1, gain=1.0, on=on)
        self.output1 = Scaled(SLIM, 3, 1, gain=1.0, on=on)
        self.register_buffer("lod", torch.zeros(()))
        self.fused = fused

    def forward(self, z: Tensor) -> Tensor:
        label = functional.one_hot(torch.arange(len(z)) % CLASSES, CLASSES)
        x = torch.cat([unit(z), label], 1)[:, :, None, None]
        x = leaky(self.layer1(unit(leaky(self.layer0(unit(x), padding=3)))))
        if self.fused:
            up = functional.conv_transpose2d(unit(x), spread(self.layer2.kernel), self.layer2.offset, 2, 1)
        else:
            up = self.layer2(twice(unit(x)))
        last = self.output1(unit(leaky(self.layer3(unit(leaky(up))))))
        return last * 0.7 + twice(self.output0(unit(x))) * 0.3


class GenforcePgganCritic(nn.Module):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.input0 = Scaled(3, SLIM, 1, on=on)
        self.input1 = Scaled(3, WIDE, 1, on=on)
        self.layer0 = Scaled(SLIM, SLIM, 3, on=on)
        self.layer1 = Scaled(SLIM, WIDE, 3, on=on)
        self.layer2 = Scaled(WIDE + 1, WIDE, 3, on=on)
        self.layer3 = Scaled(16 * WIDE, WIDE, on=on)
        self.layer4 = Scaled(WIDE, 1 + CLASSES, gain=1.0, on=on)
        self.register_buffer("lod", torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        x = half(leaky(self.layer1(leaky(self.layer0(leaky(self.input0(image)))))))
        x = x * 0.7 + leaky(self.input1(half(image))) * 0.3
        return self.layer4(leaky(self.layer3(leaky(self.layer2(with_deviation(x))).flatten(1))))


class TensorFlowVariable(nn.Module):
    """NVIDIA's `get_weight`: a constant in the graph, or only the learning-rate multiplier there."""

    def __init__(self, shape: tuple[int, ...], fan: int, gain: float, lr: float, *, on: bool) -> None:
        super().__init__()
        self.value = parameter(*shape, std=1.0 / lr)
        self.multiplier = lr * (gain / math.sqrt(fan) if on else 1.0)

    def forward(self) -> Tensor:
        return self.value * self.multiplier


class TensorFlow(nn.Module):
    """Variables by name, as `tflib.Network` holds them; its state dict is theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.lr: dict[str, float] = {}

    def add(self, path: str, *shape: int, on: bool, gain: float = SQRT2, lr: float = 1.0, fan: int = 0) -> None:
        outputs = shape[2] if fan else shape[-1]
        fan = fan or math.prod(shape[:-1])
        self.layers[f"{path}/weight"] = TensorFlowVariable(shape, fan, gain, lr, on=on)
        bias = outputs // 16 if path == "4x4/Dense" else outputs
        self.layers[f"{path}/bias"] = TensorFlowVariable((bias,), 1, 1.0, lr, on=False)

    def variables(self) -> dict[str, Tensor]:
        return {name: layer.value.detach() for name, layer in self.layers.items()}

    def set_vars(self, values: dict[str, Tensor]) -> None:
        """What `tflib.set_vars` does with a value for each variable: none may be missing or left."""
        assert values.keys() == self.layers.keys()
        for name, layer in self.layers.items():
            assert layer.value.shape == values[name].shape
            layer.value.data = values[name].clone()

    def __getitem__(self, name: str) -> Tensor:
        return self.layers[name]()

    def conv(self, path: str, x: Tensor) -> Tensor:
        kernel = self[f"{path}/weight"].permute(3, 2, 0, 1)
        return functional.conv2d(x, kernel, self[f"{path}/bias"], padding=kernel.shape[2] // 2)


class NvidiaProgan(TensorFlow):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.add("4x4/Dense", Z, 16 * WIDE, gain=SQRT2 / 4, on=on)
        self.add("4x4/Conv", 3, 3, WIDE, WIDE, on=on)
        self.add("8x8/Conv0_up", 3, 3, SLIM, WIDE, fan=9 * WIDE, on=on)
        self.add("8x8/Conv1", 3, 3, SLIM, SLIM, on=on)
        self.add("ToRGB_lod0", 1, 1, SLIM, 3, gain=1.0, on=on)
        self.add("ToRGB_lod1", 1, 1, WIDE, 3, gain=1.0, on=on)

    def forward(self, z: Tensor) -> Tensor:
        x = (unit(z) @ self["4x4/Dense/weight"]).reshape(-1, WIDE, 4, 4) + self["4x4/Dense/bias"].reshape(1, -1, 1, 1)
        x = unit(leaky(self.conv("4x4/Conv", unit(leaky(x)))))
        small = twice(self.conv("ToRGB_lod1", x))
        kernel = spread(self["8x8/Conv0_up/weight"].permute(3, 2, 0, 1))
        x = functional.conv_transpose2d(x, kernel, self["8x8/Conv0_up/bias"], stride=2, padding=1)
        x = unit(leaky(self.conv("8x8/Conv1", unit(leaky(x)))))
        return self.conv("ToRGB_lod0", x) * 0.7 + small * 0.3


class NvidiaStyled(TensorFlow):
    """StyleGAN's mapping and the styles of one layer: the multiplier outlives the switch."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        for n in range(2):
            self.add(f"G_mapping/Dense{n}", Z, Z, lr=0.01, on=on)
        self.add("G_synthesis/4x4/Conv/StyleMod", Z, 2 * WIDE, gain=1.0, on=on)
        self.add("G_synthesis/4x4/Conv", 3, 3, WIDE, WIDE, on=on)
        self.add("G_synthesis/ToRGB_lod0", 1, 1, WIDE, 3, gain=1.0, on=on)

    def forward(self, z: Tensor) -> Tensor:
        for n in range(2):
            z = leaky(z @ self[f"G_mapping/Dense{n}/weight"] + self[f"G_mapping/Dense{n}/bias"])
        style = z @ self["G_synthesis/4x4/Conv/StyleMod/weight"] + self["G_synthesis/4x4/Conv/StyleMod/bias"]
        gamma, beta = style.reshape(len(z), 2, WIDE, 1, 1).unbind(1)
        x = leaky(self.conv("G_synthesis/4x4/Conv", torch.linspace(-1, 1, 16 * WIDE).reshape(1, WIDE, 4, 4)))
        return self.conv("G_synthesis/ToRGB_lod0", x * (gamma + 1) + beta)
