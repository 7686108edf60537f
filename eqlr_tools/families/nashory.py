"""nashory/pggan-pytorch (MIT), and the ten or so projects that scale by the size of their initial weights.

    scale = sqrt(mean(w0 ** 2)) of the Kaiming-initialised w0;    stored w0 / scale;    y = conv(x * scale, v) + b

The scale is a plain attribute and is *not saved*; building the model again draws another one. It is near
1 / sqrt(fan_in): within 0.15 % for a wide layer, within 10 % for a to-RGB of 48 weights. So the exact constant is lost,
and 1 / sqrt(fan_in) is the best that anybody can offer. A transposed convolution follows torch's initialiser, which
counts out * k * k.
"""

from eqlr_tools.families.family import Family, Question, Signature, View
from eqlr_tools.families.progan_port_names import NASHORY
from eqlr_tools.families.rules import conv, linear

_ID = "rms-progan"


def _question(view: View, prefix: str) -> Question:
    return Question(
        "its constants were the rms of the initial weights, which the file does not hold and nobody can compute "
        "again; 1/√fan_in is near (0.15 % for wide layers, 10 % for the smallest)",
        (f"{_ID}: accept 1/√fan_in", "--gain 1.414: the same with gain √2 (zsef123 and others)"),
        f"--family {_ID} or --gain X",
        ("family", "gain"),
    )


FAMILY = Family(
    id=_ID,
    title="ProGAN scaled by the rms of its initial weights (nashory and kin)",
    architecture="progan",
    upstream="nashory/pggan-pytorch",
    signatures=(
        Signature(
            r"(?:first_block|last_block|intermediate_\w+)\..*conv\.weight",
            4,
            also=(r"(?:to_rgb_block|from_rgb_block|concat_block)\..*conv\.weight", r".+\.bias"),
            what="an equalized_conv2d around its convolution",
        ),
        Signature(
            r".+\.(?:conv|linear)\.weight",
            also=(r".+\.wscale\.bias",),
            never=(r"layer\d+\.wscale\.(?:bias|b)", r"wscale\.scale"),
            what="a WScaleLayer behind its convolution",
        ),
    ),
    rules=(
        conv(r"(?P<outer>.+)\.conv\.weight", bias="{outer}.bias", unless="{outer}.conv.bias"),
        conv(r"(?P<outer>.+)\.deconv\.weight", bias="{outer}.bias", kind="conv_transpose2d", layout="IOkk"),
        linear(r"(?P<outer>.+)\.linear\.weight", bias="{outer}.bias", unless="{outer}.linear.bias"),
    ),
    question=_question,
    namings=NASHORY,
    advice="constants are approximate: 1/√fan_in stands in for scales that the file does not hold",
)
