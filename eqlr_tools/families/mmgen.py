"""open-mmlab/mmgeneration and mmagic (Apache-2.0): the EqualizedLR forward hook.

    weight = weight_orig * gain * lr / sqrt(fan_in),   fan_in = shape[1] * prod(kernel), of weight[0] where it is 5-D

so that a transposed convolution (in, out, k, k) counts its output channels. The gain depends on the module:

    PGGAN      sqrt(2); noise to feature sqrt(2) / 4; to-RGB and the last linear of the decision head 1
    StyleGAN1  sqrt(2), to-RGB and AdaIN styles included; mapping (lr 0.01) and the discriminator's linears 1
    StyleGAN2  1 everywhere (sqrt(2) is in the activation); mapping lr 0.01

`EqualLinearActModule` keeps its bias outside (`X.linear.weight_orig` and `X.bias`) and multiplies it by lr;
`EqualizedLRLinearModule` (`X.weight_orig` and `X.bias`) leaves it as it is. Its StyleGAN3 is NVIDIA's, and so are the
layers of a conditional discriminator's mapping and of EG3D's decoder, which have no hook.

`equalized_lr_cfg=None` makes a module plain, its weight called `weight` and lr 1. PGGAN's networks hand it on for their
convolution blocks and from-RGB layers alone; those of the StyleGANs for none, so there the hooks are taken off instead.
Where a fused up- or downsampling hook comes behind, it assigns a tensor to `weight`, which torch refuses if that is a
parameter: such layers stay as they are, or the network does not run.
"""

import re

from eqlr_tools.families.family import Family, Rule, Signature, View
from eqlr_tools.families.multipliers import MultiplierRule, stated_multiplier
from eqlr_tools.families.nvidia_stylegan2 import FULLY_CONNECTED
from eqlr_tools.families.progan_port_names import MMGEN as MMGEN_PGGAN
from eqlr_tools.families.rosinality_names import MMAGIC
from eqlr_tools.families.rules import mapping
from eqlr_tools.families.stylegan1_ports import MMGEN
from eqlr_tools.scaling import SQRT2, second_axis_fan_in

_UPSTREAM = "open-mmlab/mmgeneration"
_OTHER_HOOKS = (r".*weight_u", r".*weight_mask")
_KINDS = {2: "linear", 3: "conv1d", 4: "conv2d", 5: "modulated_conv2d"}
_HOOKS_OFF = "construct its modules with equalized_lr_cfg=None, or take their EqualizedLR hooks off after construction"
_CONFIGURED = (
    "construct it with conv_module_cfg=dict(equalized_lr_cfg=None), "
    "a discriminator with the same as fromrgb_layer_cfg too"
)
_FUSED = "the fused resampling hook needs the EqualizedLR hook before it"
_ALWAYS = "the network gives these modules no equalized_lr_cfg"
_MAPPING_LR = stated_multiplier("lr_mlp")


def hooked(
    pattern: str, gain: float, bias: str | None = "{layer}.bias", ranks: tuple[int, ...] = (2, 3, 4, 5)
) -> tuple[Rule, ...]:
    """Rules for the hooked weights `pattern` of every rank. The bias is applied as stored."""
    return tuple(
        Rule(
            rf"(?P<layer>{pattern})\.weight_orig",
            _KINDS[rank],
            second_axis_fan_in,
            gain,
            bias=bias,
            baked_weight="{layer}.weight",
            rank=(rank,),
        )
        for rank in ranks
    )


def _act_linear(pattern: str, lr: float | MultiplierRule = 1.0) -> Rule:
    """EqualLinearActModule: the bias stands outside the linear layer, and the multiplier applies to it."""
    return Rule(
        rf"(?P<layer>(?P<outer>{pattern})\.linear)\.weight_orig",
        "linear",
        second_axis_fan_in,
        lr_multiplier=lr,
        bias="{outer}.bias",
        bias_rule="lr_multiplier",
        baked_weight="{layer}.weight",
        rank=(2,),
    )


def _unhooked(view: View, prefix: str) -> dict[str, str]:
    return {
        r"mapping\..+\.weight": "a conditional discriminator's mapping has no such argument",
        r"renderer\..+\.weight": "EG3D's decoder has no such argument",
    }


def _fused_down(view: View, prefix: str) -> dict[str, str]:
    return {r"convs\.\d+\.2\.conv\.weight_orig": _FUSED}


def _pggan_fixed(view: View, prefix: str) -> dict[str, str]:
    fixed = {r"(?:noise2feat\.linear|torgb_layers\.\d+\.conv|decision\.linear\d)\.weight_orig": _ALWAYS}
    if f"{prefix}noise2feat.linear.weight_orig" not in view.shapes:
        return {**fixed, r"conv_blocks\.(?!0\.)\d*[02468]\.conv\.weight_orig": _FUSED}
    return {**fixed, r"conv_blocks\.\d*[13579]\.conv\.weight_orig": _FUSED} if _fused_up(view, prefix) else fixed


def _fused_up(view: View, prefix: str) -> bool:
    """True for transposed convolutions, whose bias is as long as the second axis, and by default, if nothing tells."""
    for name, shape in view.shapes.items():
        match = re.fullmatch(rf"{re.escape(prefix)}conv_blocks\.\d*[13579]\.conv\.weight_orig", name)
        bias = view.shapes.get(name.replace("weight_orig", "bias"))
        if match and bias is not None and shape[0] != shape[1]:
            return tuple(bias) == (shape[1],)
    return True


STYLEGAN2 = Family(
    id="mmgen-stylegan2",
    title="StyleGAN2 in mmgeneration and mmagic",
    architecture="stylegan2",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"conv1\.conv\.style_modulation\.linear\.weight_orig",
            2,
            also=(r"conv1\.conv\.weight_orig",),
            without=_OTHER_HOOKS,
            what="a modulated convolution with the EqualizedLR hook",
        ),
        Signature(
            r"final_linear\.0\.linear\.weight_orig",
            2,
            also=(r"convs\.1\.conv2\.1\.conv\.weight_orig",),
            without=_OTHER_HOOKS,
            what="the hooked discriminator",
        ),
        Signature(
            r"renderer\.decoder\.net\.0\.weight",
            2,
            also=(r"renderer\.decoder\.net\.2\.weight", r"backbone\.conv1\.conv\.weight_orig"),
            without=_OTHER_HOOKS,
            what="EG3D's decoder behind a hooked backbone",
        ),
    ),
    rules=(
        _act_linear(r"style_mapping\.\d+", _MAPPING_LR),
        _act_linear(r".+"),
        *hooked(r".+", 1.0),
        *FULLY_CONNECTED,
        mapping(r"renderer\.decoder\.net\.\d+\.weight"),
    ),
    namings=MMAGIC,
    keys_are_proof=True,
    load_back=_HOOKS_OFF,
    fixed=_unhooked,
)

STYLEGAN1 = Family(
    id="mmgen-stylegan1",
    title="StyleGAN in mmgeneration and mmagic",
    architecture="stylegan1",
    upstream=_UPSTREAM,
    signatures=(
        Signature(
            r"convs\.0\.adain1\.affine\.weight_orig",
            2,
            also=(r"style_mapping\.\d+\.linear\.weight_orig",),
            without=_OTHER_HOOKS,
            what="AdaIN styles with the EqualizedLR hook",
        ),
        Signature(
            r"final_linear\.0\.linear\.weight_orig",
            2,
            also=(r"from_rgb\.0\.conv\.weight_orig", r"convs\.0\.0\.conv\.weight_orig"),
            without=(*_OTHER_HOOKS, r"conv2\.1\.conv\.weight_orig"),
            what="the hooked discriminator",
        ),
    ),
    rules=(
        _act_linear(r"style_mapping\.\d+", _MAPPING_LR),
        _act_linear(r".+"),
        *hooked(r".+", SQRT2),
    ),
    namings=MMGEN,
    keys_are_proof=True,
    load_back=_HOOKS_OFF,
    fixed=_fused_down,
)

PGGAN = Family(
    id="mmgen-pggan",
    title="PGGAN in mmgeneration and mmagic",
    architecture="progan",
    upstream=_UPSTREAM,
    signatures=(
        Signature(r"noise2feat\.linear\.weight_orig", 2, without=_OTHER_HOOKS, what="the hooked generator"),
        Signature(r"decision\.linear0\.weight_orig", 2, without=_OTHER_HOOKS, what="the hooked discriminator"),
    ),
    rules=(
        *hooked(r"noise2feat\.linear", SQRT2 / 4, ranks=(2,)),
        *hooked(r"decision\.linear1", 1.0, ranks=(2,)),
        *hooked(r"torgb_layers\.\d+\.conv", 1.0, ranks=(4,)),
        *hooked(r".+", SQRT2),
    ),
    namings=MMGEN_PGGAN,
    keys_are_proof=True,
    load_back=_CONFIGURED,
    fixed=_pggan_fixed,
)
