"""Projects that look or sound equalized and are not: recognised so that they can be called by their name.

lucidrains    `EqualLinear` multiplies by lr_mul alone (0.1), never by a He constant; everything else is plain
ALAE          "lreq" is in the optimizer; the stored weights are He-scaled already
EDM           its magnitude arguments act once, at initialisation
CodeFormer    ships beside GFPGAN and has no equalized layer
MI-GAN        normalises its rows when it trains, and exports them normalised
"""

from eqlr_tools.families.bilinear_names import LUCIDRAINS as LUCIDRAINS_NAMES
from eqlr_tools.families.family import Family, Signature

LUCIDRAINS = Family(
    id="lucidrains-stylegan2",
    title="stylegan2-pytorch by lucidrains, not equalized",
    architecture="stylegan2",
    upstream="lucidrains/stylegan2-pytorch",
    signatures=(
        Signature(r"S\.net\.0\.weight", 2, also=(r"G\.blocks\.0\.to_style1\.weight",), what="lucidrains' networks"),
    ),
    equalized=False,
    advice="its EqualLinear multiplies by lr_mul = 0.1 and by no He constant; all other layers are plain",
    namings=LUCIDRAINS_NAMES,
)

GIGAGAN = Family(
    id="lucidrains-gigagan",
    title="gigagan-pytorch and AuraSR, not equalized",
    architecture="gigagan",
    upstream="lucidrains/gigagan-pytorch",
    signatures=(
        Signature(r"style_network\.net\.0\.weight", 2, also=(r"(?:layers|init_conv)\..+",), what="lucidrains' GigaGAN"),
    ),
    equalized=False,
    advice="its EqualLinear multiplies by lr_mul = 0.1 and by no He constant; all other layers are plain",
)

ALAE = Family(
    id="alae",
    title="ALAE, not equalized at run time",
    architecture="alae",
    upstream="podgorskiy/ALAE",
    signatures=(
        Signature(r"decode_block\.0\.conv_2\.weight", 4, also=(r"decode_block\.0\.style_1\..+",), what="its decoder"),
        Signature(r"encode_block\.0\.conv_1\.weight", 4, also=(r"encode_block\.0\.style_1\..+",), what="its encoder"),
    ),
    equalized=False,
    advice='its "lreq" is in the optimizer (LREQAdam): the stored weights are scaled already',
)

EDM = Family(
    id="nvidia-edm",
    title="EDM diffusion networks, not equalized",
    architecture="diffusion",
    upstream="NVlabs/edm",
    signatures=(
        Signature(
            r"map_layer0\.weight",
            2,
            also=(r"enc\.\d+x\d+_conv\.weight", r"enc\.\d+x\d+_block0\.conv0\.weight"),
            what="an EDM U-Net",
        ),
    ),
    equalized=False,
    advice="its init_weight factors act once, at initialisation; the weights are applied as stored",
)

CODEFORMER = Family(
    id="codeformer",
    title="CodeFormer, not equalized",
    architecture="codeformer",
    upstream="sczhou/CodeFormer",
    signatures=(
        Signature(
            r"quantize\.embedding\.weight",
            2,
            also=(r"ft_layers\.0\..+", r"fuse_convs_dict\..+"),
            what="a codebook and fusing convolutions",
        ),
    ),
    equalized=False,
    advice="it has no equalized layer, though it ships beside GFPGAN",
)

MIGAN = Family(
    id="migan",
    title="MI-GAN, not equalized",
    architecture="migan",
    upstream="Picsart-AI-Research/MI-GAN",
    signatures=(
        Signature(
            r"synthesis\.b\d+\.conv2\.conv1\.(?:weight|w0)",
            4,
            also=(r"encoder\.b\d+\.conv1\.conv1\.(?:weight|w0)",),
            what="separable convolutions between encoder and synthesis",
        ),
    ),
    equalized=False,
    advice="its convolutions divide by the norm of their own rows at run time, and its inference files are baked",
)
