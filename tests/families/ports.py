"""More networks of the ports to Chainer, JAX and back to torch: see `builders.py` for how a builder is written."""

from __future__ import annotations

import math
from typing import Any

from tests.families.builders import SQRT2, Built


def _link(net: Built, path: str, i: int, o: int, k: int = 0, gain: float = SQRT2, bias: bool = True) -> None:
    """Chainer's equalized link, without a kernel a linear one."""
    net.scaled(f"{path}/c/W", (o, i, k, k) if k else (o, i), gain / math.sqrt(i * max(k * k, 1)))
    if bias:
        net.put(f"{path}/c/b", o)


def chainer_stylegan() -> Built:
    net = Built()
    for n in (0, 2):
        _link(net, f"mapping/l/{n}", 12, 12)
    net.put("gen/blocks/0/W", 12, 4, 4)
    for n, i, o in ((0, 12, 12), (1, 12, 8)):
        block = f"gen/blocks/{n}"
        for layer in (0, 1):
            net.put(f"{block}/b{layer}/b", o)
            net.put(f"{block}/n{layer}/b/W", o)
            _link(net, f"{block}/s{layer}/s", 12, o, gain=1.0)
            _link(net, f"{block}/s{layer}/b", 12, o, gain=1.0)
            _link(net, f"{block}/c{layer}", o if layer else i, o, 3, bias=False)
        _link(net, f"gen/outs/{n}", o, 3, 1, gain=1.0)
    return net


def chainer_stylegan_discriminator() -> Built:
    net = Built()
    _link(net, "blocks/0/c0", 12, 12, 3)
    _link(net, "blocks/0/c1", 12, 12, 4)
    _link(net, "blocks/0/l2", 12, 1, gain=1.0)
    _link(net, "blocks/1/c0", 8, 12, 3)
    _link(net, "blocks/1/c1", 12, 12, 3)
    for n, o in enumerate((12, 8)):
        _link(net, f"ins/{n}", 3, o, 1)
    return net


def chainer_growing() -> Built:
    """A descendant of chainer-gan-lib with its to-RGB layers in a list: their gain is that of all the others."""
    net = Built()
    _link(net, "c0", 16, 12, 4)
    _link(net, "bs/1/c0", 12, 8, 3)
    for n, i in enumerate((12, 8)):
        _link(net, f"outs/{n}", i, 3, 1)
    return net


def teome() -> Built:
    net = Built()
    for path, i, o, k in (("c0", 16, 12, 4), ("c1", 12, 12, 3), ("out0", 12, 3, 1), ("b1.c0", 12, 8, 3)):
        net.conv(f"{path}.c", i, o, k, SQRT2)
    return net


def teome_discriminator() -> Built:
    net = Built()
    for path, i, o, k in (("in0", 3, 12, 1), ("b1.c0", 8, 12, 3), ("out0", 13, 12, 3), ("out1", 12, 12, 4)):
        net.conv(f"{path}.c", i, o, k, SQRT2)
    net.linear("out2.c", 12, 1, SQRT2)
    return net


def lernapparat_discriminator() -> Built:
    net = Built()
    net.conv("fromrgb", 3, 8, 1, SQRT2)
    net.conv("8x8.conv0", 8, 8, 3, SQRT2)
    net.put("8x8.blur.kernel", 1, 1, 3, 3)
    net.conv("8x8.conv1_down", 8, 12, 3, SQRT2)
    net.conv("4x4.conv", 13, 12, 3, SQRT2)
    net.linear("4x4.dense0", 12 * 16, 12, SQRT2)
    net.linear("4x4.dense1", 12, 1)
    return net


def flaxmodels_discriminator() -> Built:
    """With labels: its embedding and the mapping behind it have lr 0.1."""
    net = Built()

    def layer(path: str, shape: tuple[int, ...], lr: float = 1.0) -> None:
        net.scaled(f"{path}.weight", shape, lr / math.sqrt(math.prod(shape[:-1])), lr)
        if lr == 1:
            net.put(f"{path}.bias", shape[-1])
        else:
            net.scaled(f"{path}.bias", shape[-1:], lr, lr)

    layer("label_embedding", (10, 12), 0.1)
    layer("fc0", (12, 12), 0.1)
    layer("block_8x8.fromrgb", (1, 1, 3, 8))
    layer("block_8x8.conv0", (3, 3, 8, 8))
    layer("block_8x8.conv1", (3, 3, 8, 12))
    layer("block_4x4.conv0", (3, 3, 13, 12))
    layer("block_4x4.fc0", (12 * 16, 12))
    layer("block_4x4.output", (12, 1))
    return net


def equalized_wrapper(inner: str) -> Built:
    """An EqualizedLR around whole layers, their biases inside and as stored."""
    net = Built()
    for n in range(3):
        net.conv(f"trunk.{n}.conv.{inner}", 12, 12, 3, SQRT2)
    net.linear(f"head.{inner}", 16, 4, SQRT2)
    net.put("norm.weight", 12)
    return net


def volumes(weight: str, bias: str) -> Built:
    """Convolutions over volumes; the last has one output, which leaves it the axes of a modulated weight."""
    net = Built()
    for n, o in enumerate((12, 12, 1)):
        k = 1 if o == 1 else 3
        baked = f"trunk.{n}.conv.weight" if weight.endswith("orig") else ""
        net.scaled(f"trunk.{n}.{weight}", (o, 12, k, k, k), SQRT2 / math.sqrt(12 * k**3), baked=baked)
        net.put(f"trunk.{n}.{bias}", o)
    return net


def genforce_mapping(gain: float) -> Built:
    """StyleGAN's and StyleGAN2's mapping networks differ in gain alone."""
    net = Built()
    for n in range(8):
        net.linear(f"mapping.dense{n}", 16, 16, gain, 0.01)
    net.put("truncation.w_avg", 16)
    return net


GAIN = ("--gain", str(SQRT2))
PORTS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "chainer-stylegan": ("chainer-progan", chainer_stylegan, ()),
    "chainer-stylegan discriminator": ("chainer-progan", chainer_stylegan_discriminator, ()),
    "chainer, growing in lists": ("chainer-progan", chainer_growing, ()),
    "teome": ("chainer-progan", teome, ()),
    "teome discriminator": ("chainer-progan", teome_discriminator, ()),
    "lernapparat discriminator": ("huangzh13-stylegan", lernapparat_discriminator, ()),
    "flaxmodels discriminator with labels": ("flaxmodels-stylegan2", flaxmodels_discriminator, ()),
    "wrapped layer": ("wsconv-copy", lambda: equalized_wrapper("layer"), GAIN),
    "wrapped module": ("wsconv-copy", lambda: equalized_wrapper("module"), GAIN),
    "wsconv copy of volumes": ("wsconv-copy", lambda: volumes("conv.weight", "bias"), GAIN),
    "hooked volumes": ("equalized-hook", lambda: volumes("conv.weight_orig", "conv.bias"), GAIN),
    "genforce stylegan2 mapping": (
        "genforce-stylegan2",
        lambda: genforce_mapping(1.0),
        ("--family", "genforce-stylegan2"),
    ),
    "genforce stylegan mapping": (
        "genforce-stylegan",
        lambda: genforce_mapping(SQRT2),
        ("--family", "genforce-stylegan"),
    ),
}
"""name -> (family, builder, options that answer the family's question), as in `builders.BUILDERS`."""
