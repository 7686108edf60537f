"""nashory/pggan-pytorch (MIT), and the ten or so projects that scale by the size of their initial weights.

    scale = sqrt(mean(w0 ** 2)) of the Kaiming-initialised w0;    stored w0 / scale;    y = conv(x * scale, v) + b

The scale is a plain attribute and is *not saved* in a state dict; building the model again draws another one. It is
near gain / sqrt(fan_in) with the gain of the initialiser: within 0.15 % for a wide layer, within 10 % for a to-RGB of
48 weights. So the exact constant is lost, and this is the best that anybody can offer. A transposed convolution follows
torch's initialiser, which counts out * k * k. Whole pickled modules, which deepsound saves, do hold it: as `c`, or
`scale` or `wscale`, of the wrapper.

    nashory     `X.conv.weight`, `X.bias`                            a = 1, which is gain 1
    deepsound   `blocks.N.c1.conv.weight`, its bias inside           a = 0, gain sqrt(2); the last `linear` is plain
    zsef123     `resl_blocks.*.layer.weight`, its bias inside        gain sqrt(2)
    pengge      `X.N.weight`, and again `X.N+1.incoming.weight`      a = sqrt(2 / 1.04), gain 0.83; linear outputs 1

zsef123's first version drew from N(0, 1) instead and multiplied by sqrt(2 / fan_in): its bias is `X.bias` (out, 1, 1),
outside, and its constants are exact.
"""

import math
import re
from dataclasses import replace
from typing import Any

from eqlr_tools.families.family import Family, Question, Rule, Rules, Signature, View
from eqlr_tools.families.kinds import kind_beside
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.multipliers import Multiplier
from eqlr_tools.families.progan_port_names import NASHORY
from eqlr_tools.families.rules import conv, linear
from eqlr_tools.scaling import SQRT2, Shape, dense_fan_in

_ID = "rms-progan"
_TO_RGB, _FROM_RGB = "rgb_h.conv.0", "rgb_h.conv"
_INCOMING = ".incoming.weight"
_LEAKY = math.sqrt(2 / (1 + 2 / (1 + 0.2**2)))
"""Kaiming's gain for `a = calculate_gain("leaky_relu", 0.2)`: the gain given in place of the slope."""
_MOST_COLOURS = 4
_SCALES = ("scale", "wscale", "c")
"""What the wrappers of nashory and pengge, zsef123 and deepsound call their scale."""


def _question(view: View, prefix: str) -> Question | None:
    if any(f"{prefix}{path}.bias" in view.shapes for path in (_TO_RGB, _FROM_RGB)):
        return None  # zsef123's first version.
    return Question(
        "its constants were the rms of the initial weights, which the file does not hold and nobody can compute "
        "again; gain/√fan_in is near (0.15 % for wide layers, 10 % for the smallest)",
        (
            f"{_ID}: accept gain/√fan_in, with the gain that its project initialises with",
            "--gain 1: an initialiser of gain 1 (nashory)",
            "--gain 1.4142135623730951: of gain √2 (zsef123, deepsound and others)",
        ),
        f"--family {_ID} or --gain X",
        ("family", "gain"),
    )


def _rules(view: View, prefix: str) -> Rules:
    return (*_wrapped_twice(view, prefix), *_growing(view, prefix), *_RULES)


def _growing(view: View, prefix: str) -> list[Rule]:
    """zsef123's layers: the bias inside, or beside them; the generator's first is a transposed convolution."""
    generator = f"{prefix}{_TO_RGB}.layer.weight" in view.shapes
    transposed = {"kind": "conv_transpose2d", "layout": "IOkk"}
    return [
        rule(rf"(?P<layer>(?P<outer>{pattern})\.layer)\.weight", gain=SQRT2, bias=bias, beside=beside, **changes)
        for bias, beside in (("{outer}.bias", "{outer}.bias"), ("{layer}.bias", None))
        for rule, pattern, changes in (
            *([(conv, r"resl_blocks\.0(?:\.0)?", transposed)] if generator else []),
            (conv, r"(?:resl_blocks|rgb_[lh])\..+", {}),
            (linear, r"resl_blocks\..+", {}),
        )
    ]


def _wrapped_twice(view: View, prefix: str) -> list[Rule]:
    """pengge's WScaleLayer holds the layer before it once more: one weight under two names, its bias in the wrapper."""
    rules = []
    for name, shape in view.shapes.items():
        if not (name.startswith(prefix) and name.endswith(_INCOMING)) or len(shape) not in (2, 4):
            continue
        wrapper = name.removesuffix(_INCOMING)
        rule = conv if len(shape) == 4 else linear
        for path in (wrapper + ".incoming", _layer_before(wrapper, shape, view)):
            if path:
                layer, bias = re.escape(path[len(prefix) :]), wrapper[len(prefix) :] + ".bias"
                rules.append(rule(rf"(?P<layer>{layer})\.weight", gain=_gain(shape), bias=bias))
    return rules


def _layer_before(wrapper: str, shape: Shape, view: View) -> str:
    """The wrapped layer under its own name: the element before, or the `conv` beside a `wscale`."""
    head, _, last = wrapper.rpartition(".")
    before = str(int(last) - 1) if last.isdigit() else "conv"
    path = f"{head}.{before}" if head else before
    return path if view.shapes.get(f"{path}.weight") == shape else ""


def _gain(shape: Shape) -> float:
    """To-RGB and the score are initialised for a linear output: 1x1 convolutions with few outputs."""
    return 1.0 if shape[0] <= _MOST_COLOURS and math.prod(shape[2:]) == 1 else _LEAKY


def _stated(view: View, prefix: str) -> list[Layer]:
    """The layers of a whole pickled module, whose wrappers say what they multiply by; 1 is no equalization."""
    found = []
    for name, shape in view.shapes.items():
        if not (name.startswith(prefix) and name.endswith(".weight")) or len(shape) not in (2, 4):
            continue
        path = name.removesuffix(".weight")
        wrapper = _wrapper(path, shape, view)
        scale = next((value for value in (view.attribute(wrapper, key) for key in _SCALES) if _is_scale(value)), 1.0)
        if scale == 1.0:
            continue
        bias = next((bias for bias in (f"{wrapper}.bias", f"{path}.bias") if bias in view.shapes), None)
        fan_in = dense_fan_in(shape)
        kind = kind_beside(path, tuple(shape), view.shapes, bias or "")
        layer = Layer(path, kind, name, tuple(shape), bias=bias, baked_weight=name)
        gain = scale * math.sqrt(fan_in)
        found.append(layer.with_constant(scale, 1.0, fan_in, gain, Multiplier(1.0, "stated")))
    return found


def _wrapper(path: str, shape: Shape, view: View) -> str:
    """The module that multiplies the input of the layer at `path`: around it, or pengge's, the next of a Sequential."""
    outer, _, last = path.rpartition(".")
    behind = f"{outer}.{int(last) + 1}" if last.isdigit() else f"{outer}.wscale"
    return behind if view.shapes.get(behind + _INCOMING) == shape else outer


def _is_scale(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0


_RULES = (
    conv(r"(?P<layer>(?:block0|blocks\.\d+)\.(?:c[12]|toRGB|fromRGB)\.conv)\.weight", gain=SQRT2),
    conv(r"(?P<outer>.+)\.conv\.weight", bias="{outer}.bias", unless="{outer}.conv.bias"),
    conv(r"(?P<outer>.+)\.deconv\.weight", bias="{outer}.bias", kind="conv_transpose2d", layout="IOkk"),
    linear(r"(?P<outer>.+)\.linear\.weight", bias="{outer}.bias", unless="{outer}.linear.bias"),
)

FAMILY = Family(
    id=_ID,
    title="ProGAN scaled by the rms of its initial weights (nashory and kin)",
    architecture="progan",
    upstream="nashory/pggan-pytorch",
    signatures=(
        Signature(
            r"(?:first_block|last_block|intermediate_\w+)\..*conv\.weight",
            4,
            also=(r"(?:to_rgb_block|from_rgb_block|concat_block)\..*conv\.weight", r".+\.bias"),
            what="an equalized_conv2d around its convolution",
        ),
        Signature(
            r".+\.(?:conv|linear)\.weight",
            also=(r".+\.wscale\.bias",),
            never=(r"layer\d+\.wscale\.(?:bias|b)", r"wscale\.scale"),
            what="a WScaleLayer behind its convolution",
        ),
        Signature(
            r".+\.(?:\d+|wscale)\.incoming\.weight", 4, also=(r".+\.bias",), what="a WScaleLayer around its convolution"
        ),
        Signature(
            r"rgb_h\.conv\.(?:0\.)?layer\.weight",
            4,
            also=(r"resl_blocks\..*layer\.weight",),
            what="an EqualizedLR layer around its convolution",
        ),
        Signature(r"block0\.c1\.conv\.weight", 4, also=(r"block0\.toRGB\.conv\.weight",), what="PGConv2d layers"),
        Signature(
            r"blocks\.0\.c1\.conv\.weight",
            4,
            also=(r"blocks\.0\.fromRGB\.conv\.weight", r"linear\.weight"),
            what="PGConv2d layers",
        ),
    ),
    rules=_rules,
    question=_question,
    namings=NASHORY,
    advice="constants are approximate: gain/√fan_in stands in for scales that the file does not hold",
)

MODULES = replace(
    FAMILY,
    id="rms-progan-modules",
    title="ProGAN scaled by the rms of its initial weights, whole modules (scales stated)",
    upstream="deepsound-project/pggan-pytorch",
    rules=(),
    question=None,
    advice="",
    over=(_ID,),
    doubt=lambda view, prefix: "" if _stated(view, prefix) else "no pickled module states its scale",
    extra=_stated,
)
