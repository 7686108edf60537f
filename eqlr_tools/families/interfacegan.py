"""genforce/interfacegan's first models, CSAILVision/gandissect and ganspace: WScale layers whose constant is in code.

    y = conv(x, v) * gain / sqrt(in * k * k) + b        so w = v * gain / sqrt(in * k * k), b as stored

gain sqrt(2), the output layer 1. In StyleGAN, styles have gain 1, and the mapping has lr 0.01, which its biases are
multiplied by as well; from 128x128 on, up-convolutions are stored (k, k, in, out). An older generation of the PGGAN
files stores the constant (`stored_scale.py`).
"""

from eqlr_tools.families.family import Family, Rule, Signature
from eqlr_tools.families.nvidia_tf import leading_fan_in
from eqlr_tools.families.progan_names import INTERFACEGAN as PGGAN_NAMES
from eqlr_tools.families.rules import conv, linear, mapping
from eqlr_tools.families.stylegan1_names import INTERFACEGAN
from eqlr_tools.scaling import SQRT2

_UPSTREAM = "genforce/interfacegan"

FAMILY = Family(
    id="interfacegan-pggan",
    title="PGGAN with WScale layers, the scale in code (interfacegan, gandissect, ganspace)",
    architecture="progan",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"layer\d+\.conv\.weight",
            4,
            also=(r"layer\d+\.wscale\.(?:bias|b)",),
            never=(r"wscale\.scale",),
            what="a convolution beside its WScale layer",
        ),
    ),
    rules=(
        conv(r"(?P<block>output\w*)\.conv\.weight", bias="{block}.wscale.bias"),
        conv(r"(?P<block>layer\d+)\.conv\.weight", gain=SQRT2, bias="{block}.wscale.bias"),
    ),
    namings=PGGAN_NAMES,
)

STYLEGAN = Family(
    id="interfacegan-stylegan",
    title="StyleGAN with WScale layers, the scale in code (interfacegan)",
    architecture="stylegan1",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"synthesis\.layer0\.epilogue\.style_mod\.dense\.linear\.weight",
            2,
            also=(r"synthesis\.layer0\.first_layer",),
            what="a style beside its WScale layer",
        ),
    ),
    rules=(
        mapping(r"(?P<block>mapping\.dense\d+)\.linear\.weight", gain=SQRT2, bias="{block}.wscale.bias"),
        linear(r"(?P<block>.+\.style_mod\.dense)\.linear\.weight", bias="{block}.wscale.bias"),
        conv(r"(?P<block>synthesis\.output\d+)\.conv\.weight", bias="{block}.bias"),
        conv(r"(?P<block>synthesis\.layer\d+)\.conv\.weight", gain=SQRT2, bias="{block}.epilogue.bias"),
        Rule(
            r"(?P<block>synthesis\.layer\d+)\.weight",
            "conv2d",
            leading_fan_in,
            SQRT2,
            bias="{block}.epilogue.bias",
            rank=(4,),
            layout="kkIO",
        ),
    ),
    scales_output=True,
    over=("rms-progan",),
    namings=INTERFACEGAN,
)
