"""huangzh13/StyleGAN.pytorch, lernapparat's StyleGAN and adamian98/pulse: StyleGAN1 after NVIDIA's constants.

    w = v * gain * lr / sqrt(fan_in),     b_eff = b * lr

gain sqrt(2); styles, to-RGB and the last dense layer of the discriminator 1; a dense input layer sqrt(2) / 4; mapping
lr 0.01. Noise weights are (C,) vectors and no layers. Fused upscaling sums four shifted kernels on top of the
constant, which a bake need not know.
"""

from eqlr_tools.families.family import Family, Signature, View
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.rules import conv, linear, mapping, small_alone, switched_off
from eqlr_tools.families.stylegan1_ports import HUANGZH13
from eqlr_tools.scaling import SQRT2

_LRMUL = stated_multiplier("mapping_lrmul")


def _doubt(view: View, prefix: str) -> str:
    return small_alone(view, prefix, r"dense\d+") or switched_off("use_wscale")(view, prefix)


FAMILY = Family(
    id="huangzh13-stylegan",
    title="StyleGAN in PyTorch (huangzh13, lernapparat, PULSE)",
    architecture="stylegan1",
    upstream="huangzh13/StyleGAN.pytorch",
    signatures=(
        Signature(
            r"(?:g_synthesis\.)?(?:init_block|blocks\.[\dx]+)\.epi1\.style_mod\.lin\.weight",
            2,
            what="a layer epilogue with its style",
        ),
        Signature(
            r"blocks\.0\.conv1_down\.weight",
            4,
            also=(r"final_block\.dense1\.weight", r"from_rgb\.0\.weight"),
            what="the discriminator",
        ),
        Signature(
            r"4x4\.dense1\.weight",
            2,
            also=(r"\d+x\d+\.conv1_down\.weight", r"fromrgb\.weight"),
            what="lernapparat's discriminator",
        ),
        Signature(r"g_mapping\.(?:map\.)?dense0\.weight", 2, what="the mapping network"),
        Signature(
            r"dense0\.weight",
            2,
            also=(r"dense7\.weight",),
            never=(r"(?:synthesis|mapping)\..+",),
            what="PULSE's mapping network",
        ),
    ),
    rules=(
        mapping(r"(?:.*mapping\.(?:map\.)?)?dense\d+\.weight", _LRMUL, gain=SQRT2),
        linear(r".+\.style_mod\.lin\.weight"),
        linear(r"(?:.+\.)?(?:final_block|4x4)\.dense1\.weight"),
        linear(r"(?:.+\.)?(?:final_block|4x4)\.dense0\.weight", gain=SQRT2),
        linear(r"(?:.+\.)?(?:init_block|blocks\.4x4)\.dense\.weight", gain=SQRT2 / 4),
        conv(r"(?:.+\.)?(?:to_rgb\.\d+|torgb)\.weight"),
        conv(r"(?:.+\.)?(?:from_rgb\.\d+|fromrgb)\.weight", gain=SQRT2),
        conv(r"(?:.+\.)?(?:conv|conv0_up|conv0|conv1|conv1_down)\.weight", gain=SQRT2),
    ),
    namings=HUANGZH13,
    doubt=_doubt,
    load_back="construct the network with use_wscale=False; it still applies lr, which bake --to original leaves to it",
    keep_multiplier=True,
)
