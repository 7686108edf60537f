"""StyleGAN1 as NVIDIA, genforce and eqlr itself name it, against the canonical names of `networks/stylegan1.py`.

nvidia-stylegan-tf      `G_synthesis/8x8/Conv0_up/StyleMod/weight`; (height, width, in, out)
genforce-stylegan       `synthesis.layer2.style.weight`
interfacegan-stylegan   `synthesis.layer2.epilogue.style_mod.dense.linear.weight`, genforce's older model
stylegan1-plain         the canonical names, as `eqlr convert --to plain` writes them

One weight makes both halves of a style, the factor before the summand; the factor's 1 is added at run time. From
128x128 on the up-convolutions run as transposed ones on the kernel as it stands, so its axes run backwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.families.naming import Depth, Naming, Slot
from eqlr_tools.families.stylegan2_names import GENFORCE_DISCRIMINATOR, genforce_training
from eqlr_tools.families.training import registered
from eqlr_tools.networks.stylegan1 import BLUR, FORM, NO_BLUR, defaults_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARCHITECTURE = "stylegan1"
FUSED_FROM = 128
"""The size from which on NVIDIA's code, and what follows it, fuses resampling and convolution."""

TRUNCATED = {"truncated_places": 8}
_NO_TRAINING = "no project trains networks of these names"
_NO_PICKLE = "its files are pickles of TensorFlow networks, which eqlr reads but does not write"


def implied(form: Mapping[str, Any], *, blurs: bool) -> dict[str, NDArray]:
    """What a naming implies: its form's entries as canonical parameters, and a blur that its files do not store."""
    entries = {f"{FORM}{name}": np.array(float(value)) for name, value in form.items()}
    return {"blur": BLUR if blurs else NO_BLUR, **entries}


def first_reverse(size: int) -> str:
    """The axes of conv0's kernel that run backwards in NVIDIA's layout, for a slot."""
    return "h w" if size >= FUSED_FROM else ""


def dense(canonical: str, stored: str) -> Iterator[Slot]:
    """A weight and a bias, in the canonical layout."""
    yield Slot(f"{canonical}.weight", f"{stored}.weight")
    yield Slot(f"{canonical}.bias", f"{stored}.bias")


def style(canonical: str, weight: str, bias: str, *, add: float = 1.0, layout: str = "o w -> o w") -> Iterator[Slot]:
    """The halves of a style that one layer makes; `add` is what the code adds to the factor."""
    for number, part in enumerate(("gamma", "beta")):
        yield Slot(f"{canonical}.{part}.weight", weight, layout, part=(number, 2))
        yield Slot(f"{canonical}.{part}.bias", bias, part=(number, 2), add=0.0 if number else add)


def layers(depth: Depth) -> Iterator[tuple[int, str, int, int]]:
    """(number, canonical name, size, 0 or 1) of all styled layers."""
    for index, size in enumerate((4, *depth.blocks)):
        for second in (0, 1):
            yield 2 * index + second, f"synthesis.b{size}.conv{second}", size, second


# eqlr's own names


def plain_generator(depth: Depth) -> Iterator[Slot]:
    if depth.labels:
        yield Slot("mapping.label.weight", "mapping.label.weight")
    for i in range(depth.mapping_layers):
        yield from dense(f"mapping.fc{i}", f"mapping.fc{i}")
    yield Slot("mapping.w_avg", "mapping.w_avg", optional=True, may_lack=True)
    yield Slot("synthesis.const", "synthesis.const")
    for number, layer, _, _ in layers(depth):
        if number:
            yield from dense(layer, layer)
        else:
            yield Slot(f"{layer}.bias", f"{layer}.bias", optional=True, may_lack=True)
        yield from dense(f"{layer}.gamma", f"{layer}.gamma")
        yield from dense(f"{layer}.beta", f"{layer}.beta")
        yield Slot(f"{layer}.noise_strength", f"{layer}.noise_strength")
        yield Slot(f"{layer}.noise", f"{layer}.noise", optional=True, may_lack=True)
    yield from _plain_growth("synthesis.", "torgb", depth)
    yield from _plain_rest("generator")


def plain_discriminator(depth: Depth) -> Iterator[Slot]:
    yield from _plain_growth("", "fromrgb", depth)
    for size in reversed(depth.blocks):
        yield from dense(f"b{size}.conv0", f"b{size}.conv0")
        yield from dense(f"b{size}.conv1", f"b{size}.conv1")
    for layer in ("b4.conv", "b4.fc", "b4.out"):
        yield from dense(layer, layer)
    yield from _plain_rest("discriminator")


def _plain_growth(prefix: str, layer: str, depth: Depth) -> Iterator[Slot]:
    for size in (4, *depth.blocks):
        for kind in ("weight", "bias"):
            name = f"{prefix}b{size}.{layer}.{kind}"
            smaller = size < depth.resolution
            yield Slot(name, name, optional=smaller, may_lack=smaller)


def _plain_rest(role: str) -> Iterator[Slot]:
    yield Slot("blur", "blur")
    yield Slot("lod", "lod", optional=True)
    for name in defaults_of(role):
        yield Slot(f"{FORM}{name}", f"{FORM}{name}", optional=True, may_lack=True)


# NVlabs/stylegan


def _tf_dense(canonical: str, stored: str) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}/weight", "i o -> o i")
    yield Slot(f"{canonical}.bias", f"{stored}/bias")


def _tf_conv(canonical: str, stored: str, reverse: str = "") -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}/weight", "h w i o -> o i h w", reverse)
    yield Slot(f"{canonical}.bias", f"{stored}/bias")


def _tf_generator(depth: Depth) -> Iterator[Slot]:
    if depth.labels:
        yield Slot("mapping.label.weight", "G_mapping/LabelConcat/weight", "l z -> z l")
    for i in range(depth.mapping_layers):
        yield from _tf_dense(f"mapping.fc{i}", f"G_mapping/Dense{i}")
    yield Slot("mapping.w_avg", "dlatent_avg", optional=True)
    for holder in ("", "G_synthesis/"):
        yield Slot("lod", f"{holder}lod", optional=True)
    yield Slot("synthesis.const", "G_synthesis/4x4/Const/const", "1 c h w -> c h w")
    for number, layer, size, second in layers(depth):
        name = ("Const", "Conv") if size == 4 else ("Conv0_up", "Conv1")
        stored = f"G_synthesis/{size}x{size}/{name[second]}"
        if number:
            yield from _tf_conv(layer, stored, "" if second else first_reverse(size))
        else:
            yield Slot(f"{layer}.bias", f"{stored}/bias")
        yield from style(layer, f"{stored}/StyleMod/weight", f"{stored}/StyleMod/bias", layout="w o -> o w")
        yield Slot(f"{layer}.noise_strength", f"{stored}/Noise/weight")
        yield Slot(f"{layer}.noise", f"G_synthesis/noise{number}", "1 1 h w -> h w", optional=True)
    for index, size in enumerate((4, *depth.blocks)):
        yield from _tf_conv(f"synthesis.b{size}.torgb", f"G_synthesis/ToRGB_lod{len(depth.blocks) - index}")


def _tf_discriminator(depth: Depth) -> Iterator[Slot]:
    yield Slot("lod", "lod", optional=True)
    for index, size in enumerate((4, *depth.blocks)):
        yield from _tf_conv(f"b{size}.fromrgb", f"FromRGB_lod{len(depth.blocks) - index}")
    for size in reversed(depth.blocks):
        yield from _tf_conv(f"b{size}.conv0", f"{size}x{size}/Conv0")
        yield from _tf_conv(f"b{size}.conv1", f"{size}x{size}/Conv1_down")
    yield from _tf_conv("b4.conv", "4x4/Conv")
    yield from _tf_dense("b4.fc", "4x4/Dense0")
    yield from _tf_dense("b4.out", "4x4/Dense1")


# genforce/genforce


def _genforce_mapping(depth: Depth) -> Iterator[Slot]:
    if depth.labels:
        yield Slot("mapping.label.weight", "mapping.label_weight", "l z -> z l")
    for i in range(depth.mapping_layers):
        yield from dense(f"mapping.fc{i}", f"mapping.dense{i}")


def _genforce_generator(depth: Depth) -> Iterator[Slot]:
    yield from _genforce_mapping(depth)
    yield Slot("mapping.w_avg", "truncation.w_avg", optional=True)
    yield Slot("lod", "synthesis.lod", optional=True)
    yield Slot("synthesis.const", "synthesis.layer0.const", "1 c h w -> c h w")
    for number, layer, size, second in layers(depth):
        stored = f"synthesis.layer{number}"
        reverse = "" if second else first_reverse(size)
        if number:
            yield Slot(f"{layer}.weight", f"{stored}.weight", "o i h w -> o i h w", reverse)
        yield Slot(f"{layer}.bias", f"{stored}.bias")
        yield from style(layer, f"{stored}.style.weight", f"{stored}.style.bias")
        yield Slot(f"{layer}.noise_strength", f"{stored}.apply_noise.weight")
        yield Slot(f"{layer}.noise", f"{stored}.apply_noise.noise", "1 1 h w -> h w", optional=True)
        if number and not second:
            yield _blur(f"{stored}.blur.kernel", f"{layer}.bias")
    for index, size in enumerate((4, *depth.blocks)):
        yield from dense(f"synthesis.b{size}.torgb", f"synthesis.output{index}")


def _blur(stored: str, repeats: str, layout: str = "1 1 h w -> h w") -> Slot:
    return Slot("blur", stored, layout, optional=True, repeats=repeats)


def _genforce_discriminator(depth: Depth) -> Iterator[Slot]:
    yield Slot("lod", "lod", optional=True)
    for index, size in enumerate(reversed((4, *depth.blocks))):
        yield from dense(f"b{size}.fromrgb", f"input{index}")
        if size > 4:
            yield from dense(f"b{size}.conv0", f"layer{2 * index}")
            yield from dense(f"b{size}.conv1", f"layer{2 * index + 1}")
            yield _blur(f"layer{2 * index + 1}.blur.kernel", f"b{size}.conv0.bias")
    last = 2 * len(depth.blocks)
    for number, layer in enumerate(("b4.conv", "b4.fc", "b4.out")):
        yield from dense(layer, f"layer{last + number}")


# genforce/interfacegan


def _interfacegan_generator(depth: Depth) -> Iterator[Slot]:
    for i in range(depth.mapping_layers):
        yield Slot(f"mapping.fc{i}.weight", f"mapping.dense{i}.linear.weight")
        yield Slot(f"mapping.fc{i}.bias", f"mapping.dense{i}.wscale.bias")
    yield Slot("mapping.w_avg", "truncation.w_avg", optional=True)
    yield Slot("mapping.truncation", "truncation.truncation", "1 p 1 -> p", optional=True, read_only=True)
    yield Slot("lod", "synthesis.lod", optional=True)
    yield Slot("synthesis.const", "synthesis.layer0.first_layer", "1 c h w -> c h w")
    for number, layer, size, second in layers(depth):
        stored = f"synthesis.layer{number}"
        if number and not second and size >= FUSED_FROM:
            yield Slot(f"{layer}.weight", f"{stored}.weight", "h w i o -> o i h w", "h w")
        elif number:
            yield Slot(f"{layer}.weight", f"{stored}.conv.weight")
        yield Slot(f"{layer}.bias", f"{stored}.epilogue.bias")
        mod = f"{stored}.epilogue.style_mod.dense"
        yield from style(layer, f"{mod}.linear.weight", f"{mod}.wscale.bias")
        yield Slot(f"{layer}.noise_strength", f"{stored}.epilogue.apply_noise.weight")
        yield Slot(f"{layer}.noise", f"{stored}.epilogue.apply_noise.noise", "1 1 h w -> h w", optional=True)
        if number and not second:
            yield _blur(f"{stored}.blur.kernel", f"{layer}.bias")
    for index, size in enumerate((4, *depth.blocks)):
        yield Slot(f"synthesis.b{size}.torgb.weight", f"synthesis.output{index}.conv.weight")
        yield Slot(f"synthesis.b{size}.torgb.bias", f"synthesis.output{index}.bias")


_SMOOTH = ("generator_smooth",)
PLAIN = (
    Naming(
        ARCHITECTURE,
        "generator",
        plain_generator,
        ("generator",),
        ("generator_ema",),
        implied={"blur": BLUR},
        training=_NO_TRAINING,
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        plain_discriminator,
        ("discriminator",),
        implied={"blur": BLUR},
        training=_NO_TRAINING,
        scores_labels=True,
    ),
)
NVIDIA_TF = (
    Naming(
        ARCHITECTURE,
        "generator",
        _tf_generator,
        ("G",),
        ("Gs",),
        reads_only=_NO_PICKLE,
        form=TRUNCATED,
        implied=implied(TRUNCATED, blurs=True),
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _tf_discriminator,
        ("D",),
        reads_only=_NO_PICKLE,
        scores_labels=True,
        implied=implied({}, blurs=True),
    ),
)
GENFORCE = (
    Naming(
        ARCHITECTURE,
        "generator",
        _genforce_generator,
        ("generator",),
        _SMOOTH,
        form=TRUNCATED,
        implied=implied(TRUNCATED, blurs=False),
        training=genforce_training(
            "generator",
            registered(
                "weight bias label_weight const mapping dense synthesis layer output apply_noise style",
                blocks={"layer": (2, 0), "output": (1, 0)},
                first=r"synthesis\.(?:layer|output)\d+\.bias",
            ),
        ),
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _genforce_discriminator,
        ("discriminator",),
        implied=implied({}, blurs=False),
        training=genforce_training("discriminator", GENFORCE_DISCRIMINATOR),
        scores_labels=True,
    ),
)
INTERFACEGAN = (
    Naming(
        ARCHITECTURE,
        "generator",
        _interfacegan_generator,
        ("generator",),
        _SMOOTH,
        form=TRUNCATED,
        implied=implied(TRUNCATED, blurs=False),
        training="the target's project has no code for training",
    ),
)
