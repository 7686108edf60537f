"""ProGAN as NVIDIA's TensorFlow code and its ports name it, against the canonical names of `networks/progan*.py`.

nvidia-progan-tf    `8x8/Conv0_up/weight`: fused up-convolutions are stored (k, k, out, in) and run backwards; to-RGB
                    layers are counted from the largest size; a fused block averages before its activation
genforce-pggan      `layer0.weight`, a 4x4 convolution of one padded pixel; fused or not by a setting of its code
mmgen-pggan         `conv_blocks.0.conv.weight_orig`, fused by default; the discriminator's 4x4 convolution is unused
rosinality-hook     `progression.0.conv.0.conv.weight_orig`: labels, pixels are normalised before the activation
odegeasslbc         `progression_4.conv.0.conv.weight_orig`: one convolution more, slope 0.1, bilinear enlarging
rms-progan          nashory's names, which change whenever the network grows
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from eqlr_tools.families.naming import Depth, Naming, Setting, Slot
from eqlr_tools.families.progan_names import ARCHITECTURE, PADDED, TRANSPOSED, VALID, pair
from eqlr_tools.families.stylegan2_names import GENFORCE_DISCRIMINATOR, genforce_training
from eqlr_tools.families.training import Training, registered

_UP = "i o h w -> o i h w"
"""A fused up-convolution in torch; its kernel axes run backwards."""

# tkarras/progressive_growing_of_gans


def _tf_generator(depth: Depth, up: str) -> Iterator[Slot]:
    yield from _tf("b4.input", "4x4/Dense", "i o -> o i")
    yield from _tf("b4.conv", "4x4/Conv")
    for size in depth.blocks:
        fused = ("h w o i -> o i h w", "h w") if up == "Conv0_up" else ("h w i o -> o i h w", "")
        yield from _tf(f"b{size}.conv0", f"{size}x{size}/{up}", *fused)
        yield from _tf(f"b{size}.conv1", f"{size}x{size}/Conv1")
    yield from _tf_rgb(depth, "ToRGB", "torgb")


def _tf_discriminator(depth: Depth, down: str) -> Iterator[Slot]:
    yield from _tf_rgb(depth, "FromRGB", "fromrgb")
    for size in reversed(depth.blocks):
        yield from _tf(f"b{size}.conv0", f"{size}x{size}/Conv0")
        yield from _tf(f"b{size}.conv1", f"{size}x{size}/{down}")
    yield from _tf("b4.conv", "4x4/Conv")
    yield from _tf("b4.fc", "4x4/Dense0", "i o -> o i")
    yield from _tf("b4.out", "4x4/Dense1", "i o -> o i")


def _tf(canonical: str, stored: str, layout: str = "h w i o -> o i h w", reverse: str = "") -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}/weight", layout, reverse)
    yield Slot(f"{canonical}.bias", f"{stored}/bias")


def _tf_rgb(depth: Depth, stored: str, canonical: str) -> Iterator[Slot]:
    for lod, size in enumerate(reversed((4, *depth.blocks))):
        yield from _tf(f"b{size}.{canonical}", f"{stored}_lod{lod}")
    yield Slot("lod", "lod", optional=True)


# genforce/genforce


def genforce_generator(depth: Depth, *, fused: bool) -> Iterator[Slot]:
    yield from pair("b4.input", "layer0", PADDED, "h w")
    yield from pair("b4.conv", "layer1")
    yield from pair("b4.torgb", "output0")
    for index, size in enumerate(depth.blocks, 1):
        yield from pair(f"b{size}.conv0", f"layer{2 * index}", *((_UP, "h w") if fused else ()))
        yield from pair(f"b{size}.conv1", f"layer{2 * index + 1}")
        yield from pair(f"b{size}.torgb", f"output{index}")
    yield Slot("lod", "lod", optional=True)


def genforce_discriminator(depth: Depth, score: str = "") -> Iterator[Slot]:
    """The last layer is numbered on, unless the `score` has a name of its own."""
    for index, size in enumerate(reversed(depth.blocks)):
        yield from pair(f"b{size}.fromrgb", f"input{index}")
        yield from pair(f"b{size}.conv0", f"layer{2 * index}")
        yield from pair(f"b{size}.conv1", f"layer{2 * index + 1}")
    last = len(depth.blocks)
    yield from pair("b4.fromrgb", f"input{last}")
    for number, layer in enumerate(("b4.conv", "b4.fc")):
        yield from pair(layer, f"layer{2 * last + number}")
    yield from pair("b4.out", score or f"layer{2 * last + 2}")
    yield Slot("lod", "lod", optional=True)


# open-mmlab/mmgeneration and mmagic


def _mmgen_generator(depth: Depth, *, fused: bool) -> Iterator[Slot]:
    yield Slot("b4.input.weight", "noise2feat.linear.weight_orig")
    yield Slot("b4.input.bias", "noise2feat.bias", "1 c 1 1 -> c")
    yield from _hooked("b4.conv", "conv_blocks.0.conv")
    yield from _hooked("b4.torgb", "torgb_layers.0.conv")
    for index, size in enumerate(depth.blocks, 1):
        up = (_UP, "h w") if fused else ()
        yield from _hooked(f"b{size}.conv0", f"conv_blocks.{2 * index - 1}.conv", *up)
        yield from _hooked(f"b{size}.conv1", f"conv_blocks.{2 * index}.conv")
        yield from _hooked(f"b{size}.torgb", f"torgb_layers.{index}.conv")


def _mmgen_discriminator(depth: Depth) -> Iterator[Slot]:
    yield from _hooked("b4.fromrgb", "fromrgb_layers.0.conv")
    yield from _hooked("b4.unused", "conv_blocks.0.conv")
    for index, size in enumerate(depth.blocks, 1):
        yield from _hooked(f"b{size}.fromrgb", f"fromrgb_layers.{index}.conv")
        yield from _hooked(f"b{size}.conv0", f"conv_blocks.{2 * index - 1}.conv")
        yield from _hooked(f"b{size}.conv1", f"conv_blocks.{2 * index}.conv")
    yield from _hooked("b4.fc", "decision.linear0")
    yield from _hooked("b4.out", "decision.linear1")


def _hooked(canonical: str, stored: str, layout: str = "", reverse: str = "") -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.weight_orig", layout, reverse)
    yield Slot(f"{canonical}.bias", f"{stored}.bias")


# rosinality/progressive-gan-pytorch and odegeasslbc/Progressive-GAN-pytorch


def _hook_generator(depth: Depth) -> Iterator[Slot]:
    yield Slot("b4.label.weight", "label_embed.weight")
    yield from _hooked("b4.input", "progression.0.conv.0.conv", PADDED, "h w")
    yield from _hooked("b4.conv", "progression.0.conv.3.conv")
    yield from pair("b4.torgb", "to_rgb.0")
    for index, size in enumerate(depth.blocks, 1):
        yield from _hooked(f"b{size}.conv0", f"progression.{index}.conv.0.conv")
        yield from _hooked(f"b{size}.conv1", f"progression.{index}.conv.3.conv")
        yield from pair(f"b{size}.torgb", f"to_rgb.{index}")


def _hook_discriminator(depth: Depth, second: int, *, hooked: bool) -> Iterator[Slot]:
    sizes = list(reversed((4, *depth.blocks)))
    for index, size in enumerate(sizes):
        layers = ("b4.conv", "b4.fc") if size == 4 else (f"b{size}.conv0", f"b{size}.conv1")
        rgb = f"from_rgb.{index}"
        yield from _hooked(f"b{size}.fromrgb", f"{rgb}.conv") if hooked else pair(f"b{size}.fromrgb", rgb)
        yield from _hooked(layers[0], f"progression.{index}.conv.0.conv")
        yield from _hooked(layers[1], f"progression.{index}.conv.{second}.conv", VALID if size == 4 else "")
    yield from _hooked("b4.out", "linear.linear") if hooked else pair("b4.out", "linear")


def _ode_generator(depth: Depth, second: int) -> Iterator[Slot]:
    yield from _hooked("b4.input", "input_layer.0.conv", TRANSPOSED)
    yield from _hooked("b4.conv0", "progression_4.conv.0.conv")
    yield from _hooked("b4.conv", f"progression_4.conv.{second}.conv")
    for size in depth.blocks:
        yield from _hooked(f"b{size}.conv0", f"progression_{size}.conv.0.conv")
        yield from _hooked(f"b{size}.conv1", f"progression_{size}.conv.{second}.conv")
        yield from _hooked(f"b{size}.torgb", f"to_rgb_{size}.conv")
    for kind in ("weight_orig", "bias"):
        canonical = f"b4.torgb.{kind.removesuffix('_orig')}"
        yield Slot(canonical, f"to_rgb_4.conv.{kind}", optional=bool(depth.blocks), may_lack=True)


# nashory/pggan-pytorch


def _nashory_generator(depth: Depth, *, first: int, step: int, growing: bool) -> Iterator[Slot]:
    """`first` and `step` follow from the layers without tensors in between; `growing` while a size is faded in."""
    yield from _nashory("b4.input", f"first_block.{first}", PADDED, "h w")
    yield from _nashory("b4.conv", f"first_block.{first + step}")
    for size in depth.blocks:
        block = f"intermediate_{size // 2}x{size // 2}_{size}x{size}.high_resl_block"
        block = "concat_block.layer2.high_resl_block" if growing and size == depth.resolution else block
        yield from _nashory(f"b{size}.conv0", f"{block}.1")
        yield from _nashory(f"b{size}.conv1", f"{block}.{1 + step}")
    yield from _nashory_rgb(depth, "to_rgb", "torgb", 0, growing)


def _nashory_discriminator(depth: Depth, *, growing: bool) -> Iterator[Slot]:
    yield from _nashory_rgb(depth, "from_rgb", "fromrgb", 1, growing)
    for size in reversed(depth.blocks):
        block = f"intermediate_{size}x{size}_{size // 2}x{size // 2}.high_resl_block"
        block = "concat_block.layer2.high_resl_block" if growing and size == depth.resolution else block
        yield from _nashory(f"b{size}.conv0", f"{block}.1")
        yield from _nashory(f"b{size}.conv1", f"{block}.4")
    yield from _nashory("b4.conv", "last_block.2")
    yield from _nashory("b4.fc", "last_block.5", VALID)
    yield Slot("b4.out.weight", "last_block.8.linear.weight")
    yield Slot("b4.out.bias", "last_block.8.bias")


def _nashory_rgb(depth: Depth, stored: str, canonical: str, index: int, growing: bool) -> Iterator[Slot]:
    """Each time that the network grew, the block was wrapped once more."""
    grown = f"high_resl_{stored}."
    if not growing or not depth.blocks:
        inside = grown if depth.blocks else ""
        yield from _nashory(f"b{depth.resolution}.{canonical}", f"{stored}_block.{inside}{index}")
        return
    inside = grown if len(depth.blocks) > 1 else ""
    yield from _nashory(f"b{depth.resolution}.{canonical}", f"concat_block.layer2.{grown}{index}")
    before = f"concat_block.layer1.low_resl_{stored}.{stored}_block.{inside}{index}"
    yield from _nashory(f"b{depth.resolution // 2}.{canonical}", before)


def _nashory(canonical: str, stored: str, layout: str = "", reverse: str = "") -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.conv.weight", layout, reverse)
    yield Slot(f"{canonical}.bias", f"{stored}.bias")


_NO_PICKLE = "its files are pickles of TensorFlow networks, which eqlr reads but does not write"
_NO_SCALE = "its code multiplies by the size of random initial weights, which no file holds"
_TF_SLOPE = Setting("use_leakyrelu", {True: 0.2, False: 0.0})
_TF_GENERATOR = {
    "latent_normalised": Setting("normalize_latents"),
    "normalised": Setting("use_pixelnorm"),
    "input_normalised": Setting("use_pixelnorm"),
    "eps": Setting("pixelnorm_epsilon"),
    "slope": _TF_SLOPE,
}
_MMGEN_EPS = {"eps": 1e-6, "eps_outside": True}
_MMGEN_ORDER = registered(
    "bias weight_orig noise2feat linear torgb_layers conv_blocks fromrgb_layers decision linear0 linear1 conv"
)
_SAVES_NONE = "the target's code saves no state of its optimizers"
_HOOK = {"norm_first": True}
_ODE = {"slope": 0.1, "bilinear": True, "latent_normalised": False, "norm_first": True}
_ODE_CAUTION = "its code ends in tanh or not by an option that no file holds; it is taken to have none"

NVIDIA_TF = (
    *(
        Naming(
            ARCHITECTURE,
            "generator",
            partial(_tf_generator, up=up),
            ("G",),
            ("Gs",),
            reads_only=_NO_PICKLE,
            settings=_TF_GENERATOR,
        )
        for up in ("Conv0_up", "Conv0")
    ),
    *(
        Naming(
            ARCHITECTURE,
            "discriminator",
            partial(_tf_discriminator, down=down),
            ("D",),
            reads_only=_NO_PICKLE,
            form={"pool_first": down == "Conv1_down"},
            settings={"group_size": Setting("mbstd_group_size")},
        )
        for down in ("Conv1_down", "Conv1")
    ),
)
GENFORCE = (
    *(
        Naming(
            ARCHITECTURE,
            "generator",
            partial(genforce_generator, fused=fused),
            ("generator",),
            ("generator_smooth",),
            settings={"tanh": Setting("final_tanh")},
            training=genforce_training(
                "generator", registered("weight bias layer output", blocks={"layer": (2, 0), "output": (1, 0)})
            ),
        )
        for fused in (False, True)
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        genforce_discriminator,
        ("discriminator",),
        form={"group_size": 16},
        settings={"group_size": Setting("minibatch_std_group_size"), "pool_first": Setting("fused_scale")},
        training=genforce_training("discriminator", GENFORCE_DISCRIMINATOR),
    ),
)
MMGEN = (
    *(
        Naming(
            ARCHITECTURE,
            "generator",
            partial(_mmgen_generator, fused=fused),
            ("state_dict", "generator."),
            ("state_dict", "generator_ema."),
            form=_MMGEN_EPS,
            training=Training(_MMGEN_ORDER, ("optimizer", "generator")),
        )
        for fused in (True, False)
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _mmgen_discriminator,
        ("state_dict", "discriminator."),
        form={"pool_first": True},
        settings={"pool_first": Setting("fused_convdown")},
        training=Training(_MMGEN_ORDER, ("optimizer", "discriminator")),
    ),
)
ROSINALITY = (
    Naming(
        ARCHITECTURE, "generator", _hook_generator, ("generator",), ("g_running",), form=_HOOK, training=_SAVES_NONE
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        partial(_hook_discriminator, second=2, hooked=False),
        ("discriminator",),
        form={
            "rgb_activated": False,
            "group_size": 0,
            "unbiased": True,
            "deviation_eps": 0.0,
            "of_image": True,
        },
        training=_SAVES_NONE,
    ),
    *(
        Naming(
            ARCHITECTURE,
            "generator",
            partial(_ode_generator, second=second),
            ("generator",),
            ("g_running",),
            caution=_ODE_CAUTION,
            form=_ODE | {"normalised": second == 3},
            settings={"tanh": Setting("tanh")},
            training=_SAVES_NONE,
        )
        for second in (3, 2)
    ),
    *(
        Naming(
            ARCHITECTURE,
            "discriminator",
            partial(_hook_discriminator, second=second, hooked=True),
            ("discriminator",),
            form={"slope": 0.1, "normalised": second == 3, "rgb_activated": False, "group_size": 0},
            training=_SAVES_NONE,
        )
        for second in (3, 2)
    ),
)
NASHORY = (
    *(
        Naming(
            ARCHITECTURE,
            "generator",
            partial(_nashory_generator, first=first, step=step, growing=growing),
            ("state_dict",),
            reads_only=_NO_SCALE,
            form={"latent_normalised": first == 1, "normalised": step == 3, "input_normalised": step == 3},
            settings={"tanh": Setting("flag_tanh"), "slope": Setting("flag_leaky", {True: 0.2, False: 0.0})},
        )
        for growing in (False, True)
        for first in (0, 1)
        for step in (3, 2)
    ),
    *(
        Naming(
            ARCHITECTURE,
            "discriminator",
            partial(_nashory_discriminator, growing=growing),
            ("state_dict",),
            reads_only=_NO_SCALE,
            form={"group_size": 0, "per_pixel": True},
            settings={"slope": Setting("flag_leaky", {True: 0.2, False: 0.0})},
        )
        for growing in (False, True)
    ),
)
