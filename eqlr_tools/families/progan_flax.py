"""n2cholas/progan-flax: ProGAN in Flax, `src/model.py`.

    EqualizedLRConv   w = v * gain / sqrt(k * k * in),   v stored as (k, k, in, out), bias as stored

The gain is torch's for the activation behind the layer: sqrt(2 / (1 + 0.2 ** 2)) for leaky ReLU, 5/3 for to-RGB, whose
output goes through tanh, and 1 for the discriminator's last layer. There is no dense layer: all are convolutions.
Its checkpoints are msgpack: parameters come here by `flax.traverse_util.flatten_dict`, with dots or slashes between
their names, in safetensors, and go back by `unflatten_dict`.
"""

import math

from eqlr_tools.families.family import Family, Rule, Signature
from eqlr_tools.families.nvidia_tf import leading_fan_in
from eqlr_tools.families.progan_framework_names import FLAX

_S = r"[./]"


def _kernel(pattern: str, gain: float) -> Rule:
    return Rule(
        rf"(?P<layer>(?:.+{_S})?{pattern})(?P<sep>{_S})kernel",
        "conv2d",
        leading_fan_in,
        gain,
        bias="{layer}{sep}bias",
        rank=(4,),
        layout="kkIO",
    )


FAMILY = Family(
    id="progan-flax",
    title="ProGAN in Flax",
    architecture="progan",
    upstream="n2cholas/progan-flax",
    signatures=(
        Signature(
            rf"4x4_block_0{_S}EqualizedLRConv_0{_S}kernel",
            4,
            also=(rf"4x4_block_1{_S}EqualizedLRConv_0{_S}kernel",),
            what="its blocks",
        ),
    ),
    namings=FLAX,
    rules=(
        _kernel(r"\d+x\d+_to_rgb", 5 / 3),
        _kernel(r"dense_out", 1.0),
        _kernel(rf"\d+x\d+_(?:block_\d|from_rgb){_S}EqualizedLRConv_0", math.sqrt(2 / (1 + 0.2**2))),
    ),
)
