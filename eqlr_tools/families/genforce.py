"""genforce (GenForce, sefa, idinvert, MIT): PGGAN, StyleGAN and StyleGAN2 in one naming. Its successor: `hammer.py`.

    w = v * gain * lr / sqrt(in * k * k),     b_eff = b * lr

    StyleGAN2          gain 1, sqrt(2) in the activation
    StyleGAN, PGGAN    gain sqrt(2); outputs, styles and the discriminator's last dense layer 1

The mapping networks of StyleGAN and StyleGAN2 have the same keys and shapes and another gain, so the synthesis keys
decide. Style biases are stored without the +1 that the code adds. PGGAN's `layer0` is a 4x4 convolution on a 1x1
input, whose fan-in (in * 16) stands in for the sqrt(2) / 4 of the dense layer; its fused up-convolutions are stored
(in, out, k, k), so there the bias tells which axis is which. A mapping network on its own can be either's.
"""

import re

from eqlr_tools.families.family import Family, Rules, Signature, View
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.progan_port_names import GENFORCE as GENFORCE_PGGAN
from eqlr_tools.families.rules import conv, linear, mapping, small_alone, switched_off
from eqlr_tools.families.stylegan1_names import GENFORCE as GENFORCE_STYLEGAN
from eqlr_tools.families.stylegan2_names import GENFORCE
from eqlr_tools.scaling import SQRT2, transposed_fan_in

_LRMUL = stated_multiplier("mapping_lr_mul", "mapping_lr_mult")
_UPSTREAM = "genforce/genforce"
_MAPPING_ALONE = Signature(
    r"mapping\.dense0\.weight",
    2,
    also=(r"mapping\.dense1\.weight",),
    without=(r"synthesis\..+",),
    what="a mapping network without its synthesis, which would tell StyleGAN from StyleGAN2",
)


def _doubt(view: View, prefix: str) -> str:
    return small_alone(view, prefix, r"mapping\.dense\d+") or switched_off("use_wscale")(view, prefix)


def _last_dense(view: View, prefix: str) -> str:
    """The discriminator's score: the layer with the highest number among the dense ones, or in Hammer `output`."""
    if len(view.shapes.get(f"{prefix}output.weight", ())) == 2:
        return "output"
    numbers = [
        int(match[1])
        for name, shape in view.shapes.items()
        if len(shape) == 2 and (match := re.fullmatch(rf"{re.escape(prefix)}layer(\d+)\.weight", name))
    ]
    return f"layer{max(numbers, default=-1)}"


def progressive_rules(view: View, prefix: str) -> Rules:
    """The rules of gain sqrt(2), where the last dense layer of a discriminator has gain 1."""
    transposed = "|".join(re.escape(name) for name in _fused_up(view, prefix)) or r"(?!)"
    last = _last_dense(view, prefix)
    return (
        mapping(r"mapping\.dense\d+\.weight", _LRMUL, gain=SQRT2),
        linear(r".+\.style\.weight"),
        linear(rf"{last}\.weight"),
        linear(r"(?:synthesis\.)?layer\d+\.weight", gain=SQRT2),
        conv(r"(?:synthesis\.)?output\d+\.weight"),
        conv(transposed, kind="conv_transpose2d", gain=SQRT2, fan_in=transposed_fan_in, layout="IOkk"),
        conv(r"(?:synthesis\.)?(?:layer|input)\d+\.weight", gain=SQRT2),
    )


def _fused_up(view: View, prefix: str) -> list[str]:
    """Up-convolutions stored (in, out, k, k): their bias is as long as the second axis."""
    found = []
    for name, shape in view.shapes.items():
        if re.fullmatch(rf"{re.escape(prefix)}layer\d+\.weight", name) and len(shape) == 4 and shape[0] != shape[1]:
            bias = view.shapes.get(name.replace(".weight", ".bias"))
            if bias is not None and tuple(bias) == (shape[1],):
                found.append(name[len(prefix) :])
    return found


_LOAD_BACK = "construct the network with use_wscale=False; it still applies lr, which bake --to original leaves to it"

STYLEGAN2 = Family(
    id="genforce-stylegan2",
    title="StyleGAN2 in genforce",
    architecture="stylegan2",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"synthesis\.layer0\.style\.weight",
            2,
            also=(r"synthesis\.(?:early_layer\..+|layer0\.noise_strength)",),
            never=(r"synthesis\.lod",),
            what="StyleGAN2's synthesis",
        ),
        Signature(
            r"input0\.weight",
            4,
            also=(r"layer1\.(?:filter\.)?kernel|layer1\.filter\.kernel",),
            never=(r"lod",),
            what="StyleGAN2's discriminator",
        ),
        _MAPPING_ALONE,
    ),
    rules=(
        mapping(r"mapping\.dense\d+\.weight", _LRMUL),
        linear(r"(?:mapping\.)?LabelEmbed\.weight"),
        linear(r".+\.style\.weight"),
        linear(r"(?:synthesis\.early_layer|layer\d+)\.weight"),
        conv(r"synthesis\.layer\d+\.weight", kind="modulated_conv2d", demodulated=True, beside="{layer}.style.weight"),
        conv(r"(?:synthesis\.)?(?:layer|skip_layer|input|output)\d+\.weight"),
    ),
    namings=GENFORCE,
    doubt=_doubt,
    load_back=_LOAD_BACK,
    keep_multiplier=True,
)

STYLEGAN = Family(
    id="genforce-stylegan",
    title="StyleGAN in genforce",
    architecture="stylegan1",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"synthesis\.layer0\.style\.weight",
            2,
            also=(r"synthesis\.lod", r"synthesis\.layer0\.apply_noise\.weight"),
            what="StyleGAN's synthesis",
        ),
        Signature(
            r"input0\.weight",
            4,
            also=(r"lod", r"layer1\.blur\.kernel"),
            what="StyleGAN's discriminator",
        ),
        _MAPPING_ALONE,
    ),
    rules=progressive_rules,
    namings=GENFORCE_STYLEGAN,
    doubt=_doubt,
    load_back=_LOAD_BACK,
    keep_multiplier=True,
)

PGGAN = Family(
    id="genforce-pggan",
    title="PGGAN in genforce",
    architecture="progan",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"layer0\.weight",
            4,
            also=(r"output0\.weight", r"lod", r"layer1\.bias"),
            never=(r"synthesis\..+",),
            what="PGGAN's generator",
        ),
        Signature(
            r"input0\.weight",
            4,
            also=(r"lod", r"layer1\.bias"),
            never=(r"layer\d+\.blur\.kernel",),
            what="PGGAN's discriminator",
        ),
    ),
    rules=progressive_rules,
    namings=GENFORCE_PGGAN,
    doubt=switched_off("use_wscale"),
    load_back=_LOAD_BACK,
    keep_multiplier=True,
)
