"""Projects that build on rosinality's StyleGAN2 layers (see `rosinality_stylegan2.py` for the arithmetic), and mix
them with plain ones. Per layer, never blanket:

    pSp, e4e         `decoder.` is the generator; of the encoder only `styles.N.linear` (a ResNet is plain); SAM keeps
                     a second one, `pretrained_encoder.`; of HyperStyle's hypernetwork `refinement_blocks.N.linear`
    DualStyleGAN     `generator.`, its own `style.N` (if it has more than six layers of mapping); `res.N` is a residual
                     block (convolutions equalized, AdaIN styles plain) or, from some resolution on, a linear layer
                     itself. VToonify has one under `generator.` and further such `res.N`, all else of it is plain
    GPEN             `generator.`, an encoder `ecdN` of equalized convolutions, `final_linear`
    LIA              `dec.` and `enc.`; to-RGB is an ordinary convolution; `direction.weight` is plain, and N(0, 1)
    StyleCLIP        `decoder.`, and mappers of latents, multiplier and all (`mapper.X.mapping.N`)
    CIPS             `linears.N` instead of `convs.N`, perhaps residual blocks with an equalized `skip`, transposed and
                     with fan_in = in * k * k if a blur is behind it; the coordinate features are plain
    Swapping AE      convolutions under names (`Conv`), encoder, generator and both discriminators
    rosinality's     another Swapping AE: encoder `e`, generator `g` and patch discriminator `cooccur`, all of equalized
                     layers; a `skip` that enlarges is transposed like CIPS's
"""

from eqlr_tools.families.family import Family, Rule, Rules, Signature
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.rewrites_names import PSP as PSP_NAMES
from eqlr_tools.families.rosinality_stylegan2 import BASE, GENERATOR_RULES
from eqlr_tools.families.rules import SCALES, conv, linear, mapping, modulated
from eqlr_tools.scaling import transposed_fan_in

_LR = stated_multiplier("lr_mlp")


def _under(prefix: str) -> Rules:
    """The generator's rules for names that start with `prefix`."""
    return tuple(rule.under(prefix) for rule in GENERATOR_RULES)


def _skip(pattern: str) -> Rule:
    """EqualConvTranspose2d, weight (in, out, k, k), where a blur stands behind it."""
    return conv(
        rf"(?P<layer>(?P<block>{pattern})\.0)\.weight",
        kind="conv_transpose2d",
        fan_in=transposed_fan_in,
        layout="IOkk",
        bias=None,
        beside="{block}.1.kernel",
    )


PSP = Family(
    id="psp-encoder",
    title="pSp, e4e and their kin: a plain encoder in front of rosinality's StyleGAN2",
    architecture="psp",
    upstream="eladrich/pixel2style2pixel",
    signatures=(
        Signature(
            r"encoder\.(?:styles\.0\.)?linear\.weight",
            2,
            also=(r"decoder\.conv1\.conv\.weight", r"decoder\.conv1\.conv\.modulation\.weight"),
            what="an encoder with equalized style heads",
        ),
        Signature(
            r"hypernet\.refinement_blocks\.\d+\.linear\.weight",
            2,
            also=(r"decoder\.conv1\.conv\.weight", r"decoder\.conv1\.conv\.modulation\.weight"),
            what="HyperStyle's hypernetwork",
        ),
    ),
    rules=(
        linear(r"(?:pretrained_)?encoder\.(?:styles\.\d+\.)?linear\.weight"),
        linear(r"hypernet\.refinement_blocks\.\d+\.linear\.weight"),
        *_under(r"decoder\."),
    ),
    namings=PSP_NAMES,
    over=(BASE,),
)

STYLECLIP = Family(
    id="styleclip-mapper",
    title="StyleCLIP: mappers of latents in front of rosinality's StyleGAN2",
    architecture="styleclip",
    upstream="orpatashnik/StyleCLIP",
    signatures=(
        Signature(
            r"mapper\.\w+\.mapping\.1\.weight", 2, also=(r"mapper\.\w+\.mapping\.2\.weight",), what="mappers of latents"
        ),
    ),
    rules=(mapping(r"mapper\.\w+\.mapping\.\d+\.weight", stated=SCALES), *_under(r"decoder\.")),
    over=(BASE,),
)

DUALSTYLEGAN = Family(
    id="dualstylegan",
    title="DualStyleGAN on rosinality's StyleGAN2",
    architecture="dualstylegan",
    upstream="williamyang1991/DualStyleGAN",
    signatures=(
        Signature(
            r"res\.0\.conv\.0\.weight",
            4,
            also=(r"(?:generator\.)?generator\.conv1\.conv\.modulation\.weight", r"res\.0\.conv\.1\.bias"),
            without=(r"res\.0\.conv\.0\.bias",),
            what="residual style blocks beside the generator",
        ),
    ),
    rules=(
        mapping(r"style\.\d+\.weight", _LR, stated=SCALES),
        conv(r"res\.\d+\.conv2?\.\d+\.weight", bias=None),
        linear(r"res\.\d+\.weight"),
        *_under(r"generator\."),
    ),
    over=(BASE,),
)

GPEN = Family(
    id="gpen",
    title="GPEN: an equalized encoder and rosinality's StyleGAN2",
    architecture="gpen",
    upstream="yangxy/GPEN",
    signatures=(
        Signature(
            r"ecd0\.0\.\d+\.weight", 4, also=(r"generator\.conv1\.conv\.weight",), what="an encoder of equalized layers"
        ),
    ),
    rules=(
        conv(r"ecd\d+\.\d+\.\d+\.weight", bias=None),
        linear(r"final_linear\.\d+\.weight"),
        *_under(r"generator\."),
    ),
    over=(BASE,),
)

LIA = Family(
    id="lia",
    title="LIA (latent image animator)",
    architecture="lia",
    upstream="wyhsirius/LIA",
    signatures=(
        Signature(
            r"dec\.conv1\.conv\.weight",
            5,
            also=(r"dec\.direction\.weight", r"enc\..+\.weight"),
            what="a generator driven by directions",
        ),
        Signature(
            r"conv1\.conv\.weight", 5, also=(r"direction\.weight", r"to_flows\.0\..+"), what="a generator with flows"
        ),
    ),
    rules=(
        modulated(r"(?:dec\.)?to_(?:rgb|flow).*\.weight", demodulated=False),
        modulated(r"(?:dec\.)?(?:conv1|convs\.\d+)\.conv\.weight"),
        linear(r"(?:dec\.)?(?:conv1|convs\.\d+|to_(?:rgb|flow).*)\.conv\.modulation\.weight"),
        linear(r"enc\.fc\.\d+\.weight"),
        conv(r"(?:dec\.)?to_rgb.*\.conv\.\d+\.weight", bias=None),
        conv(r"enc\.net_app\..+\.weight", bias=None),
    ),
    over=(BASE,),
)

CIPS = Family(
    id="cips",
    title="CIPS: coordinates through rosinality's modulated layers",
    architecture="cips",
    upstream="saic-mdal/CIPS",
    signatures=(
        Signature(
            r"linears\.0\.conv\.weight",
            5,
            also=(r"linears\.0\.conv\.modulation\.weight", r"style\.\d+\.weight"),
            what="modulated 1x1 convolutions",
        ),
    ),
    rules=(
        *GENERATOR_RULES,
        _skip(r"linears\.\d+\.skip"),
        conv(r"linears\.\d+\.skip\.\d+\.weight", bias=None),
    ),
    over=(BASE,),
)

SWAPPING = Family(
    id="swapping-autoencoder",
    title="Swapping Autoencoder",
    architecture="swapping-autoencoder",
    upstream="taesungp/swapping-autoencoder-pytorch",
    signatures=(
        Signature(r"(?:E|G|D|Dpatch)\..+\.Conv\.weight", 4, what="rosinality's ConvLayer with its parts under names"),
        Signature(
            r"G\..+\.conv\.modulation\.weight",
            2,
            also=(r"E\..+",),
            what="a generator behind an encoder",
        ),
    ),
    rules=(
        modulated(r".*ToRGB.*\.conv\.weight", demodulated=False),
        modulated(r".+\.conv\.weight"),
        linear(r".+\.modulation\.weight"),
        conv(r".+\.Conv\.weight"),
        linear(r"(?:E|G|D|Dpatch)\..+\.weight"),
    ),
    over=(BASE,),
)

ROSINALITY_SWAPPING = Family(
    id="rosinality-swapping",
    title="Swapping Autoencoder by rosinality",
    architecture="swapping-autoencoder",
    upstream="rosinality/swapping-autoencoder-pytorch",
    signatures=(
        Signature(
            r"stem\.1\.conv1\.\d\.weight",
            4,
            also=(r"stem\.0\.1\.bias", r"structure\.0\.0\.weight", r"texture\.0\.1\.weight"),
            without=(r"stem\.0\.0\.bias", r"stem\.0\.1\.weight"),
            what="an encoder of structure and texture",
        ),
        Signature(
            r"layers\.0\.conv1\.conv\.weight",
            5,
            also=(r"layers\.0\.conv1\.conv\.modulation\.weight", r"to_rgb\.0\.weight", r"to_rgb\.0\.bias"),
            what="residual blocks of modulated convolutions",
        ),
        Signature(
            r"encoder\.1\.conv2\.1\.weight",
            4,
            also=(r"encoder\.0\.0\.weight", r"encoder\.1\.conv2\.0\.kernel", r"linear\.0\.weight"),
            what="the discriminator of patches",
        ),
    ),
    rules=(
        modulated(r"(?P<layer>layers\.\d+\.conv\d\.conv)\.weight"),
        linear(r"layers\.\d+\.conv\d\.conv\.modulation\.weight"),
        _skip(r"layers\.\d+\.skip"),
        conv(r"(?:layers\.\d+\.skip|to_rgb)\.\d+\.weight"),
        conv(r"(?:stem|structure|texture|encoder)\..+\.weight"),
        linear(r"linear\.\d+\.weight"),
    ),
)
