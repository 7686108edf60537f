"""rosinality/stylegan2-pytorch (MIT): `model.py`, and the many projects that build on it.

    EqualLinear       w = v * lr_mul / sqrt(in),    b_eff = b * lr_mul
    EqualConv2d       w = v / sqrt(in * k * k)
    ModulatedConv2d   w = v / sqrt(in * k * k), v stored as (1, out, in, k, k); transposed when upsampling, same fan-in

The bias of a convolution belongs to the activation behind it and is applied as stored; sqrt(2) is in the activation.
The mapping network (`style.N`) has lr_mul 0.01 by default, so its weights have a standard deviation near 100.
`noise.weight` (1,), `input.input` and the FIR kernels are no layers.
"""

from eqlr_tools.families.family import Family, Rule, Signature, inferred_multiplier
from eqlr_tools.families.rosinality_names import ROSINALITY
from eqlr_tools.scaling import dense_fan_in, modulated_fan_in

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

FAMILY = Family(
    id="rosinality-stylegan2",
    title="StyleGAN2 by rosinality, and projects built on it",
    architecture="stylegan2",
    upstream="rosinality/stylegan2-pytorch",
    signatures=(GENERATOR, DISCRIMINATOR),
    namings=ROSINALITY,
    rules=(
        Rule(
            r"style\.\d+\.weight",
            "linear",
            dense_fan_in,
            lr_multiplier=inferred_multiplier,
            bias_rule="lr_multiplier",
            rank=(2,),
        ),
        Rule(r"(?P<layer>to_rgb.*\.conv)\.weight", "modulated_conv2d", modulated_fan_in, bias=None, rank=(5,)),
        Rule(
            r"(?P<layer>.+\.conv)\.weight", "modulated_conv2d", modulated_fan_in, bias=None, demodulated=True, rank=(5,)
        ),
        Rule(r".+\.modulation\.weight", "linear", dense_fan_in, rank=(2,)),
        Rule(r"final_linear\.\d+\.weight", "linear", dense_fan_in, rank=(2,)),
        Rule(r"(convs\..+|final_conv\.\d+|to_rgb.*\.conv\.\d+)\.weight", "conv2d", dense_fan_in, bias=None, rank=(4,)),
    ),
)
