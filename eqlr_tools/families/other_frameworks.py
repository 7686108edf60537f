"""Ports to JAX and Chainer, and from there to torch, as far as their names say what they are.

matthias-wright/flaxmodels      StyleGAN2: w = v * lr / sqrt(fan_in), b_eff = b * lr; dense (in, out), convolutions
                                (k, k, in, out); fan_in is everything but the last axis; +1 on styles at run time;
                                a conditional discriminator has a label embedding and mapping of its own, lr 0.1
pfnet-research/chainer-gan-lib  y = conv(x * sqrt(2 / fan_in), v) + b, v at `X/c/W`; a deconvolution, stored
                                (in, out, k, k), counts its input channels alone (its issue 9)
pfnet-research/chainer-stylegan the same links (`common/networks/component/pggan.py`), where styles, to-RGB and the
                                discriminator's last layer have gain 1 instead of sqrt(2)
teome/progressive-gan           chainer-gan-lib's networks in torch, v at `X.c.weight`

Chainer loads tensors of these names from any mapping, as `load_file` makes one of safetensors:
`chainer.serializers.NpzDeserializer(mapping).load(network)`.
"""

import re

from eqlr_tools.families.family import Family, Rule, Rules, Signature, View
from eqlr_tools.families.framework_names import FLAX as FLAX_NAMINGS
from eqlr_tools.families.multipliers import MultiplierRule, inferred_multiplier
from eqlr_tools.families.nvidia_tf import leading_fan_in
from eqlr_tools.families.progan_framework_names import CHAINER as CHAINER_NAMINGS
from eqlr_tools.scaling import SQRT2, channel_fan_in, dense_fan_in

_S = r"[./]"


def _flax(pattern: str, rank: int, lr: float | MultiplierRule = 1.0, demodulated: bool = False) -> Rule:
    return Rule(
        rf"(?P<layer>(?:.+{_S})?{pattern})(?P<sep>{_S})weight",
        "linear" if rank == 2 else "modulated_conv2d" if demodulated else "conv2d",
        leading_fan_in,
        lr_multiplier=lr,
        bias="{layer}{sep}bias",
        bias_rule="lr_multiplier",
        demodulated=demodulated,
        rank=(rank,),
        layout="IO" if rank == 2 else "kkIO",
    )


FLAX = Family(
    id="flaxmodels-stylegan2",
    title="StyleGAN2 in flaxmodels (JAX)",
    architecture="stylegan2",
    upstream="matthias-wright/flaxmodels",
    signatures=(
        Signature(
            rf"(?:synthesis_network{_S})?block_\d+x\d+{_S}layer\d{_S}affine{_S}weight",
            2,
            what="a synthesis layer with its style",
        ),
        Signature(
            rf"block_4x4{_S}fc0{_S}weight",
            2,
            also=(rf"block_\d+x\d+{_S}fromrgb{_S}weight", rf"(?:block_4x4{_S})?output{_S}weight"),
            what="the discriminator",
        ),
    ),
    rules=(
        _flax(rf"mapping_network{_S}fc\d+", 2, inferred_multiplier),
        _flax(rf"mapping_network{_S}label_embedding", 2, inferred_multiplier),
        _flax(r"label_embedding", 2, inferred_multiplier),
        _flax(rf"(?:affine|output|block_4x4{_S}fc0)", 2),
        _flax(r"fc\d+", 2, inferred_multiplier),
        _flax(rf"torgb{_S}conv", 4),
        _flax(rf"layer\d{_S}conv", 4, demodulated=True),
        _flax(r"(?:fromrgb|conv\d|skip)", 4),
    ),
    namings=FLAX_NAMINGS,
    over=("nvidia-stylegan2-ada",),
)


_STYLED = r"(?:.+/)?blocks/\d+/s\d/s/c/W"
"""A style of chainer-stylegan's generator: its to-RGB layers, `outs`, are those of other networks by name alone."""


def _chainer_rules(view: View, prefix: str) -> Rules:
    """A deconvolution is told by its bias, which is as long as the second axis."""
    styled = any(re.fullmatch(_STYLED, name) for name in view.shapes)
    linear_output = re.compile(r"(?:.+/)?(?:blocks/\d+/(?:s\d/[sb]|l2)" + (r"|outs/\d+)" if styled else ")"))
    rules = []
    for name, shape in view.shapes.items():
        match = re.fullmatch(r"(?P<layer>.+)(?P<c>[./]c[./])(?P<last>W|weight)", name)
        if match is None or not name.startswith(prefix) or len(shape) not in (2, 4):
            continue
        bias = match["layer"] + match["c"] + ("b" if match["last"] == "W" else "bias")
        outputs = tuple(view.shapes.get(bias, ()))
        transposed = len(shape) == 4 and shape[0] != shape[1] and outputs == (shape[1],)
        kind = "linear" if len(shape) == 2 else "conv_transpose2d" if transposed else "conv2d"
        layer = re.escape(name[len(prefix) : match.start("last") - 1])
        rules.append(
            Rule(
                rf"(?P<layer>{layer})[./](?:W|weight)",
                kind,
                channel_fan_in if transposed else dense_fan_in,
                1.0 if linear_output.fullmatch(match["layer"]) else SQRT2,
                bias=bias[len(prefix) :],
                layout="IOkk" if transposed else "",
            )
        )
    return tuple(rules)


CHAINER = Family(
    id="chainer-progan",
    title="ProGAN and StyleGAN in Chainer (chainer-gan-lib, chainer-stylegan), and in torch after it (teome)",
    architecture="progan",
    upstream="pfnet-research/chainer-gan-lib",
    signatures=(
        Signature(r".+/c/W", also=(r".+/c/b",), what="an equalized link around its `c`"),
        Signature(
            r"c0\.c\.weight",
            4,
            also=(r"c1\.c\.weight", r"out0\.c\.weight", r"b1\.c0\.c\.weight"),
            what="the generator's equalized layers around their `c`",
        ),
        Signature(
            r"in0\.c\.weight",
            4,
            also=(r"out2\.c\.weight", r"b1\.c0\.c\.weight"),
            what="the discriminator's equalized layers around their `c`",
        ),
    ),
    rules=_chainer_rules,
    namings=CHAINER_NAMINGS,
)
