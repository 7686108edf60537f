"""NVIDIA's TensorFlow networks: progressive_growing_of_gans, stylegan, stylegan2 and stylegan2-ada.

    get_weight   w = v * gain * lr / sqrt(fan_in),   b_eff = b * lr,   fan_in = product of all axes but the last

Convolutions are stored (k, k, in, out), dense layers (in, out). The fused up-convolution of ProGAN alone is stored
(k, k, out, in), and its fan-in is k * k * in. Its 3-D ports keep k * k there although the kernel has k ** 3 entries.

    ProGAN      gain sqrt(2); the first dense layer sqrt(2) / 4; ToRGB and the last dense layer of D 1; lr 1
    StyleGAN    gain sqrt(2), mapping included; ToRGB, StyleMod and the last dense layer of D 1; mapping lr 0.01
    StyleGAN2   gain 1 (sqrt(2) is in the activation); mapping lr 0.01, D's mapping 0.1. Its configurations B to D have
                StyleGAN's scopes (`ToRGB_lod0`, `FromRGB_lod0`) around the same layers. ADA's discriminator may divide
                a weight by its spectral norm (`weight_sn`), which cancels any constant

Not scaled: constants, noise, LabelConcat. `static_kwargs` of a pickle may state `mapping_lrmul`. The discriminators of
ProGAN and StyleGAN have the same variables and the same constants, and only the younger one blurs; its function is
called `D_basic`. Where no function is named they go by the older one's name.
"""

import math
from dataclasses import replace

from eqlr_tools.families.family import Family, Rule, Signature, View
from eqlr_tools.families.multipliers import MultiplierRule, stated_multiplier
from eqlr_tools.families.progan_port_names import NVIDIA_TF as NVIDIA_PROGAN
from eqlr_tools.families.rules import switched_off
from eqlr_tools.families.stylegan1_names import NVIDIA_TF as NVIDIA_TF_STYLEGAN
from eqlr_tools.families.stylegan2_names import NVIDIA_TF
from eqlr_tools.scaling import SQRT2, FanIn, Shape

_LOAD_BACK = "construct the network with use_wscale=False"
_LRMUL = stated_multiplier("mapping_lrmul")
_RES = r"(?:.+/)?\d+x\d+(?:x\d+)?"


def leading_fan_in(shape: Shape) -> int:
    """Fan-in of (*kernel, in, out) and (in, out) weights: everything but the last axis."""
    return math.prod(shape[:-1])


def fused_up_fan_in(shape: Shape) -> int:
    """Fan-in of ProGAN's (k, k, out, in) up-convolution: k * k * in, also where the kernel has three axes."""
    return shape[0] ** 2 * shape[-1]


def _dense(pattern: str, gain: float = 1.0, lr: float | MultiplierRule = 1.0, bias: str = "{layer}/bias") -> Rule:
    bias_rule = "lr_multiplier" if callable(lr) else "plain"
    return Rule(pattern, "linear", leading_fan_in, gain, lr, bias, bias_rule, rank=(2,), layout="IO")  # type: ignore[arg-type]


def _conv(
    pattern: str,
    gain: float = 1.0,
    fan_in: FanIn = leading_fan_in,
    layout: str = "kkIO",
    demodulated: bool = False,
    beside: str | None = None,
) -> Rule:
    kind = "modulated_conv2d" if beside else "conv2d"
    return Rule(
        pattern,
        kind,
        fan_in,
        gain,
        bias="{layer}/bias",
        demodulated=demodulated,
        rank=(4, 5),
        layout=layout,
        beside=beside,
    )


_DISCRIMINATOR = Signature(
    r"(?:.+/)?FromRGB_lod\d+/weight",
    also=(r"(?:.+/)?4x4(?:x4)?/Dense1/weight", r"(?:.+/)?4x4(?:x4)?/Conv/weight"),
    never=(r"StyleMod/weight",),
    what="the progressive discriminator",
)
_BLURRING_DISCRIMINATOR = "D_basic"
"""The function that builds StyleGAN's."""


def _no_progan(view: View, prefix: str) -> str:
    if view.said("build_func_name") == _BLURRING_DISCRIMINATOR:
        return f"its function is {_BLURRING_DISCRIMINATOR}, which is StyleGAN's discriminator"
    return switched_off("use_wscale")(view, prefix)


def _no_stylegan(view: View, prefix: str) -> str:
    styled = any(name.endswith("/StyleMod/weight") for name in view.shapes)
    if not styled and view.said("build_func_name") != _BLURRING_DISCRIMINATOR:
        return f"nothing says that its function is {_BLURRING_DISCRIMINATOR}, StyleGAN's discriminator"
    return switched_off("use_wscale")(view, prefix)


PROGAN = Family(
    id="nvidia-progan-tf",
    title="ProGAN in TensorFlow by NVIDIA (and StyleGAN's discriminator)",
    architecture="progan",
    upstream="tkarras/progressive_growing_of_gans",
    signatures=(
        Signature(
            r"(?:.+/)?4x4(?:x4)?/Dense/weight",
            2,
            also=(r"(?:.+/)?ToRGB_lod\d+/weight",),
            never=(r"mod_weight", r"StyleMod/weight"),
            what="ProGAN's generator",
        ),
        _DISCRIMINATOR,
    ),
    rules=(
        _dense(rf"{_RES}/Dense/weight", SQRT2 / 4),
        _dense(rf"{_RES}/Dense1/weight"),
        _dense(rf"{_RES}/Dense\d*/weight", SQRT2),
        _conv(rf"{_RES}/Conv0_up/weight", SQRT2, fused_up_fan_in, "kkOI"),
        _conv(rf"{_RES}/Conv\w*/weight", SQRT2),
        _conv(r"(?:.+/)?FromRGB_lod\d+/weight", SQRT2),
        _conv(r"(?:.+/)?ToRGB_lod\d+/weight"),
    ),
    namings=NVIDIA_PROGAN,
    doubt=_no_progan,
    load_back=f"{_LOAD_BACK}; tflib.set_vars gives its variables the tensors of their names",
)

STYLEGAN = Family(
    id="nvidia-stylegan-tf",
    title="StyleGAN in TensorFlow by NVIDIA",
    architecture="stylegan1",
    upstream="NVlabs/stylegan",
    signatures=(
        Signature(
            r"(?:.+/)?\d+x\d+/\w+/StyleMod/weight",
            2,
            never=(r"mod_weight",),
            what="AdaIN styles",
        ),
        _DISCRIMINATOR,
    ),
    namings=NVIDIA_TF_STYLEGAN,
    rules=(
        _dense(r"(?:.+/)?(?:G_)?mapping/Dense\d+/weight", SQRT2, _LRMUL),
        _dense(r"(?:.+/)?StyleMod/weight"),
        _dense(rf"{_RES}/Dense/weight", SQRT2 / 4),
        _dense(rf"{_RES}/Dense1/weight"),
        _dense(rf"{_RES}/Dense0/weight", SQRT2),
        _conv(r"(?:.+/)?FromRGB_lod\d+/weight", SQRT2),
        _conv(rf"{_RES}/Conv\w*/weight", SQRT2),
        _conv(r"(?:.+/)?ToRGB_lod\d+/weight"),
    ),
    doubt=_no_stylegan,
    load_back=f"{_LOAD_BACK}; it still applies mapping_lrmul, which bake --to original leaves to it",
    keep_multiplier=True,
)

_FROM_RGB = r"(?:.+/)?(?:\d+x\d+/FromRGB|FromRGB_lod\d+)"
"""As StyleGAN2's discriminator has it, and the one of its configurations B to D, which grows."""

STYLEGAN2 = Family(
    id="nvidia-stylegan2-tf",
    title="StyleGAN2 and StyleGAN2-ADA in TensorFlow by NVIDIA",
    architecture="stylegan2",
    upstream="NVlabs/stylegan2",
    signatures=(
        Signature(r"(?:.+/)?\d+x\d+/\w+/mod_weight", 2, what="a modulated convolution"),
        Signature(
            r"(?:.+/)?\d+x\d+/Conv1_down/weight",
            4,
            also=(r"(?:.+/)?Output/weight", rf"{_FROM_RGB}/weight"),
            what="StyleGAN2's discriminator",
        ),
    ),
    namings=NVIDIA_TF,
    rules=(
        *(
            replace(rule, beside="{layer}/weight_sn", self_normalised=True)
            for rule in (_conv(r".+/weight"), _dense(r".+/weight"))
        ),
        _dense(r"(?:.+/)?(?:G_)?mapping/Dense\d+/weight", lr=_LRMUL),
        _dense(r"(?:.+/)?Mapping\d+/weight", lr=_LRMUL),
        _dense(r"(?:.+/)?LabelEmbed/weight"),
        _dense(r"(?P<layer>(?P<conv>.+)/mod)_weight", bias="{conv}/mod_bias"),
        _conv(rf"(?:{_RES}/ToRGB|(?:.+/)?ToRGB_lod\d+)/weight", beside="{layer}/mod_weight"),
        _conv(rf"{_RES}/Conv\w*/weight", beside="{layer}/mod_weight", demodulated=True),
        _conv(rf"(?:{_RES}/(?:Conv\w*|Skip|ToRGB)|{_FROM_RGB})/weight"),
        _dense(rf"(?:{_RES}/Dense\d*|(?:.+/)?Output)/weight"),
    ),
)
