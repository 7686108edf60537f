"""StyleGAN1 as its ports to PyTorch name it, against the canonical names of `networks/stylegan1.py`.

rosinality-hook      no bias on the constant; the bias of an up-convolution is blurred with the rest; styles with their
                     1; from 128x128 on kernels (in, out, height, width) of transposed convolutions, of which the code
                     takes a quarter; one noise map for both layers of a size
huangzh13-stylegan   NVIDIA's conventions, but for from-RGB, which is linear; lernapparat and PULSE name blocks by
                     their size and keep one to-RGB alone
aladdin-stylegan     bilinear, no blur, ReLU, a linear last mapping layer, no activation behind the constant, tanh
mmgen-stylegan1      one more activation before the blur; one noise strength for all channels
fb-gan-zoo           no blur; one noise strength for all channels
tae-stylegan         bilinear; two layers per style

All but NVIDIA's and genforce's code use torch's instance norm, which adds 1e-5 to the variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from eqlr_tools.families.naming import Constant, Depth, Naming, Slot
from eqlr_tools.families.stylegan1_names import (
    ARCHITECTURE,
    FUSED_FROM,
    TRUNCATED,
    dense,
    first_reverse,
    implied,
    layers,
    style,
)
from eqlr_tools.families.training import Group, Training, registered
from eqlr_tools.networks.stylegan1 import WHOLE_BATCH
from eqlr_tools.scaling import SQRT2, Shape

_TORCH_NORM = {"norm_eps": 1e-5}
_FINAL_KERNEL = "o i h=4 w=4 -> o (i h w)"


def _weighted(canonical: str, stored: str, layout: str = "", weight: str = "weight_orig") -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.{weight}", layout)
    yield Slot(f"{canonical}.bias", f"{stored}.bias")


# rosinality/style-based-gan-pytorch


def _rosinality_generator(fused: bool) -> Callable[[Depth], Iterator[Slot]]:
    def slots(depth: Depth) -> Iterator[Slot]:
        for i in range(depth.mapping_layers):
            yield from _weighted(f"mapping.fc{i}", f"style.{2 * i + 1}.linear")
        yield Slot("synthesis.const", "generator.progression.0.conv1.input", "1 c h w -> c h w")
        for number, layer, size, second in layers(depth):
            block = f"generator.progression.{number // 2}"
            if second:
                yield from _weighted(layer, f"{block}.conv2.conv")
            elif number:
                yield from _rosinality_up(layer, f"{block}.conv1", fused and size >= FUSED_FROM)
            adain = f"{block}.adain{second + 1}.style.linear"
            yield from style(layer, f"{adain}.weight_orig", f"{adain}.bias", add=0.0)
            yield Slot(f"{layer}.noise_strength", f"{block}.noise{second + 1}.weight_orig", "1 c 1 1 -> c")
        for index, size in enumerate((4, *depth.blocks)):
            yield from _weighted(f"synthesis.b{size}.torgb", f"generator.to_rgb.{index}.conv")

    return slots


def _rosinality_up(layer: str, stored: str, fused: bool) -> Iterator[Slot]:
    if fused:
        yield Slot(f"{layer}.weight", f"{stored}.0.weight", "i o h w -> o i h w", "h w", scale=0.25)
        yield Slot(f"{layer}.bias", f"{stored}.0.bias")
    else:
        yield from _weighted(layer, f"{stored}.1.conv")
    yield from _rosinality_blur(f"{stored}.{1 if fused else 2}", f"{layer}.bias")


def _rosinality_blur(stored: str, repeats: str) -> Iterator[Slot]:
    layout = "1 1 h w -> h w"
    yield Slot("blur", f"{stored}.weight", layout, optional=True, repeats=repeats)
    yield Slot("blur", f"{stored}.weight_flip", layout, "h w", optional=True, repeats=repeats)


def _rosinality_discriminator(fused: bool, activated: bool) -> Callable[[Depth], Iterator[Slot]]:
    def slots(depth: Depth) -> Iterator[Slot]:
        for index, size in enumerate(reversed((4, *depth.blocks))):
            block = f"progression.{index}"
            yield from _weighted(f"b{size}.fromrgb", f"from_rgb.{index}{'.0' if activated else ''}.conv")
            if size == 4:
                yield from _weighted("b4.conv", f"{block}.conv1.0.conv")
                yield from _weighted("b4.fc", f"{block}.conv2.0.conv", _FINAL_KERNEL)
                continue
            yield from _weighted(f"b{size}.conv0", f"{block}.conv1.0.conv")
            if fused and size >= FUSED_FROM:
                yield from dense(f"b{size}.conv1", f"{block}.conv2.1")
            else:
                yield from _weighted(f"b{size}.conv1", f"{block}.conv2.1.conv")
            yield from _rosinality_blur(f"{block}.conv2.0", f"b{size}.conv0.bias")
        yield from _weighted("b4.out", "linear.linear")

    return slots


# huangzh13/StyleGAN.pytorch, lernapparat, PULSE


def _huangzh13_generator(mapping: str, part: str, by_size: bool, noise: str) -> Callable[[Depth], Iterator[Slot]]:
    def slots(depth: Depth) -> Iterator[Slot]:
        for i in range(depth.mapping_layers):
            yield from dense(f"mapping.fc{i}", f"{mapping}{i}")
        yield Slot("mapping.w_avg", "truncation.avg_latent", optional=True, may_lack=by_size)
        for number, layer, size, second in layers(depth):
            block = f"blocks.{f'{size}x{size}' if by_size else number // 2 - 1}"
            stored = part + (block if number > 1 or by_size else "init_block")
            if not number:
                yield Slot("synthesis.const", f"{stored}.const", "1 c h w -> c h w")
                yield Slot(f"{layer}.bias", f"{stored}.bias")
            elif second:
                yield from dense(layer, f"{stored}.{'conv1' if size > 4 else 'conv'}")
            else:
                reverse = first_reverse(size)
                yield Slot(f"{layer}.weight", f"{stored}.conv0_up.weight", "o i h w -> o i h w", reverse)
                yield Slot(f"{layer}.bias", f"{stored}.conv0_up.bias")
                yield Slot("blur", f"{stored}.conv0_up.intermediate.kernel", "1 1 h w -> h w", optional=True)
            epilogue = f"{stored}.epi{second + 1}"
            yield from style(layer, f"{epilogue}.style_mod.lin.weight", f"{epilogue}.style_mod.lin.bias")
            yield Slot(f"{layer}.noise_strength", f"{epilogue}.{noise}.weight")
        if by_size:
            yield from dense(f"synthesis.b{depth.resolution}.torgb", f"{part}torgb")
        else:
            for index, size in enumerate((4, *depth.blocks)):
                yield from dense(f"synthesis.b{size}.torgb", f"{part}to_rgb.{index}")

    return slots


def _huangzh13_discriminator(depth: Depth) -> Iterator[Slot]:
    for index, size in enumerate(reversed((4, *depth.blocks))):
        yield from dense(f"b{size}.fromrgb", f"from_rgb.{index}")
        if size > 4:
            block = f"blocks.{index}"
            yield from dense(f"b{size}.conv0", f"{block}.conv0")
            yield from dense(f"b{size}.conv1", f"{block}.conv1_down")
            yield Slot("blur", f"{block}.blur.kernel", "1 1 h w -> h w", optional=True)
            yield Slot("mean", f"{block}.conv1_down.downscale.blur.kernel", "1 1 h w -> h w", optional=True)
    yield from dense("b4.conv", "final_block.conv")
    yield from dense("b4.fc", "final_block.dense0")
    yield from dense("b4.out", "final_block.dense1")


# aladdinpersson/Machine-Learning-Collection


def _aladdin_generator(depth: Depth) -> Iterator[Slot]:
    for i in range(depth.mapping_layers):
        stored = f"map.mapping.{2 * i + 1}"
        yield Slot(f"mapping.fc{i}.weight", f"{stored}.linear.weight")
        yield Slot(f"mapping.fc{i}.bias", f"{stored}.bias")
    yield Slot("synthesis.const", "starting_constant", "1 c h w -> c h w")
    for number, layer, size, second in layers(depth):
        block, which = (f"prog_blocks.{number // 2 - 1}.", "inject_") if size > 4 else ("initial_", "")
        if size > 4:
            yield Slot(f"{layer}.weight", f"{block}conv{second + 1}.conv.weight")
            yield Slot(f"{layer}.bias", f"{block}conv{second + 1}.bias")
        elif second:
            yield from dense(layer, "initial_conv")
        for part, name in (("gamma", "style_scale"), ("beta", "style_bias")):
            stored = f"{block}adain{second + 1}.{name}"
            yield Slot(f"{layer}.{part}.weight", f"{stored}.linear.weight")
            yield Slot(f"{layer}.{part}.bias", f"{stored}.bias")
        yield Slot(f"{layer}.noise_strength", f"{block}{which}noise{second + 1}.weight", "1 c 1 1 -> c")
    for index, size in enumerate((4, *depth.blocks)):
        # The smallest is the same module under a second name.
        for stored in (f"rgb_layers.{index}", *(["initial_rgb"] if size == 4 else [])):
            yield Slot(f"synthesis.b{size}.torgb.weight", f"{stored}.conv.weight")
            yield Slot(f"synthesis.b{size}.torgb.bias", f"{stored}.bias")


# open-mmlab/mmgeneration


def _mmgen_generator(depth: Depth) -> Iterator[Slot]:
    for i in range(depth.mapping_layers):
        yield Slot(f"mapping.fc{i}.weight", f"style_mapping.{i + 1}.linear.weight_orig")
        yield Slot(f"mapping.fc{i}.bias", f"style_mapping.{i + 1}.bias")
    yield Slot("synthesis.const", "convs.0.conv1.input", "1 c h w -> c h w")
    for number, layer, _, second in layers(depth):
        block = f"convs.{number // 2}"
        if second:
            yield from _weighted(layer, f"{block}.conv2.conv")
        elif number:
            yield from _weighted(layer, f"{block}.conv1.0.conv")
            yield Slot("blur", f"{block}.conv1.1.kernel", "h w -> h w", "h w", optional=True)
        affine = f"{block}.adain{second + 1}.affine"
        yield from style(layer, f"{affine}.weight_orig", f"{affine}.bias", add=0.0)
        width = f"{layer}.bias" if number else "synthesis.const"
        yield Slot(f"{layer}.noise_strength", f"{block}.noise_injector{second + 1}.weight", spread=width)
        yield Slot(f"{layer}.noise", f"injected_noise_{number}", "1 1 h w -> h w", optional=True)
    for index, size in enumerate((4, *depth.blocks)):
        yield from _weighted(f"synthesis.b{size}.torgb", f"to_rgbs.{index}.conv")


def _mmgen_discriminator(depth: Depth) -> Iterator[Slot]:
    for index, size in enumerate(reversed((4, *depth.blocks))):
        block = f"convs.{index}"
        yield from _weighted(f"b{size}.fromrgb", f"from_rgb.{index}.conv")
        if size == 4:
            yield from _weighted("b4.conv", f"{block}.0.conv")
            yield from _weighted("b4.fc", f"{block}.1.conv", _FINAL_KERNEL)
        else:
            yield from _weighted(f"b{size}.conv0", f"{block}.0.conv")
            yield from _weighted(f"b{size}.conv1", f"{block}.2.conv")
            yield Slot("blur", f"{block}.1.kernel", "h w -> h w", "h w", optional=True)
    yield Slot("b4.out.weight", "final_linear.0.linear.weight_orig")
    yield Slot("b4.out.bias", "final_linear.0.bias")


# facebookresearch/pytorch_GAN_zoo


def _fb_generator(depth: Depth) -> Iterator[Slot]:
    for i in range(depth.mapping_layers):
        yield from dense(f"mapping.fc{i}", f"mapping.FC.{i}.module")
    yield Slot("mapping.w_avg", "mean_w", "1 w -> w", optional=True)
    yield Slot("synthesis.const", "baseScale0", "1 c h w -> c h w")
    for number, layer, size, second in layers(depth):
        block = f"scaleLayers.{number // 2 - 1}"
        convolution, adain = f"{block}.{2 * second}.module", f"{block}.{2 * second + 1}"
        noise = f"noiseModulators.{number // 2 - 1}.{second}"
        if size == 4:
            convolution, adain, noise = "conv0.module", f"adain0{second}", f"noiseMod0{second}"
        if number:
            yield from dense(layer, convolution)
        modulator = f"{adain}.styleModulator.module"
        yield from style(layer, f"{modulator}.weight", f"{modulator}.bias", add=0.0)
        width = f"{layer}.bias" if number else "synthesis.const"
        layout = "c 1 1 1 -> c"
        yield Slot(f"{layer}.noise_strength", f"{noise}.module.weight", layout, spread=width)
    for index, size in enumerate(depth.blocks):
        yield from dense(f"synthesis.b{size}.torgb", f"toRGBLayers.{index}.module")


# t-ae/style-gan-pytorch


def _tae_generator(depth: Depth) -> Iterator[Slot]:
    if depth.labels:
        yield Slot("mapping.label.weight", "latent_transform.label_embed.weight", "l z -> z l")
    for i in range(depth.mapping_layers):
        stored = f"latent_transform.latent_transform.{2 * i}"
        yield Slot(f"mapping.fc{i}.weight", f"{stored}.weight", "o i 1 1 -> o i")
        yield Slot(f"mapping.fc{i}.bias", f"{stored}.bias")
    yield Slot("mapping.w_avg", "w_average", "1 w 1 1 -> w", optional=True)
    yield _level("synthesis_module.level", depth)
    yield Slot("synthesis.const", "synthesis_module.blocks.0.base_image", "1 c h w -> c h w")
    for number, layer, _, second in layers(depth):
        block = f"synthesis_module.blocks.{number // 2}"
        if number:
            yield from dense(layer, f"{block}.conv" if number == 1 else f"{block}.conv{second + 1}")
        for part, name in (("gamma", "scale_transform"), ("beta", "bias_transform")):
            stored = f"{block}.adain{second + 1}.{name}"
            yield Slot(f"{layer}.{part}.weight", f"{stored}.weight", "o w 1 1 -> o w")
            yield Slot(f"{layer}.{part}.bias", f"{stored}.bias")
        noise = f"{block}.noise{second + 1}"
        yield Slot(f"{layer}.noise_strength", f"{noise}.noise_scale", "1 c 1 1 -> c")
        yield Slot(f"{layer}.noise", f"{noise}.fixed_noise", "1 1 h w -> h w", optional=True)
        if number and not second:
            yield Slot("blur", f"{block}.blur.filter", "1 1 h w -> h w", optional=True)
    for index, size in enumerate((4, *depth.blocks)):
        yield from dense(f"synthesis.b{size}.torgb", f"synthesis_module.to_rgbs.{index}")


def _tae_discriminator(depth: Depth) -> Iterator[Slot]:
    yield _level("level", depth)
    for index, size in enumerate(reversed((4, *depth.blocks))):
        block = f"blocks.{index}"
        yield from dense(f"b{size}.fromrgb", f"from_rgbs.{index}")
        if size > 4:
            yield from dense(f"b{size}.conv0", f"{block}.conv1")
            yield from dense(f"b{size}.conv1", f"{block}.conv2")
            yield Slot("blur", f"{block}.blur.filter", "1 1 h w -> h w", optional=True)
        else:
            yield from dense("b4.conv", f"{block}.conv1")
            yield Slot("b4.fc.weight", f"{block}.conv2.weight", _FINAL_KERNEL)
            yield Slot("b4.fc.bias", f"{block}.conv2.bias")
            yield Slot("b4.out.weight", f"{block}.conv3.weight", "o i 1 1 -> o i")
            yield Slot("b4.out.bias", f"{block}.conv3.bias")


def _tae_constant(weight: str, shape: Shape) -> Constant | None:
    """`scale` beside the weight: gain sqrt(2), but for styles, to-RGB layers and the last one of the discriminator."""
    if not weight.endswith(".weight"):
        return None
    linear = "_transform." in weight.removeprefix("latent_transform.") or "to_rgbs." in weight or ".conv3." in weight
    gain = 1.0 if linear and not weight.startswith("latent_transform.") else SQRT2
    return Constant(weight.removesuffix("weight") + "scale", gain / math.sqrt(math.prod(shape[1:])))


def _level(stored: str, depth: Depth) -> Slot:
    """How many sizes are in use, counted from the smallest: the level of detail the other way round."""
    return Slot("lod", stored, optional=True, scale=-1.0, add=1.0 + len(depth.blocks))


_OWN_FILES = "the project keeps every network, and every optimizer, in a file of its own, as a bare state dict"
_SAVES_NONE = "the target's code saves no state of its optimizers"


def _naming(
    role: Any,
    slots: Callable[[Depth], Iterator[Slot]],
    place: tuple[str, ...],
    ema: tuple[str, ...] = (),
    *,
    caution: str = "",
    reads_only: str = "",
    form: Mapping[str, Any] | None = None,
    training: Training | str = _SAVES_NONE,
    constant: Callable[[str, Shape], Constant | None] | None = None,
) -> Naming:
    form = form or {}
    values = implied(form, blurs=False)
    return Naming(
        ARCHITECTURE,
        role,
        slots,
        place,
        ema,
        reads_only,
        caution,
        form,
        implied=values,
        training=training,
        constant=constant,
    )


_ROSINALITY_ORDER = registered(
    """
    input weight bias weight_orig generator style progression to_rgb from_rgb conv1 noise1 adain1 conv2 noise2 adain2
    conv linear
    """
)
_HUANGZH13_ORDER = registered(
    """
    const weight bias g_mapping g_synthesis init_block blocks to_rgb map conv0 conv0_up epi1 conv conv1 conv1_down epi2
    dense top_epi noise style_mod lin final_block from_rgb
    """
)
_ALADDIN_ORDER = registered(
    """
    starting_constant weight bias map mapping initial_adain1 initial_adain2 initial_noise1 initial_noise2 initial_conv
    initial_rgb prog_blocks rgb_layers conv1 conv2 inject_noise1 inject_noise2 adain1 adain2 style_scale style_bias
    linear conv
    """
)
_MMGEN_ORDER = registered(
    """
    bias weight_orig weight style_mapping linear input convs conv1 noise_injector1 adain1 affine conv2 noise_injector2
    adain2 conv to_rgbs from_rgb final_linear
    """
)
_ROSINALITY_FORM = {**_TORCH_NORM, "bias_before_blur": True, "shared_noise": True}
ROSINALITY = (
    *(
        _naming(
            "generator",
            _rosinality_generator(fused),
            ("generator",),
            ("g_running",),
            form=_ROSINALITY_FORM,
            training=Training(
                _ROSINALITY_ORDER, ("g_optimizer",), groups=(Group(r"style\..*", settings={"mult": 0.01}),)
            ),
        )
        for fused in (True, False)
    ),
    *(
        _naming(
            "discriminator",
            _rosinality_discriminator(fused, activated),
            ("discriminator",),
            form={"group_size": WHOLE_BATCH} | ({} if activated else {"fromrgb_linear": True}),
            training=Training(_ROSINALITY_ORDER, ("d_optimizer",)),
        )
        for activated in (True, False)
        for fused in (True, False)
    ),
)
_GEN_OPTIM = ("gen_optim",)
HUANGZH13 = (
    *(
        _naming(
            "generator",
            _huangzh13_generator(*words),
            ("gen",),
            ("gen_shadow",),
            caution=_OWN_FILES,
            form={**_TORCH_NORM, **TRUNCATED},
            training=training,
        )
        for words, training in (
            (("g_mapping.map.dense", "g_synthesis.", False, "top_epi.noise"), Training(_HUANGZH13_ORDER, _GEN_OPTIM)),
            (("g_mapping.dense", "g_synthesis.", True, "top_epi.noise"), _SAVES_NONE),
            (("g_mapping.dense", "", True, "noise"), _SAVES_NONE),
        )
    ),
    _naming(
        "discriminator",
        _huangzh13_discriminator,
        ("dis",),
        caution=_OWN_FILES,
        form={"fromrgb_linear": True},
        training=Training(_HUANGZH13_ORDER, ("dis_optim",)),
    ),
)
ALADDIN = (
    _naming(
        "generator",
        _aladdin_generator,
        ("state_dict",),
        form={
            **_TORCH_NORM,
            "bilinear": True,
            "constant_activated": False,
            "mapping_slope": 0.0,
            "mapping_ends_linear": True,
            "tanh": True,
            "bare_start": True,
        },
        training=Training(_ALADDIN_ORDER, ("optimizer",), groups=(Group(r".*map.*"),)),
    ),
)
MMGEN = (
    _naming(
        "generator",
        _mmgen_generator,
        ("state_dict", "generator."),
        ("state_dict", "generator_ema."),
        form={**_TORCH_NORM, "activated_before_blur": True},
        training=Training(_MMGEN_ORDER, ("optimizer", "generator")),
    ),
    _naming(
        "discriminator",
        _mmgen_discriminator,
        ("state_dict", "discriminator."),
        form={"fc_linear": True},
        training=Training(_MMGEN_ORDER, ("optimizer", "discriminator")),
    ),
)
FB_GAN_ZOO = (_naming("generator", _fb_generator, ("netG",), ("avgG",)),)
TAE = (
    _naming("generator", _tae_generator, ("generator",), form={"bilinear": True}, constant=_tae_constant),
    _naming(
        "discriminator",
        _tae_discriminator,
        ("discriminator",),
        form={"pooled_after_activation": True},
        constant=_tae_constant,
    ),
)
