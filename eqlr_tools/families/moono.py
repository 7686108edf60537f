"""moono/stylegan2-tf-2.x: StyleGAN2 in TensorFlow 2, `stylegan2/layers/`, and ports with its names.

    w = v * gain * lr / sqrt(fan_in),   b_eff = b * lr,   fan_in = product of all axes but the last, gain 1

Convolutions are (k, k, in, out), dense layers (in, out), as variables `w`. A bias is a variable `b` of a layer of its
own: `dense_N` has `bias_act_N` beside it, `conv_N` has `bias_N`. The mapping network has lr 0.01; the style bias is
stored without the +1 that the code adds, and the label embedding is not scaled. The variables go by the names of the
layers, or by their place in the object that a TensorFlow checkpoint holds.
"""

from eqlr_tools.families.family import Family, Rule, Signature
from eqlr_tools.families.framework_names import MOONO
from eqlr_tools.families.multipliers import inferred_multiplier
from eqlr_tools.families.nvidia_tf import leading_fan_in

_S = r"[./]"
_END = r"(?P<end>:0|/\.ATTRIBUTES/VARIABLE_VALUE|)"


def _rule(pattern: str, rank: int, bias: str | None = None, modulated: bool = False, demodulated: bool = False) -> Rule:
    return Rule(
        rf"(?P<layer>{pattern})(?P<sep>{_S})w{_END}",
        "linear" if rank == 2 else "modulated_conv2d" if modulated else "conv2d",
        leading_fan_in,
        bias=bias,
        demodulated=demodulated,
        rank=(rank,),
        beside="{layer}{sep}mod_dense{sep}w{end}" if modulated else None,
        layout="IO" if rank == 2 else "kkIO",
    )


_MAPPING = tuple(
    Rule(
        rf"(?P<layer>(?P<net>(?:.+{_S})?g_mapping{_S}){dense}(?P<n>\d+))(?P<sep>{_S})w{_END}",
        "linear",
        leading_fan_in,
        lr_multiplier=inferred_multiplier,
        bias=bias,
        bias_rule="lr_multiplier",
        rank=(2,),
        layout="IO",
    )
    for dense, bias in (
        ("dense_", "{net}bias_act_{n}{sep}b{end}"),
        (rf"dense_layers{_S}", "{net}bias_act_layers{sep}{n}{sep}b{end}"),
    )
)

FAMILY = Family(
    id="moono-stylegan2",
    title="StyleGAN2 in TensorFlow 2 (moono)",
    architecture="stylegan2",
    upstream="moono/stylegan2-tf-2.x",
    signatures=(
        Signature(
            rf"g_mapping{_S}dense_(?:layers{_S})?0{_S}w{_END}",
            2,
            also=(rf".+{_S}conv(?:_\d)?{_S}mod_dense{_S}w{_END}",),
            what="a mapping network, and a modulated convolution with its style",
        ),
        Signature(
            rf"last_dense{_S}w{_END}",
            2,
            also=(rf".+{_S}conv_0{_S}w{_END}", rf".+{_S}(?:conv_)?skip{_S}w{_END}"),
            what="the discriminator",
        ),
    ),
    rules=(
        *_MAPPING,
        _rule(rf"(?P<conv>.+){_S}mod_dense", 2, "{conv}{sep}mod_bias{sep}b{end}"),
        _rule(rf"(?:.+{_S})?(?:ToRGB|\w*torgbs?(?:{_S}\d+)?){_S}conv", 4, modulated=True),
        _rule(rf"(?:.+{_S})?conv(?:_\d)?", 4, modulated=True, demodulated=True),
        _rule(rf"(?:.+{_S})?(?:conv|conv_\d|skip|conv_skip)", 4),
        _rule(rf"(?P<net>(?:.+{_S})?)last_dense", 2, "{net}last_bias{sep}b{end}"),
        _rule(rf"(?:.+{_S})?dense_\d", 2),
    ),
    namings=MOONO,
)
