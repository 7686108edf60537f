"""ProGANs of many projects, each written once more in torch from its own names: a second opinion on names and forms.

A project is a state dict with small random tensors and a function from it and an input to the output that the
project's class computes, constants written out. Widths are 12 at 4x4 pixels, 8 at 8x8, 8 at 16x16.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
SQRT2 = math.sqrt(2.0)
Z = 10
WIDTHS = {4: 12, 8: 8, 16: 8}


def normal(name: str, *shape: int, std: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(shape, generator=generator) * std


@dataclass
class Weights:
    """Collects tensors; biases are small, so that activations are not all alike."""

    state: State = field(default_factory=dict)

    def put(self, weight: str, bias: str, shape: tuple[int, ...], outputs: int) -> None:
        self.state[weight] = normal(weight, *shape)
        self.state[bias] = normal(bias, outputs, std=0.3)

    def conv(self, path: str, i: int, o: int, k: int, weight: str = "weight", bias: str = "") -> None:
        self.put(f"{path}.{weight}", bias or f"{path}.bias", (o, i, k, k), o)

    def linear(self, path: str, i: int, o: int, weight: str = "weight", bias: str = "") -> None:
        self.put(f"{path}.{weight}", bias or f"{path}.bias", (o, i), o)


def he(weight: Tensor, fan: int, gain: float = SQRT2) -> Tensor:
    return weight * (gain / math.sqrt(fan))


def unit(x: Tensor, eps: float = 1e-8) -> Tensor:
    return x / torch.sqrt((x * x).mean(1, keepdim=True) + eps)


def leaky(x: Tensor, slope: float = 0.2) -> Tensor:
    return functional.leaky_relu(x, slope)


def column(bias: Tensor) -> Tensor:
    return bias.reshape(1, -1, 1, 1)


def twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def half(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 2)


def spread(kernel: Tensor) -> Tensor:
    """The sum of four shifted copies: 3x3 becomes 4x4."""
    padded = functional.pad(kernel, (1, 1, 1, 1))
    return padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]


def interleaved_deviation(x: Tensor, group: int) -> Tensor:
    size = min(group, len(x))
    grouped = x.reshape(size, -1, *x.shape[1:])
    away = grouped - grouped.mean(0, keepdim=True)
    figure = torch.sqrt((away**2).mean(0) + 1e-8).mean((1, 2, 3), keepdim=True)
    return torch.cat([x, figure.repeat(size, 1, *x.shape[2:])], 1)


# tkarras/progressive_growing_of_gans (TensorFlow)


def tf_generator(fused: bool) -> State:
    net = Weights()
    net.put("4x4/Dense/weight", "4x4/Dense/bias", (Z, 16 * 12), 12)
    net.put("4x4/Conv/weight", "4x4/Conv/bias", (3, 3, 12, 12), 12)
    for size, before in ((8, 12), (16, 8)):
        up = "Conv0_up" if fused else "Conv0"
        shape = (3, 3, 8, before) if fused else (3, 3, before, 8)
        net.put(f"{size}x{size}/{up}/weight", f"{size}x{size}/{up}/bias", shape, 8)
        net.put(f"{size}x{size}/Conv1/weight", f"{size}x{size}/Conv1/bias", (3, 3, 8, 8), 8)
    for lod, width in enumerate((8, 8, 12)):
        net.put(f"ToRGB_lod{lod}/weight", f"ToRGB_lod{lod}/bias", (1, 1, width, 3), 3)
    return {"lod": torch.tensor(0.0), **net.state}


def tf_conv(s: Mapping[str, Tensor], path: str, x: Tensor, gain: float = SQRT2) -> Tensor:
    weight = s[f"{path}/weight"]
    kernel = he(weight, weight[..., 0].numel(), gain).permute(3, 2, 0, 1)
    return functional.conv2d(x, kernel, s[f"{path}/bias"], padding=weight.shape[0] // 2)


def tf_generate(s: State, z: Tensor) -> Tensor:
    x = unit(z) @ he(s["4x4/Dense/weight"], Z, SQRT2 / 4)
    x = unit(leaky(x.reshape(len(z), 12, 4, 4) + column(s["4x4/Dense/bias"])))
    x = unit(leaky(tf_conv(s, "4x4/Conv", x)))
    for size in (8, 16):
        block = f"{size}x{size}"
        if f"{block}/Conv0_up/weight" in s:
            stored = s[f"{block}/Conv0_up/weight"]
            kernel = spread(he(stored, 9 * stored.shape[3]).permute(3, 2, 0, 1))
            x = functional.conv_transpose2d(x, kernel, s[f"{block}/Conv0_up/bias"], stride=2, padding=1)
        else:
            x = tf_conv(s, f"{block}/Conv0", twice(x))
        x = unit(leaky(tf_conv(s, f"{block}/Conv1", unit(leaky(x)))))
    return tf_conv(s, "ToRGB_lod0", x, 1.0)


def tf_discriminator(fused: bool) -> State:
    net = Weights()
    for lod, width in enumerate((8, 8, 12)):
        net.put(f"FromRGB_lod{lod}/weight", f"FromRGB_lod{lod}/bias", (1, 1, 3, width), width)
    for size, behind in ((16, 8), (8, 12)):
        down = "Conv1_down" if fused else "Conv1"
        net.put(f"{size}x{size}/Conv0/weight", f"{size}x{size}/Conv0/bias", (3, 3, 8, 8), 8)
        net.put(f"{size}x{size}/{down}/weight", f"{size}x{size}/{down}/bias", (3, 3, 8, behind), behind)
    net.put("4x4/Conv/weight", "4x4/Conv/bias", (3, 3, 13, 12), 12)
    net.put("4x4/Dense0/weight", "4x4/Dense0/bias", (192, 12), 12)
    net.put("4x4/Dense1/weight", "4x4/Dense1/bias", (12, 1), 1)
    return {"lod": torch.tensor(0.0), **net.state}


def tf_discriminate(s: State, image: Tensor) -> Tensor:
    x = leaky(tf_conv(s, "FromRGB_lod0", image))
    for size in (16, 8):
        block = f"{size}x{size}"
        x = leaky(tf_conv(s, f"{block}/Conv0", x))
        if f"{block}/Conv1_down/weight" in s:
            stored = s[f"{block}/Conv1_down/weight"]
            kernel = spread(he(stored, stored[..., 0].numel()).permute(3, 2, 0, 1)) / 4
            x = leaky(functional.conv2d(x, kernel, s[f"{block}/Conv1_down/bias"], stride=2, padding=1))
        else:
            x = half(leaky(tf_conv(s, f"{block}/Conv1", x)))
    x = leaky(tf_conv(s, "4x4/Conv", interleaved_deviation(x, 4)))
    x = leaky(x.flatten(1) @ he(s["4x4/Dense0/weight"], 192) + s["4x4/Dense0/bias"])
    return x @ he(s["4x4/Dense1/weight"], 12, 1.0) + s["4x4/Dense1/bias"]


# genforce


def genforce_generator(fused: bool) -> State:
    net = Weights()
    net.conv("layer0", Z, 12, 4)
    net.conv("layer1", 12, 12, 3)
    for n, before in ((2, 12), (4, 8)):
        net.put(f"layer{n}.weight", f"layer{n}.bias", (before, 8, 3, 3) if fused else (8, before, 3, 3), 8)
        net.conv(f"layer{n + 1}", 8, 8, 3)
    for n, width in enumerate((12, 8, 8)):
        net.conv(f"output{n}", width, 3, 1)
    return {"lod": torch.tensor(0.0), **net.state}


def port_conv(s: State, path: str, x: Tensor, gain: float = SQRT2, padding: int | None = None) -> Tensor:
    weight = s[f"{path}.weight"]
    pad = weight.shape[2] // 2 if padding is None else padding
    return functional.conv2d(x, he(weight, weight[0].numel(), gain), s[f"{path}.bias"], padding=pad)


def genforce_generate(s: State, z: Tensor) -> Tensor:
    fused = s["layer2.weight"].shape[0] == 12
    x = leaky(port_conv(s, "layer0", unit(z)[:, :, None, None], padding=3))
    x = leaky(port_conv(s, "layer1", unit(x)))
    for n in (2, 4):
        if fused:
            weight = s[f"layer{n}.weight"]
            kernel = spread(he(weight, weight.shape[0] * 9))
            x = functional.conv_transpose2d(unit(x), kernel, s[f"layer{n}.bias"], stride=2, padding=1)
        else:
            x = port_conv(s, f"layer{n}", twice(unit(x)))
        x = leaky(port_conv(s, f"layer{n + 1}", unit(leaky(x))))
    return port_conv(s, "output2", unit(x), 1.0)


def genforce_discriminator() -> State:
    net = Weights()
    for n, width in enumerate((8, 8, 12)):
        net.conv(f"input{n}", 3, width, 1)
    for n, (i, o) in enumerate(((8, 8), (8, 8), (8, 8), (8, 12), (13, 12))):
        net.conv(f"layer{n}", i, o, 3)
    net.linear("layer5", 192, 12)
    net.linear("layer6", 12, 1)
    return {"lod": torch.tensor(0.0), **net.state}


def genforce_discriminate(s: State, image: Tensor) -> Tensor:
    x = leaky(port_conv(s, "input0", image))
    for n in (0, 2):
        x = half(leaky(port_conv(s, f"layer{n + 1}", leaky(port_conv(s, f"layer{n}", x)))))
    x = leaky(port_conv(s, "layer4", interleaved_deviation(x, 16))).flatten(1)
    x = leaky(functional.linear(x, he(s["layer5.weight"], 192), s["layer5.bias"]))
    return functional.linear(x, he(s["layer6.weight"], 12, 1.0), s["layer6.bias"])


# interfacegan, GANLatentDiscovery


def one_image_generator(layer: str, start: int, image: str, bias: str, scale: str = "") -> State:
    net = Weights()
    shapes = [(Z, 12, 4), (12, 12, 3), (12, 8, 3), (8, 8, 3), (8, 8, 3), (8, 8, 3), (8, 3, 1)]
    paths = [*(layer.format(n) for n in range(start, start + 6)), image]
    for path, (i, o, k) in zip(paths, shapes, strict=True):
        net.conv(f"{path}.conv", i, o, k, bias=f"{path}.{bias}")
        if scale:
            gain = 1.0 if path == image else SQRT2
            net.state[f"{path}.{scale}"] = torch.tensor([gain / math.sqrt(i * k * k)])
    return net.state


def one_image_generate(s: State, z: Tensor) -> Tensor:
    """The layers in the order of the state; every one normalises what it gets, the last has no activation."""
    x = z[:, :, None, None]
    paths = [name.removesuffix(".conv.weight") for name in s if name.endswith(".conv.weight")]
    for number, path in enumerate(paths):
        weight, last = s[f"{path}.conv.weight"], number == len(paths) - 1
        x = twice(unit(x)) if number in (2, 4) else unit(x)
        x = functional.conv2d(
            x, he(weight, weight[0].numel(), 1.0 if last else SQRT2), padding=(3, 1)[number > 0] * (not last)
        )
        x = x + column(s.get(f"{path}.wscale.bias", s.get(f"{path}.wscale.b", torch.zeros(1))))
        x = x if last else leaky(x)
    return x


# mmgeneration


def mmgen_generator(fused: bool) -> State:
    net = Weights()
    net.state["noise2feat.linear.weight_orig"] = normal("n2f", 192, Z)
    net.state["noise2feat.bias"] = normal("n2f.bias", 1, 12, 1, 1, std=0.3)
    net.conv("conv_blocks.0.conv", 12, 12, 3, "weight_orig")
    for n, before in ((1, 12), (3, 8)):
        path = f"conv_blocks.{n}.conv"
        net.put(f"{path}.weight_orig", f"{path}.bias", (before, 8, 3, 3) if fused else (8, before, 3, 3), 8)
        net.conv(f"conv_blocks.{n + 1}.conv", 8, 8, 3, "weight_orig")
    for n, width in enumerate((12, 8, 8)):
        net.conv(f"torgb_layers.{n}.conv", width, 3, 1, "weight_orig")
    return {f"generator.{name}": tensor for name, tensor in net.state.items()}


def outside(x: Tensor) -> Tensor:
    return x / (torch.sqrt((x * x).mean(1, keepdim=True)) + 1e-6)


def hook_conv(s: State, path: str, x: Tensor, gain: float = SQRT2, padding: int | None = None) -> Tensor:
    weight = s[f"{path}.weight_orig"]
    pad = weight.shape[2] // 2 if padding is None else padding
    return functional.conv2d(x, he(weight, weight[0].numel(), gain), s[f"{path}.bias"], padding=pad)


def mmgen_generate(s: State, z: Tensor) -> Tensor:
    s = {name.removeprefix("generator."): tensor for name, tensor in s.items()}
    fused = s["conv_blocks.1.conv.weight_orig"].shape[0] == 12
    x = functional.linear(outside(z), he(s["noise2feat.linear.weight_orig"], Z, SQRT2 / 4))
    x = outside(leaky(x.reshape(len(z), 12, 4, 4) + s["noise2feat.bias"]))
    x = outside(leaky(hook_conv(s, "conv_blocks.0.conv", x)))
    for n in (1, 3):
        path = f"conv_blocks.{n}.conv"
        if fused:
            weight = s[f"{path}.weight_orig"]
            kernel = spread(he(weight, weight.shape[1] * 9))
            x = functional.conv_transpose2d(x, kernel, s[f"{path}.bias"], stride=2, padding=1)
        else:
            x = hook_conv(s, path, twice(x))
        x = outside(leaky(hook_conv(s, f"conv_blocks.{n + 1}.conv", outside(leaky(x)))))
    return hook_conv(s, "torgb_layers.2.conv", x, 1.0)


def mmgen_discriminator() -> State:
    net = Weights()
    for n, width in enumerate((12, 8, 8)):
        net.conv(f"fromrgb_layers.{n}.conv", 3, width, 1, "weight_orig")
    for n, (i, o) in enumerate(((12, 12), (8, 8), (8, 12), (8, 8), (8, 8))):
        net.conv(f"conv_blocks.{n}.conv", i, o, 3, "weight_orig")
    net.linear("decision.linear0", 16 * 13, 12, "weight_orig")
    net.linear("decision.linear1", 12, 1, "weight_orig")
    return {f"discriminator.{name}": tensor for name, tensor in net.state.items()}


def mmgen_discriminate(s: State, image: Tensor) -> Tensor:
    """The blocks average before their second activation; the convolution of 4x4 pixels is never called."""
    s = {name.removeprefix("discriminator."): tensor for name, tensor in s.items()}
    x = leaky(hook_conv(s, "fromrgb_layers.2.conv", image))
    for n in (3, 1):
        x = leaky(hook_conv(s, f"conv_blocks.{n}.conv", x))
        x = leaky(half(hook_conv(s, f"conv_blocks.{n + 1}.conv", x)))
    x = interleaved_deviation(x, 4).flatten(1)
    x = leaky(functional.linear(x, he(s["decision.linear0.weight_orig"], 208), s["decision.linear0.bias"]))
    return functional.linear(x, he(s["decision.linear1.weight_orig"], 12, 1.0), s["decision.linear1.bias"])


# akanimax


def akanimax_generator(first: str = "layers.0", start: int = 1) -> State:
    net = Weights()
    net.put(f"{first}.conv_1.weight", f"{first}.conv_1.bias", (Z, 12, 4, 4), 12)
    net.conv(f"{first}.conv_2", 12, 12, 3)
    for n, before in ((start, 12), (start + 1, 8)):
        net.conv(f"layers.{n}.conv_1", before, 8, 3)
        net.conv(f"layers.{n}.conv_2", 8, 8, 3)
    for n, width in enumerate((12, 8, 8)):
        net.conv(f"rgb_converters.{n}", width, 3, 1)
    return net.state


def akanimax_images(s: State, z: Tensor) -> list[Tensor]:
    first = "initial_block" if "initial_block.conv_1.weight" in s else "layers.0"
    x = functional.conv_transpose2d(z[:, :, None, None], he(s[f"{first}.conv_1.weight"], Z), s[f"{first}.conv_1.bias"])
    x = unit(leaky(port_conv(s, f"{first}.conv_2", leaky(x))))
    images = [port_conv(s, "rgb_converters.0", x)]
    for n in (1, 2):
        block = f"layers.{n - (first == 'initial_block')}"
        x = unit(leaky(port_conv(s, f"{block}.conv_1", twice(x))))
        x = unit(leaky(port_conv(s, f"{block}.conv_2", x)))
        images.append(port_conv(s, f"rgb_converters.{n}", x))
    return images


def akanimax_generate(s: State, z: Tensor) -> Tensor:
    return akanimax_images(s, z)[-1]


def last_block(net: Weights, block: str) -> None:
    net.conv(f"{block}.conv_1", 13, 12, 3)
    net.conv(f"{block}.conv_2", 12, 12, 4)
    net.conv(f"{block}.conv_3", 12, 1, 1)


def scored(s: State, block: str, x: Tensor) -> Tensor:
    x = leaky(port_conv(s, f"{block}.conv_2", leaky(port_conv(s, f"{block}.conv_1", x)), padding=0))
    return port_conv(s, f"{block}.conv_3", x).flatten(1)


def batch_deviation(x: Tensor) -> Tensor:
    figure = torch.sqrt(((x - x.mean(0, keepdim=True)) ** 2).mean(0) + 1e-8).mean()
    return torch.cat([x, figure.expand(len(x), 1, *x.shape[2:])], 1)


def akanimax_discriminator() -> State:
    net = Weights()
    for n, width in enumerate((8, 8, 12)):
        net.conv(f"from_rgb.{n}.0", 3, width, 1)
    for n, out in ((0, 8), (1, 12)):
        net.conv(f"layers.{n}.conv_1", 8, 8, 3)
        net.conv(f"layers.{n}.conv_2", 8, out, 3)
    last_block(net, "layers.2")
    return net.state


def akanimax_discriminate(s: State, image: Tensor) -> Tensor:
    x = leaky(port_conv(s, "from_rgb.0.0", image))
    for n in (0, 1):
        x = half(leaky(port_conv(s, f"layers.{n}.conv_2", leaky(port_conv(s, f"layers.{n}.conv_1", x)))))
    return scored(s, "layers.2", torch.cat([batch_deviation(part) for part in x.split(4)]))


def older_discriminator() -> State:
    net = Weights()
    for n, width in enumerate((12, 8, 8)):
        net.conv(f"rgb_to_features.{n}", 3, width, 1)
    for n, out in ((0, 12), (1, 8)):
        net.conv(f"layers.{n}.conv_1", 8, 8, 3)
        net.conv(f"layers.{n}.conv_2", 8, out, 3)
    last_block(net, "final_block")
    return net.state


def older_discriminate(s: State, image: Tensor) -> Tensor:
    x = port_conv(s, "rgb_to_features.2", image)
    for n in (1, 0):
        x = half(leaky(port_conv(s, f"layers.{n}.conv_2", leaky(port_conv(s, f"layers.{n}.conv_1", x)))))
    return scored(s, "final_block", batch_deviation(x))


def bmsg_discriminator(inner: str = "") -> State:
    """16x16: 5 + 7 channels are joined at 4x4 pixels, 3 + 5 at 8x8."""
    net = Weights()
    net.conv("final_converter", 3, 5, 1)
    net.conv(f"rgb_to_features.0{inner}", 3, 3, 1)
    net.conv(f"rgb_to_features.1{inner}", 3, 8, 1)
    net.conv(f"layers.0{inner}.conv_1", 8, 8, 3)
    net.conv(f"layers.0{inner}.conv_2", 8, 7, 3)
    net.conv(f"layers.1{inner}.conv_1", 8, 8, 3)
    net.conv(f"layers.1{inner}.conv_2", 8, 5, 3)
    last_block(net, "final_block")
    return net.state


def bmsg_discriminate(s: State, images: Mapping[int, Tensor]) -> Tensor:
    inner = ".module" if "layers.0.module.conv_1.weight" in s else ""

    def block(n: int, x: Tensor) -> Tensor:
        path = f"layers.{n}{inner}"
        return half(leaky(port_conv(s, f"{path}.conv_2", leaky(port_conv(s, f"{path}.conv_1", x)))))

    x = block(1, port_conv(s, f"rgb_to_features.1{inner}", images[16]))
    x = block(0, torch.cat([port_conv(s, f"rgb_to_features.0{inner}", images[8]), x], 1))
    x = torch.cat([port_conv(s, "final_converter", images[4]), x], 1)
    return scored(s, "final_block", batch_deviation(x))


# facebookresearch/pytorch_GAN_zoo


def zoo_discriminator(inner: str = ".module") -> State:
    net = Weights()
    for n, (i, o) in enumerate(((8, 12), (8, 8))):
        net.conv(f"scaleLayers.{n}.0{inner}", i, i, 3)
        net.conv(f"scaleLayers.{n}.1{inner}", i, o, 3)
    for n, width in enumerate((12, 8, 8)):
        net.conv(f"fromRGBLayers.{n}{inner}", 3, width, 1)
    net.conv(f"groupScaleZero.0{inner}", 13, 12, 3)
    net.linear(f"groupScaleZero.1{inner}", 16 * 12, 12)
    net.linear(f"decisionLayer{inner}", 12, 1)
    return net.state


def zoo_layer(s: State, path: str, x: Tensor) -> Tensor:
    """The output is scaled, and the bias with it. The names of the first files have no `module`."""
    name = f"{path}.module" if f"{path}.module.weight" in s else path
    weight, bias = s[f"{name}.weight"], s[f"{name}.bias"]
    dense = weight.ndim == 2
    x = x @ weight.T + bias if dense else functional.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
    return x * math.sqrt(2 / weight[0].numel())


def zoo_discriminate(s: State, image: Tensor) -> Tensor:
    """Groups of four, one after the other; at first they were interleaved, and their figures given to others."""
    x = leaky(zoo_layer(s, "fromRGBLayers.2", image))
    for n in (1, 0):
        x = half(leaky(zoo_layer(s, f"scaleLayers.{n}.1", leaky(zoo_layer(s, f"scaleLayers.{n}.0", x)))))
    size = len(x) if len(x) % 4 else 4
    later = "decisionLayer.module.weight" in s
    grouped = x.reshape(-1, size, *x.shape[1:]) if later else x.reshape(size, -1, *x.shape[1:])
    figures = torch.sqrt(grouped.var(1 if later else 0) + 1e-8).mean((1, 2, 3))
    x = torch.cat([x, figures.repeat_interleave(size).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)], 1)
    x = leaky(zoo_layer(s, "groupScaleZero.0", x)).flatten(1)
    return zoo_layer(s, "decisionLayer", leaky(zoo_layer(s, "groupScaleZero.1", x)))


# rosinality/progressive-gan-pytorch and odegeasslbc


def hook_generator() -> State:
    """Three classes, whose embedding of three numbers is appended to z."""
    net = Weights()
    net.state["label_embed.weight"] = normal("label", 3, 3)
    shapes = [(Z + 3, 12, 4), (12, 12, 3), (12, 8, 3), (8, 8, 3), (8, 8, 3), (8, 8, 3)]
    for n, (i, o, k) in enumerate(shapes):
        net.conv(f"progression.{n // 2}.conv.{3 * (n % 2)}.conv", i, o, k, "weight_orig")
    for n, width in enumerate((12, 8, 8)):
        net.conv(f"to_rgb.{n}", width, 3, 1)
        net.state[f"to_rgb.{n}.weight"] *= 0.2
    return net.state


def hook_generate(s: State, z: Tensor, label: Tensor) -> Tensor:
    x = torch.cat([unit(z), s["label_embed.weight"][label]], 1)[:, :, None, None]
    for n in range(3):
        x = twice(x) if n else x
        x = leaky(unit(hook_conv(s, f"progression.{n}.conv.0.conv", x, padding=1 if n else 3)))
        x = leaky(unit(hook_conv(s, f"progression.{n}.conv.3.conv", x)))
    return functional.conv2d(x, s["to_rgb.2.weight"], s["to_rgb.2.bias"])


def hook_discriminator() -> State:
    net = Weights()
    shapes = [(8, 8, 3), (8, 8, 3), (8, 8, 3), (8, 12, 3), (13, 12, 3), (12, 12, 4)]
    for n, (i, o, k) in enumerate(shapes):
        net.conv(f"progression.{n // 2}.conv.{2 * (n % 2)}.conv", i, o, k, "weight_orig")
    for n, width in enumerate((8, 8, 12)):
        net.conv(f"from_rgb.{n}", 3, width, 1)
    net.linear("linear", 12, 4)
    net.state["linear.weight"] *= 0.3
    return net.state


def hook_discriminate(s: State, image: Tensor) -> Tensor:
    """No activation behind from-RGB; the deviation is that of the images."""
    x = functional.conv2d(image, s["from_rgb.0.weight"], s["from_rgb.0.bias"])
    for n in range(3):
        if n == 2:
            x = torch.cat([x, image.std(0).mean().expand(len(x), 1, 4, 4)], 1)
        x = leaky(hook_conv(s, f"progression.{n}.conv.0.conv", x))
        x = leaky(hook_conv(s, f"progression.{n}.conv.2.conv", x, padding=0 if n == 2 else 1))
        x = half(x) if n < 2 else x
    return functional.linear(x.flatten(1), s["linear.weight"], s["linear.bias"])


def ode_generator() -> State:
    net = Weights()
    net.put("input_layer.0.conv.weight_orig", "input_layer.0.conv.bias", (Z, 12, 4, 4), 12)
    for size, i, o in ((4, 12, 12), (8, 12, 8), (16, 8, 8)):
        net.conv(f"progression_{size}.conv.0.conv", i, o, 3, "weight_orig")
        net.conv(f"progression_{size}.conv.3.conv", o, o, 3, "weight_orig")
        if size > 4:
            net.conv(f"to_rgb_{size}.conv", o, 3, 1, "weight_orig")
    return net.state


def ode_generate(s: State, z: Tensor) -> Tensor:
    weight = s["input_layer.0.conv.weight_orig"]
    x = functional.conv_transpose2d(z[:, :, None, None], he(weight, 12 * 16), s["input_layer.0.conv.bias"])
    x = leaky(unit(x), 0.1)
    for size in (4, 8, 16):
        if size > 4:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = leaky(unit(hook_conv(s, f"progression_{size}.conv.0.conv", x)), 0.1)
        x = leaky(unit(hook_conv(s, f"progression_{size}.conv.3.conv", x)), 0.1)
    return hook_conv(s, "to_rgb_16.conv", x)


def ode_discriminator() -> State:
    net = Weights()
    shapes = [(8, 8, 3), (8, 8, 3), (8, 8, 3), (8, 12, 3), (13, 12, 3), (12, 12, 4)]
    for n, (i, o, k) in enumerate(shapes):
        net.conv(f"progression.{n // 2}.conv.{3 * (n % 2)}.conv", i, o, k, "weight_orig")
    for n, width in enumerate((8, 8, 12)):
        net.conv(f"from_rgb.{n}.conv", 3, width, 1, "weight_orig")
    net.linear("linear.linear", 12, 1, "weight_orig")
    return net.state


def ode_discriminate(s: State, image: Tensor) -> Tensor:
    x = hook_conv(s, "from_rgb.0.conv", image)
    for n in range(3):
        x = batch_deviation(x) if n == 2 else x
        x = leaky(unit(hook_conv(s, f"progression.{n}.conv.0.conv", x)), 0.1)
        x = leaky(unit(hook_conv(s, f"progression.{n}.conv.3.conv", x, padding=0 if n == 2 else 1)), 0.1)
        x = functional.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False) if n < 2 else x
    return functional.linear(x.flatten(1), he(s["linear.linear.weight_orig"], 12), s["linear.linear.bias"])


# nashory


def nashory_paths(growing: bool, kind: str) -> dict[str, str]:
    """Where the parts are at 16x16: `top` and its colours, the size before's colours, and the block between."""
    index = 0 if kind == "to_rgb" else 1
    sizes = ("8x8_16x16", "4x4_8x8") if kind == "to_rgb" else ("16x16_8x8", "8x8_4x4")
    middle = f"intermediate_{sizes[1]}.high_resl_block"
    if not growing:
        top = f"intermediate_{sizes[0]}.high_resl_block"
        return {"middle": middle, "top": top, "colour": f"{kind}_block.high_resl_{kind}.{index}"}
    return {
        "middle": middle,
        "top": "concat_block.layer2.high_resl_block",
        "colour": f"concat_block.layer2.high_resl_{kind}.{index}",
        "before": f"concat_block.layer1.low_resl_{kind}.{kind}_block.high_resl_{kind}.{index}",
    }


def nashory_generator(growing: bool) -> State:
    net, at = Weights(), nashory_paths(growing, "to_rgb")
    parts = [("first_block.0", Z, 12, 4), ("first_block.3", 12, 12, 3)]
    parts += [(f"{at['middle']}.1", 12, 8, 3), (f"{at['middle']}.4", 8, 8, 3)]
    parts += [(f"{at['top']}.1", 8, 8, 3), (f"{at['top']}.4", 8, 8, 3), (at["colour"], 8, 3, 1)]
    parts += [(at["before"], 8, 3, 1)] if growing else []
    for path, i, o, k in parts:
        net.conv(f"{path}.conv", i, o, k, bias=f"{path}.bias")
    return {f"model.{name}": tensor for name, tensor in net.state.items()}


def nashory_conv(s: State, path: str, x: Tensor, padding: int | None = None) -> Tensor:
    weight = s[f"model.{path}.conv.weight"]
    pad = weight.shape[2] // 2 if padding is None else padding
    x = functional.conv2d(x / math.sqrt(weight[0].numel()), weight, padding=pad)
    return x + column(s[f"model.{path}.bias"])


def nashory_generate(s: State, z: Tensor, alpha: float = 1.0) -> Tensor:
    growing = "model.concat_block.layer2.high_resl_block.1.bias" in s
    at = nashory_paths(growing, "to_rgb")
    x = unit(leaky(nashory_conv(s, "first_block.0", z[:, :, None, None], 3)))
    x = unit(leaky(nashory_conv(s, "first_block.3", x)))
    before = x
    for block in (at["middle"], at["top"]):
        before = x
        x = unit(leaky(nashory_conv(s, f"{block}.1", twice(x))))
        x = unit(leaky(nashory_conv(s, f"{block}.4", x)))
    image = nashory_conv(s, at["colour"], x)
    if growing:
        image = alpha * image + (1 - alpha) * nashory_conv(s, at["before"], twice(before))
    return image


def nashory_discriminator(growing: bool) -> State:
    net, at = Weights(), nashory_paths(growing, "from_rgb")
    parts = [(at["colour"], 3, 8, 1), (f"{at['top']}.1", 8, 8, 3), (f"{at['top']}.4", 8, 8, 3)]
    parts += [(at["before"], 3, 8, 1)] if growing else []
    parts += [(f"{at['middle']}.1", 8, 8, 3), (f"{at['middle']}.4", 8, 12, 3)]
    parts += [("last_block.2", 13, 12, 3), ("last_block.5", 12, 12, 4)]
    for path, i, o, k in parts:
        net.conv(f"{path}.conv", i, o, k, bias=f"{path}.bias")
    net.linear("last_block.8.linear", 12, 1, bias="last_block.8.bias")
    return {f"model.{name}": tensor for name, tensor in net.state.items()}


def nashory_discriminate(s: State, image: Tensor, alpha: float = 1.0) -> Tensor:
    growing = "model.concat_block.layer2.high_resl_block.1.bias" in s
    at = nashory_paths(growing, "from_rgb")
    x = leaky(nashory_conv(s, at["colour"], image))
    for block in (at["top"], at["middle"]):
        x = half(leaky(nashory_conv(s, f"{block}.4", leaky(nashory_conv(s, f"{block}.1", x)))))
        if growing and block == at["top"]:
            x = alpha * x + (1 - alpha) * leaky(nashory_conv(s, at["before"], half(image)))
    figure = torch.sqrt(((x - x.mean(0, keepdim=True)) ** 2).mean(0, keepdim=True) + 1e-8).mean(1, keepdim=True)
    x = leaky(nashory_conv(s, "last_block.2", torch.cat([x, figure.expand(len(x), 1, 4, 4)], 1)))
    x = leaky(nashory_conv(s, "last_block.5", x, 0)).flatten(1) / math.sqrt(12)
    return x @ s["model.last_block.8.linear.weight"].T + s["model.last_block.8.bias"]


@dataclass(frozen=True)
class Project:
    """A state dict, what the project computes from it, how its file nests it, and the options that a file needs."""

    state: Callable[[], State]
    forward: Callable[..., Tensor]
    nested: Callable[[State], Any] = lambda state: state
    options: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        path = folder / "project.pt"
        torch.save(self.nested(self.state()), path)
        return path


def conf(role: str) -> Callable[[State], Any]:
    return lambda state: {role: {"conf": {"depth": 4, "use_eql": True}, "state_dict": state}}


EQUALIZED = ("--family", "akanimax-progan")
RMS = ("--family", "rms-progan")
GENERATORS = {
    "tf": Project(lambda: tf_generator(True), tf_generate),
    "tf unfused": Project(lambda: tf_generator(False), tf_generate),
    "genforce": Project(lambda: genforce_generator(False), genforce_generate, lambda s: {"generator_smooth": s}),
    "genforce fused": Project(lambda: genforce_generator(True), genforce_generate, lambda s: {"generator": s}),
    "interfacegan": Project(
        lambda: one_image_generator("layer{}", 1, "output_16x16", "wscale.bias"), one_image_generate
    ),
    "wscale": Project(
        lambda: one_image_generator("features.{}", 0, "output", "wscale.b", "wscale.scale"), one_image_generate
    ),
    "mmgen": Project(lambda: mmgen_generator(True), mmgen_generate, lambda s: {"meta": {}, "state_dict": s}),
    "mmgen unfused": Project(lambda: mmgen_generator(False), mmgen_generate, lambda s: {"meta": {}, "state_dict": s}),
    "akanimax": Project(akanimax_generator, akanimax_generate, conf("generator")),
    "akanimax 2": Project(lambda: akanimax_generator("initial_block", 0), akanimax_generate, options=EQUALIZED),
    "bmsg": Project(akanimax_generator, akanimax_generate, options=EQUALIZED),
    "odegeasslbc": Project(ode_generator, ode_generate),
    "nashory": Project(lambda: nashory_generator(False), nashory_generate, options=RMS),
    "nashory growing": Project(lambda: nashory_generator(True), nashory_generate, options=RMS),
}
DISCRIMINATORS = {
    "tf": Project(lambda: tf_discriminator(True), tf_discriminate),
    "tf unfused": Project(lambda: tf_discriminator(False), tf_discriminate),
    "genforce": Project(genforce_discriminator, genforce_discriminate),
    "mmgen": Project(mmgen_discriminator, mmgen_discriminate, lambda s: {"meta": {}, "state_dict": s}),
    "akanimax": Project(akanimax_discriminator, akanimax_discriminate, conf("discriminator")),
    "akanimax 2": Project(older_discriminator, older_discriminate, options=EQUALIZED),
    "zoo": Project(zoo_discriminator, zoo_discriminate, lambda s: {"netD": s}),
    "zoo, first files": Project(lambda: zoo_discriminator(""), zoo_discriminate, lambda s: {"netD": s}),
    "rosinality": Project(hook_discriminator, hook_discriminate),
    "odegeasslbc": Project(ode_discriminator, ode_discriminate),
    "nashory": Project(lambda: nashory_discriminator(False), nashory_discriminate, options=RMS),
    "nashory growing": Project(lambda: nashory_discriminator(True), nashory_discriminate, options=RMS),
}
