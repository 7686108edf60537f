"""GFPGAN "clean" (TencentARC/GFPGAN, v1.3 and later): the layout of GFPGAN v1, baked already.

Its converter folded the He constants into the weights, and moved sqrt(2) into linear weights, biases and noise
strengths. Baking it again would be silent corruption. What gives it away: `style_conv1.bias` (1, C, 1, 1) instead
of `style_conv1.activate.bias`, and only odd numbers in `style_mlp.N`.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.gfpgan_names import CLEAN

FAMILY = Family(
    id="gfpgan-clean",
    title="GFPGAN clean, already baked",
    architecture="gfpgan",
    upstream="TencentARC/GFPGAN",
    signatures=(
        Signature(
            anchor=r"conv_body_first\.weight",
            rank=4,
            also=(r"stylegan_decoder\.style_conv1\.bias", r"stylegan_decoder\.style_conv1\.modulated_conv\.weight"),
            never=(r"stylegan_decoder\.style_conv1\.activate\.bias",),
            what="the clean architecture, U-Net and decoder",
        ),
        Signature(
            anchor=r"style_conv1\.modulated_conv\.weight",
            rank=5,
            also=(r"style_conv1\.bias",),
            never=(r"style_conv1\.activate\.bias",),
            what="the clean architecture, whose bias stands beside the convolution",
        ),
    ),
    equalized=False,
    namings=CLEAN,
    advice="it is plain already: its constants were folded into the weights when it was made",
)
