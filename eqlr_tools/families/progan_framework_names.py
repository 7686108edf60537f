"""ProGAN as other frameworks name it, against the canonical names of `networks/progan*.py`.

chainer-progan      `c0/c/W`: normalised before the activation, and z outside the network; teome has the same in torch,
                    `c0.c.weight`, with the slope that torch's leaky ReLU has if none is given
progan-flax         `4x4_block_0/EqualizedLRConv_0/kernel`: the first layer's outputs come row by row, and are
                    normalised together; divided is by the standard deviation; tanh at the end
tfgan-progan        `progressive_gan_block_1/conv0/conv2d/kernel`: a 4x4 convolution of one padded pixel first
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from eqlr_tools.families.code_widths import one_deviation
from eqlr_tools.families.naming import Depth, Naming, Slot
from eqlr_tools.families.progan_names import ARCHITECTURE, PADDED, TRANSPOSED, VALID

_KERNEL = "h w i o -> o i h w"
_PADDED_KERNEL = "h=4 w=4 z c -> (c h=4 w=4) z"
_VALID_KERNEL = "h=4 w=4 c o -> o (c h=4 w=4)"
_POINT_KERNEL = "1 1 i o -> o i"


# pfnet-research/chainer-gan-lib, and teome/progressive-gan after it


def _chainer_generator(depth: Depth, path: str, first: str = PADDED, reverse: str = "h w") -> Iterator[Slot]:
    """`path` is that of weights and biases, less their names. In the first files the first layer is transposed."""
    yield from _link("b4.input", path, "c0", first, reverse)
    yield from _link("b4.conv", path, "c1")
    yield from _link("b4.torgb", path, "out0")
    for number, size in enumerate(depth.blocks, 1):
        yield from _chainer_block(size, number, path)
        yield from _link(f"b{size}.torgb", path, f"out{number}")


def _chainer_discriminator(depth: Depth, path: str) -> Iterator[Slot]:
    for number, size in reversed(list(enumerate(depth.blocks, 1))):
        yield from _link(f"b{size}.fromrgb", path, f"in{number}")
        yield from _chainer_block(size, number, path)
    yield from _link("b4.fromrgb", path, "in0")
    yield from _link("b4.conv", path, "out0")
    yield from _link("b4.fc", path, "out1", VALID)
    yield from _link("b4.out", path, "out2")


def _chainer_block(size: int, number: int, path: str) -> Iterator[Slot]:
    for layer in (0, 1):
        yield from _link(f"b{size}.conv{layer}", path, f"b{number}{path[0]}c{layer}")


def _link(canonical: str, path: str, stored: str, layout: str = "", reverse: str = "") -> Iterator[Slot]:
    weight, bias = ("W", "b") if path[0] == "/" else ("weight", "bias")
    yield Slot(f"{canonical}.weight", f"{stored}{path}{weight}", layout, reverse)
    yield Slot(f"{canonical}.bias", f"{stored}{path}{bias}")


# n2cholas/progan-flax


def _flax_generator(depth: Depth, separator: str) -> Iterator[Slot]:
    layer = f"4x4_block_0{separator}EqualizedLRConv_0{separator}"
    yield Slot("b4.input.weight", f"{layer}kernel", "1 1 z (h=4 w=4 c) -> (c h=4 w=4) z")
    yield Slot("b4.input.bias_map", f"{layer}bias", "(h=4 w=4 c) -> (c h=4 w=4)")
    yield from _flax("b4.conv", separator, "4x4_block_1")
    for size in (4, *depth.blocks):
        if size > 4:
            yield from _flax_block(size, separator)
        yield from _flax(f"b{size}.torgb", separator, f"{size}x{size}_to_rgb")


def _flax_discriminator(depth: Depth, separator: str) -> Iterator[Slot]:
    for size in reversed((4, *depth.blocks)):
        yield from _flax(f"b{size}.fromrgb", separator, f"{size}x{size}_from_rgb")
        if size > 4:
            yield from _flax_block(size, separator)
    yield from _flax("b4.conv", separator, "4x4_block_0")
    yield from _flax("b4.fc", separator, "4x4_block_1", _VALID_KERNEL)
    yield from _flax("b4.out", separator, "dense_out", _POINT_KERNEL)


def _flax_block(size: int, separator: str) -> Iterator[Slot]:
    for number in (0, 1):
        yield from _flax(f"b{size}.conv{number}", separator, f"{size}x{size}_block_{number}")


def _flax(canonical: str, separator: str, stored: str, layout: str = _KERNEL) -> Iterator[Slot]:
    """Behind an activation the layer stands in a block with it."""
    alone = stored.endswith(("to_rgb", "dense_out"))
    layer = stored if alone else f"{stored}{separator}EqualizedLRConv_0"
    yield Slot(f"{canonical}.weight", f"{layer}{separator}kernel", layout)
    yield Slot(f"{canonical}.bias", f"{layer}{separator}bias")


# tensorflow/gan


def _tfgan_generator(depth: Depth, end: str) -> Iterator[Slot]:
    yield from _tfgan("b4.input", 1, "conv0", end, _PADDED_KERNEL, "h w")
    yield from _tfgan("b4.conv", 1, "conv1", end)
    yield from _tfgan("b4.torgb", 1, "to_rgb", end)
    for block, size in enumerate(depth.blocks, 2):
        for number in (0, 1):
            yield from _tfgan(f"b{size}.conv{number}", block, f"conv{number}", end)
        yield from _tfgan(f"b{size}.torgb", block, "to_rgb", end)


def _tfgan_discriminator(depth: Depth, end: str) -> Iterator[Slot]:
    for block, size in reversed(list(enumerate(depth.blocks, 2))):
        yield from _tfgan(f"b{size}.fromrgb", block, "from_rgb", end)
        for number in (0, 1):
            yield from _tfgan(f"b{size}.conv{number}", block, f"conv{number}", end)
    yield from _tfgan("b4.fromrgb", 1, "from_rgb", end)
    yield from _tfgan("b4.conv", 1, "conv0", end)
    yield from _tfgan("b4.fc", 1, "conv1", end, _VALID_KERNEL)
    yield Slot("b4.out.weight", f"progressive_gan_block_1/logits/dense/kernel{end}", "i o -> o i")
    yield Slot("b4.out.bias", f"progressive_gan_block_1/logits/bias{end}")


def _tfgan(
    canonical: str, block: int, stored: str, end: str, layout: str = _KERNEL, reverse: str = ""
) -> Iterator[Slot]:
    layer = f"progressive_gan_block_{block}/{stored}"
    yield Slot(f"{canonical}.weight", f"{layer}/conv2d/kernel{end}", layout, reverse)
    yield Slot(f"{canonical}.bias", f"{layer}/bias{end}")


_LIBRARY = {"latent_normalised": False, "norm_first": True}
_WHOLE_BATCH = {"group_size": 0}
_POOLING = "its blocks multiply averages by pooling_comp, an option that no file holds; it is taken to be 1"
_NO_DECONVOLUTION = "only its first files have a transposed convolution there"
_NO_CHECKPOINT = "its files are checkpoints of TensorFlow, which eqlr does not write"
_COLOURS = "its code ends in tanh or not by to_rgb_activation, which no file holds; it is taken to have none"
_SAVES_NONE = "the target's code saves no state of its optimizers"
_FLAX_STATE = "the target's code keeps the state of optax, which eqlr does not write"

CHAINER = (
    *(
        Naming(
            ARCHITECTURE,
            "generator",
            partial(_chainer_generator, path=path),
            ("generator",),
            form=_LIBRARY | form,
            training=_SAVES_NONE,
        )
        for path, form in (("/c/", {}), (".c.", {"slope": 0.01}))
    ),
    Naming(
        ARCHITECTURE,
        "generator",
        partial(_chainer_generator, path="/c/", first=TRANSPOSED, reverse=""),
        ("generator",),
        reads_only=_NO_DECONVOLUTION,
        form=_LIBRARY,
    ),
    *(
        Naming(
            ARCHITECTURE,
            "discriminator",
            partial(_chainer_discriminator, path=path),
            ("discriminator",),
            caution=_POOLING,
            widths=(one_deviation,),
            form=_WHOLE_BATCH | form,
            training=_SAVES_NONE,
        )
        for path, form in (("/c/", {}), (".c.", {"slope": 0.01, "deviation_eps": 0.0}))
    ),
)
FLAX = tuple(
    naming
    for separator in "./"
    for naming in (
        Naming(
            ARCHITECTURE,
            "discriminator",
            partial(_flax_discriminator, separator=separator),
            ("d_params",),
            widths=(one_deviation,),
            training=_FLAX_STATE,
        ),
        Naming(
            ARCHITECTURE,
            "generator",
            partial(_flax_generator, separator=separator),
            ("g_params",),
            ("g_ema_params",),
            form={"latent_normalised": False, "by_deviation": True, "input_whole": True, "tanh": True},
            training=_FLAX_STATE,
        ),
    )
)
TFGAN = tuple(
    naming
    for end in ("", ":0")
    for naming in (
        Naming(
            ARCHITECTURE,
            "generator",
            partial(_tfgan_generator, end=end),
            ("generator",),
            reads_only=_NO_CHECKPOINT,
            caution=_COLOURS,
        ),
        Naming(
            ARCHITECTURE,
            "discriminator",
            partial(_tfgan_discriminator, end=end),
            ("discriminator",),
            reads_only=_NO_CHECKPOINT,
            form={"group_size": 0, "deviation_eps": 0.0},
        ),
    )
)
