"""Whole networks of any size: widths of each resolution, depth, labels and variants of the architecture as arguments.

The constants are again computed from channels and kernel sizes alone (see `builders.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.families.builders import SQRT2, Built, _hooked, _tf


@dataclass(frozen=True)
class Size:
    """`widths[n]` channels at 4 * 2**n pixels; w, mapping layers and their multiplier, classes (0: none), a variant."""

    widths: tuple[int, ...]
    w: int = 16
    mapping: int = 8
    lr: float = 0.01
    labels: int = 0
    variant: str = ""

    @property
    def steps(self) -> list[tuple[int, int, int]]:
        """(resolution, channels before, channels at) of every resolution above 4."""
        return [(8 << n, a, b) for n, (a, b) in enumerate(zip(self.widths, self.widths[1:], strict=False))]

    @property
    def first(self) -> int:
        return self.widths[0]


def draw(rng: np.random.Generator) -> Size:
    """Narrow and odd widths, a few wide ones; resolutions 8 to 64."""
    depth = int(rng.integers(2, 6))
    pool = [256, 512] if rng.random() < 0.03 and depth == 2 else list(range(4, 17))
    return Size(
        widths=tuple(int(rng.choice(pool)) for _ in range(depth)),
        w=int(rng.integers(5, 20)),
        mapping=int(rng.integers(3, 9)),
        lr=float(rng.choice([0.01, 0.1])),
        labels=int(rng.choice([0, 0, 3])),
        variant=str(rng.choice(["resnet", "skip", "orig"])),
    )


def _rosinality_layers(
    net: Built, size: Size, conv: str, rgb: str, style: str, bias: str, blur: bool, noise: str
) -> None:
    layers = [(f"{conv}1", size.first, size.first)]
    for n, (_, i, o) in enumerate(size.steps):
        layers += [(f"{conv}s.{2 * n}", i, o), (f"{conv}s.{2 * n + 1}", o, o)]
        if blur:
            net.put(f"{conv}s.{2 * n}.conv.blur.kernel", 4, 4)
            net.put(f"{rgb}s.{n}.upsample.kernel", 4, 4)
    inner = "conv" if blur else "modulated_conv"
    for path, i, o in layers:
        net.modulated(f"{path}.{inner}", i, o, 3, size.w, style)
        net.put(f"{path}.{noise}", 1)
        net.put(f"{path}.{bias}", o)
    for n, i in enumerate(size.widths):
        path = f"{rgb}1" if n == 0 else f"{rgb}s.{n - 1}"
        net.modulated(f"{path}.{inner}", i, 3, 1, size.w, style)
        net.put(f"{path}.bias", 1, 3, 1, 1)


def rosinality_generator(size: Size) -> Built:
    net = Built()
    for n in range(1, size.mapping + 1):
        net.linear(f"style.{n}", size.w, size.w, lr=size.lr)
    net.put("input.input", 1, size.first, 4, 4)
    _rosinality_layers(net, size, "conv", "to_rgb", "modulation", "activate.bias", True, "noise.weight")
    net.put("noises.noise_0", 1, 1, 4, 4)
    return net


def basicsr_generator(size: Size) -> Built:
    net = Built()
    for n in range(1, size.mapping + 1):
        net.linear(f"style_mlp.{n}", size.w, size.w, lr=size.lr)
    net.put("constant_input.weight", 1, size.first, 4, 4)
    _rosinality_layers(net, size, "style_conv", "to_rgb", "modulation", "activate.bias", False, "weight")
    net.put("noises.noise0", 1, 1, 4, 4)
    return net


def _resnet(net: Built, size: Size, convs: str, blur: bool) -> None:
    """rosinality's residual blocks, from the largest resolution down; a blur in front shifts the numbers."""
    net.conv(f"{convs}.0.0", 3, size.widths[-1], 1, bias=f"{convs}.0.1.bias")
    for n, (_, o, i) in enumerate(reversed(size.steps), 1):
        net.conv(f"{convs}.{n}.conv1.0", i, i, 3, bias=f"{convs}.{n}.conv1.1.bias")
        net.conv(f"{convs}.{n}.conv2.1", i, o, 3, bias=f"{convs}.{n}.conv2.2.bias")
        net.conv(f"{convs}.{n}.skip.1", i, o, 1, bias=None)
        if blur:
            net.put(f"{convs}.{n}.conv2.0.kernel", 4, 4)
            net.put(f"{convs}.{n}.skip.0.kernel", 4, 4)
    net.conv("final_conv.0", size.first + 1, size.first, 3, bias="final_conv.1.bias")
    net.linear("final_linear.0", 16 * size.first, size.first)
    net.linear("final_linear.1", size.first, 1)


def rosinality_discriminator(size: Size) -> Built:
    net = Built()
    _resnet(net, size, "convs", blur=True)
    return net


def basicsr_discriminator(size: Size) -> Built:
    net = Built()
    _resnet(net, size, "conv_body", blur=False)
    return net


def ada_generator(size: Size) -> Built:
    net = Built()
    if size.labels:
        net.linear("mapping.embed", size.labels, size.w)
    for n in range(size.mapping):
        net.linear(f"mapping.fc{n}", size.w * (2 if size.labels and n == 0 else 1), size.w, lr=size.lr)
    net.put("mapping.w_avg", size.w)
    net.put("synthesis.b4.const", size.first, 4, 4)
    last = 4 << (len(size.widths) - 1)
    for resolution, i, o in [(4, 0, size.first), *size.steps]:
        block = f"synthesis.b{resolution}"
        net.put(f"{block}.resample_filter", 4, 4)
        for conv, inputs in (("conv0", i), ("conv1", o)):
            if not inputs:
                continue
            net.put(f"{block}.{conv}.weight", o, inputs, 3, 3)
            net.put(f"{block}.{conv}.bias", o)
            net.put(f"{block}.{conv}.noise_strength")
            net.put(f"{block}.{conv}.noise_const", resolution, resolution)
            net.put(f"{block}.{conv}.resample_filter", 4, 4)
            net.linear(f"{block}.{conv}.affine", size.w, inputs)
        if size.variant == "resnet" and i:
            net.conv(f"{block}.skip", i, o, 1, bias=None)
            net.put(f"{block}.skip.resample_filter", 4, 4)
        if size.variant == "skip" or resolution == last:
            net.conv(f"{block}.torgb", o, 3, 1)
            net.linear(f"{block}.torgb.affine", size.w, o)
    return net


def ada_discriminator(size: Size) -> Built:
    net = Built()
    if size.labels:
        net.linear("mapping.embed", size.labels, size.w)
        for n in range(size.mapping):
            net.linear(f"mapping.fc{n}", size.w, size.w, lr=size.lr)
    for number, (resolution, o, i) in enumerate(reversed(size.steps)):
        block = f"b{resolution}"
        net.put(f"{block}.resample_filter", 4, 4)
        if number == 0 or size.variant == "skip":
            net.conv(f"{block}.fromrgb", 3, i, 1)
        net.conv(f"{block}.conv0", i, i, 3)
        net.conv(f"{block}.conv1", i, o, 3)
        net.put(f"{block}.conv1.resample_filter", 4, 4)
        if size.variant == "resnet":
            net.conv(f"{block}.skip", i, o, 1, bias=None)
    if size.variant == "skip":
        net.conv("b4.fromrgb", 3, size.first, 1)
    net.conv("b4.conv", size.first + 1, size.first, 3)
    net.linear("b4.fc", 16 * size.first, size.first)
    net.linear("b4.out", size.first, size.w if size.labels else 1)
    return net


def stylegan3(size: Size) -> Built:
    """Layers named after their sampling rate and channels; R has 1x1 convolutions and down filters of two axes."""
    net = Built()
    radial = size.variant == "resnet"
    if size.labels:
        net.linear("mapping.embed", size.labels, size.w)
    for n in range(size.mapping):
        net.linear(f"mapping.fc{n}", size.w * (2 if size.labels and n == 0 else 1), size.w, lr=size.lr)
    net.put("mapping.w_avg", size.w)
    c = size.first
    net.scaled("synthesis.input.weight", (c, c), 1 / math.sqrt(c))
    net.put("synthesis.input.freqs", c, 2)
    net.put("synthesis.input.phases", c)
    net.put("synthesis.input.transform", 3, 3)
    net.linear("synthesis.input.affine", size.w, 4)
    channels = [c, c, *(o for _, _, o in size.steps for _ in (0, 1))]
    for n, (i, o) in enumerate(itertools.pairwise(channels)):
        layer = f"synthesis.L{n}_{36 + 8 * n}_{o}"
        k = 1 if radial else 3
        net.put(f"{layer}.weight", o, i, k, k)
        net.put(f"{layer}.bias", o)
        net.put(f"{layer}.magnitude_ema")
        net.put(f"{layer}.up_filter", 12)
        net.put(f"{layer}.down_filter", *((12, 12) if radial else (12,)))
        net.linear(f"{layer}.affine", size.w, i)
    last = f"synthesis.L{len(channels) - 1}_{36 + 8 * len(channels)}_3"
    net.conv(last, channels[-1], 3, 1)
    net.put(f"{last}.magnitude_ema")
    net.linear(f"{last}.affine", size.w, channels[-1])
    return net


def mmgen_stylegan2(size: Size) -> Built:
    net = Built()
    for n in range(1, size.mapping + 1):
        _hooked(net, f"style_mapping.{n}.linear", (size.w, size.w), size.w, lr=size.lr)
        net._bias(f"style_mapping.{n}.bias", size.w, size.lr)
    net.put("constant_input.weight", 1, size.first, 4, 4)
    layers = [("conv1", size.first, size.first, 3), ("to_rgb1", size.first, 3, 1)]
    for n, (_, i, o) in enumerate(size.steps):
        layers += [(f"convs.{2 * n}", i, o, 3), (f"convs.{2 * n + 1}", o, o, 3), (f"to_rgbs.{n}", o, 3, 1)]
    for path, i, o, k in layers:
        _hooked(net, f"{path}.conv", (1, o, i, k, k), i * k * k)
        _hooked(net, f"{path}.conv.style_modulation.linear", (i, size.w), size.w)
        net.put(f"{path}.conv.style_modulation.bias", i, mean=1.0)
        if k == 3:
            net.put(f"{path}.noise_injector.weight", 1)
            net.put(f"{path}.activate.bias", o)
        else:
            net.put(f"{path}.bias", 1, 3, 1, 1)
    net.put("injected_noise_0", 1, 1, 4, 4)
    return net


def mmgen_stylegan2_discriminator(size: Size) -> Built:
    net = Built()
    _hooked(net, "convs.0.conv", (size.widths[-1], 3, 1, 1), 3)
    net.put("convs.0.activate.bias", size.widths[-1])
    for n, (_, o, i) in enumerate(reversed(size.steps), 1):
        _hooked(net, f"convs.{n}.conv1.0.conv", (i, i, 3, 3), 9 * i)
        net.put(f"convs.{n}.conv1.1.bias", i)
        net.put(f"convs.{n}.conv2.0.kernel", 4, 4)
        _hooked(net, f"convs.{n}.conv2.1.conv", (o, i, 3, 3), 9 * i)
        net.put(f"convs.{n}.conv2.2.bias", o)
        net.put(f"convs.{n}.skip.0.kernel", 4, 4)
        _hooked(net, f"convs.{n}.skip.1.conv", (o, i, 1, 1), i)
    _hooked(net, "final_conv.0.conv", (size.first, size.first + 1, 3, 3), 9 * (size.first + 1))
    net.put("final_conv.1.bias", size.first)
    _hooked(net, "final_linear.0.linear", (size.first, 16 * size.first), 16 * size.first)
    net.put("final_linear.0.bias", size.first)
    _hooked(net, "final_linear.1.linear", (1, size.first), size.first)
    net.put("final_linear.1.bias", 1)
    return net


def genforce_stylegan2(size: Size) -> Built:
    net = Built()
    if size.labels:
        net.put("mapping.label_weight", size.labels, size.w)
    for n in range(size.mapping):
        net.linear(f"mapping.dense{n}", size.w * (2 if size.labels and n == 0 else 1), size.w, lr=size.lr)
    net.put("truncation.w_avg", size.w)
    net.put("synthesis.early_layer.const", 1, size.first, 4, 4)
    layers = [(size.first, size.first), *(pair for _, i, o in size.steps for pair in ((i, o), (o, o)))]
    for n, (i, o) in enumerate(layers):
        net.conv(f"synthesis.layer{n}", i, o, 3)
        net.linear(f"synthesis.layer{n}.style", size.w, i)
        net.put(f"synthesis.layer{n}.noise_strength")
        net.put(f"synthesis.layer{n}.noise", 1, 1, 4, 4)
        if n % 2:
            net.put(f"synthesis.layer{n}.filter.kernel", 1, 1, 4, 4)
    for n, i in enumerate(size.widths):
        net.conv(f"synthesis.output{n}", i, 3, 1)
        net.linear(f"synthesis.output{n}.style", size.w, i)
    return net


def genforce_discriminator(size: Size, gain: float, skip: bool, blur: str, lod: bool) -> Built:
    """The three discriminators differ in gain, residual connections and blurs."""
    net = Built()
    if lod:
        net.put("lod")
    inputs = reversed(size.widths) if lod else [size.widths[-1]]
    for n, o in enumerate(inputs):
        net.conv(f"input{n}", 3, o, 1, gain)
    number = 0
    for n, (_, o, i) in enumerate(reversed(size.steps)):
        net.conv(f"layer{number}", i, i, 3, gain)
        net.conv(f"layer{number + 1}", i, o, 3, gain)
        if blur:
            net.put(f"layer{number + 1}.{blur}", *((1, 1, 4, 4) if "filter" in blur else (i, 1, 3, 3)))
        if skip:
            net.conv(f"skip_layer{n}", i, o, 1, bias=None)
        number += 2
    net.conv(f"layer{number}", size.first + 1, size.first, 3, gain)
    net.linear(f"layer{number + 1}", 16 * size.first, size.first, gain)
    net.linear(f"layer{number + 2}", size.first, 1)
    return net


def genforce_stylegan(size: Size) -> Built:
    net = Built()
    for n in range(size.mapping):
        net.linear(f"mapping.dense{n}", size.w, size.w, SQRT2, size.lr)
    net.put("truncation.w_avg", size.w)
    net.put("synthesis.lod")
    net.put("synthesis.layer0.const", 1, size.first, 4, 4)
    four = (size.first, size.first)
    layers = [four, four, *(pair for _, i, o in size.steps for pair in ((i, o), (o, o)))]
    for n, (i, o) in enumerate(layers):
        if n:
            net.conv(f"synthesis.layer{n}", i, o, 3, SQRT2)
        net.put(f"synthesis.layer{n}.apply_noise.weight", o)
        net.linear(f"synthesis.layer{n}.style", size.w, 2 * o)
    for n, i in enumerate(size.widths):
        net.conv(f"synthesis.output{n}", i, 3, 1)
    return net


def huangzh13_generator(size: Size) -> Built:
    net = Built()
    for n in range(size.mapping):
        net.linear(f"g_mapping.map.dense{n}", size.w, size.w, SQRT2, size.lr)
    net.put("truncation.avg_latent", size.w)
    block = "g_synthesis.init_block"
    net.put(f"{block}.const", 1, size.first, 4, 4)
    net.put(f"{block}.bias", size.first)
    net.conv(f"{block}.conv", size.first, size.first, 3, SQRT2)
    blocks = [(block, size.first)]
    for n, (_, i, o) in enumerate(size.steps):
        path = f"g_synthesis.blocks.{n}"
        net.conv(f"{path}.conv0_up", i, o, 3, SQRT2)
        net.conv(f"{path}.conv1", o, o, 3, SQRT2)
        net.put(f"{path}.conv0_up.intermediate.kernel", 1, 1, 3, 3)
        blocks.append((path, o))
    for path, o in blocks:
        for epilogue in ("epi1", "epi2"):
            net.put(f"{path}.{epilogue}.top_epi.noise.weight", o)
            net.linear(f"{path}.{epilogue}.style_mod.lin", size.w, 2 * o)
    for n, i in enumerate(size.widths):
        net.conv(f"g_synthesis.to_rgb.{n}", i, 3, 1)
    return net


def huangzh13_discriminator(size: Size) -> Built:
    net = Built()
    for n, (_, o, i) in enumerate(reversed(size.steps)):
        net.conv(f"blocks.{n}.conv0", i, i, 3, SQRT2)
        net.conv(f"blocks.{n}.conv1_down", i, o, 3, SQRT2)
        net.conv(f"from_rgb.{n}", 3, i, 1, SQRT2)
        net.put(f"blocks.{n}.blur.kernel", 1, 1, 3, 3)
    net.conv(f"from_rgb.{len(size.steps)}", 3, size.first, 1, SQRT2)
    net.conv("final_block.conv", size.first + 1, size.first, 3, SQRT2)
    net.linear("final_block.dense0", 16 * size.first, size.first, SQRT2)
    net.linear("final_block.dense1", size.first, 1)
    return net


def _split(net: Built, path: str, i: int, o: int, k: int) -> None:
    """aladdinpersson's WSConv2d and WSLinear (k 0)."""
    if k:
        net.conv(f"{path}.conv", i, o, k, SQRT2, bias=f"{path}.bias")
    else:
        net.linear(f"{path}.linear", i, o, SQRT2, bias=f"{path}.bias")


def aladdin_generator(size: Size) -> Built:
    net = Built()
    net.put("initial.1.weight", size.w, size.first, 4, 4, std=0.1)
    net.put("initial.1.bias", size.first)
    _split(net, "initial.3", size.first, size.first, 3)
    _split(net, "initial_rgb", size.first, 3, 1)
    for n, i in enumerate(size.widths):
        _split(net, f"rgb_layers.{n}", i, 3, 1)
    for n, (_, i, o) in enumerate(size.steps):
        _split(net, f"prog_blocks.{n}.conv1", i, o, 3)
        _split(net, f"prog_blocks.{n}.conv2", o, o, 3)
    return net


def aladdin_critic(size: Size) -> Built:
    net = Built()
    for n, (_, o, i) in enumerate(reversed(size.steps)):
        _split(net, f"prog_blocks.{n}.conv1", i, i, 3)
        _split(net, f"prog_blocks.{n}.conv2", i, o, 3)
    for n, o in enumerate(reversed(size.widths)):
        _split(net, f"rgb_layers.{n}", 3, o, 1)
    _split(net, "initial_rgb", 3, size.first, 1)
    for name, i, o, k in (
        ("0", size.first + 1, size.first, 3),
        ("2", size.first, size.first, 4),
        ("4", size.first, 1, 1),
    ):
        _split(net, f"final_block.{name}", i, o, k)
    return net


def rosinality_hook_generator(size: Size) -> Built:
    net = Built()
    for n in range(1, 2 * size.mapping, 2):
        _hooked(net, f"style.{n}.linear", (size.w, size.w), size.w, SQRT2)
        net.put(f"style.{n}.linear.bias", size.w)
    net.put("generator.progression.0.conv1.input", 1, size.first, 4, 4)
    for n, (_, i, o) in enumerate([(4, size.first, size.first), *size.steps]):
        path = f"generator.progression.{n}"
        if n:
            _hooked(net, f"{path}.conv1.1.conv", (o, i, 3, 3), 9 * i, SQRT2)
            net.put(f"{path}.conv1.1.conv.bias", o)
            net.put(f"{path}.conv1.2.weight", o, 1, 3, 3)
            net.put(f"{path}.conv1.2.weight_flip", o, 1, 3, 3)
        _hooked(net, f"{path}.conv2.conv", (o, o, 3, 3), 9 * o, SQRT2)
        net.put(f"{path}.conv2.conv.bias", o)
        for number in (1, 2):
            _hooked(net, f"{path}.noise{number}", (1, o, 1, 1), o, SQRT2)
            _hooked(net, f"{path}.adain{number}.style.linear", (2 * o, size.w), size.w, SQRT2)
            net.put(f"{path}.adain{number}.style.linear.bias", 2 * o)
        _hooked(net, f"generator.to_rgb.{n}.conv", (3, o, 1, 1), o, SQRT2)
        net.put(f"generator.to_rgb.{n}.conv.bias", 3)
    return net


def labml_generator(size: Size) -> Built:
    net = Built()

    def weighted(path: str, shape: tuple[int, ...], fan: int) -> None:
        net.scaled(f"{path}.weight.weight", shape, 1 / math.sqrt(fan), baked=f"{path}.weight")

    def styled(path: str, i: int, o: int, k: int) -> None:
        weighted(f"{path}.to_style", (i, size.w), size.w)
        net.put(f"{path}.to_style.bias", i, mean=1.0)
        weighted(f"{path}.conv", (o, i, k, k), i * k * k)
        net.put(f"{path}.bias", o)
        if k == 3:
            net.put(f"{path}.scale_noise", 1)

    net.put("initial_constant", 1, size.first, 4, 4)
    styled("style_block", size.first, size.first, 3)
    styled("to_rgb", size.first, 3, 1)
    net.put("up_sample.smooth.kernel", 1, 1, 3, 3)
    for n, (_, i, o) in enumerate(size.steps):
        styled(f"blocks.{n}.style_block1", i, o, 3)
        styled(f"blocks.{n}.style_block2", o, o, 3)
        styled(f"blocks.{n}.to_rgb", o, 3, 1)
    return net


def stylegan2_tf(size: Size) -> Built:
    net = Built(dropped={"mod"})
    net.put("dlatent_avg", size.w)
    net.put("lod")
    for n in range(size.mapping):
        _tf(net, f"G_mapping/Dense{n}", (size.w, size.w), size.w, 1.0, size.lr)
    net.put("G_synthesis/4x4/Const/const", 1, size.first, 4, 4)
    layers = [("4x4/Conv", size.first, size.first, 3), ("4x4/ToRGB", size.first, 3, 1)]
    for r, i, o in size.steps:
        layers += [(f"{r}x{r}/Conv0_up", i, o, 3), (f"{r}x{r}/Conv1", o, o, 3), (f"{r}x{r}/ToRGB", o, 3, 1)]
    for n, (path, i, o, k) in enumerate(layers):
        _tf(net, f"G_synthesis/{path}", (k, k, i, o), k * k * i)
        net.scaled(f"G_synthesis/{path}/mod_weight", (size.w, i), 1 / math.sqrt(size.w))
        net.put(f"G_synthesis/{path}/mod_bias", i)
        net.put(f"G_synthesis/{path}/noise_strength")
        net.put(f"G_synthesis/noise{n}", 1, 1, 4, 4)
    net.dropped.clear()
    return net


def akanimax_generator(size: Size) -> Built:
    net = Built()
    net.scaled("layers.0.conv_1.weight", (size.w, size.first, 4, 4), SQRT2 / math.sqrt(size.w))
    net.put("layers.0.conv_1.bias", size.first)
    net.conv("layers.0.conv_2", size.first, size.first, 3, SQRT2)
    for n, (_, i, o) in enumerate(size.steps, 1):
        net.conv(f"layers.{n}.conv_1", i, o, 3, SQRT2)
        net.conv(f"layers.{n}.conv_2", o, o, 3, SQRT2)
    for n, i in enumerate(size.widths):
        net.conv(f"rgb_converters.{n}", i, 3, 1, SQRT2)
    return net


def progan_tf(size: Size) -> Built:
    net = Built()
    net.put("lod")
    _tf(net, "4x4/Dense", (size.w, 16 * size.first), size.w, SQRT2 / 4)
    _tf(net, "4x4/Conv", (3, 3, size.first, size.first), 9 * size.first, SQRT2)
    for r, i, o in size.steps:
        _tf(net, f"{r}x{r}/Conv0_up", (3, 3, o, i), 9 * i, SQRT2)
        _tf(net, f"{r}x{r}/Conv1", (3, 3, o, o), 9 * o, SQRT2)
    for n, i in enumerate(reversed(size.widths)):
        _tf(net, f"ToRGB_lod{n}", (1, 1, i, 3), i)
    return net


SIZED: dict[str, tuple[str, Callable[[Size], Built]]] = {
    "rosinality generator": ("rosinality-stylegan2", rosinality_generator),
    "rosinality discriminator": ("rosinality-stylegan2", rosinality_discriminator),
    "basicsr generator": ("basicsr-stylegan2", basicsr_generator),
    "basicsr discriminator": ("basicsr-stylegan2", basicsr_discriminator),
    "ada generator": ("nvidia-stylegan2-ada", ada_generator),
    "ada discriminator": ("nvidia-stylegan2-ada", ada_discriminator),
    "stylegan3": ("nvidia-stylegan3", stylegan3),
    "mmgen generator": ("mmgen-stylegan2", mmgen_stylegan2),
    "mmgen discriminator": ("mmgen-stylegan2", mmgen_stylegan2_discriminator),
    "genforce stylegan2": ("genforce-stylegan2", genforce_stylegan2),
    "genforce stylegan2 discriminator": (
        "genforce-stylegan2",
        lambda size: genforce_discriminator(size, 1.0, True, "filter.kernel", False),
    ),
    "genforce stylegan": ("genforce-stylegan", genforce_stylegan),
    "genforce stylegan discriminator": (
        "genforce-stylegan",
        lambda size: genforce_discriminator(size, SQRT2, False, "blur.kernel", True),
    ),
    "genforce pggan discriminator": (
        "genforce-pggan",
        lambda size: genforce_discriminator(size, SQRT2, False, "", True),
    ),
    "huangzh13 generator": ("huangzh13-stylegan", huangzh13_generator),
    "huangzh13 discriminator": ("huangzh13-stylegan", huangzh13_discriminator),
    "aladdin generator": ("aladdin-progan", aladdin_generator),
    "aladdin critic": ("aladdin-progan", aladdin_critic),
    "rosinality hook": ("rosinality-hook", rosinality_hook_generator),
    "labml generator": ("labml-stylegan2", labml_generator),
    "stylegan2 tf": ("nvidia-stylegan2-tf", stylegan2_tf),
    "progan tf": ("nvidia-progan-tf", progan_tf),
    "akanimax generator": ("akanimax-progan", akanimax_generator),
}
"""name -> (family, builder)."""
