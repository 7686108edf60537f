"""NVlabs/stylegan2-ada-pytorch (`training/networks.py`), and the many projects that took its layers over.

    FullyConnectedLayer   w = v * lr / sqrt(in),   b_eff = b * lr
    Conv2dLayer           w = v / sqrt(in * k * k), bias as stored          (discriminator, resnet skips)
    ToRGBLayer            1 / sqrt(in * k * k) multiplies the *styles*, which is the same as scaling the weight
    SynthesisLayer        no constant: demodulation divides by the norm of the weight

In a network pickle each module states its constants (`weight_gain`, `bias_gain`); in a state dict nothing does, and
the multiplier of the mapping network is read from the size of its weights.

The same layers stand in stylegan3's `networks_stylegan2.py`, PyTorch-StudioGAN, eg3d (`backbone.`, `superresolution.`,
`decoder.net.N` with a multiplier of its own), StyleGAN-XL (`embed` is a plain embedding there, without a bias, and
`embed_proj` a layer; for its discriminators see `nvidia_layers.py`), and MAT (`mat.py`).
"""

import re
from collections.abc import Callable

from eqlr_tools.families.family import Family, Rule, Rules, Signature, View
from eqlr_tools.families.kinds import kind_of
from eqlr_tools.families.multipliers import stated_multiplier
from eqlr_tools.families.rules import conv, linear, mapping, modulated
from eqlr_tools.families.stylegan2_names import NVIDIA_ADA
from eqlr_tools.scaling import second_axis_fan_in

GAINS = ("weight_gain", "bias_gain")
_BLOCK = r"(?:.+\.)?(?:b|block)\d+\."
_MULTIPLIER = stated_multiplier("mapping_lr_multiplier")
_ALONE_ABOVE = 3.0
"""rms from which `fcN` layers on their own are a mapping network with a multiplier of 0.1 or 0.01."""


def _doubt(view: View, prefix: str) -> str:
    """A mapping network on its own has the names of any little MLP: only its size, or the file, shows what it is."""
    alone = re.compile(rf"{re.escape(prefix)}(?P<place>mapping\.|)(?:(?:fc\d+|embed|embed_proj)\.\w+|w_avg)")
    places = [match["place"] for match in map(alone.fullmatch, view.shapes) if match]
    if len(places) < len(view.shapes) or view.attribute(f"{prefix}{places[0]}fc0", GAINS[0]) is not None:
        return ""
    if view.rms(f"{prefix}{places[0]}fc0.weight") >= _ALONE_ABOVE:
        return ""
    return "nothing else says that these are the layers of a mapping network"


def with_stated(*rules: Rule) -> Callable[[View, str], Rules]:
    """These rules, and behind them whatever other layers of a pickled network state their constants: projects put
    more of NVIDIA's layers into networks that are NVIDIA's otherwise (a second decoder, a background)."""

    def every(view: View, prefix: str) -> Rules:
        stated = []
        for name, shape in view.shapes.items():
            path = name.removesuffix(".weight")
            if path == name or len(shape) < 2 or not name.startswith(prefix) or view.attribute(path, GAINS[0]) is None:
                continue
            layer, kind = re.escape(path[len(prefix) :]), kind_of(path, tuple(shape), view.shapes)
            bias = "{layer}._bias" if f"{path}._bias" in view.shapes else "{layer}.bias"
            stated.append(Rule(rf"(?P<layer>{layer})\.weight", kind, second_axis_fan_in, bias=bias, stated=GAINS))
        return (*rules, *stated)

    return every


FULLY_CONNECTED = (
    mapping(r"(?:.+\.)?mapping\.fc\d+\.weight", _MULTIPLIER, stated=GAINS),
    linear(r"(?:.+\.)?mapping\.embed_proj\.weight", stated=GAINS),
    linear(r"(?:.+\.)?mapping\.embed\.weight", beside="{layer}.bias", stated=GAINS),
    linear(r"(?:.+\.)?affine\.weight", stated=GAINS),
)
_MAPPING_ALONE = (
    mapping(r"fc\d+\.weight", _MULTIPLIER, beside="w_avg", stated=GAINS),
    linear(r"embed_proj\.weight", beside="w_avg", stated=GAINS),
    linear(r"embed\.weight", beside="w_avg", unless="embed_proj.weight", stated=GAINS),
)
"""The state dict of `G.mapping` itself, whose names begin one step later."""

DISCRIMINATOR = (
    conv(rf"{_BLOCK}(?:fromrgb|conv|conv0|conv1|skip)\.weight", unless="{layer}.affine.weight", stated=GAINS),
    linear(rf"{_BLOCK}(?:fc|out)\.weight", stated=GAINS),
)
_STUDIOGAN_HEADS = (
    linear(r"(?:linear\d|linear_mi|info_\w+_linear)\.weight", beside="b4.fc.weight", stated=GAINS),
    linear(r"embedding(?:_mi)?\.embed\.weight", beside="b4.fc.weight", stated=GAINS),
    mapping(r"embedding(?:_mi)?\.fc\d+\.weight", _MULTIPLIER, beside="b4.fc.weight", stated=GAINS),
)
"""PyTorch-StudioGAN's discriminator: heads of its own in the place of `b4.out`, and mapping networks for classes."""

FAMILY = Family(
    id="nvidia-stylegan2-ada",
    title="StyleGAN2-ADA in PyTorch by NVIDIA, and projects with its layers",
    architecture="stylegan2",
    upstream="NVlabs/stylegan2-ada-pytorch",
    signatures=(
        Signature(
            r"(?:synthesis\.)?(?:b|block)\d+\.(?:conv[01]|torgb)\.affine\.weight",
            2,
            also=(r"(?:.+\.)?(?:b|block)\d+\.(?:.+\.)?(?:resample_filter|noise_const|const)",),
            never=(r"magnitude_ema",),
            what="a synthesis layer with its affine style",
        ),
        Signature(
            r"b\d+\.fromrgb\.weight",
            4,
            also=(r"b4\.out\.weight", r"b\d+\.conv1\.weight", r"b\d+\.(?:.+\.)?resample_filter"),
            what="the discriminator",
        ),
        Signature(
            r"linear1\.weight",
            2,
            also=(r"b4\.fc\.weight", r"b\d+\.fromrgb\.weight", r"b\d+\.(?:.+\.)?resample_filter"),
            what="PyTorch-StudioGAN's discriminator",
        ),
        Signature(
            r"(?:mapping\.)?fc0\.weight",
            2,
            also=(r"(?:mapping\.)?w_avg", r"(?:mapping\.)?fc0\.bias"),
            never=(r"(?:synthesis|b4|early_layer)\..+",),
            what="a mapping network on its own",
        ),
        Signature(
            r"decoder\.net\.0\.weight",
            2,
            also=(r"decoder\.net\.2\.weight", r"backbone\.synthesis\.b\d+\.torgb\.affine\.weight"),
            what="eg3d's decoder behind a StyleGAN2 backbone",
        ),
    ),
    rules=with_stated(
        *FULLY_CONNECTED,
        *_MAPPING_ALONE,
        mapping(r"decoder\.net\.\d+\.weight", stated=GAINS),
        *_STUDIOGAN_HEADS,
        modulated(rf"{_BLOCK}torgb\.weight", demodulated=False, bias="{layer}.bias", stated=GAINS),
        modulated(rf"{_BLOCK}conv[01]\.weight", bias="{layer}.bias", stated=GAINS),
        conv(rf"{_BLOCK}conv[01]\.weight", beside="{layer}.affine.weight", self_normalised=True),
        conv(rf"{_BLOCK}torgb\.weight", stated=GAINS),
        *DISCRIMINATOR,
    ),
    namings=NVIDIA_ADA,
    doubt=_doubt,
    load_back="after loading, set weight_gain and bias_gain of its modules to 1",
)
