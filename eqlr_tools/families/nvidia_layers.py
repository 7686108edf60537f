"""NVIDIA's layers outside the networks that have a name here.

Pickled modules state their constants (`weight_gain`, `bias_gain`), whatever network they were built into: alis,
stylegan-v (convolutions over time), long-video-gan, and anybody's own. What is stated is believed.

The discriminators of StyleGAN-XL and Projected GAN are made of spectrally normalised torch layers, and optionally of
separable blocks with equalized ones:

    main.0   Conv2dLayerDepthwise   w = v / sqrt(C * k * k),   v stored as (C, 1, k, k): C, not 1, is counted
    main.1   Conv2dLayer            w = v / sqrt(in * k * k)
"""

import math

from eqlr_tools.families.family import Family, Signature, View
from eqlr_tools.families.kinds import kind_of
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.nvidia_stylegan2 import GAINS
from eqlr_tools.families.rules import conv
from eqlr_tools.scaling import Shape, second_axis_fan_in


def depthwise_fan_in(shape: Shape) -> int:
    """Fan-in of (channels, 1, *kernel) weights as StyleGAN-XL counts it: channels * prod(kernel)."""
    return shape[0] * math.prod(shape[2:])


def _stated(view: View, prefix: str) -> list[Layer]:
    """The layers whose pickled module says what it multiplies by."""
    found = []
    for name, shape in view.shapes.items():
        path = name.removesuffix(".weight")
        if path == name or len(shape) < 2 or not name.startswith(prefix):
            continue
        bias = next((bias for bias in (f"{path}.bias", f"{path}._bias") if bias in view.shapes), None)
        layer = Layer(path, kind_of(path, tuple(shape), view.shapes), name, tuple(shape), bias=bias, baked_weight=name)
        stated = layer.with_stated(GAINS, view.attribute, 1.0, second_axis_fan_in(shape))
        if stated is not None:
            found.append(stated)
    return found


STATED = Family(
    id="nvidia-layers",
    title="NVIDIA's layers in any pickled network (constants stated)",
    architecture="any",
    upstream="NVlabs/stylegan2-ada-pytorch",
    signatures=(Signature(r"(?:.+\.)?weight", what="layers"),),
    generic=True,
    doubt=lambda view, prefix: "" if _stated(view, prefix) else "no pickled module states its weight_gain",
    extra=_stated,
    load_back="after loading, set weight_gain and bias_gain of its modules to 1",
)

_BLOCK = r"mini_discs\.\w+\.main\.\d+\.main\."

SEPARABLE = Family(
    id="stylegan-xl-discriminator",
    title="separable discriminator blocks of StyleGAN-XL and Projected GAN",
    architecture="projected-gan",
    upstream="autonomousvision/stylegan-xl",
    signatures=(
        Signature(rf"{_BLOCK}0\.weight", 4, also=(rf"{_BLOCK}0\.resample_filter",), what="a depthwise Conv2dLayer"),
    ),
    rules=(
        conv(rf"{_BLOCK}0\.weight", fan_in=depthwise_fan_in, beside="{layer}.resample_filter", stated=GAINS),
        conv(rf"{_BLOCK}1\.weight", beside="{layer}.resample_filter", stated=GAINS),
    ),
)
