"""Small networks of every family that no shared oracle covers, built from the facts with the constants written out.

A builder makes the state dict of a family under its names, and beside each scaled tensor the constant that the original
code applies. The constants are computed here from channels and kernel sizes, not from shapes and patterns: this is the
second opinion that the families' rules are checked against.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SQRT2 = math.sqrt(2.0)
Array = NDArray[np.float32]


@dataclass
class Built:
    """Tensors by name, the constant of each scaled one, and the baked names of those that change their name."""

    tensors: dict[str, Array] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)
    baked: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def put(self, name: str, *shape: int, std: float = 1.0, mean: float = 0.0) -> None:
        """A tensor that nothing scales at run time."""
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.tensors[name] = np.asarray(rng.standard_normal(shape) * std + mean, dtype=np.float32)

    def scaled(self, name: str, shape: tuple[int, ...], constant: float, lr: float = 1.0, baked: str = "") -> None:
        """A stored weight or bias: N(0, 1 / lr), drifted as training would, and multiplied by `constant`."""
        drift = (0.6, 0.8, 1.0, 1.4, 1.9)[len(self.constants) % 5]
        self.put(name, *shape, std=drift / lr)
        self.constants[name] = constant
        if baked:
            self.baked[name] = baked

    def linear(self, path: str, i: int, o: int, gain: float = 1.0, lr: float = 1.0, bias: str = "") -> None:
        """torch layout, the bias multiplied by lr."""
        self.scaled(f"{path}.weight", (o, i), gain * lr / math.sqrt(i), lr)
        self._bias(bias or f"{path}.bias", o, lr)

    def conv(self, path: str, i: int, o: int, k: int, gain: float = 1.0, bias: str | None = "") -> None:
        self.scaled(f"{path}.weight", (o, i, k, k), gain / math.sqrt(i * k * k))
        if bias is not None:
            self.put(bias or f"{path}.bias", o)

    def modulated(self, path: str, i: int, o: int, k: int, w: int, style: str = "modulation") -> None:
        """rosinality's 5-D weight, its style linear with a bias near 1."""
        self.scaled(f"{path}.weight", (1, o, i, k, k), 1 / math.sqrt(i * k * k))
        self.scaled(f"{path}.{style}.weight", (i, w), 1 / math.sqrt(w))
        self.put(f"{path}.{style}.bias", i, mean=1.0, std=0.1)

    def _bias(self, name: str, size: int, lr: float) -> None:
        if lr == 1:
            self.put(name, size)
        else:
            self.scaled(name, (size,), lr, lr)


def rosinality_generator(prefix: str = "", w: int = 16, lr: float = 0.01) -> Built:
    net = Built()
    for n in (1, 2, 3):
        net.linear(f"{prefix}style.{n}", w, w, lr=lr)
    net.put(f"{prefix}input.input", 1, 12, 4, 4)
    for path, i, o in (("conv1", 12, 12), ("convs.0", 12, 8), ("convs.1", 8, 8)):
        net.modulated(f"{prefix}{path}.conv", i, o, 3, w)
        net.put(f"{prefix}{path}.noise.weight", 1)
        net.put(f"{prefix}{path}.activate.bias", o)
    for path, i in (("to_rgb1", 12), ("to_rgbs.0", 8)):
        net.modulated(f"{prefix}{path}.conv", i, 3, 1, w)
        net.put(f"{prefix}{path}.bias", 1, 3, 1, 1)
    net.put(f"{prefix}convs.0.conv.blur.kernel", 4, 4)
    return net


def joined(*parts: Built) -> Built:
    whole = Built()
    for part in parts:
        whole.tensors |= part.tensors
        whole.constants |= part.constants
        whole.baked |= part.baked
        whole.dropped |= part.dropped
    return whole


def psp() -> Built:
    net = Built()
    net.put("encoder.input_layer.0.weight", 8, 3, 3, 3, std=0.1)
    net.put("encoder.styles.0.convs.0.weight", 8, 8, 3, 3, std=0.1)
    net.put("encoder.styles.0.convs.0.bias", 8)
    for n in (0, 1):
        net.linear(f"encoder.styles.{n}.linear", 16, 16)
    return joined(net, rosinality_generator("decoder."))


def styleclip() -> Built:
    net = Built()
    for name in ("course_mapping", "mapper_3"):
        for n in (1, 2):
            net.linear(f"mapper.{name}.mapping.{n}", 16, 16, lr=0.01)
    net.put("face_pool.weight", 8, 3, 3, 3, std=0.1)
    return joined(net, rosinality_generator("decoder."))


def gfpgan_component() -> Built:
    """A discriminator of an eye: its FIR filters are no buffers, but take a place in their Sequential."""
    net = Built()
    for path, n, i, o in (("conv1", 0, 3, 8), ("conv2", 1, 8, 12), ("conv3", 0, 12, 12), ("conv4", 1, 12, 16)):
        net.conv(f"{path}.{n}", i, o, 3, bias=f"{path}.{n + 1}.bias")
    net.conv("conv5.0", 16, 16, 3, bias="conv5.1.bias")
    net.conv("final_conv.0", 16, 1, 3)
    return net


def hyperstyle() -> Built:
    """A hypernetwork, plain but for the linear layer of some blocks, and SAM's second encoder."""
    net = Built()
    net.put("hypernet.conv1.weight", 8, 6, 7, 7, std=0.1)
    for n in (0, 2):
        net.put(f"hypernet.refinement_blocks.{n}.convs.0.weight", 8, 8, 3, 3, std=0.1)
        net.linear(f"hypernet.refinement_blocks.{n}.linear", 16, 16)
    net.linear("pretrained_encoder.styles.0.linear", 16, 16)
    return joined(net, rosinality_generator("decoder."))


def semanticstylegan() -> Built:
    net = Built()
    for n in (1, 2):
        net.linear(f"style.{n}", 16, 16, lr=0.01)
    net.scaled("pos_embed.weights", (8, 22, 1, 1), 1 / math.sqrt(22))
    fixed = [("render_net.convs.0", 12, 8, 3), ("render_net.convs.1", 8, 8, 3)]
    fixed += [("render_net.to_rgbs.0.conv", 8, 3, 1), ("render_net.to_segs.0.conv", 8, 2, 1)]
    for n in (0, 1):
        net.modulated(f"local_nets.{n}.linears.0.conv", 8, 8, 1, 16)
        net.put(f"local_nets.{n}.linears.0.activate.bias", 8)
        fixed += [(f"local_nets.{n}.to_feat.conv", 8, 12, 1), (f"local_nets.{n}.to_depth.conv", 8, 1, 1)]
    for path, i, o, k in fixed:
        net.conv(path, i, o, k, bias=None)
        net.put(f"{path}.modulation", 1, i, 1, 1, mean=1.0, std=0.1)
    net.put("render_net.convs.0.activate.bias", 8)
    net.put("render_net.to_rgbs.0.upsample.kernel", 4, 4)
    net.put("render_net.to_rgbs.0.bias", 1, 3, 1, 1)
    return net


def semanticstylegan_discriminator() -> Built:
    net = Built()
    for trunk, channels in (("convs_img", 3), ("convs_seg", 2)):
        net.conv(f"{trunk}.0.0", channels, 8, 1, bias=f"{trunk}.0.1.bias")
        net.conv(f"{trunk}.1.conv1.0", 8, 8, 3, bias=f"{trunk}.1.conv1.1.bias")
        net.put(f"{trunk}.1.conv2.0.kernel", 4, 4)
        net.conv(f"{trunk}.1.conv2.1", 8, 12, 3, bias=f"{trunk}.1.conv2.2.bias")
        net.put(f"{trunk}.1.skip.0.kernel", 4, 4)
        net.conv(f"{trunk}.1.skip.1", 8, 12, 1, bias=None)
    net.conv("final_conv.0", 13, 12, 3, bias="final_conv.1.bias")
    net.linear("final_linear.0", 192, 12)
    net.linear("final_linear.1", 12, 1)
    return net


def rosinality_layers() -> Built:
    """Many small generators of modulated layers, and layers that nothing tells apart."""
    net = Built()
    for n in (1, 2):
        net.linear(f"style.{n}", 16, 16, lr=0.01)
    for path, i, o, k in (("local_nets.0.linears.0", 12, 8, 1), ("render_net.convs.0", 8, 8, 3)):
        net.modulated(f"{path}.conv", i, o, k, 16)
        net.put(f"{path}.activate.bias", o)
    net.modulated("render_net.to_rgbs.0.conv", 8, 3, 1, 16)
    net.put("local_nets.0.to_feat.weight", 8, 8, 1, 1, std=0.1)
    net.put("local_nets.0.to_feat.bias", 8)
    net.conv("head.skip.1", 8, 12, 1, bias=None)
    net.put("head.skip.0.kernel", 4, 4)
    net.conv("head.conv.0", 8, 12, 3, bias="head.conv.1.bias")
    net.scaled("up.0.weight", (12, 8, 3, 3), 1 / math.sqrt(12 * 9))
    net.put("up.1.kernel", 4, 4)
    net.put("up.2.bias", 8)
    net.put("backbone.0.weight", 8, 3, 3, 3, std=0.1)
    net.put("backbone.1.weight", 8, mean=1.0)
    net.put("backbone.1.bias", 8)
    net.put("classify.weight", 4, 8, std=0.1)
    return net


def dualstylegan() -> Built:
    net = Built()
    net.linear("style.1", 16, 16, lr=0.01)
    net.conv("res.0.conv.0", 12, 12, 3, bias="res.0.conv.1.bias")
    net.conv("res.0.conv2.0", 12, 12, 3, bias="res.0.conv2.1.bias")
    net.put("res.0.norm.style.weight", 24, 16, std=0.1)
    net.put("res.0.norm.style.bias", 24)
    net.linear("res.7", 16, 16)
    return joined(net, rosinality_generator("generator."))


def vtoonify() -> Built:
    """A DualStyleGAN that has no mapping network of its own, residual blocks beside it, and plain layers."""
    net = Built()
    for path in ("res.0", "res.1", "generator.res.0"):
        for conv in ("conv", "conv2"):
            net.conv(f"{path}.{conv}.0", 12, 12, 3, bias=f"{path}.{conv}.1.bias")
        net.put(f"{path}.norm.style.weight", 24, 16, std=0.1)
    net.linear("generator.res.7", 16, 16)
    net.put("encoder.0.0.weight", 8, 22, 3, 3, std=0.1)
    net.put("fusion_out.0.conv.weight", 12, 24, 3, 3, std=0.1)
    net.put("fusion_out.0.linear.0.weight", 8, 1)
    return joined(net, rosinality_generator("generator.generator."))


def gpen() -> Built:
    net = Built()
    net.conv("ecd0.0.0", 3, 8, 1, bias="ecd0.0.1.bias")
    net.put("ecd1.0.0.kernel", 4, 4)
    net.conv("ecd1.0.1", 8, 12, 3, bias="ecd1.0.2.bias")
    net.linear("final_linear.0", 192, 16)
    return joined(net, rosinality_generator("generator."))


def lia() -> Built:
    net = Built()
    net.conv("enc.net_app.convs.0.0", 3, 8, 1, bias="enc.net_app.convs.0.1.bias")
    net.put("enc.net_app.convs.1.conv2.0.kernel", 4, 4)
    net.conv("enc.net_app.convs.1.conv2.1", 8, 12, 3, bias="enc.net_app.convs.1.conv2.2.bias")
    net.conv("enc.net_app.convs.1.skip.1", 8, 12, 1, bias=None)
    net.conv("enc.net_app.convs.2", 12, 16, 4, bias=None)
    net.linear("enc.fc.0", 16, 16)
    net.put("dec.direction.weight", 16, 6)
    net.put("dec.input.input", 1, 12, 4, 4)
    net.modulated("dec.conv1.conv", 12, 12, 3, 16)
    net.put("dec.conv1.activate.bias", 1, 12, 1, 1)
    net.conv("dec.to_rgbs.0.conv.0", 12, 3, 1, bias="dec.to_rgbs.0.conv.1.bias")
    net.modulated("dec.to_flows.0.conv", 12, 3, 1, 16)
    return net


def cips() -> Built:
    net = Built()
    net.linear("style.1", 16, 16, lr=0.01)
    net.put("lff.ffm.conv.weight", 12, 2, 1, 1, std=0.1)
    for path in ("conv1", "linears.0", "linears.1"):
        net.modulated(f"{path}.conv", 12, 12, 1, 16)
        net.put(f"{path}.activate.bias", 12)
    net.modulated("to_rgbs.0.conv", 12, 3, 1, 16)
    return net


def cips_residual() -> Built:
    """CIPSres: StyledResBlock, whose skip convolution is transposed where its block enlarges."""
    net = Built()
    net.linear("style.1", 16, 16, lr=0.01)
    net.put("lff.ffm.conv.weight", 12, 2, 1, 1, std=0.1)
    net.put("emb.input", 1, 12, 8, 8)
    for path, i, o in (("linears.0", 24, 12), ("linears.1.conv1", 12, 8), ("linears.1.conv2", 8, 8)):
        net.modulated(f"{path}.conv", i, o, 1, 16)
        net.put(f"{path}.activate.bias", o)
    net.conv("linears.1.skip.0", 12, 8, 1, bias=None)
    net.modulated("linears.2.conv2.conv", 8, 6, 1, 16)
    net.scaled("linears.2.skip.0.weight", (8, 6, 3, 3), 1 / math.sqrt(8 * 9))
    net.put("linears.2.skip.1.kernel", 4, 4)
    net.modulated("to_rgb_last.conv", 6, 3, 1, 16)
    return net


def styleswin() -> Built:
    net = Built()
    for n in (1, 2):
        net.linear(f"style.{n}", 16, 16, lr=0.01)
    net.put("input.input", 1, 24, 4, 4)
    block = "layers.0.blocks.0"
    for norm in ("norm1", "norm2"):
        net.linear(f"{block}.{norm}.style", 16, 48)
    for part, o, i in (("qkv", 72, 24), ("proj", 24, 24), ("mlp.fc1", 96, 24), ("mlp.fc2", 24, 96)):
        net.put(f"{block}.{part}.weight", o, i, std=0.02)
        net.put(f"{block}.{part}.bias", o)
    net.put("layers.0.upsample.reduction.weight", 12, 24, std=0.02)
    net.put("to_rgbs.0.conv.weight", 3, 12, 1, 1, std=0.02)
    return net


def wavelet_discriminator() -> Built:
    net = Built()
    net.put("dwt.ll", 2, 2)
    net.conv("from_rgbs.0.conv.0", 12, 8, 1, bias="from_rgbs.0.conv.1.bias")
    net.conv("convs.0.conv1.0", 8, 8, 3, bias="convs.0.conv1.1.bias")
    net.put("convs.0.conv2.0.kernel", 4, 4)
    net.conv("convs.0.conv2.1", 8, 12, 3, bias="convs.0.conv2.2.bias")
    net.conv("final_conv.0", 13, 12, 3, bias="final_conv.1.bias")
    net.linear("final_linear.0", 192, 12)
    net.linear("final_linear.1", 12, 1)
    return net


def swapping() -> Built:
    net = Built()
    net.conv("E.FromRGB.Conv", 3, 8, 1, bias="E.FromRGB.Act.bias")
    net.conv("E.Down.ResBlock0.conv1.Conv", 8, 8, 3, bias="E.Down.ResBlock0.conv1.Act.bias")
    net.linear("E.ToGlobalCode.0", 8, 16)
    net.modulated("G.HeadResnetBlock0.conv1.conv", 8, 8, 3, 16)
    net.modulated("G.ToRGB.conv", 8, 3, 1, 16)
    net.conv("D.stylegan2_D.convs.0.Conv", 3, 8, 1, bias="D.stylegan2_D.convs.0.Act.bias")
    return net


def rosinality_swapping_encoder() -> Built:
    net = Built()
    net.conv("stem.0.0", 3, 6, 1, bias="stem.0.1.bias")
    net.conv("stem.1.conv1.1", 6, 8, 3, bias="stem.1.conv1.2.bias")  # behind a reflection pad
    net.put("stem.1.conv2.0.kernel", 4, 4)
    net.conv("stem.1.conv2.1", 8, 8, 3, bias="stem.1.conv2.2.bias")
    net.conv("structure.0.0", 8, 8, 1, bias="structure.0.1.bias")
    net.conv("texture.0.1", 8, 10, 3, bias="texture.0.2.bias")
    net.conv("texture.3.0", 10, 16, 1, bias="texture.3.1.bias")
    return net


def rosinality_swapping_generator() -> Built:
    net = Built()
    for path, i, o in (("layers.0.conv1", 4, 8), ("layers.0.conv2", 8, 8), ("layers.1.conv1", 8, 12)):
        net.modulated(f"{path}.conv", i, o, 3, 16)
        net.put(f"{path}.activate.bias", o)
    net.conv("layers.0.skip.0", 4, 8, 1, bias=None)
    net.scaled("layers.1.skip.0.weight", (8, 12, 1, 1), 1 / math.sqrt(8))
    net.put("layers.1.skip.1.kernel", 4, 4)
    net.conv("to_rgb.0", 12, 3, 1)
    return net


def rosinality_swapping_patches() -> Built:
    net = Built()
    net.conv("encoder.0.0", 3, 6, 1, bias="encoder.0.1.bias")
    net.conv("encoder.1.conv1.0", 6, 8, 3, bias="encoder.1.conv1.1.bias")
    net.put("encoder.1.conv2.0.kernel", 4, 4)
    net.conv("encoder.1.conv2.1", 8, 8, 3, bias="encoder.1.conv2.2.bias")
    net.conv("encoder.1.skip.1", 6, 8, 1, bias=None)
    for n, o in ((0, 16), (1, 1)):
        net.linear(f"linear.{n}", 16, o)
    return net


def mobilestylegan() -> Built:
    net = Built()
    net.linear("mapping_net.layers.1", 16, 16, lr=0.01)
    path = "student.conv1.conv"
    net.put(f"{path}.style_inv", 1, 1, 12, 1, 1)
    net.scaled(f"{path}.weight", (12, 12, 3, 3), 1 / math.sqrt(12 * 9))
    net.put(f"{path}.modulation.weight", 12, 16, std=0.1)
    net.put(f"{path}.modulation.bias", 12)
    path = "student.layers.0.conv1.conv"
    net.put(f"{path}.weight_dw", 3, 1, 3, 3)
    net.scaled(f"{path}.weight_permute", (8, 3, 1, 1), 1 / math.sqrt(3 * 9))
    net.put(f"{path}.modulation.weight", 3, 16, std=0.1)
    net.put(f"{path}.modulation.bias", 3)
    return net


def mobilestylegan_training() -> Built:
    """A Lightning checkpoint: the student, and rosinality's layers in teacher and discriminator."""
    net = Built()
    for path, i, o, k in (("conv1", 12, 12, 3), ("layers.0.conv1", 12, 8, 3), ("layers.0.to_rgb", 8, 3, 1)):
        net.modulated(f"synthesis_net.{path}.conv", i, o, k, 16)
        net.put(f"synthesis_net.{path}.activate.bias", o)
    net.conv("loss.gan_loss.discriminator.convs.0.0", 3, 8, 1, bias="loss.gan_loss.discriminator.convs.0.1.bias")
    net.put("loss.gan_loss.discriminator.convs.1.conv2.0.kernel", 4, 4)
    net.conv("loss.gan_loss.discriminator.convs.1.conv2.1", 8, 8, 3, bias=None)
    net.linear("loss.gan_loss.discriminator.final_linear.0", 128, 8)
    net.put("inception.Conv2d_1a_3x3.conv.weight", 8, 3, 3, 3, std=0.1)
    net.put("loss.perceptual.convs.0.weight", 8, 3, 3, 3, std=0.1)
    for path, i in (("student.to_img1", 12), ("student.layers.0.to_img", 8)):
        net.scaled(f"{path}.conv.weight", (12, i, 1, 1), 1 / math.sqrt(i))
        net.put(f"{path}.conv.modulation.weight", i, 16, std=0.1)
        net.put(f"{path}.conv.modulation.bias", i)
        net.put(f"{path}.bias", 1, 12, 1, 1)
    return joined(mobilestylegan(), net)


def ada_generator(lr: float = 0.01, prefix: str = "", labels: bool = True) -> Built:
    net = Built()
    if labels:
        net.linear(f"{prefix}mapping.embed", 5, 16)
    for n in (0, 1):
        net.linear(f"{prefix}mapping.fc{n}", 32 if labels and n == 0 else 16, 16, lr=lr)
    net.put(f"{prefix}mapping.w_avg", 16)
    net.put(f"{prefix}synthesis.b4.const", 12, 4, 4)
    for path, i, o in (("b4.conv1", 12, 12), ("b8.conv0", 12, 8), ("b8.conv1", 8, 8)):
        layer = f"{prefix}synthesis.{path}"
        net.put(f"{layer}.weight", o, i, 3, 3)
        net.put(f"{layer}.bias", o)
        net.put(f"{layer}.resample_filter", 4, 4)
        net.linear(f"{layer}.affine", 16, i)
    net.conv(f"{prefix}synthesis.b8.skip", 12, 8, 1, bias=None)
    for block, i in (("b4", 12), ("b8", 8)):
        net.conv(f"{prefix}synthesis.{block}.torgb", i, 3, 1)
        net.linear(f"{prefix}synthesis.{block}.torgb.affine", 16, i)
    return net


def ada_discriminator() -> Built:
    net = Built()
    net.linear("mapping.embed", 5, 16)
    net.linear("mapping.fc0", 16, 16, lr=0.1)
    net.conv("b8.fromrgb", 3, 8, 1)
    net.put("b8.fromrgb.resample_filter", 4, 4)
    net.conv("b8.conv0", 8, 8, 3)
    net.conv("b8.conv1", 8, 12, 3)
    net.conv("b8.skip", 8, 12, 1, bias=None)
    net.conv("b4.conv", 13, 12, 3)
    net.linear("b4.fc", 192, 12)
    net.linear("b4.out", 12, 16)
    return net


def studiogan_discriminator() -> Built:
    """PyTorch-StudioGAN: heads instead of `b4.out`, a mapping network that embeds the class."""
    net = Built()
    net.conv("b8.fromrgb", 3, 8, 1)
    net.put("b8.fromrgb.resample_filter", 4, 4)
    net.conv("b8.conv0", 8, 8, 3)
    net.conv("b8.conv1", 8, 12, 3)
    net.conv("b8.skip", 8, 12, 1, bias=None)
    net.conv("b4.conv", 13, 12, 3)
    net.linear("b4.fc", 192, 12)
    net.linear("linear1", 12, 1)
    net.linear("linear2", 12, 16)
    net.linear("embedding.embed", 5, 16)
    net.linear("embedding.fc0", 16, 16, lr=0.01)
    return net


def eg3d() -> Built:
    net = Built()
    for n in (0, 2):
        net.linear(f"decoder.net.{n}", 16, 16)
    net.put("superresolution.block0.resample_filter", 4, 4)
    net.put("superresolution.block0.conv0.weight", 8, 12, 3, 3)
    net.put("superresolution.block0.conv0.bias", 8)
    net.linear("superresolution.block0.conv0.affine", 16, 12)
    net.conv("superresolution.block0.torgb", 8, 3, 1)
    net.linear("superresolution.block0.torgb.affine", 16, 8)
    return joined(net, ada_generator(prefix="backbone."))


def mat() -> Built:
    net = Built()
    net.linear("mapping.fc0", 16, 16, lr=0.01)
    net.put("mapping.w_avg", 16)
    first = "synthesis.first_stage"
    net.conv(f"{first}.conv_first.conv", 4, 12, 3)
    net.put(f"{first}.conv_first.conv.resample_filter", 4, 4)
    block = f"{first}.tran.0.blocks.0"
    for part in ("attn.q", "attn.k", "attn.v", "attn.proj"):
        net.linear(f"{block}.{part}", 12, 12)
    net.linear(f"{block}.fuse", 24, 12)
    net.linear(f"{block}.mlp.fc1", 12, 24)
    net.put(f"{block}.attn_mask", 4, 64, 64)
    net.linear(f"{first}.to_style", 12, 24)
    net.conv("synthesis.enc.EncConv_Block_32x32.conv0", 7, 8, 1)
    net.conv("synthesis.to_style.conv.0", 12, 12, 3)
    net.linear("synthesis.to_style.fc", 12, 16)
    for path, i, o, k in (("conv1", 12, 12, 3), ("toRGB", 12, 3, 1)):
        layer = f"synthesis.dec.Dec_16x16.{path}"
        net.scaled(f"{layer}.conv.weight", (1, o, i, k, k), 1 / math.sqrt(i * k * k))
        net.linear(f"{layer}.conv.affine", 28, i)
        net.put(f"{layer}.bias", o)
    net.put("synthesis.dec.Dec_16x16.conv1.noise_const", 16, 16)
    net.put("synthesis.dec.Dec_16x16.conv1.noise_strength")
    return net


def mat_discriminator() -> Built:
    net = Built()
    for tower, width in (("Dis", 12), ("Dis_stg1", 6)):
        net.conv(f"{tower}.0.conv", 4, width, 1)
        net.conv(f"{tower}.1.conv0", width, width, 3)
        net.conv(f"{tower}.1.skip", width, 2 * width, 1, bias=None)
        net.conv(f"{tower}.3", 2 * width + 1, 2 * width, 3)
    for path, i, o in (("fc0", 384, 24), ("fc1", 24, 1), ("fc0_stg1", 192, 12), ("fc1_stg1", 12, 1)):
        net.linear(path, i, o)
    return net


def separable_discriminator() -> Built:
    """StyleGAN-XL: spectral norm around equalized separable blocks; the depthwise one counts all its channels."""
    net = Built()
    block = "mini_discs.0.main"
    net.put(f"{block}.0.weight_orig", 12, 8, 4, 4, std=0.1)
    net.put(f"{block}.0.weight_u", 12)
    net.put(f"{block}.0.weight_v", 128)
    net.scaled(f"{block}.2.main.0.weight", (12, 1, 3, 3), 1 / math.sqrt(12 * 9))
    net.put(f"{block}.2.main.0.bias", 12)
    net.put(f"{block}.2.main.0.resample_filter", 4, 4)
    net.conv(f"{block}.2.main.1", 12, 16, 1)
    net.put(f"{block}.2.main.1.resample_filter", 4, 4)
    return net


def ada_mapping() -> Built:
    """The state dict of `G.mapping`."""
    net = Built()
    net.linear("embed", 5, 16)
    for n in (0, 1):
        net.linear(f"fc{n}", 16, 16, lr=0.01)
    net.put("w_avg", 16)
    return net


def stylegan3_r() -> Built:
    net = Built()
    net.linear("mapping.fc0", 16, 16, lr=0.01)
    net.put("mapping.w_avg", 16)
    net.scaled("synthesis.input.weight", (10, 10), 1 / math.sqrt(10))
    net.put("synthesis.input.freqs", 10, 2)
    net.linear("synthesis.input.affine", 16, 4)
    net.put("synthesis.L0_36_10.magnitude_ema")
    net.put("synthesis.L0_36_10.weight", 10, 10, 1, 1)
    net.put("synthesis.L0_36_10.up_filter", 12)
    net.put("synthesis.L0_36_10.bias", 10)
    net.linear("synthesis.L0_36_10.affine", 16, 10)
    net.put("synthesis.L1_32_3.magnitude_ema")
    net.conv("synthesis.L1_32_3", 10, 3, 1)
    net.linear("synthesis.L1_32_3.affine", 16, 10)
    return net


def stylegan_xl() -> Built:
    """A class is embedded by a table that nothing scales, which has no bias, and projected by a layer."""
    net = stylegan3_r()
    net.put("mapping.embed.weight", 5, 9)
    net.linear("mapping.embed_proj", 9, 16)
    return net


def mmgen_stylegan3() -> Built:
    net = stylegan3_r()
    for name in [name for name in net.tensors if name.startswith("mapping.")]:
        net.tensors[f"style_{name}"] = net.tensors.pop(name)
        if name in net.constants:
            net.constants[f"style_{name}"] = net.constants.pop(name)
    net.linear("style_mapping.embed", 5, 16)
    return net


def hammer_stylegan3() -> Built:
    net = Built()
    net.put("w_avg", 16)
    net.linear("mapping.embedding", 5, 16)
    net.linear("mapping.dense0", 32, 16, lr=0.01)
    early = "synthesis.early_layer"
    net.put(f"{early}.grid", 1, 36, 36, 2)
    net.put(f"{early}.frequency", 10, 2)
    net.scaled(f"{early}.weight", (10, 10), 1 / math.sqrt(10))
    net.linear(f"{early}.affine", 16, 4)
    for number, out in ((0, 10), (1, 3)):
        layer = f"synthesis.layer{number}"
        net.put(f"{layer}.magnitude_ema")
        net.linear(f"{layer}.conv.style", 16, 10)
        net.put(f"{layer}.filter.bias", out)
    net.put("synthesis.layer0.conv.weight", 10, 10, 3, 3)
    net.put("synthesis.layer0.filter.up_filter", 12)
    net.scaled("synthesis.layer1.conv.weight", (3, 10, 1, 1), 1 / math.sqrt(10))
    return net


def _tf(net: Built, path: str, shape: tuple[int, ...], fan: int, gain: float = 1.0, lr: float = 1.0) -> None:
    net.scaled(f"{path}/weight", shape, gain * lr / math.sqrt(fan), lr)
    size = shape[-2] if path.endswith("Conv0_up") and "mod" not in net.dropped else shape[-1]
    net._bias(f"{path}/bias", size, lr)


def progan_tf() -> Built:
    net = Built()
    net.put("lod")
    _tf(net, "4x4/Dense", (16, 192), 16, SQRT2 / 4)
    _tf(net, "4x4/Conv", (3, 3, 12, 12), 108, SQRT2)
    _tf(net, "8x8/Conv0_up", (3, 3, 8, 12), 108, SQRT2)
    _tf(net, "8x8/Conv1", (3, 3, 8, 8), 72, SQRT2)
    _tf(net, "ToRGB_lod0", (1, 1, 8, 3), 8)
    return net


def progan_tf_discriminator() -> Built:
    net = Built()
    net.put("lod")
    _tf(net, "FromRGB_lod0", (1, 1, 3, 8), 3, SQRT2)
    _tf(net, "8x8/Conv0", (3, 3, 8, 8), 72, SQRT2)
    _tf(net, "8x8/Conv1_down", (3, 3, 8, 12), 72, SQRT2)
    _tf(net, "4x4/Conv", (3, 3, 13, 12), 117, SQRT2)
    _tf(net, "4x4/Dense0", (192, 12), 192, SQRT2)
    _tf(net, "4x4/Dense1", (12, 1), 12)
    return net


def stylegan_tf() -> Built:
    net = Built(dropped={"mod"})
    net.put("dlatent_avg", 16)
    net.put("G_mapping/LabelConcat/weight", 5, 16)
    for n in (0, 1):
        _tf(net, f"G_mapping/Dense{n}", (16, 16), 16, SQRT2, 0.01)
    net.put("G_synthesis/4x4/Const/const", 1, 12, 4, 4)
    net.put("G_synthesis/4x4/Const/Noise/weight", 12)
    _tf(net, "G_synthesis/4x4/Const/StyleMod", (16, 24), 16)
    _tf(net, "G_synthesis/8x8/Conv0_up", (3, 3, 12, 8), 108, SQRT2)
    _tf(net, "G_synthesis/8x8/Conv0_up/StyleMod", (16, 16), 16)
    _tf(net, "G_synthesis/ToRGB_lod0", (1, 1, 8, 3), 8)
    net.dropped.clear()
    return net


def stylegan2_tf() -> Built:
    net = Built(dropped={"mod"})
    net.put("dlatent_avg", 16)
    _tf(net, "G_mapping/Dense0", (16, 16), 16, 1.0, 0.01)
    _tf(net, "G_mapping/LabelEmbed", (5, 16), 5)
    net.put("G_synthesis/4x4/Const/const", 1, 12, 4, 4)
    for path, i, o, k in (("8x8/Conv0_up", 12, 8, 3), ("8x8/Conv1", 8, 8, 3), ("8x8/ToRGB", 8, 3, 1)):
        _tf(net, f"G_synthesis/{path}", (k, k, i, o), k * k * i)
        net.scaled(f"G_synthesis/{path}/mod_weight", (16, i), 1 / 4)
        net.put(f"G_synthesis/{path}/mod_bias", i)
        net.put(f"G_synthesis/{path}/noise_strength")
    net.dropped.clear()
    return net


def stylegan2_tf_discriminator() -> Built:
    net = Built()
    _tf(net, "8x8/FromRGB", (1, 1, 3, 8), 3)
    _tf(net, "8x8/Conv0", (3, 3, 8, 8), 72)
    _tf(net, "8x8/Conv1_down", (3, 3, 8, 12), 72)
    net.scaled("8x8/Skip/weight", (1, 1, 8, 12), 1 / math.sqrt(8))
    _tf(net, "4x4/Conv", (3, 3, 13, 12), 117)
    _tf(net, "4x4/Dense0", (192, 12), 192)
    _tf(net, "Output", (12, 1), 12)
    _tf(net, "Mapping0", (16, 16), 16, 1.0, 0.1)
    return net


def stylegan2_tf_growing() -> Built:
    """Configurations B to D: StyleGAN2's layers in scopes that are named after a level of detail."""
    net = Built(dropped={"mod"})
    net.put("G_synthesis/lod")
    net.put("G_synthesis/4x4/Const/const", 1, 12, 4, 4)
    for path, i, o, k in (("4x4/Conv", 12, 12, 3), ("8x8/Conv0_up", 12, 8, 3), ("ToRGB_lod1", 12, 3, 1)):
        _tf(net, f"G_synthesis/{path}", (k, k, i, o), k * k * i)
        net.scaled(f"G_synthesis/{path}/mod_weight", (16, i), 1 / 4)
        net.put(f"G_synthesis/{path}/mod_bias", i)
    _tf(net, "G_mapping/Dense0", (16, 16), 16, 1.0, 0.01)
    net.dropped.clear()
    return net


def stylegan2_tf_growing_discriminator() -> Built:
    net = Built()
    net.put("lod")
    for level, o in ((0, 8), (1, 12)):
        _tf(net, f"FromRGB_lod{level}", (1, 1, 3, o), 3)
    _tf(net, "8x8/Conv0", (3, 3, 8, 8), 72)
    _tf(net, "8x8/Conv1_down", (3, 3, 8, 12), 72)
    _tf(net, "4x4/Conv", (3, 3, 13, 12), 117)
    _tf(net, "4x4/Dense0", (192, 12), 192)
    _tf(net, "Output", (12, 1), 12)
    return net


def ada_tf_spectral_discriminator() -> Built:
    """Where a weight is divided by its spectral norm, no constant is left of it; elsewhere all is as ever."""
    net = stylegan2_tf_discriminator()
    for path, size in (("8x8/Conv0", 8), ("4x4/Dense0", 12)):
        net.put(f"{path}/weight_sn", 1, size)
        del net.constants[f"{path}/weight"]
    return net


def _hooked(net: Built, path: str, shape: tuple[int, ...], fan: int, gain: float = 1.0, lr: float = 1.0) -> None:
    net.scaled(f"{path}.weight_orig", shape, gain * lr / math.sqrt(fan), lr, baked=f"{path}.weight")


def mmgen_stylegan2() -> Built:
    net = Built()
    for n in (1, 2):
        _hooked(net, f"style_mapping.{n}.linear", (16, 16), 16, lr=0.01)
        net._bias(f"style_mapping.{n}.bias", 16, 0.01)
    for path, i, o, k in (("conv1", 12, 12, 3), ("to_rgb1", 12, 3, 1), ("convs.0", 12, 8, 3)):
        _hooked(net, f"{path}.conv", (1, o, i, k, k), i * k * k)
        _hooked(net, f"{path}.conv.style_modulation.linear", (i, 16), 16)
        net.put(f"{path}.conv.style_modulation.bias", i, mean=1.0)
    net.put("conv1.noise_injector.weight", 1)
    net.put("conv1.activate.bias", 12)
    return net


def mmagic_eg3d() -> Built:
    """A hooked backbone, and a decoder of NVIDIA's layers."""
    net = Built()
    for n in (0, 2):
        net.linear(f"renderer.decoder.net.{n}", 16, 16)
    backbone = mmgen_stylegan2()
    for kind in ("tensors", "constants", "baked"):
        named = {f"backbone.{name}": value for name, value in getattr(backbone, kind).items()}
        getattr(net, kind).update(named)
    net.baked = {name: new if new.startswith("backbone.") else f"backbone.{new}" for name, new in net.baked.items()}
    return net


def mmgen_stylegan1() -> Built:
    net = Built()
    _hooked(net, "style_mapping.1.linear", (16, 16), 16, lr=0.01)
    net._bias("style_mapping.1.bias", 16, 0.01)
    _hooked(net, "convs.0.adain1.affine", (24, 16), 16, SQRT2)
    net.put("convs.0.adain1.affine.bias", 24)
    _hooked(net, "convs.0.conv2.conv", (12, 12, 3, 3), 108, SQRT2)
    net.put("convs.0.conv2.conv.bias", 12)
    _hooked(net, "convs.1.conv1.0.conv", (12, 8, 3, 3), 72, SQRT2)  # transposed: counts its outputs
    net.put("convs.1.conv1.0.conv.bias", 8)
    _hooked(net, "to_rgbs.0.conv", (3, 12, 1, 1), 12, SQRT2)
    return net


def mmgen_pggan() -> Built:
    net = Built()
    _hooked(net, "noise2feat.linear", (192, 16), 16, SQRT2 / 4)
    net.put("noise2feat.bias", 1, 12, 1, 1)
    _hooked(net, "conv_blocks.0.conv", (12, 12, 3, 3), 108, SQRT2)
    _hooked(net, "conv_blocks.1.conv", (12, 8, 3, 3), 72, SQRT2)  # fused up-convolution, transposed
    _hooked(net, "torgb_layers.0.conv", (3, 12, 1, 1), 12)
    return net


def mmgen_pggan_discriminator() -> Built:
    net = Built()
    _hooked(net, "fromrgb_layers.0.conv", (12, 3, 1, 1), 3, SQRT2)
    _hooked(net, "conv_blocks.0.conv", (12, 13, 3, 3), 117, SQRT2)
    _hooked(net, "decision.linear0", (12, 192), 192, SQRT2)
    _hooked(net, "decision.linear1", (1, 12), 12)
    return net


def progressive_hook() -> Built:
    """rosinality/progressive-gan-pytorch: only the blocks are hooked."""
    net = Built()
    net.put("label_embed.weight", 10, 10)
    for n in (0, 1):
        _hooked(net, f"progression.{n}.conv.0.conv", (8, 8, 3, 3), 72, SQRT2)
        net.put(f"progression.{n}.conv.0.conv.bias", 8)
    net.put("to_rgb.0.weight", 3, 8, 1, 1, std=0.1)
    return net


def akanimax_generator() -> Built:
    net = Built()
    net.scaled("layers.0.conv_1.weight", (16, 12, 4, 4), SQRT2 / math.sqrt(16))
    net.put("layers.0.conv_1.bias", 12)
    net.conv("layers.0.conv_2", 12, 12, 3, SQRT2)
    net.conv("layers.1.conv_1", 12, 8, 3, SQRT2)
    net.conv("rgb_converters.0", 12, 3, 1, SQRT2)
    net.conv("rgb_converters.1", 8, 3, 1, SQRT2)
    return net


def bmsg_discriminator() -> Built:
    net = Built()
    net.conv("rgb_to_features.0.module", 3, 6, 1, SQRT2)
    net.conv("final_converter", 3, 6, 1, SQRT2)
    net.conv("layers.0.module.conv_1", 12, 12, 3, SQRT2)
    net.conv("final_block.conv_1", 13, 12, 3, SQRT2)
    net.conv("final_block.conv_2", 12, 12, 4, SQRT2)
    net.conv("final_block.conv_3", 12, 1, 1, SQRT2)
    return net


def nashory() -> Built:
    net = Built()
    for path, i, o, k in (
        ("model.first_block.1", 16, 12, 4),
        ("model.intermediate_4x4_8x8.high_resl_block.1", 12, 8, 3),
        ("model.to_rgb_block.0", 8, 3, 1),
    ):
        net.conv(f"{path}.conv", i, o, k, bias=f"{path}.bias")
    return net


def zsef123(first_version: bool = False) -> Built:
    """Its first version drew from N(0, 1) and kept the bias outside of the layer that it wraps."""
    net = Built()
    for path, shape, fan in (
        ("resl_blocks.0.0", (16, 12, 4, 4), 12 * 16),  # transposed: torch's initialiser counts its outputs
        ("resl_blocks.0.3", (12, 12, 3, 3), 108),
        ("resl_blocks.8_ReslBlock.conv.0", (8, 12, 3, 3), 108),
        ("rgb_l.conv.0", (3, 12, 1, 1), 12),
        ("rgb_h.conv.0", (3, 8, 1, 1), 8),
    ):
        net.scaled(f"{path}.layer.weight", shape, SQRT2 / math.sqrt(fan))
        net.put(f"{path}.bias" if first_version else f"{path}.layer.bias", shape[0], *((1, 1) if first_version else ()))
    return net


def zsef123_discriminator() -> Built:
    net = Built()
    net.conv("rgb_h.conv.layer", 3, 8, 1, SQRT2)
    net.conv("resl_blocks.0.conv.1.layer", 8, 12, 3, SQRT2)
    net.conv("resl_blocks.3.layer", 13, 12, 3, SQRT2)
    net.conv("resl_blocks.6.layer", 12, 12, 4, SQRT2)
    net.linear("resl_blocks.9.layer", 12, 1, SQRT2)
    return net


def deepsound() -> Built:
    net = Built()
    for path, i, o, k in (("block0.c1", 16, 12, 4), ("block0.c2", 12, 12, 3), ("block0.toRGB", 12, 3, 1)):
        net.conv(f"{path}.conv", i, o, k, SQRT2)
    for path, i, o, k in (("blocks.0.c1", 12, 8, 3), ("blocks.0.c2", 8, 8, 3), ("blocks.0.toRGB", 8, 3, 1)):
        net.conv(f"{path}.conv", i, o, k, SQRT2)
    return net


def deepsound_discriminator() -> Built:
    net = Built()
    for path, i, o, k in (("fromRGB", 3, 8, 1), ("c1", 8, 8, 3), ("c2", 8, 12, 3)):
        net.conv(f"blocks.0.{path}.conv", i, o, k, SQRT2)
    net.put("linear.weight", 1, 12, std=0.2)
    net.put("linear.bias", 1)
    return net


def pengge() -> Built:
    """A WScaleLayer holds the layer before it once more, so that each weight has two names."""
    net = Built()
    leaky = math.sqrt(2 / (1 + 2 / 1.04))
    for path, number, i, o, k, gain in (
        ("output_layer.pre", 1, 16, 12, 4, leaky),
        ("output_layer.chain.0", 0, 12, 12, 3, leaky),
        ("output_layer.post.0", 0, 12, 3, 1, 1.0),
    ):
        wrapper = f"{path}.{number + 1}"
        net.conv(f"{path}.{number}", i, o, k, gain, bias=f"{wrapper}.bias")
        weight = f"{path}.{number}.weight"
        net.tensors[f"{wrapper}.incoming.weight"] = net.tensors[weight]
        net.constants[f"{wrapper}.incoming.weight"] = net.constants[weight]
    return net


def lernapparat() -> Built:
    net = Built()
    net.linear("g_mapping.dense0", 16, 16, SQRT2, 0.01)
    net.linear("g_mapping.dense1", 16, 16, SQRT2, 0.01)
    net.put("g_synthesis.blocks.4x4.const", 1, 12, 4, 4)
    net.put("g_synthesis.blocks.4x4.epi1.top_epi.noise.weight", 12)
    net.linear("g_synthesis.blocks.4x4.epi1.style_mod.lin", 16, 24)
    net.conv("g_synthesis.blocks.4x4.conv", 12, 12, 3, SQRT2)
    net.conv("g_synthesis.blocks.8x8.conv0_up", 12, 8, 3, SQRT2)
    net.conv("g_synthesis.torgb", 8, 3, 1)
    return net


def pulse_mapping() -> Built:
    net = Built()
    for n in range(8):
        net.linear(f"dense{n}", 16, 16, SQRT2, 0.01)
    return net


def genforce_stylegan2() -> Built:
    net = Built()
    for n in (0, 1):
        net.linear(f"mapping.dense{n}", 16, 16, lr=0.01)
    net.put("truncation.w_avg", 16)
    net.put("synthesis.early_layer.const", 1, 12, 4, 4)
    for path, i, o, k in (("layer0", 12, 12, 3), ("layer1", 12, 8, 3), ("output0", 12, 3, 1)):
        net.conv(f"synthesis.{path}", i, o, k)
        net.linear(f"synthesis.{path}.style", 16, i)
    net.put("synthesis.layer0.noise_strength")
    net.put("synthesis.layer1.filter.kernel", 1, 1, 4, 4)
    return net


def genforce_stylegan2_discriminator() -> Built:
    net = Built()
    net.conv("input0", 3, 8, 1)
    net.conv("layer0", 8, 8, 3)
    net.conv("layer1", 8, 12, 3)
    net.put("layer1.filter.kernel", 1, 1, 4, 4)
    net.conv("skip_layer0", 8, 12, 1, bias=None)
    net.conv("layer2", 13, 12, 3)
    net.linear("layer3", 192, 12)
    net.linear("layer4", 12, 1)
    return net


def genforce_stylegan() -> Built:
    net = Built()
    net.linear("mapping.dense0", 16, 16, SQRT2, 0.01)
    net.put("synthesis.lod")
    net.put("synthesis.layer0.const", 1, 12, 4, 4)
    net.put("synthesis.layer0.apply_noise.weight", 12)
    net.linear("synthesis.layer0.style", 16, 24)
    net.conv("synthesis.layer1", 12, 12, 3, SQRT2)
    net.linear("synthesis.layer1.style", 16, 24)
    net.put("synthesis.layer1.blur.kernel", 12, 1, 3, 3)
    net.conv("synthesis.output0", 12, 3, 1)
    return net


def genforce_pggan() -> Built:
    net = Built()
    net.put("lod")
    net.conv("layer0", 16, 12, 4, SQRT2)
    net.conv("layer1", 12, 12, 3, SQRT2)
    net.scaled("layer2.weight", (12, 8, 3, 3), SQRT2 / math.sqrt(12 * 9))  # fused up-convolution (in, out, k, k)
    net.put("layer2.bias", 8)
    net.conv("output0", 12, 3, 1)
    return net


def genforce_pggan_discriminator() -> Built:
    net = Built()
    net.put("lod")
    net.conv("input0", 3, 8, 1, SQRT2)
    net.conv("layer0", 8, 8, 3, SQRT2)
    net.conv("layer1", 8, 12, 3, SQRT2)
    net.linear("layer2", 192, 12, SQRT2)
    net.linear("layer3", 12, 1)
    return net


def genforce_ada() -> Built:
    net = genforce_stylegan2()
    net.linear("mapping.LabelEmbed", 5, 16)
    return net


def genforce_ada_discriminator() -> Built:
    net = genforce_stylegan2_discriminator()
    net.linear("LabelEmbed", 5, 12)
    return net


def hammer_stylegan2() -> Built:
    net = Built()
    net.put("w_avg", 16)
    net.linear("mapping.embedding", 5, 16)
    for n, i in ((0, 32), (1, 16)):
        net.linear(f"mapping.dense{n}", i, 16, lr=0.01)
    net.put("synthesis.early_layer.const", 1, 12, 4, 4)
    for path, i, o, k in (("layer0", 12, 12, 3), ("layer1", 12, 8, 3), ("output0", 12, 3, 1)):
        net.conv(f"synthesis.{path}", i, o, k)
        net.linear(f"synthesis.{path}.style", 16, i)
    net.put("synthesis.layer0.noise_strength")
    net.put("synthesis.layer1.filter", 4, 4)
    net.conv("synthesis.residual1", 12, 8, 1, bias=None)
    return net


def hammer_stylegan2_discriminator() -> Built:
    net = Built()
    net.linear("embedding", 5, 16)
    for n in (0, 1):
        net.linear(f"mapping{n}", 16, 16, lr=0.1)
    net.conv("input0", 3, 8, 1)
    net.conv("layer0", 8, 8, 3)
    net.conv("layer1", 8, 12, 3)
    net.put("layer1.filter", 4, 4)
    net.conv("residual0", 8, 12, 1, bias=None)
    net.conv("layer2", 13, 12, 3)
    net.linear("layer3", 192, 12)
    net.linear("output", 12, 16)
    return net


def hammer_stylegan() -> Built:
    net = Built()
    net.put("w_avg", 16)
    net.linear("mapping.dense0", 16, 16, SQRT2, 0.01)
    net.put("synthesis.lod")
    net.put("synthesis.layer0.const", 1, 12, 4, 4)
    net.put("synthesis.layer0.noise_strength", 12)
    net.linear("synthesis.layer0.style", 16, 24)
    net.conv("synthesis.layer1", 12, 12, 3, SQRT2)
    net.linear("synthesis.layer1.style", 16, 24)
    net.conv("synthesis.layer2", 12, 8, 3, SQRT2)
    net.put("synthesis.layer2.filter", 1, 1, 3, 3)
    net.conv("synthesis.output0", 12, 3, 1)
    return net


def hammer_progressive_discriminator(blurs: bool) -> Built:
    """Of PGGAN, or with filters of StyleGAN: the score is `output`, and the dense layer before it has gain √2."""
    net = Built()
    net.put("lod")
    net.conv("input0", 3, 8, 1, SQRT2)
    net.conv("layer0", 8, 8, 3, SQRT2)
    net.conv("layer1", 8, 12, 3, SQRT2)
    if blurs:
        net.put("layer1.filter", 1, 1, 3, 3)
    net.conv("layer2", 13, 12, 3, SQRT2)
    net.linear("layer3", 192, 12, SQRT2)
    net.linear("output", 12, 1)
    return net


def interfacegan() -> Built:
    net = Built()
    for path, i, o, k, gain in (("layer0", 16, 12, 4, SQRT2), ("layer1", 12, 12, 3, SQRT2), ("output0", 12, 3, 1, 1.0)):
        net.conv(f"{path}.conv", i, o, k, gain, bias=f"{path}.wscale.bias")
    return net


def interfacegan_stylegan() -> Built:
    net = Built()
    net.linear("mapping.dense0.linear", 16, 16, SQRT2, 0.01, bias="mapping.dense0.wscale.bias")
    net.put("truncation.w_avg", 16)
    net.put("synthesis.lod")
    net.put("synthesis.layer0.first_layer", 1, 12, 4, 4)
    net.linear("synthesis.layer0.epilogue.style_mod.dense.linear", 16, 24, bias=f"{_MODULATION}.bias")
    net.conv("synthesis.layer1.conv", 12, 12, 3, SQRT2, bias="synthesis.layer1.epilogue.bias")
    net.put("synthesis.layer1.epilogue.apply_noise.weight", 12)
    net.scaled("synthesis.layer10.weight", (3, 3, 12, 8), SQRT2 / math.sqrt(12 * 9))  # fused up-convolution
    net.put("synthesis.layer10.epilogue.bias", 8)
    net.conv("synthesis.output0.conv", 12, 3, 1, bias="synthesis.output0.bias")
    return net


_MODULATION = "synthesis.layer0.epilogue.style_mod.dense.wscale"


def tae() -> Built:
    net = Built()
    for path, shape, fan in (("conv0", (12, 12, 3, 3), 108), ("up", (12, 8, 4, 4), 192), ("fc", (16, 16), 16)):
        net.scaled(f"{path}.weight", shape, SQRT2 / math.sqrt(fan))
        net.tensors[f"{path}.scale"] = np.array(SQRT2 / math.sqrt(fan), dtype=np.float32)
        net.dropped.add(f"{path}.scale")
    return net


def wscale() -> Built:
    net = Built()
    for n in (0, 1):
        net.scaled(f"features.{n}.conv.weight", (12, 12, 3, 3), 0.137)
        net.tensors[f"features.{n}.wscale.scale"] = np.array([0.137], dtype=np.float32)
        net.put(f"features.{n}.wscale.b", 12)
        net.dropped.add(f"features.{n}.wscale.scale")
    return net


def ppeetteerrs() -> Built:
    net = Built()
    net.linear("mapping.1", 16, 16, lr=0.01)
    net.linear("mapping.2", 16, 16, lr=0.01)
    for path, i, o, k in (("convs.0", 12, 12, 3), ("up_convs.0", 12, 8, 3), ("to_rgbs.0", 12, 1, 1)):
        net.modulated(path, i, o, k, 16, style="affine")
    return net


def ppeetteerrs_discriminator() -> Built:
    net = Built()
    net.conv("blocks.0.0", 1, 8, 1, bias="blocks.0.1.bias")
    net.conv("blocks.1.conv.0", 8, 8, 3, bias="blocks.1.conv.1.bias")
    net.put("blocks.1.down_conv.0.kernel", 4, 4)
    net.conv("blocks.1.down_conv.1", 8, 12, 3, bias="blocks.1.down_conv.2.bias")
    net.conv("final_conv.0", 13, 12, 3, bias="final_conv.1.bias")
    net.linear("final_relu", 192, 12)
    net.linear("final_linear", 12, 1)
    return net


def adriansahlman() -> Built:
    net = Built()
    for n in (0, 1):
        net.linear(f"G_mapping.main.{n}.layer", 16, 16, lr=0.01, bias=f"G_mapping.main.{n}.bias")
    block = "G_synthesis.conv_blocks.0.conv_block.0"
    net.conv(f"{block}.layer.layer", 12, 12, 3, bias=f"{block}.bias")
    net.put(f"{block}.layer.weight", 1)
    net.linear(f"{block}.layer.layer.dense.layer", 16, 12, bias=f"{block}.layer.layer.dense.bias")
    net.put(f"{block}.layer.layer.filter.filter_kernel", 1, 1, 4, 4)
    net.put("G_synthesis.upsample.weight", 1, 1, 1, 1)
    return net


def flaxmodels() -> Built:
    net = Built(dropped={"mod"})
    _tf(net, "mapping_network/fc0", (16, 16), 16, 1.0, 0.01)
    net.put("synthesis_network/const", 1, 4, 4, 12)
    layer = "synthesis_network/block_8x8/layer0"
    _tf(net, f"{layer}/affine", (16, 12), 16)
    _tf(net, f"{layer}/conv", (3, 3, 12, 8), 108)
    _tf(net, "synthesis_network/block_8x8/torgb/conv", (1, 1, 8, 3), 8)
    _tf(net, "synthesis_network/block_8x8/torgb/affine", (16, 8), 16)
    net.dropped.clear()
    return net


def chainer() -> Built:
    net = Built()
    net.scaled("c0/c/W", (16, 12, 4, 4), SQRT2 / math.sqrt(16))  # deconvolution: its inputs alone
    net.put("c0/c/b", 12)
    net.scaled("c1/c/W", (8, 12, 3, 3), SQRT2 / math.sqrt(108))
    net.put("c1/c/b", 8)
    net.scaled("l0/c/W", (1, 12), SQRT2 / math.sqrt(12))
    net.put("l0/c/b", 1)
    return net


def stylegan_fb() -> Built:
    """StyleGAN in pytorch_GAN_zoo: output scaled, so the bias too; mapping with lr 0.01; noise plain."""
    net = Built()
    for n in (0, 1):
        c = 0.01 * SQRT2 / 4
        net.scaled(f"mapping.FC.{n}.module.weight", (16, 16), c, 0.01)
        net.scaled(f"mapping.FC.{n}.module.bias", (16,), c)
    for path, o, i, k in (("scaleLayers.0.0", 12, 12, 3), ("toRGBLayers.0", 3, 12, 1)):
        c = SQRT2 / math.sqrt(i * k * k)
        net.scaled(f"{path}.module.weight", (o, i, k, k), c)
        net.scaled(f"{path}.module.bias", (o,), c)
    net.scaled("scaleLayers.0.1.styleModulator.module.weight", (24, 16), SQRT2 / 4)
    net.scaled("scaleLayers.0.1.styleModulator.module.bias", (24,), SQRT2 / 4)
    net.put("noiseModulators.0.0.module.weight", 1, 12, 1, 1)
    return net


def _output_scaled(net: Built, path: str, shape: tuple[int, ...], fan: int) -> None:
    """facebook's ConstrainedLayer: the bias is multiplied along."""
    c = SQRT2 / math.sqrt(fan)
    net.scaled(f"{path}.weight", shape, c)
    net.scaled(f"{path}.bias", (shape[0],), c)


def fb_generator(inner: str = "") -> Built:
    """ProGAN of pytorch_GAN_zoo; its first files have no `.module` in their names."""
    net = Built()
    _output_scaled(net, f"formatLayer{inner}", (192, 16), 16)
    _output_scaled(net, f"groupScale0.0{inner}", (12, 12, 3, 3), 108)
    _output_scaled(net, f"scaleLayers.0.0{inner}", (8, 12, 3, 3), 108)
    _output_scaled(net, f"scaleLayers.0.1{inner}", (8, 8, 3, 3), 72)
    for n, i in ((0, 12), (1, 8)):
        _output_scaled(net, f"toRGBLayers.{n}{inner}", (3, i, 1, 1), i)
    return net


def fb_discriminator(inner: str = "") -> Built:
    net = Built()
    _output_scaled(net, f"scaleLayers.0.0{inner}", (8, 8, 3, 3), 72)
    _output_scaled(net, f"scaleLayers.0.1{inner}", (12, 8, 3, 3), 72)
    for n, o in ((0, 12), (1, 8)):
        _output_scaled(net, f"fromRGBLayers.{n}{inner}", (o, 3, 1, 1), 3)
    _output_scaled(net, f"groupScaleZero.0{inner}", (12, 13, 3, 3), 117)
    _output_scaled(net, f"groupScaleZero.1{inner}", (12, 192), 192)
    _output_scaled(net, f"decisionLayer{inner}", (1, 12), 12)
    return net


def progan_flax() -> Built:
    net = Built()
    leaky = math.sqrt(2 / 1.04)
    for path, k, i, o, gain in (
        ("4x4_block_0/EqualizedLRConv_0", 1, 16, 192, leaky),
        ("4x4_block_1/EqualizedLRConv_0", 3, 12, 12, leaky),
        ("8x8_block_0/EqualizedLRConv_0", 3, 12, 8, leaky),
        ("8x8_to_rgb", 1, 8, 3, 5 / 3),
    ):
        net.scaled(f"{path}/kernel", (k, k, i, o), gain / math.sqrt(k * k * i))
        net.put(f"{path}/bias", o)
    return net


def progan_flax_discriminator() -> Built:
    net = Built()
    leaky = math.sqrt(2 / 1.04)
    for path, k, i, o, gain in (
        ("8x8_from_rgb/EqualizedLRConv_0", 1, 3, 8, leaky),
        ("8x8_block_0/EqualizedLRConv_0", 3, 8, 12, leaky),
        ("4x4_block_0/EqualizedLRConv_0", 3, 13, 12, leaky),
        ("4x4_block_1/EqualizedLRConv_0", 4, 12, 12, leaky),
        ("dense_out", 1, 12, 1, 1.0),
    ):
        net.scaled(f"{path}/kernel", (k, k, i, o), gain / math.sqrt(k * k * i))
        net.put(f"{path}/bias", o)
    return net


def moono(by_place: bool = False) -> Built:
    """By the names of its layers, or by their place in the object, as a TensorFlow checkpoint has them."""
    net = Built()
    dense, act = ("dense_layers/", "bias_act_layers/") if by_place else ("dense_", "bias_act_")
    for n in (0, 1):
        net.scaled(f"g_mapping/{dense}{n}/w", (16, 16), 0.01 / 4, 0.01)
        net.scaled(f"g_mapping/{act}{n}/b", (16,), 0.01, 0.01)
    net.put("g_mapping/labels_embedding/weight", 5, 16)
    synthesis = "synthesis" if by_place else "g_synthesis"
    first, block, rgb = (
        ("initial_block", "blocks/0", "torgbs/0") if by_place else ("4x4/const", "8x8/block", "8x8/ToRGB")
    )
    net.put(f"{synthesis}/{first}/const", 1, 12, 4, 4)
    for path, i, o, k in (
        (f"{first}/conv", 12, 12, 3),
        (f"{block}/conv_0", 12, 8, 3),
        (f"{block}/conv_1", 8, 8, 3),
        (f"{rgb}/conv", 8, 3, 1),
    ):
        net.scaled(f"{synthesis}/{path}/w", (k, k, i, o), 1 / math.sqrt(k * k * i))
        net.scaled(f"{synthesis}/{path}/mod_dense/w", (16, i), 1 / 4)
        net.put(f"{synthesis}/{path}/mod_bias/b", i)
    net.put(f"{synthesis}/{block}/bias_0/b", 8)
    if by_place:
        end = "/.ATTRIBUTES/VARIABLE_VALUE"
        net.tensors = {name + end: array for name, array in net.tensors.items()}
        net.constants = {name + end: constant for name, constant in net.constants.items()}
    return net


def moono_discriminator() -> Built:
    net = Built()
    for path, i, o, k in (
        ("8x8/FromRGB/conv", 3, 8, 1),
        ("8x8/conv_0", 8, 8, 3),
        ("8x8/conv_1", 8, 12, 3),
        ("8x8/skip", 8, 12, 1),
        ("4x4/conv_0", 13, 12, 3),
    ):
        net.scaled(f"{path}/w", (k, k, i, o), 1 / math.sqrt(k * k * i))
    for path, i, o in (("4x4/dense_1", 192, 12), ("last_dense", 12, 1)):
        net.scaled(f"{path}/w", (i, o), 1 / math.sqrt(i))
    net.put("8x8/bias_0/b", 8)
    net.put("last_bias/b", 1)
    return net


def tfgan(scope: str = "Generator/progressive_gan_generator") -> Built:
    net = Built()
    for path, k, i, o, gain in (
        ("progressive_gan_block_1/conv0", 4, 16, 12, SQRT2),
        ("progressive_gan_block_1/conv1", 3, 12, 12, SQRT2),
        ("progressive_gan_block_1/to_rgb", 1, 12, 3, 1.0),
        ("progressive_gan_block_2/conv0", 3, 12, 8, SQRT2),
        ("progressive_gan_block_2/to_rgb", 1, 8, 3, 1.0),
    ):
        net.scaled(f"{scope}/{path}/conv2d/kernel", (k, k, i, o), gain / math.sqrt(k * k * i))
        net.put(f"{scope}/{path}/bias", o)
    return net


def tfgan_discriminator() -> Built:
    net = Built()
    scope = "Discriminator/progressive_gan_discriminator/progressive_gan_block_1"
    for path, k, i, o in (("from_rgb", 1, 3, 12), ("conv0", 3, 13, 12), ("conv1", 4, 12, 12)):
        net.scaled(f"{scope}/{path}/conv2d/kernel:0", (k, k, i, o), SQRT2 / math.sqrt(k * k * i))
        net.put(f"{scope}/{path}/bias:0", o)
    net.scaled(f"{scope}/logits/dense/kernel:0", (12, 1), 1 / math.sqrt(12))
    net.put(f"{scope}/logits/bias:0", 1)
    return net


def precure(first_files: bool = False) -> Built:
    net = Built()
    w = "linear/W" if first_files else "w"
    for n in (0, 2):
        net.scaled(f"mapper/mlp/{n}/{w}", (16, 16), SQRT2 / 4)
        net.put(f"mapper/mlp/{n}/{w[:-1]}b", 16)
    styles = ("s1/s/linear/W", "s2/s/linear/W") if first_files else ("style1/linear/w", "style2/linear/w")
    for block in ("init", "skips/0"):
        for style in styles:
            net.scaled(f"synthesizer/{block}/{style}", (12, 16), 1 / 4)
            net.put(f"synthesizer/{block}/{style[:-1]}b", 12, mean=1.0)
        modulated = "w1" if first_files else "wmconv"
        net.put(f"synthesizer/{block}/{modulated}/w", 12, 12, 3, 3)
        net.put(f"synthesizer/{block}/torgb/wmconv/w", 3, 12, 1, 1, std=0.01)
    net.scaled(f"embedder/{w}", (16, 4), 1 / 2)
    return net


def precure_discriminator() -> Built:
    net = Built()
    for path, i, o, k in (
        ("main/0/conv", 3, 8, 1),
        ("main/1/conv1", 8, 8, 3),
        ("main/1/conv3", 8, 12, 1),
        ("main/2/conv1", 13, 12, 3),
        ("main/2/conv2", 12, 12, 4),
    ):
        net.scaled(f"{path}/w", (o, i, k, k), SQRT2 / math.sqrt(i * k * k))
        net.put(f"{path}/b", o)
    net.scaled("main/2/linear/w", (1, 12), 1 / math.sqrt(12))
    net.put("main/2/linear/b", 1)
    return net


def parametrized() -> Built:
    net = Built()
    for path, shape, fan in (("fc", (8, 16), 16), ("up", (12, 8, 3, 3), 72)):
        net.scaled(f"{path}.parametrizations.weight.original", shape, SQRT2 / math.sqrt(fan), baked=f"{path}.weight")
        net.put(f"{path}.parametrizations.bias.original", 8)
        net.baked[f"{path}.parametrizations.bias.original"] = f"{path}.bias"
    return net


def unnamed_hook() -> Built:
    net = Built()
    _hooked(net, "body.0", (12, 12, 3, 3), 108, 1.0)
    _hooked(net, "head", (4, 12), 12, 1.0)
    return net


def wsconv_copy() -> Built:
    net = Built()
    for n in range(4):
        net.conv(f"trunk.{n}.conv", 12, 12, 3, SQRT2, bias=f"trunk.{n}.bias")
    return net


BUILDERS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "rosinality under a prefix": ("rosinality-stylegan2", lambda: rosinality_generator("stylegan."), ()),
    "rosinality, lr 0.1": ("rosinality-stylegan2", lambda: rosinality_generator(lr=0.1), ()),
    "swagan discriminator": ("rosinality-stylegan2", wavelet_discriminator, ()),
    "psp": ("psp-encoder", psp, ()),
    "hyperstyle": ("psp-encoder", hyperstyle, ()),
    "styleclip": ("styleclip-mapper", styleclip, ()),
    "gfpgan component": ("gfpgan-components", gfpgan_component, ()),
    "rosinality layers": ("rosinality-layers", rosinality_layers, ()),
    "dualstylegan": ("dualstylegan", dualstylegan, ()),
    "vtoonify": ("dualstylegan", vtoonify, ()),
    "gpen": ("gpen", gpen, ()),
    "lia": ("lia", lia, ()),
    "cips": ("cips", cips, ()),
    "cips with residual blocks": ("cips", cips_residual, ()),
    "styleswin": ("styleswin", styleswin, ()),
    "swapping autoencoder": ("swapping-autoencoder", swapping, ()),
    "swapping autoencoder, rosinality's encoder": ("rosinality-swapping", rosinality_swapping_encoder, ()),
    "swapping autoencoder, rosinality's generator": ("rosinality-swapping", rosinality_swapping_generator, ()),
    "swapping autoencoder, rosinality's patches": ("rosinality-swapping", rosinality_swapping_patches, ()),
    "semanticstylegan": ("semanticstylegan", semanticstylegan, ()),
    "semanticstylegan discriminator": ("semanticstylegan", semanticstylegan_discriminator, ()),
    "mobilestylegan": ("mobilestylegan", mobilestylegan, ()),
    "ada mapping": ("nvidia-stylegan2-ada", ada_mapping, ()),
    "ada generator with labels": ("nvidia-stylegan2-ada", ada_generator, ()),
    "ada discriminator with labels": ("nvidia-stylegan2-ada", ada_discriminator, ()),
    "studiogan discriminator": ("nvidia-stylegan2-ada", studiogan_discriminator, ()),
    "eg3d": ("nvidia-stylegan2-ada", eg3d, ()),
    "mat": ("mat", mat, ()),
    "mat discriminator": ("mat", mat_discriminator, ()),
    "separable discriminator": ("stylegan-xl-discriminator", separable_discriminator, ()),
    "mobilestylegan in training": ("mobilestylegan", mobilestylegan_training, ()),
    "fb generator": ("fb-gan-zoo", lambda: fb_generator(".module"), ()),
    "fb discriminator": ("fb-gan-zoo", lambda: fb_discriminator(".module"), ()),
    "fb generator of the first files": ("fb-gan-zoo", fb_generator, ()),
    "fb discriminator of the first files": ("fb-gan-zoo", fb_discriminator, ()),
    "progan-flax": ("progan-flax", progan_flax, ()),
    "progan-flax discriminator": ("progan-flax", progan_flax_discriminator, ()),
    "moono": ("moono-stylegan2", moono, ()),
    "moono in a TensorFlow checkpoint": ("moono-stylegan2", lambda: moono(by_place=True), ()),
    "moono discriminator": ("moono-stylegan2", moono_discriminator, ()),
    "tfgan": ("tfgan-progan", tfgan, ()),
    "gansynth": ("tfgan-progan", lambda: tfgan("gansynth"), ()),
    "tfgan discriminator": ("tfgan-progan", tfgan_discriminator, ()),
    "precure": ("precure-stylegan2", precure, ()),
    "precure, first files": ("precure-stylegan2", lambda: precure(first_files=True), ()),
    "precure discriminator": ("precure-stylegan2", precure_discriminator, ()),
    "stylegan3-r": ("nvidia-stylegan3", stylegan3_r, ()),
    "stylegan-xl": ("stylegan-xl", stylegan_xl, ()),
    "mmgen-stylegan3": ("mmgen-stylegan3", mmgen_stylegan3, ()),
    "hammer-stylegan3": ("hammer-stylegan3", hammer_stylegan3, ()),
    "progan tf": ("nvidia-progan-tf", progan_tf, ()),
    "progan tf discriminator": ("nvidia-progan-tf", progan_tf_discriminator, ()),
    "stylegan tf": ("nvidia-stylegan-tf", stylegan_tf, ()),
    "stylegan2 tf": ("nvidia-stylegan2-tf", stylegan2_tf, ()),
    "stylegan2 tf discriminator": ("nvidia-stylegan2-tf", stylegan2_tf_discriminator, ()),
    "stylegan2 tf, growing": ("nvidia-stylegan2-tf", stylegan2_tf_growing, ()),
    "stylegan2 tf, growing discriminator": ("nvidia-stylegan2-tf", stylegan2_tf_growing_discriminator, ()),
    "ada tf with spectral norm": ("nvidia-stylegan2-tf", ada_tf_spectral_discriminator, ()),
    "mmgen stylegan2": ("mmgen-stylegan2", mmgen_stylegan2, ()),
    "eg3d in mmagic": ("mmgen-stylegan2", mmagic_eg3d, ()),
    "interfacegan stylegan": ("interfacegan-stylegan", interfacegan_stylegan, ()),
    "mmgen stylegan1": ("mmgen-stylegan1", mmgen_stylegan1, ()),
    "mmgen pggan": ("mmgen-pggan", mmgen_pggan, ()),
    "mmgen pggan discriminator": ("mmgen-pggan", mmgen_pggan_discriminator, ()),
    "progressive hook": ("rosinality-hook", progressive_hook, ()),
    "akanimax": ("akanimax-progan", akanimax_generator, ("--family", "akanimax-progan")),
    "bmsg discriminator": ("akanimax-progan", bmsg_discriminator, ("--family", "akanimax-progan")),
    "nashory": ("rms-progan", nashory, ("--family", "rms-progan")),
    "nashory by gain": ("rms-progan", nashory, ("--gain", "1")),
    "zsef123": ("rms-progan", zsef123, ("--family", "rms-progan")),
    "zsef123, first version": ("rms-progan", lambda: zsef123(first_version=True), ()),
    "zsef123 discriminator": ("rms-progan", zsef123_discriminator, ("--family", "rms-progan")),
    "deepsound": ("rms-progan", deepsound, ("--family", "rms-progan")),
    "deepsound discriminator": ("rms-progan", deepsound_discriminator, ("--family", "rms-progan")),
    "pengge": ("rms-progan", pengge, ("--family", "rms-progan")),
    "lernapparat": ("huangzh13-stylegan", lernapparat, ()),
    "pulse mapping": ("huangzh13-stylegan", pulse_mapping, ()),
    "genforce stylegan2": ("genforce-stylegan2", genforce_stylegan2, ()),
    "genforce stylegan2 discriminator": ("genforce-stylegan2", genforce_stylegan2_discriminator, ()),
    "genforce stylegan": ("genforce-stylegan", genforce_stylegan, ()),
    "genforce pggan": ("genforce-pggan", genforce_pggan, ()),
    "genforce pggan discriminator": ("genforce-pggan", genforce_pggan_discriminator, ()),
    "genforce ada": ("genforce-stylegan2", genforce_ada, ()),
    "genforce ada discriminator": ("genforce-stylegan2", genforce_ada_discriminator, ()),
    "hammer stylegan2": ("hammer-stylegan2", hammer_stylegan2, ()),
    "hammer stylegan2 discriminator": ("hammer-stylegan2", hammer_stylegan2_discriminator, ()),
    "hammer stylegan": ("hammer-stylegan", hammer_stylegan, ()),
    "hammer stylegan discriminator": ("hammer-stylegan", lambda: hammer_progressive_discriminator(blurs=True), ()),
    "hammer pggan discriminator": ("hammer-pggan", lambda: hammer_progressive_discriminator(blurs=False), ()),
    "interfacegan": ("interfacegan-pggan", interfacegan, ()),
    "t-ae": ("tae-stylegan", tae, ()),
    "wscale": ("wscale-progan", wscale, ()),
    "ppeetteerrs": ("stylegan2-torch", ppeetteerrs, ()),
    "ppeetteerrs discriminator": ("stylegan2-torch", ppeetteerrs_discriminator, ()),
    "adriansahlman": ("adriansahlman-stylegan2", adriansahlman, ()),
    "flaxmodels": ("flaxmodels-stylegan2", flaxmodels, ()),
    "chainer": ("chainer-progan", chainer, ()),
    "stylegan fb": ("fb-gan-zoo", stylegan_fb, ()),
    "parametrization": ("equalized-parametrization", parametrized, ("--gain", str(SQRT2))),
    "unnamed hook": ("equalized-hook", unnamed_hook, ("--gain", "1")),
    "wsconv copy": ("wsconv-copy", wsconv_copy, ("--gain", str(SQRT2))),
}
"""name -> (family, builder, options that answer the family's question)."""
