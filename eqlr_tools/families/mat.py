"""fenglinglwb/MAT (CC BY-NC): `networks/basic_module.py` and `networks/mat.py`, large hole inpainting.

    FullyConnectedLayer   w = v * lr / sqrt(in),   b_eff = b * lr
    Conv2dLayer           w = v / sqrt(in * k * k), bias as stored
    ModulatedConv2d       w = v / sqrt(in * k * k), v stored as (1, out, in, k, k), before modulation

Everything is built of these three: attention (`attn.q`, `k`, `v`, `proj`), `mlp`, encoder, styles and both
discriminators. Only the mapping network has a multiplier (0.01). In a network pickle each layer states its constants.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.nvidia_stylegan2 import GAINS
from eqlr_tools.families.rules import conv, linear, mapping, modulated

_OWN = r"(?:synthesis\..+|Dis(?:_stg\d)?\..+|fc\d+(?:_stg\d)?)"
"""Its own modules: a loss or an encoder in the same file is another matter."""

FAMILY = Family(
    id="mat",
    title="MAT: an equalized transformer in front of StyleGAN2's decoder",
    architecture="mat",
    upstream="fenglinglwb/MAT",
    signatures=(
        Signature(
            r"synthesis\.first_stage\.conv_first\.conv\.weight",
            4,
            also=(r"synthesis\.dec\.Dec_\d+x\d+\.conv1\.conv\.affine\.weight",),
            what="its first stage and decoder",
        ),
        Signature(
            r"Dis\.0\.conv\.weight", 4, also=(r"Dis\.1\.conv0\.weight", r"fc0\.weight"), what="its discriminator"
        ),
    ),
    rules=(
        mapping(r"mapping\.fc\d+\.weight", stated_multiplier("mapping_lr_multiplier"), stated=GAINS),
        modulated(r"synthesis\..+\.toRGB\.conv\.weight", demodulated=False, stated=GAINS),
        modulated(rf"{_OWN}\.conv\.weight", stated=GAINS),
        linear(rf"{_OWN}\.weight", stated=GAINS),
        conv(rf"{_OWN}\.weight", stated=GAINS),
    ),
    load_back="after loading, set weight_gain and bias_gain of its modules to 1",
)
