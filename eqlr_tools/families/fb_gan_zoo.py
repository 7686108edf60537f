"""facebookresearch/pytorch_GAN_zoo (BSD-3-Clause): `custom_layers.py`, ConstrainedLayer.

    y = (conv(x, v) + b) * c,     c = lr * sqrt(2 / fan_in)

The *output* is scaled, bias included, so `w = c * v` and `b_eff = c * b`. The wrapped layer is called `module`, and
that `.module.` inside a name is the signature of the family. In the StyleGAN of the same code the mapping has
lr 0.01, and the noise modulators are plain although they are wrapped too.
"""

from eqlr_tools.families.family import Family, Rule, Signature
from eqlr_tools.families.multipliers import inferred_multiplier
from eqlr_tools.families.rules import switched_off
from eqlr_tools.families.stylegan1_ports import FB_GAN_ZOO
from eqlr_tools.scaling import SQRT2, dense_fan_in

FAMILY = Family(
    id="fb-gan-zoo",
    title="ProGAN and StyleGAN of pytorch_GAN_zoo",
    architecture="progan",
    upstream="facebookresearch/pytorch_GAN_zoo",
    scales_output=True,
    doubt=switched_off("equalizedlR"),
    switch="equalizedlR",
    load_back="construct the network with equalizedlR=False",
    namings=FB_GAN_ZOO,
    signatures=(
        Signature(r"scaleLayers\.0\.0\.module\.weight", 4, what="a ConstrainedLayer around its `module`"),
        Signature(r"formatLayer\.module\.weight", 2, what="a ConstrainedLayer around its `module`"),
        Signature(r"groupScaleZero\.0\.module\.weight", 4, what="a ConstrainedLayer around its `module`"),
        Signature(r"groupScale0\.0\.module\.weight", 4, what="a ConstrainedLayer around its `module`"),
        Signature(r"mapping\.FC\.\d+\.module\.weight", 2, what="a ConstrainedLayer around its `module`"),
        Signature(r"decisionLayer\.module\.weight", 2, what="a ConstrainedLayer around its `module`"),
    ),
    rules=(
        Rule(
            r"(?P<layer>mapping\.FC\.\d+)\.module\.weight",
            "linear",
            dense_fan_in,
            gain=SQRT2,
            lr_multiplier=inferred_multiplier,
            bias="{layer}.module.bias",
            bias_rule="scale",
            rank=(2,),
        ),
        Rule(
            r"(?P<layer>(?!.*noiseMod).+)\.module\.weight",
            "conv2d",
            dense_fan_in,
            gain=SQRT2,
            bias="{layer}.module.bias",
            bias_rule="scale",
            rank=(4,),
        ),
        Rule(
            r"(?P<layer>(?!.*noiseMod).+)\.module\.weight",
            "linear",
            dense_fan_in,
            gain=SQRT2,
            bias="{layer}.module.bias",
            bias_rule="scale",
            rank=(2,),
        ),
    ),
)
