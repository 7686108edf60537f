"""XPixelGroup/BasicSR (Apache-2.0): `stylegan2_arch.py`, and GFPGAN v1 (TencentARC/GFPGAN), which is built of it.

The arithmetic is rosinality's (see `rosinality_stylegan2.py`); the names differ: `style_mlp.N`, `modulated_conv`,
`conv_body`. GFPGAN v1 puts an equalized U-Net in front and the generator under `stylegan_decoder.`; its condition
branches and to-RGB convolutions are equalized as well, and so are the discriminators of eyes and mouth that it is
trained with, which are files of their own.

Traps: `style_conv1.weight` (1,) is a noise strength and `constant_input.weight` a constant. The "clean" GFPGAN
(`gfpgan_clean.py`) has the same prefixes and is baked already; what tells them apart is `activate.bias` here.
"""

from eqlr_tools.families.family import Family, Rule, Signature
from eqlr_tools.families.gfpgan_names import BASICSR_DECODER, V1
from eqlr_tools.families.multipliers import inferred_multiplier
from eqlr_tools.families.rosinality_names import BASICSR
from eqlr_tools.families.rules import SCALES
from eqlr_tools.scaling import dense_fan_in, modulated_fan_in

_GENERATOR = Signature(
    anchor=r"style_conv1\.modulated_conv\.weight",
    rank=5,
    also=(r"style_conv1\.activate\.bias", r"style_mlp\.\d+\.weight"),
    never=(r"conv_body_first\.0\.weight", r"style_conv1\.bias"),
    what="a modulated convolution with its bias in the activation",
)
_DISCRIMINATOR = Signature(
    anchor=r"conv_body\.0\.0\.weight",
    rank=4,
    also=(r"final_linear\.1\.weight", r"conv_body\.1\.conv1\.0\.weight"),
    what="BasicSR's discriminator",
)
_DECODER_RULES = (
    Rule(
        r"(?:.+\.)?style_mlp\.\d+\.weight",
        "linear",
        dense_fan_in,
        lr_multiplier=inferred_multiplier,
        bias_rule="lr_multiplier",
        rank=(2,),
        stated=SCALES,
    ),
    Rule(
        r"(?P<layer>(?:.+\.)?to_rgb.*\.modulated_conv)\.weight",
        "modulated_conv2d",
        modulated_fan_in,
        bias=None,
        rank=(5,),
    ),
    Rule(
        r"(?P<layer>.+\.modulated_conv)\.weight",
        "modulated_conv2d",
        modulated_fan_in,
        bias=None,
        demodulated=True,
        rank=(5,),
    ),
    Rule(r".+\.modulation\.weight", "linear", dense_fan_in, rank=(2,)),
)

FAMILY = Family(
    id="basicsr-stylegan2",
    title="StyleGAN2 in BasicSR",
    architecture="stylegan2",
    upstream="XPixelGroup/BasicSR",
    signatures=(_GENERATOR, _DISCRIMINATOR),
    namings=(*BASICSR, *BASICSR_DECODER),
    rules=(
        *_DECODER_RULES,
        Rule(r"final_linear\.\d+\.weight", "linear", dense_fan_in, rank=(2,)),
        Rule(r"(conv_body\..+|final_conv\.\d+)\.weight", "conv2d", dense_fan_in, bias=None, rank=(4,)),
    ),
)

GFPGAN_V1 = Family(
    id="gfpgan-v1",
    title="GFPGAN v1 (equalized U-Net and StyleGAN2 decoder)",
    architecture="gfpgan",
    upstream="TencentARC/GFPGAN",
    signatures=(
        Signature(
            anchor=r"conv_body_first\.0\.weight",
            rank=4,
            also=(
                r"stylegan_decoder\.style_conv1\.modulated_conv\.weight",
                r"stylegan_decoder\.style_conv1\.activate\.bias",
            ),
            never=(r"stylegan_decoder\.style_conv1\.bias",),
            what="GFPGAN's equalized U-Net",
        ),
    ),
    namings=V1,
    rules=(
        *_DECODER_RULES,
        Rule(r"final_linear\.weight", "linear", dense_fan_in, rank=(2,)),
        Rule(r"(toRGB|condition_scale|condition_shift)\..+\.weight", "conv2d", dense_fan_in, rank=(4,)),
        Rule(r"(conv_body_\w+|final_conv)\..+\.weight", "conv2d", dense_fan_in, bias=None, rank=(4,)),
    ),
)

COMPONENTS = Family(
    id="gfpgan-components",
    title="GFPGAN's discriminators of eyes and mouth",
    architecture="gfpgan",
    upstream="TencentARC/GFPGAN",
    signatures=(
        Signature(
            anchor=r"conv2\.1\.weight",
            rank=4,
            also=(
                r"conv1\.0\.weight",
                r"conv1\.1\.bias",
                r"conv4\.1\.weight",
                r"conv5\.0\.weight",
                r"final_conv\.0\.weight",
            ),
            without=(r"conv1\.0\.bias", r"conv1\.1\.weight"),
            what="convolutions whose bias is in the activation behind them",
        ),
    ),
    rules=(Rule(r"(?:conv\d|final_conv)\.[01]\.weight", "conv2d", dense_fan_in, rank=(4,)),),
)
