"""genforce/interfacegan's first PGGAN, CSAILVision/gandissect and ganspace: WScale layers whose constant is in code.

    y = conv(x, v) * gain / sqrt(in * k * k) + b        so w = v * gain / sqrt(in * k * k), b as stored

gain sqrt(2), the output layer 1. An older generation of the same files stores the constant (`stored_scale.py`).
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.rules import conv
from eqlr_tools.scaling import SQRT2

FAMILY = Family(
    id="interfacegan-pggan",
    title="PGGAN with WScale layers, the scale in code (interfacegan, gandissect, ganspace)",
    architecture="progan",
    upstream="genforce/interfacegan",
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
)
