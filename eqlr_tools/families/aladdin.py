"""aladdinpersson/Machine-Learning-Collection (MIT): ProGAN and StyleGAN, the most copied tutorial.

    WSConv2d, WSLinear    y = conv(x * sqrt(2 / fan_in)) + b      which is      w = v * sqrt(2 / fan_in), b as stored

The convolution has no bias of its own: the weight is `X.conv.weight` or `X.linear.weight`, the bias `X.bias`. Every
such layer has gain sqrt(2), to-RGB, styles and the critic's last layer included. Plain: ProGAN's `initial.1`
(a transposed convolution), StyleGAN's `initial_conv`, noise weights, the constant. `initial_rgb` is `rgb_layers.0`
under a second name.
"""

from eqlr_tools.families.family import Family, Rule, Signature
from eqlr_tools.families.progan_names import ALADDIN
from eqlr_tools.families.stylegan1_ports import ALADDIN as ALADDIN_STYLEGAN
from eqlr_tools.scaling import SQRT2, dense_fan_in

_RULES = (
    Rule(r"(?P<layer>.+)\.conv\.weight", "conv2d", dense_fan_in, gain=SQRT2, rank=(4,), unless="{layer}.conv.bias"),
    Rule(r"(?P<layer>.+)\.linear\.weight", "linear", dense_fan_in, gain=SQRT2, rank=(2,), unless="{layer}.linear.bias"),
)
_BLOCK = r"prog_blocks\.0\.conv1\.conv\.weight"
_SPLIT = (r"prog_blocks\.0\.conv1\.bias", r"rgb_layers\.0\.conv\.weight", r"rgb_layers\.0\.bias")

PROGAN = Family(
    id="aladdin-progan",
    title="ProGAN of the Machine-Learning-Collection tutorial",
    architecture="progan",
    upstream="aladdinpersson/Machine-Learning-Collection",
    signatures=(
        Signature(_BLOCK, 4, (*_SPLIT, r"initial\.3\.conv\.weight"), what="WSConv2d, bias beside the convolution"),
        Signature(_BLOCK, 4, (*_SPLIT, r"final_block\.0\.conv\.weight"), what="the critic's WSConv2d"),
    ),
    rules=_RULES,
    namings=ALADDIN,
)

STYLEGAN = Family(
    id="aladdin-stylegan",
    title="StyleGAN of the Machine-Learning-Collection tutorial",
    architecture="stylegan1",
    upstream="aladdinpersson/Machine-Learning-Collection",
    signatures=(
        Signature(
            _BLOCK,
            4,
            (*_SPLIT, r"map\.mapping\.1\.linear\.weight", r"prog_blocks\.0\.adain1\.style_scale\.linear\.weight"),
            what="WSConv2d with WSLinear styles",
        ),
    ),
    rules=_RULES,
    namings=ALADDIN_STYLEGAN,
)
