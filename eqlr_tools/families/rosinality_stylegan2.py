"""rosinality/stylegan2-pytorch (MIT): `model.py`, and the many projects that build on it.

    EqualLinear       w = v * lr_mul / sqrt(in),    b_eff = b * lr_mul
    EqualConv2d       w = v / sqrt(in * k * k)
    ModulatedConv2d   w = v / sqrt(in * k * k), v stored as (1, out, in, k, k); transposed when upsampling, same fan-in

The bias of a convolution belongs to the activation behind it and is applied as stored; sqrt(2) is in the activation.
The mapping network (`style.N`) has lr_mul 0.01 by default, so its weights have a standard deviation near 100.
`noise.weight` (1,), `input.input` and the FIR kernels are no layers.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.rosinality_names import ROSINALITY
from eqlr_tools.families.rules import SCALES, conv, linear, mapping, modulated

BASE = "rosinality-stylegan2"

GENERATOR = Signature(
    anchor=r"conv1\.conv\.weight",
    rank=5,
    also=(r"conv1\.conv\.modulation\.weight", r"style\.\d+\.weight", r"to_rgb1\..*weight"),
    what="a modulated convolution of rosinality's generator",
)
DISCRIMINATOR = Signature(
    anchor=r"final_linear\.1\.weight",
    rank=2,
    also=(r"convs\.1\.conv2\.0\.kernel", r"convs\.0\.0\.weight", r"final_conv\.0\.weight"),
    what="rosinality's discriminator, with its blur kernels",
)
WAVELET_DISCRIMINATOR = Signature(
    anchor=r"from_rgbs\.0\.conv\.0\.weight",
    rank=4,
    also=(r"convs\.0\.conv2\.0\.kernel", r"final_linear\.1\.weight", r"dwt\.ll"),
    what="the wavelet discriminator of SWAGAN and StyleSwin",
)

GENERATOR_RULES = (
    mapping(r"style\.\d+\.weight", stated_multiplier("lr_mlp"), stated=SCALES),
    modulated(r"(?P<layer>to_rgb.*\.conv)\.weight", demodulated=False),
    modulated(r"(?P<layer>.+\.conv)\.weight"),
    linear(r".+\.modulation\.weight"),
    conv(r"to_rgb.*\.conv\.\d+\.weight", bias=None),
)

FAMILY = Family(
    id=BASE,
    title="StyleGAN2 by rosinality, and projects built on it",
    architecture="stylegan2",
    upstream="rosinality/stylegan2-pytorch",
    signatures=(GENERATOR, DISCRIMINATOR, WAVELET_DISCRIMINATOR),
    namings=ROSINALITY,
    rules=(
        *GENERATOR_RULES,
        linear(r"final_linear\.\d+\.weight"),
        conv(r"(?:convs\..+|final_conv\.\d+|from_rgbs\.\d+\.conv\.\d+)\.weight", bias=None),
    ),
)
