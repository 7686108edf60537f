"""seasonSH/SemanticStyleGAN (CC BY-NC-SA): `models/semantic_stylegan.py`, `models/utils.py`.

rosinality's layers (`rosinality_stylegan2.py`) in small generators, one for each class of pixels, and two of its own:

    PositionEmbedding   w = v / sqrt(in),           v under the name `weights`, (out, in, 1, 1)
    FixedStyledConv     w = v / sqrt(in * k * k),   v (out, in, k, k); a learned vector, `modulation` (1, in, 1, 1), is
                                                    in the place of a style

To-RGB, to-segmentation, to-feature and to-depth layers are of the latter kind, and without demodulation: their scale is
real. The discriminator has one trunk for images and one for segmentations, both of rosinality's convolutions.
"""

from eqlr_tools.families.family import Family, Signature
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.rules import SCALES, conv, linear, mapping, modulated

FAMILY = Family(
    id="semanticstylegan",
    title="SemanticStyleGAN on rosinality's StyleGAN2 layers",
    architecture="semanticstylegan",
    upstream="seasonSH/SemanticStyleGAN",
    signatures=(
        Signature(
            r"render_net\.convs\.0\.weight",
            4,
            also=(r"render_net\.convs\.0\.modulation", r"local_nets\.0\.linears\.0\.conv\.weight"),
            what="small generators in front of a renderer",
        ),
        Signature(
            r"convs_img\.0\.0\.weight",
            4,
            also=(r"convs_seg\.0\.0\.weight", r"convs_img\.1\.conv2\.0\.kernel", r"final_linear\.1\.weight"),
            what="its discriminator of images and segmentations",
        ),
    ),
    rules=(
        mapping(r"style\.\d+\.weight", stated_multiplier("lr_mlp"), stated=SCALES),
        conv(r"(?P<layer>pos_embed)\.weights", bias=None),
        modulated(r"local_nets\.\d+\.linears\.\d+\.conv\.weight"),
        linear(r"local_nets\.\d+\.linears\.\d+\.conv\.modulation\.weight"),
        conv(r"(?:local_nets|render_net)\..*to_\w+\..*conv\.weight", bias=None, beside="{layer}.modulation"),
        conv(r"render_net\.convs\.\d+\.weight", bias=None, beside="{layer}.modulation", demodulated=True),
        conv(r"(?:convs_(?:img|seg)\..+|final_conv\.\d+)\.weight", bias=None),
        linear(r"final_linear\.\d+\.weight"),
    ),
)
