"""Equalized layers that nobody's name is on: the mechanism shows, the gain does not. They ask before anything is done.

    hook             `X.weight_orig` without spectral norm's `weight_u` or pruning's `weight_mask`
    parametrization  a lone `X.parametrizations.weight.original` (ot-vae-lightning: w = v * lr * gain / sqrt(fan_in),
                     its bias, `X.parametrizations.bias.original`, in fact applied as stored)
    WSConv copies    `X.conv.weight` with the bias beside it, `X.bias`, stored near N(0, 1)

For the first two, fan_in is shape[1] * prod(kernel). All three stand back where a family with a name matches.
"""

import math
import statistics

from eqlr_tools.families.family import Family, Question, Rule, Signature, View
from eqlr_tools.families.mmgen import hooked
from eqlr_tools.families.multipliers import inferred_multiplier
from eqlr_tools.families.rules import conv, linear
from eqlr_tools.scaling import SQRT2, dense_fan_in, second_axis_fan_in

_EQUALIZED_RMS = 0.5
_EQUALIZED_RATIO = 8.0
"""Median rms, and median rms * sqrt(fan_in), above which a network's weights look equalized (measured: 2.0 and 22
for a trained equalized network; at most 0.25 and 3.6 for ten plain ones)."""


def _gain_question(what: str, likely: str) -> Question:
    return Question(
        f"{what}, but with which gain is in code that the file does not hold",
        (f"--gain 1.4142135623730951: {likely}", "--gain 1: StyleGAN2's layers, and the RMS family"),
        "--gain X (and --lr-multiplier X, if the mapping network has one)",
        ("gain",),
    )


def _looks_plain(view: View, prefix: str) -> str:
    """Why the split convolutions of a network are not believed to be equalized; empty if they may be."""
    pairs = [
        (name, shape)
        for name, shape in view.shapes.items()
        if name.startswith(prefix) and name.endswith(".conv.weight") and len(shape) == 4
    ]
    split = [
        (name, shape)
        for name, shape in pairs
        if name.replace(".conv.weight", ".bias") in view.shapes and name.replace(".weight", ".bias") not in view.shapes
    ]
    if len(split) < 3:
        return "too few convolutions have their bias beside them"
    sizes = [view.rms(name) for name, _ in split]
    ratios = [rms * math.sqrt(dense_fan_in(shape)) for rms, (_, shape) in zip(sizes, split, strict=True)]
    if statistics.median(sizes) < _EQUALIZED_RMS or statistics.median(ratios) < _EQUALIZED_RATIO:
        return "their weights have the size of plain ones"
    return ""


HOOK = Family(
    id="equalized-hook",
    title="an EqualizedLR or EqualLR hook of unknown gain",
    architecture="any",
    upstream="various",
    signatures=(
        Signature(
            r".+\.weight_orig",
            never=(r".*weight_u", r".*weight_v", r".*weight_mask", r".*weight_scale"),
            what="a hook keeps the stored weight under this name, and neither spectral norm nor pruning does",
        ),
    ),
    rules=hooked(r".+", SQRT2),
    generic=True,
    keys_are_proof=True,
    question=lambda view, prefix: _gain_question(
        "a hook rescales its weights at run time", "rosinality's hook, mmgeneration's PGGAN and StyleGAN"
    ),
)

_KINDS = {2: "linear", 3: "conv1d", 4: "conv2d", 5: "conv3d"}

PARAMETRIZATION = Family(
    id="equalized-parametrization",
    title="a torch parametrization whose constant is not in the file",
    architecture="any",
    upstream="theoad/ot-vae-lightning",
    signatures=(
        Signature(
            r".+\.parametrizations\.weight\.original",
            never=(r"parametrizations\.\w+\.\d+\..+", r"parametrizations\.weight\.original[01]"),
            what="a parametrization without any state, neither weight norm nor spectral norm",
        ),
    ),
    rules=tuple(
        Rule(
            r"(?P<layer>.+)\.parametrizations\.weight\.original",
            kind,
            second_axis_fan_in,
            lr_multiplier=inferred_multiplier,
            bias="{layer}.parametrizations.bias.original",
            baked_weight="{layer}.weight",
            baked_bias="{layer}.bias",
            rank=(rank,),
        )
        for rank, kind in _KINDS.items()
    ),
    generic=True,
    keys_are_proof=True,
    question=lambda view, prefix: _gain_question(
        "a parametrization computes its weights at run time, perhaps by equalized learning rate", "ProGAN's gain"
    ),
)

WSCONV = Family(
    id="wsconv-copy",
    title="WSConv2d layers outside the networks that have a name here",
    architecture="any",
    upstream="various",
    signatures=(Signature(r".+\.conv\.weight", 4, also=(r".+\.bias",), what="a bias beside its convolution"),),
    rules=(
        conv(r"(?P<layer>.+)\.conv\.weight", unless="{layer}.conv.bias", beside="{layer}.bias"),
        linear(r"(?P<layer>.+)\.linear\.weight", unless="{layer}.linear.bias", beside="{layer}.bias"),
    ),
    generic=True,
    doubt=_looks_plain,
    question=lambda view, prefix: _gain_question(
        "its convolutions look like WSConv2d layers, stored near N(0, 1)", "WSConv2d of the aladdinpersson tutorial"
    ),
)
