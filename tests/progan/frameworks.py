"""ProGANs of Chainer, JAX and TensorFlow, and one in torch after Chainer's, with the widths of `projects.py`."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from tests.progan.projects import (
    Project,
    State,
    Weights,
    Z,
    batch_deviation,
    column,
    half,
    he,
    interleaved_deviation,
    leaky,
    normal,
    twice,
    unit,
)

SIZES = ((8, 12, 8), (16, 8, 8))
"""Each size above 4 with the channels that enter and leave."""


def deviation(x: Tensor) -> Tensor:
    """That of the whole batch, with nothing added."""
    return torch.cat([x, x.std(0, unbiased=False).mean().expand(len(x), 1, *x.shape[2:])], 1)


# pfnet-research/chainer-gan-lib, and teome/progressive-gan


def link(net: Weights, path: str, inner: str, i: int, o: int, k: int) -> None:
    weight, bias = (f"{path}/c/W", f"{path}/c/b") if inner == "/" else (f"{path}.c.weight", f"{path}.c.bias")
    net.put(weight, bias, (o, i, k, k) if k else (o, i), o)


def chainer_generator(inner: str = "/") -> State:
    net = Weights()
    link(net, "c0", inner, Z, 12, 4)
    link(net, "c1", inner, 12, 12, 3)
    link(net, "out0", inner, 12, 3, 1)
    for n, (_, i, o) in enumerate(SIZES, 1):
        link(net, f"b{n}{inner}c0", inner, i, o, 3)
        link(net, f"b{n}{inner}c1", inner, o, o, 3)
        link(net, f"out{n}", inner, o, 3, 1)
    return net.state


def transposed_generator() -> State:
    """As the library first had it: the first layer's fan-in is that of its channels alone."""
    return chainer_generator() | {"c0/c/W": normal("c0/c/W", Z, 12, 4, 4, std=0.25)}


def linked(s: State, path: str, x: Tensor, padding: int | None = None) -> Tensor:
    name = f"{path}/c/W"
    weight, bias = (s[name], s[f"{path}/c/b"]) if name in s else (s[f"{path}.c.weight"], s[f"{path}.c.bias"])
    x = x * math.sqrt(2 / weight[0].numel())
    if weight.ndim == 2:
        return functional.linear(x, weight, bias)
    return functional.conv2d(x, weight, bias, padding=weight.shape[2] // 2 if padding is None else padding)


def chainer_generate(s: State, z: Tensor, inner: str = "/", slope: float = 0.2) -> Tensor:
    pixel = z[:, :, None, None]
    if len(s[f"c0{inner}c{'/W' if inner == '/' else '.weight'}"]) == Z:
        x = functional.conv_transpose2d(pixel * math.sqrt(2 / Z), s["c0/c/W"], s["c0/c/b"])
    else:
        x = linked(s, "c0", pixel, 3)
    x = leaky(unit(linked(s, "c1", leaky(unit(x), slope))), slope)
    for n in (1, 2):
        x = leaky(unit(linked(s, f"b{n}{inner}c0", twice(x))), slope)
        x = leaky(unit(linked(s, f"b{n}{inner}c1", x)), slope)
    return linked(s, "out2", x)


def chainer_discriminator(inner: str = "/") -> State:
    net = Weights()
    for n, (_, o, i) in enumerate(SIZES, 1):
        link(net, f"in{n}", inner, 3, i, 1)
        link(net, f"b{n}{inner}c0", inner, i, i, 3)
        link(net, f"b{n}{inner}c1", inner, i, o, 3)
    for path, i, o, k in (("in0", 3, 12, 1), ("out0", 13, 12, 3), ("out1", 12, 12, 4), ("out2", 12, 1, 0)):
        link(net, path, inner, i, o, k)
    return net.state


def chainer_discriminate(s: State, image: Tensor, inner: str = "/", slope: float = 0.2) -> Tensor:
    x = leaky(linked(s, "in2", image), slope)
    for n in (2, 1):
        x = leaky(linked(s, f"b{n}{inner}c0", x), slope)
        x = half(leaky(linked(s, f"b{n}{inner}c1", x), slope))
    x = batch_deviation(x) if inner == "/" else deviation(x)
    x = leaky(linked(s, "out1", leaky(linked(s, "out0", x), slope), 0), slope)
    return linked(s, "out2", x.flatten(1))


# n2cholas/progan-flax

IN_BLOCK = "/EqualizedLRConv_0"
GAIN = math.sqrt(2 / 1.04)


def kernel(net: Weights, path: str, i: int, o: int, k: int) -> None:
    net.put(f"{path}/kernel", f"{path}/bias", (k, k, i, o), o)


def flax_generator() -> State:
    net = Weights()
    kernel(net, f"4x4_block_0{IN_BLOCK}", Z, 16 * 12, 1)
    kernel(net, f"4x4_block_1{IN_BLOCK}", 12, 12, 3)
    kernel(net, "4x4_to_rgb", 12, 3, 1)
    for size, i, o in SIZES:
        kernel(net, f"{size}x{size}_block_0{IN_BLOCK}", i, o, 3)
        kernel(net, f"{size}x{size}_block_1{IN_BLOCK}", o, o, 3)
        kernel(net, f"{size}x{size}_to_rgb", o, 3, 1)
    return net.state


def flaxed(s: State, path: str, x: Tensor, gain: float, padding: int | None = None) -> Tensor:
    stored = s[f"{path}/kernel"]
    weight = he(stored, stored[..., 0].numel(), gain).permute(3, 2, 0, 1)
    pad = weight.shape[2] // 2 if padding is None else padding
    return functional.conv2d(x, weight, s[f"{path}/bias"], padding=pad)


def flax_block(s: State, path: str, x: Tensor) -> Tensor:
    """What is divided by its deviation keeps its mean."""
    x = leaky(flaxed(s, path + IN_BLOCK, x, GAIN))
    return x / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-8)


def flax_generate(s: State, z: Tensor) -> Tensor:
    x = flax_block(s, "4x4_block_0", z[:, :, None, None]).reshape(len(z), 4, 4, 12).permute(0, 3, 1, 2)
    x = flax_block(s, "4x4_block_1", x)
    for size in (8, 16):
        x = flax_block(s, f"{size}x{size}_block_0", twice(x))
        x = flax_block(s, f"{size}x{size}_block_1", x)
    return torch.tanh(flaxed(s, "16x16_to_rgb", x, 5 / 3))


def flax_discriminator() -> State:
    net = Weights()
    for size, o, i in SIZES:
        kernel(net, f"{size}x{size}_from_rgb{IN_BLOCK}", 3, i, 1)
        kernel(net, f"{size}x{size}_block_0{IN_BLOCK}", i, i, 3)
        kernel(net, f"{size}x{size}_block_1{IN_BLOCK}", i, o, 3)
    kernel(net, f"4x4_from_rgb{IN_BLOCK}", 3, 12, 1)
    kernel(net, f"4x4_block_0{IN_BLOCK}", 13, 12, 3)
    kernel(net, f"4x4_block_1{IN_BLOCK}", 12, 12, 4)
    kernel(net, "dense_out", 12, 1, 1)
    return net.state


def flax_discriminate(s: State, image: Tensor) -> Tensor:
    x = leaky(flaxed(s, f"16x16_from_rgb{IN_BLOCK}", image, GAIN))
    for size in (16, 8):
        x = leaky(flaxed(s, f"{size}x{size}_block_0{IN_BLOCK}", x, GAIN))
        x = half(leaky(flaxed(s, f"{size}x{size}_block_1{IN_BLOCK}", x, GAIN)))
    x = leaky(flaxed(s, f"4x4_block_0{IN_BLOCK}", interleaved_deviation(x, 4), GAIN))
    x = leaky(flaxed(s, f"4x4_block_1{IN_BLOCK}", x, GAIN, 0))
    return flaxed(s, "dense_out", x, 1.0).flatten(1)


# tensorflow/gan

GENERATOR = "Generator/progressive_gan_generator/progressive_gan_block"
DISCRIMINATOR = "Discriminator/progressive_gan_discriminator/progressive_gan_block"


def variable(net: Weights, path: str, i: int, o: int, k: int) -> None:
    net.put(f"{path}/conv2d/kernel", f"{path}/bias", (k, k, i, o), o)


def tfgan_generator() -> State:
    net = Weights()
    variable(net, f"{GENERATOR}_1/conv0", Z, 12, 4)
    variable(net, f"{GENERATOR}_1/conv1", 12, 12, 3)
    variable(net, f"{GENERATOR}_1/to_rgb", 12, 3, 1)
    for n, (_, i, o) in enumerate(SIZES, 2):
        variable(net, f"{GENERATOR}_{n}/conv0", i, o, 3)
        variable(net, f"{GENERATOR}_{n}/conv1", o, o, 3)
        variable(net, f"{GENERATOR}_{n}/to_rgb", o, 3, 1)
    return net.state


def output_scaled(s: State, path: str, x: Tensor, gain: float = math.sqrt(2), padding: int | None = None) -> Tensor:
    stored = s[f"{path}/conv2d/kernel"]
    pad = stored.shape[0] // 2 if padding is None else padding
    product = functional.conv2d(x, stored.permute(3, 2, 0, 1), padding=pad)
    return product * (gain / math.sqrt(stored[..., 0].numel())) + column(s[f"{path}/bias"])


def tfgan_generate(s: State, z: Tensor) -> Tensor:
    x = functional.pad(unit(z)[:, :, None, None], (3, 3, 3, 3))
    x = unit(leaky(output_scaled(s, f"{GENERATOR}_1/conv0", x, padding=0)))
    x = unit(leaky(output_scaled(s, f"{GENERATOR}_1/conv1", x)))
    for n in (2, 3):
        x = unit(leaky(output_scaled(s, f"{GENERATOR}_{n}/conv0", twice(x))))
        x = unit(leaky(output_scaled(s, f"{GENERATOR}_{n}/conv1", x)))
    return output_scaled(s, f"{GENERATOR}_3/to_rgb", x, 1.0)


def tfgan_discriminator() -> State:
    net = Weights()
    for n, (_, o, i) in enumerate(SIZES, 2):
        variable(net, f"{DISCRIMINATOR}_{n}/from_rgb", 3, i, 1)
        variable(net, f"{DISCRIMINATOR}_{n}/conv0", i, i, 3)
        variable(net, f"{DISCRIMINATOR}_{n}/conv1", i, o, 3)
    for layer, i, o, k in (("from_rgb", 3, 12, 1), ("conv0", 13, 12, 3), ("conv1", 12, 12, 4)):
        variable(net, f"{DISCRIMINATOR}_1/{layer}", i, o, k)
    net.put(f"{DISCRIMINATOR}_1/logits/dense/kernel", f"{DISCRIMINATOR}_1/logits/bias", (12, 1), 1)
    return net.state


def tfgan_discriminate(s: State, image: Tensor) -> Tensor:
    x = leaky(output_scaled(s, f"{DISCRIMINATOR}_3/from_rgb", image))
    for n in (3, 2):
        x = leaky(output_scaled(s, f"{DISCRIMINATOR}_{n}/conv0", x))
        x = half(leaky(output_scaled(s, f"{DISCRIMINATOR}_{n}/conv1", x)))
    x = leaky(output_scaled(s, f"{DISCRIMINATOR}_1/conv0", deviation(x)))
    x = leaky(output_scaled(s, f"{DISCRIMINATOR}_1/conv1", x, padding=0)).flatten(1)
    logits = f"{DISCRIMINATOR}_1/logits"
    return x @ s[f"{logits}/dense/kernel"] / math.sqrt(12) + s[f"{logits}/bias"]


TORCH = {"inner": ".", "slope": 0.01}
GENERATORS = {
    "chainer": Project(chainer_generator, chainer_generate),
    "chainer transposed": Project(transposed_generator, chainer_generate),
    "teome": Project(partial(chainer_generator, "."), partial(chainer_generate, **TORCH)),
    "flax": Project(flax_generator, flax_generate),
    "tfgan": Project(tfgan_generator, tfgan_generate),
}
DISCRIMINATORS = {
    "chainer": Project(chainer_discriminator, chainer_discriminate),
    "teome": Project(partial(chainer_discriminator, "."), partial(chainer_discriminate, **TORCH)),
    "flax": Project(flax_discriminator, flax_discriminate),
    "tfgan": Project(tfgan_discriminator, tfgan_discriminate),
}
