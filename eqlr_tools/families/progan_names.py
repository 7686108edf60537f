"""ProGAN and BMSG-GAN as PyTorch projects name them, against the canonical names of `networks/progan*.py`.

progan-plain        the canonical names, as `eqlr convert --to plain` writes them, and the form in scalars
aladdin-progan      `prog_blocks.0.conv1.conv.weight`; a plain transposed convolution first; the critic counts downwards
fb-gan-zoo          `scaleLayers.0.0.module.weight`; the first layer has a bias per pixel; the deviations of its first
                    files, whose names have no `module`, are handed on
akanimax-progan     `layers.0.conv_1.weight`, a transposed convolution first; BMSG-GAN's generator has the same names
interfacegan-pggan, wscale-progan      one to-RGB layer; the first layer is a 4x4 convolution of one padded pixel

Names of other frameworks and ports of NVIDIA's code stand in `progan_port_names.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

from eqlr_tools.families.code_widths import one_deviation
from eqlr_tools.families.naming import Constant, Depth, Naming, Said, Setting, Slot
from eqlr_tools.families.training import Training, registered
from eqlr_tools.scaling import SQRT2, Shape

ARCHITECTURE = "progan"
MULTISCALE = "bmsg-gan"

TRANSPOSED = "z c h=4 w=4 -> (c h=4 w=4) z"
"""A transposed 4x4 convolution of one pixel is a dense layer."""
PADDED = "c z h=4 w=4 -> (c h=4 w=4) z"
"""So is a 4x4 convolution of one pixel padded by 3, whose kernel axes run backwards."""
VALID = "o c h=4 w=4 -> o (c h=4 w=4)"
"""A 4x4 convolution of 4x4 pixels is one too, and a 1x1 convolution of one pixel."""
POINT = "o i 1 1 -> o i"


def pair(canonical: str, stored: str, layout: str = "", reverse: str = "", *, optional: bool = False) -> Iterator[Slot]:
    """Weight and bias of a layer; the layout is the weight's."""
    yield Slot(f"{canonical}.weight", f"{stored}.weight", layout, reverse, optional=optional)
    yield Slot(f"{canonical}.bias", f"{stored}.bias", optional=optional)


# eqlr's own names


def _plain_generator(depth: Depth) -> Iterator[Slot]:
    yield Slot("b4.label.weight", "b4.label.weight", optional=True, may_lack=True)
    yield Slot("b4.input.weight", "b4.input.weight")
    yield Slot("b4.input.bias", "b4.input.bias", optional=True, may_lack=True)
    yield Slot("b4.input.bias_map", "b4.input.bias_map", optional=True, may_lack=True)
    yield from _lacking("b4.conv0")
    yield from pair("b4.conv", "b4.conv")
    for size in depth.blocks:
        yield from _same(f"b{size}.conv0", f"b{size}.conv1")
    yield from _rgb(depth, "torgb")
    yield Slot("lod", "lod", optional=True, may_lack=True)


def _plain_discriminator(depth: Depth) -> Iterator[Slot]:
    for size in reversed(depth.blocks):
        yield from _same(f"b{size}.conv0", f"b{size}.conv1")
    yield from _rgb(depth, "fromrgb")
    yield from _lacking("b4.conv")
    yield from _lacking("b4.unused")
    yield from _same("b4.fc", "b4.out")
    yield Slot("lod", "lod", optional=True, may_lack=True)


def _multiscale_generator(depth: Depth) -> Iterator[Slot]:
    yield from _plain_generator(depth)
    yield Slot("every_size", "every_size")


def _multiscale_discriminator(depth: Depth) -> Iterator[Slot]:
    yield Slot("every_size", "every_size")
    for size in reversed(depth.blocks):
        yield from _same(f"b{size}.fromrgb", f"b{size}.conv0", f"b{size}.conv1")
    yield from _same("b4.fromrgb", "b4.conv", "b4.fc", "b4.out")


def _rgb(depth: Depth, name: str) -> Iterator[Slot]:
    yield from _same(f"b{depth.resolution}.{name}")
    for size in (4, *depth.blocks)[:-1]:
        yield from _lacking(f"b{size}.{name}")


def _same(*layers: str) -> Iterator[Slot]:
    for layer in layers:
        yield from pair(layer, layer)


def _lacking(layer: str) -> Iterator[Slot]:
    for kind in ("weight", "bias"):
        yield Slot(f"{layer}.{kind}", f"{layer}.{kind}", optional=True, may_lack=True)


# aladdinpersson/Machine-Learning-Collection


def _aladdin_generator(depth: Depth) -> Iterator[Slot]:
    yield from pair("b4.input", "initial.1", TRANSPOSED)
    yield from _scaled("b4.conv", "initial.3")
    yield from _scaled("b4.torgb", "rgb_layers.0")
    # The same module under a second name.
    yield from _scaled("b4.torgb", "initial_rgb")
    for index, size in enumerate(depth.blocks):
        yield from _scaled(f"b{size}.conv0", f"prog_blocks.{index}.conv1")
        yield from _scaled(f"b{size}.conv1", f"prog_blocks.{index}.conv2")
        yield from _scaled(f"b{size}.torgb", f"rgb_layers.{index + 1}")


def _aladdin_critic(depth: Depth) -> Iterator[Slot]:
    for index, size in enumerate(reversed(depth.blocks)):
        yield from _scaled(f"b{size}.fromrgb", f"rgb_layers.{index}")
        yield from _scaled(f"b{size}.conv0", f"prog_blocks.{index}.conv1")
        yield from _scaled(f"b{size}.conv1", f"prog_blocks.{index}.conv2")
    yield from _scaled("b4.fromrgb", f"rgb_layers.{len(depth.blocks)}")
    yield from _scaled("b4.fromrgb", "initial_rgb")
    yield from _scaled("b4.conv", "final_block.0")
    yield from _scaled("b4.fc", "final_block.2", VALID)
    yield from _scaled("b4.out", "final_block.4", POINT)


def _scaled(canonical: str, stored: str, layout: str = "") -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.conv.weight", layout)
    yield Slot(f"{canonical}.bias", f"{stored}.bias")


# facebookresearch/pytorch_GAN_zoo


def _fb_generator(depth: Depth, inner: str = ".module") -> Iterator[Slot]:
    yield Slot("b4.input.weight", f"formatLayer{inner}.weight")
    yield Slot("b4.input.bias_map", f"formatLayer{inner}.bias")
    yield from pair("b4.conv", f"groupScale0.0{inner}")
    yield from _fb_scales(depth, "toRGBLayers", "torgb", inner)


def _fb_discriminator(depth: Depth, inner: str = ".module") -> Iterator[Slot]:
    yield from _fb_scales(depth, "fromRGBLayers", "fromrgb", inner)
    yield from pair("b4.conv", f"groupScaleZero.0{inner}")
    yield from pair("b4.fc", f"groupScaleZero.1{inner}")
    yield from pair("b4.out", f"decisionLayer{inner}")


def _fb_scales(depth: Depth, stored: str, canonical: str, inner: str) -> Iterator[Slot]:
    yield from pair(f"b4.{canonical}", f"{stored}.0{inner}")
    for index, size in enumerate(depth.blocks):
        yield from pair(f"b{size}.conv0", f"scaleLayers.{index}.0{inner}")
        yield from pair(f"b{size}.conv1", f"scaleLayers.{index}.1{inner}")
        yield from pair(f"b{size}.{canonical}", f"{stored}.{index + 1}{inner}")


# akanimax/pro_gan_pytorch and BMSG-GAN


def _akanimax_generator(depth: Depth, first: str = "layers.0", start: int = 1) -> Iterator[Slot]:
    yield from pair("b4.input", f"{first}.conv_1", TRANSPOSED)
    yield from pair("b4.conv", f"{first}.conv_2")
    yield from pair("b4.torgb", "rgb_converters.0")
    for index, size in enumerate(depth.blocks):
        yield from pair(f"b{size}.conv0", f"layers.{index + start}.conv_1")
        yield from pair(f"b{size}.conv1", f"layers.{index + start}.conv_2")
        yield from pair(f"b{size}.torgb", f"rgb_converters.{index + 1}")


def _akanimax_discriminator(depth: Depth) -> Iterator[Slot]:
    """Version 3, which counts from the largest size."""
    for index, size in enumerate(reversed(depth.blocks)):
        yield from pair(f"b{size}.fromrgb", f"from_rgb.{index}.0")
        yield from pair(f"b{size}.conv0", f"layers.{index}.conv_1")
        yield from pair(f"b{size}.conv1", f"layers.{index}.conv_2")
    last = len(depth.blocks)
    yield from pair("b4.fromrgb", f"from_rgb.{last}.0")
    yield from _akanimax_last(f"layers.{last}")


def _akanimax_last(block: str) -> Iterator[Slot]:
    yield from pair("b4.conv", f"{block}.conv_1")
    yield from pair("b4.fc", f"{block}.conv_2", VALID)
    yield from pair("b4.out", f"{block}.conv_3", POINT)


def _older_discriminator(depth: Depth) -> Iterator[Slot]:
    """Version 2, which counts from the smallest size."""
    yield from pair("b4.fromrgb", "rgb_to_features.0")
    for index, size in enumerate(depth.blocks):
        yield from pair(f"b{size}.fromrgb", f"rgb_to_features.{index + 1}")
        yield from pair(f"b{size}.conv0", f"layers.{index}.conv_1")
        yield from pair(f"b{size}.conv1", f"layers.{index}.conv_2")
    yield from _akanimax_last("final_block")


def _bmsg_discriminator(depth: Depth, inner: str = "") -> Iterator[Slot]:
    yield from pair("b4.fromrgb", "final_converter")
    for index, size in enumerate(depth.blocks):
        yield from pair(f"b{size}.fromrgb", f"rgb_to_features.{index}{inner}")
        yield from pair(f"b{size}.conv0", f"layers.{index}{inner}.conv_1")
        yield from pair(f"b{size}.conv1", f"layers.{index}{inner}.conv_2")
    yield from _akanimax_last("final_block")


# genforce/interfacegan's older PGGAN, and files that store the constants


def _one_image(depth: Depth, layer: str, start: int, image: str, bias: str) -> Iterator[Slot]:
    layers = ["b4.input", "b4.conv", *(f"b{size}.conv{n}" for size in depth.blocks for n in (0, 1))]
    for number, canonical in enumerate(layers, start):
        layout, reverse = (PADDED, "h w") if canonical == "b4.input" else ("", "")
        yield Slot(f"{canonical}.weight", f"{layer.format(number)}.conv.weight", layout, reverse)
        yield Slot(f"{canonical}.bias", f"{layer.format(number)}.{bias}")
    last, stored = f"b{depth.resolution}.torgb", image.format(depth.resolution)
    yield Slot(f"{last}.weight", f"{stored}.conv.weight")
    yield Slot(f"{last}.bias", f"{stored}.{bias}")


def _wscale_constant(weight: str, shape: Shape) -> Constant | None:
    """A parameter of the layer that scales: gain sqrt(2), but for the image."""
    if not weight.endswith(".conv.weight"):
        return None
    gain = 1.0 if weight.startswith("output.") else SQRT2
    return Constant(weight.removesuffix("conv.weight") + "wscale.scale", gain / math.sqrt(math.prod(shape[1:])), (1,))


def _silent(word: str) -> Callable[[Said], bool]:
    return lambda said: said(word) is None


_FB_TANH = Setting("lossCriterion", {"WGANGP": False, "Logistic": False, "MSE": True, "DCGAN": True})
_FB = {"slope": Setting("leakyReluLeak"), "faded": Setting("alpha")}
_AKANIMAX = {"latent_normalised": False, "input_normalised": False}
_WHOLE_BATCH = {"group_size": 0}
_OLDER = _WHOLE_BATCH | {"rgb_activated": False}
_NO_TRAINING = "no project trains networks of these names"
NO_TRAINING_CODE = "the target's project has no code for training"
_FB_SAVES_NONE = "the target's code saves no state of its optimizers"
_OWN_FILES = "the target's code keeps the state of an optimizer in a file of its own"
_AKANIMAX_ORDER = registered("weight bias layers rgb_converters from_rgb conv_1 conv_2 conv_3")

PLAIN = (
    Naming(
        ARCHITECTURE,
        "generator",
        _plain_generator,
        ("generator",),
        ("generator_ema",),
        keeps_form=True,
        training=_NO_TRAINING,
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _plain_discriminator,
        ("discriminator",),
        keeps_form=True,
        training=_NO_TRAINING,
    ),
)
MULTISCALE_PLAIN = (
    Naming(
        MULTISCALE,
        "generator",
        _multiscale_generator,
        ("generator",),
        ("generator_ema",),
        keeps_form=True,
        training=_NO_TRAINING,
    ),
    Naming(
        MULTISCALE,
        "discriminator",
        _multiscale_discriminator,
        ("discriminator",),
        keeps_form=True,
        training=_NO_TRAINING,
    ),
)
ALADDIN = (
    Naming(
        ARCHITECTURE,
        "generator",
        _aladdin_generator,
        ("state_dict",),
        form={"tanh": True, "tanh_at_4": False, "input_normalised": False},
        training=Training(
            registered("weight bias initial initial_rgb prog_blocks rgb_layers conv1 conv2 conv"), ("optimizer",)
        ),
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _aladdin_critic,
        ("state_dict",),
        form=_WHOLE_BATCH | {"unbiased": True, "deviation_eps": 0.0},
        training=Training(
            registered("weight bias prog_blocks rgb_layers initial_rgb final_block conv1 conv2 conv"), ("optimizer",)
        ),
        widths=(one_deviation,),
    ),
)
FB_GAN_ZOO = tuple(
    naming
    for inner in (".module", "")
    for naming in (
        Naming(
            ARCHITECTURE,
            "generator",
            partial(_fb_generator, inner=inner),
            ("netG",),
            ("avgG",),
            settings={**_FB, "tanh": _FB_TANH},
            training=_FB_SAVES_NONE,
        ),
        Naming(
            ARCHITECTURE,
            "discriminator",
            partial(_fb_discriminator, inner=inner),
            ("netD",),
            form={"consecutive" if inner else "handed_on": True, "unbiased": True},
            settings=_FB,
            training=_FB_SAVES_NONE,
            widths=(one_deviation,),
        ),
    )
)
AKANIMAX = (
    Naming(
        MULTISCALE,
        "generator",
        _akanimax_generator,
        ("generator", "state_dict"),
        ("shadow_generator", "state_dict"),
        form=_AKANIMAX,
        fits=_silent("use_eql"),
        training=_OWN_FILES,
    ),
    Naming(
        MULTISCALE,
        "discriminator",
        _bmsg_discriminator,
        ("discriminator", "state_dict"),
        form=_OLDER,
        training=_OWN_FILES,
    ),
    Naming(
        MULTISCALE,
        "discriminator",
        partial(_bmsg_discriminator, inner=".module"),
        ("discriminator", "state_dict"),
        form=_OLDER,
        training=_OWN_FILES,
    ),
    Naming(
        ARCHITECTURE,
        "generator",
        _akanimax_generator,
        ("generator", "state_dict"),
        ("shadow_generator", "state_dict"),
        form=_AKANIMAX,
        training=Training(_AKANIMAX_ORDER, ("gen_optim",)),
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _akanimax_discriminator,
        ("discriminator", "state_dict"),
        form={"consecutive": True, "rest_alone": True},
        training=Training(_AKANIMAX_ORDER, ("dis_optim",)),
        widths=(one_deviation,),
    ),
    Naming(
        ARCHITECTURE,
        "generator",
        partial(_akanimax_generator, first="initial_block", start=0),
        ("generator", "state_dict"),
        ("shadow_generator", "state_dict"),
        form=_AKANIMAX,
        training=_OWN_FILES,
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _older_discriminator,
        ("discriminator", "state_dict"),
        form=_OLDER,
        training=_OWN_FILES,
        widths=(one_deviation,),
    ),
)
INTERFACEGAN = (
    Naming(
        ARCHITECTURE,
        "generator",
        partial(_one_image, layer="layer{}", start=1, image="output_{0}x{0}", bias="wscale.bias"),
        ("generator",),
        training=NO_TRAINING_CODE,
    ),
)
WSCALE = (
    Naming(
        ARCHITECTURE,
        "generator",
        partial(_one_image, layer="features.{}", start=0, image="output", bias="wscale.b"),
        ("generator",),
        training=NO_TRAINING_CODE,
        constant=_wscale_constant,
    ),
)
