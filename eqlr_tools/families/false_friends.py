"""Projects that look or sound equalized and are not: recognised so that they can be called by their name.

lucidrains    `EqualLinear` multiplies by lr_mul alone (0.1), never by a He constant; everything else is plain
ALAE          "lreq" is in the optimizer; the stored weights are He-scaled already
EDM           its magnitude arguments act once, at initialisation
CodeFormer    ships beside GFPGAN and has no equalized layer
torchgan      a library with spectral norm and virtual batch norm, and no equalized layer
MI-GAN        normalises its rows when it trains, and exports them normalised
"""

from eqlr_tools.families.bilinear_names import LUCIDRAINS as LUCIDRAINS_NAMES
from eqlr_tools.families.family import Family, Signature, View

_WHOLE = r"S\.net\.0\.weight"

LUCIDRAINS = Family(
    id="lucidrains-stylegan2",
    title="stylegan2-pytorch by lucidrains, not equalized",
    architecture="stylegan2",
    upstream="lucidrains/stylegan2-pytorch",
    signatures=(
        Signature(r"S\.net\.0\.weight", 2, also=(r"G\.blocks\.0\.to_style1\.weight",), what="lucidrains' networks"),
        Signature(
            r"blocks\.0\.to_style1\.weight",
            2,
            also=(r"blocks\.0\.to_noise1\.weight", r"blocks\.0\.to_rgb\.to_style\.weight"),
            never=(_WHOLE,),
            what="lucidrains' generator on its own",
        ),
        Signature(
            r"blocks\.0\.conv_res\.weight",
            4,
            also=(r"blocks\.0\.net\.2\.weight", r"final_conv\.weight"),
            never=(_WHOLE,),
            what="lucidrains' discriminator on its own",
        ),
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
        Signature(
            r"init_conv\.weights",
            5,
            also=(r"layers\.0\.1\.0\.weights",),
            never=(r"style_network\.net\.0\.weight",),
            what="GigaGAN's adaptive convolutions",
        ),
        Signature(
            r"layers\.0\.7\.1\.weight",
            4,
            also=(r"layers\.0\.2\.2\.weight", r"to_logits\.0\.weight"),
            what="GigaGAN's discriminator",
        ),
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
        Signature(r"block_1\.fc\.weight", 2, also=(r"block_2\.fc\.weight", r"block_2\.fc\.bias"), what="its mapping"),
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
        Signature(
            r"quantize\.embedding\.weight",
            2,
            also=(r"encoder\.blocks\.0\.weight", r"generator\.blocks\.0\.weight"),
            never=(r"ft_layers\.0\..+",),
            what="its autoencoder on its own",
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


def _no_torchgan(view: View, prefix: str) -> str:
    """Its layers have the names of any Sequential, so its trainer's records or two heads side by side must tell."""
    if view.said("generator_iters") is None and f"{prefix}disc.0.weight" not in view.shapes:
        return "nothing says that torchgan's trainer wrote it"
    return ""


TORCHGAN = Family(
    id="torchgan",
    title="torchgan's models, not equalized",
    architecture="any",
    upstream="torchgan/torchgan",
    signatures=(Signature(r"model\.0\.0\.weight", 4, what="blocks of a Sequential"),),
    equalized=False,
    generic=True,
    doubt=_no_torchgan,
    advice="torchgan has no equalized layer: its weights are applied as stored",
)
