"""GFPGAN v1 and clean, and BasicSR's StyleGAN2 generator in its clean form, against common canonical names.

The clean architecture has no constants and plain leaky ReLUs. What used to stand in the code moved into the weights,
which leaky ReLU allows because it is positively homogeneous: sqrt(2) * lrelu(x) = lrelu(sqrt(2) * x).

    clean = factor * effective

    style_mlp                                       sqrt(2), weight and bias; numbers double, since an activation
                                                    stands between the layers
    style_conv1, style_convs: noise strength, bias  sqrt(2); the modulated weight keeps its value, since the code of
                                                    StyleConv multiplies the convolution itself by sqrt(2)
    conv_body_first, final_conv                     sqrt(2), weight and bias
    conv_body_*: conv1                              sqrt(2), weight and bias
    conv_body_*: conv2                              1: its sqrt(2) cancels the 1 / sqrt(2) of the block's sum
    conv_body_*: skip                               1 / sqrt(2), from that sum
    condition_scale, condition_shift: 0             sqrt(2); 2, toRGB, to_rgb, final_linear, modulation: 1

Both resample bilinearly. GFPGANv1 with FIR filters has the same names as the bilinear one, see `networks/gfpgan.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from eqlr_tools.families.naming import Depth, Naming, Slot
from eqlr_tools.families.rosinality_names import BASICSR
from eqlr_tools.scaling import SQRT2

_HALF = 1.0 / SQRT2
_DECODER = "stylegan_decoder."
_CAUTION = (
    "the clean architecture resamples bilinearly, and so must the network that the source was trained as; "
    "files of the first GFPGANv1 and of StyleGAN2, which use FIR filters, look the same and give other pictures there"
)

# (name in v1, name in clean, factor of the clean value, layout of the clean tensor); the first that matches counts.
_MOVES: tuple[tuple[str, Callable[[re.Match[str]], str], float, str], ...] = (
    (r"(.*style_mlp\.)(\d+)(\..+)", lambda m: f"{m[1]}{2 * int(m[2]) - 1}{m[3]}", SQRT2, ""),
    (r"(.*style_convs?\w*(?:\.\d+)?)\.activate\.bias", lambda m: f"{m[1]}.bias", SQRT2, "1 c 1 1 -> c"),
    (r"(.*style_conv1|.*style_convs\.\d+)\.weight", lambda m: m[0], SQRT2, ""),
    (r"(conv_body_first|final_conv)\.\d\.(\w+)", lambda m: f"{m[1]}.{m[2]}", SQRT2, ""),
    (r"(conv_body_\w+\.\d+\.conv1)\.\d\.(\w+)", lambda m: f"{m[1]}.{m[2]}", SQRT2, ""),
    (r"(conv_body_\w+\.\d+\.conv2)(?:\.\w+)?\.(\w+)", lambda m: f"{m[1]}.{m[2]}", 1.0, ""),
    (r"(conv_body_\w+\.\d+\.skip)(?:\.\d)?\.weight", lambda m: f"{m[1]}.weight", _HALF, ""),
    (r"condition_\w+\.\d+\.0\.\w+", lambda m: m[0], SQRT2, ""),
)

# Layouts that both files share; the canonical tensor has no axes of length one.
_COMMON = (
    (r".*modulated_conv\.weight", "1 o i h w -> o i h w"),
    (r".*constant_input\.weight", "1 c h w -> c h w"),
    (r".*to_rgb(?:1|s\.\d+)\.bias", "1 c 1 1 -> c"),
    (r".*noises\.noise\d+", "1 1 h w -> h w"),
    (r"(?:.*style_conv1|.*style_convs\.\d+)\.weight", "1 -> "),
)


def _moved(name: str) -> tuple[str, float, str]:
    """The clean name of a tensor of v1, the factor on its value, and the layout it has there."""
    common = next((layout for pattern, layout in _COMMON if re.fullmatch(pattern, name)), "")
    for pattern, rename, factor, layout in _MOVES:
        match = re.fullmatch(pattern, name)
        if match:
            return rename(match), factor, layout or common
    return name, 1.0, common


def _unet(depth: Depth) -> Iterator[str]:
    yield from ("conv_body_first.0.weight", "conv_body_first.1.bias", "final_conv.0.weight", "final_conv.1.bias")
    yield from ("final_linear.weight", "final_linear.bias")
    for i in range(len(depth.blocks)):
        for way, conv2, bias2, skip in (
            ("down", "conv2.1.weight", "conv2.2.bias", "skip.1.weight"),
            ("up", "conv2.weight", "conv2.activation.bias", "skip.weight"),
        ):
            block = f"conv_body_{way}.{i}"
            yield from (f"{block}.conv1.0.weight", f"{block}.conv1.1.bias")
            yield from (f"{block}.{conv2}", f"{block}.{bias2}", f"{block}.{skip}")
        for layer in ("toRGB.{}", "condition_scale.{}.0", "condition_scale.{}.2"):
            yield from (f"{layer.format(i)}.weight", f"{layer.format(i)}.bias")
        for layer in ("condition_shift.{}.0", "condition_shift.{}.2"):
            yield from (f"{layer.format(i)}.weight", f"{layer.format(i)}.bias")


def _decoder(depth: Depth) -> Iterator[str]:
    return (slot.stored for slot in BASICSR[0].slots(depth) if not slot.outside)


def _names(depth: Depth, *, whole: bool) -> Iterator[str]:
    if whole:
        yield from _unet(depth)
    prefix = _DECODER if whole else ""
    yield from (prefix + name for name in _decoder(depth))


def _slots(*, whole: bool, clean: bool) -> Callable[[Depth], Iterator[Slot]]:
    def slots(depth: Depth) -> Iterator[Slot]:
        for name in _names(depth, whole=whole):
            canonical, factor, clean_layout = _moved(name)
            optional = ".noise" in name
            if clean:
                yield Slot(canonical, canonical, clean_layout, scale=1.0 / factor, optional=optional)
            else:
                layout = "" if name.endswith("activate.bias") else clean_layout
                yield Slot(canonical, name, layout, optional=optional)

    return slots


_OWN_FILE = "the target's code keeps the state of an optimizer in a file of its own"


def _naming(architecture: str, *, whole: bool, clean: bool) -> Naming:
    slots = _slots(whole=whole, clean=clean)
    return Naming(architecture, "generator", slots, ("params",), ("params_ema",), caution=_CAUTION, training=_OWN_FILE)


V1 = (_naming("gfpgan", whole=True, clean=False),)
CLEAN = (_naming("gfpgan", whole=True, clean=True), _naming("stylegan2-clean", whole=False, clean=True))
BASICSR_DECODER = (_naming("stylegan2-clean", whole=False, clean=False),)
