"""rosinality/style-based-gan-pytorch and progressive-gan-pytorch (MIT), and some twenty copies: the EqualLR hook.

    weight_orig is stored; before each forward   weight = weight_orig * sqrt(2 / fan_in)

with fan_in = shape[1] * prod(kernel) for *every* hooked layer: to-RGB, AdaIN styles, the last linear, and also the
noise strengths, stored as (1, C, 1, 1), so fan_in = C. Biases are as stored. The copies' transposed convolutions
(in, out, k, k) are hooked the same way, so their fan_in is out * k * k.

From 128x128 on, `FusedUpsample` (in, out, k, k) and `FusedDownsample` (out, in, k, k) are not hooked: `X.weight` with
the multiplier sqrt(2 / (in * k * k)) in their code. They stand between a hooked convolution and a blur.

Old spectral norm also writes `weight_orig`, with `weight_u` beside it, and pruning `weight_mask`: neither is this.
"""

import re

from eqlr_tools.families.family import Family, Rule, Signature, View
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.progan_port_names import ROSINALITY as ROSINALITY_PROGAN
from eqlr_tools.families.stylegan1_ports import ROSINALITY
from eqlr_tools.scaling import SQRT2, dense_fan_in, he_constant, second_axis_fan_in, transposed_fan_in

_OTHERS = (
    r".*weight_u",
    r".*weight_mask",
    r".*style_modulation\..*",
    r".*noise_injector\..*",
    r".*style_mapping\..*",
    r".*\.weight_scale",
)
_FUSED_UP = r"generator\.progression\.\d+\.conv1\.0\.weight"
_FUSED_DOWN = r"progression\.\d+\.conv2\.1\.weight"


def _fused(view: View, prefix: str) -> list[Layer]:
    """The Fused* layers: 4-D, bare `weight` with a bias, in the places where a hooked layer would be."""
    found = []
    for name, shape in view.shapes.items():
        path = name[len(prefix) :]
        bias = name.replace(".weight", ".bias")
        up, down = re.fullmatch(_FUSED_UP, path), re.fullmatch(_FUSED_DOWN, path)
        if not name.startswith(prefix) or not (up or down) or len(shape) != 4 or bias not in view.shapes:
            continue
        if 0 in shape:
            continue
        fan_in = (transposed_fan_in if up else dense_fan_in)(shape)
        kind = "conv_transpose2d" if up else "conv2d"
        found.append(
            Layer(
                name=name.removesuffix(".weight"),
                kind=kind,
                weight=name,
                shape=tuple(shape),
                scale=he_constant(fan_in, SQRT2),
                fan_in=fan_in,
                gain=SQRT2,
                bias=bias,
                baked_weight=name,
                why="family",
            )
        )
    return found


def _rule(kind: str, rank: int, noise: bool = False) -> Rule:
    return Rule(
        r"(?P<layer>(?:.*\.)?noise\d*)\.weight_orig" if noise else r"(?P<layer>.+)\.weight_orig",
        kind,
        second_axis_fan_in,
        gain=SQRT2,
        baked_weight="{layer}.weight",
        rank=(rank,),
    )


FAMILY = Family(
    id="rosinality-hook",
    title="StyleGAN1 and ProGAN by rosinality (EqualLR hook)",
    architecture="stylegan1",
    upstream="rosinality/style-based-gan-pytorch",
    signatures=(
        Signature(
            r"generator\.progression\.\d+\.adain1\.style\.linear\.weight_orig",
            2,
            without=_OTHERS,
            what="the EqualLR hook of the StyleGAN generator",
        ),
        Signature(
            r"progression\.\d+\..*conv\.weight_orig",
            4,
            also=(r"(from_rgb|to_rgb|linear).*",),
            without=_OTHERS,
            what="the EqualLR hook of a progressive network",
        ),
        Signature(
            r"(progression_|to_rgb_?|from_rgb_?)\d+.*\.weight_orig",
            4,
            without=_OTHERS,
            what="the EqualLR hook of a progressive network",
        ),
    ),
    rules=(
        _rule("noise", 4, noise=True),
        _rule("linear", 2),
        _rule("conv1d", 3),
        _rule("conv2d", 4),
        _rule("conv3d", 5),
    ),
    namings=(*ROSINALITY, *ROSINALITY_PROGAN),
    keys_are_proof=True,
    extra=_fused,
)
