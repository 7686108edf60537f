"""Adrian Sahlman's StyleGAN2, and rosinality's under an encoder, against the names of `networks/stylegan2.py`.

adriansahlman   `G_mapping` and `G_synthesis`, each in a dict of its own or under that prefix; layers inside wrappers
                that hold noise strength and bias; kernels and filters as rosinality has them. Its enlarged images lie
                a pixel further down and right than NVIDIA's, since its filter is padded by (3, 0)
pSp, e4e        rosinality's generator under `decoder.`
ppeetteerrs     rosinality's function for images of one colour; up-convolutions in a list of their own, `up_convs`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from eqlr_tools.families.code_widths import colours
from eqlr_tools.families.naming import Depth, Naming, Slot, Slots
from eqlr_tools.families.rosinality_names import ROSINALITY

ARCHITECTURE = "stylegan2"
_FORM = {"image": "fir-late"}
_WITH_ARGUMENTS = "its files hold the arguments of its classes, which eqlr does not write"
_WITH_ENCODER = "its files hold an encoder, which other projects do not have"


def _mapping(prefix: str = "") -> Slots:
    def slots(depth: Depth) -> Iterator[Slot]:
        for i in range(depth.mapping_layers if prefix else max(depth.mapping_layers, 1)):
            yield Slot(f"mapping.fc{i}.weight", f"{prefix}main.{i}.layer.weight")
            yield Slot(f"mapping.fc{i}.bias", f"{prefix}main.{i}.bias")

    return slots


def _synthesis(prefix: str = "") -> Slots:
    def slots(depth: Depth) -> Iterator[Slot]:
        yield Slot("mapping.w_avg", "dlatent_avg", optional=True, outside=True)
        yield Slot("synthesis.const", f"{prefix}const")
        for index, size in enumerate((4, *depth.blocks)):
            block, stored = f"synthesis.b{size}", f"{prefix}conv_blocks.{index}.conv_block"
            for number, name in enumerate(("conv0", "conv1")[size == 4 :]):
                yield from _styled(f"{block}.{name}", f"{stored}.{number}", up=name == "conv0")
            yield from _modulated(f"{block}.torgb", f"{prefix}to_data_layers.{index}", "layer")
        if depth.blocks:
            yield _filter(f"{prefix}upsample.filter", 0.25)

    return slots


def _styled(canonical: str, stored: str, *, up: bool) -> Iterator[Slot]:
    yield from _modulated(canonical, stored, "layer.layer", "h w" if up else "")
    yield Slot(f"{canonical}.noise_strength", f"{stored}.layer.weight", "1 -> ")
    if up:
        yield _filter(f"{stored}.layer.layer.filter", 0.25)


def _modulated(canonical: str, stored: str, inner: str, reverse: str = "") -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.{inner}.weight", "o i h w -> o i h w", reverse)
    yield Slot(f"{canonical}.bias", f"{stored}.bias")
    yield Slot(f"{canonical}.style.weight", f"{stored}.{inner}.dense.layer.weight")
    yield Slot(f"{canonical}.style.bias", f"{stored}.{inner}.dense.bias")


def _filter(stored: str, scale: float = 1.0) -> Slot:
    return Slot("fir", f"{stored}.filter_kernel", "1 1 h w -> h w", scale=scale, optional=True)


def _joined(*parts: Slots) -> Slots:
    return lambda depth: (slot for part in parts for slot in part(depth))


def _discriminator(depth: Depth) -> Iterator[Slot]:
    yield from _wrapped(f"b{depth.resolution}.fromrgb", "from_data_layers.0")
    for index, size in enumerate(reversed(depth.blocks)):
        stored = f"conv_blocks.{index}"
        yield from _wrapped(f"b{size}.conv0", f"{stored}.conv_block.0")
        yield from _wrapped(f"b{size}.conv1", f"{stored}.conv_block.1")
        yield Slot(f"b{size}.skip.weight", f"{stored}.projection.weight")
        yield _filter(f"{stored}.conv_block.1.layer.filter")
        yield _filter(f"{stored}.projection.filter")
    # Behind the deviation, which has the index 0 of their Sequential.
    yield from _wrapped("b4.conv", f"conv_blocks.{len(depth.blocks)}.1.conv_block.0")
    yield from _wrapped("b4.fc", "dense.0")
    yield from _wrapped("b4.out", "dense.1")


def _wrapped(canonical: str, stored: str) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.layer.weight")
    yield Slot(f"{canonical}.bias", f"{stored}.bias")


def _under(prefix: str, slots: Slots) -> Callable[[Depth], Iterator[Slot]]:
    """The same tensors under a prefix; what lies beside the state dict stays there."""

    def prefixed(depth: Depth) -> Iterator[Slot]:
        for slot in slots(depth):
            yield slot if slot.outside else replace(slot, stored=prefix + slot.stored)

    return prefixed


# ppeetteerrs/stylegan2-torch


def _torch_generator(depth: Depth) -> Iterator[Slot]:
    for i in range(depth.mapping_layers):
        yield Slot(f"mapping.fc{i}.weight", f"mapping.{i + 1}.weight")
        yield Slot(f"mapping.fc{i}.bias", f"mapping.{i + 1}.bias")
    yield Slot("mapping.w_avg", "latent_avg", optional=True, outside=True)
    yield Slot("synthesis.const", "input.input", "1 c h w -> c h w")
    for index, size in enumerate((4, *depth.blocks)):
        block = f"synthesis.b{size}"
        if index:
            yield from _torch_styled(f"{block}.conv0", f"up_convs.{index - 1}", reverse="h w")
            yield Slot("fir", f"up_convs.{index - 1}.blur.kernel", scale=0.25, optional=True)
        yield from _torch_styled(f"{block}.conv1", f"convs.{index}")
        yield from _torch_modulated(f"{block}.torgb", f"to_rgbs.{index}")
        yield Slot(f"{block}.torgb.bias", f"to_rgbs.{index}.bias", "1 c 1 1 -> c")
        if index:
            yield Slot("fir", f"to_rgbs.{index}.upsample.kernel", scale=0.25, optional=True)


def _torch_styled(canonical: str, stored: str, *, reverse: str = "") -> Iterator[Slot]:
    yield from _torch_modulated(canonical, stored, reverse)
    yield Slot(f"{canonical}.noise_strength", f"{stored}.add_noise.weight", "1 -> ")
    yield Slot(f"{canonical}.bias", f"{stored}.leaky_relu.bias")


def _torch_modulated(canonical: str, stored: str, reverse: str = "") -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.weight", "1 o i h w -> o i h w", reverse)
    yield Slot(f"{canonical}.style.weight", f"{stored}.affine.weight")
    yield Slot(f"{canonical}.style.bias", f"{stored}.affine.bias")


def _torch_discriminator(depth: Depth) -> Iterator[Slot]:
    yield Slot(f"b{depth.resolution}.fromrgb.weight", "blocks.0.0.weight")
    yield Slot(f"b{depth.resolution}.fromrgb.bias", "blocks.0.1.bias")
    for index, size in enumerate(reversed(depth.blocks), 1):
        stored = f"blocks.{index}"
        for name, layer in (("conv0", "conv.0"), ("conv1", "down_conv.1")):
            path, number = layer.split(".")
            yield Slot(f"b{size}.{name}.weight", f"{stored}.{layer}.weight")
            yield Slot(f"b{size}.{name}.bias", f"{stored}.{path}.{int(number) + 1}.bias")
        yield Slot(f"b{size}.skip.weight", f"{stored}.skip.1.weight")
        for path in ("down_conv", "skip"):
            yield Slot("fir", f"{stored}.{path}.0.kernel", optional=True)
    yield Slot("b4.conv.weight", "final_conv.0.weight")
    yield Slot("b4.conv.bias", "final_conv.1.bias")
    for canonical, layer in (("b4.fc", "final_relu"), ("b4.out", "final_linear")):
        yield Slot(f"{canonical}.weight", f"{layer}.weight")
        yield Slot(f"{canonical}.bias", f"{layer}.bias")


_NO_SCRIPT = "the target is a library, which says nothing of optimizers"
PPEETTEERRS = (
    Naming(
        ARCHITECTURE,
        "generator",
        _torch_generator,
        ("g",),
        ("g_ema",),
        training=_NO_SCRIPT,
        widths=(colours(1),),
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        _torch_discriminator,
        ("d",),
        training=_NO_SCRIPT,
        widths=(colours(1),),
    ),
)

_UPSAMPLING_ONES = r"(?:G_synthesis\.)?upsample\.weight"
ADRIANSAHLMAN = (
    Naming(
        ARCHITECTURE,
        "generator",
        _joined(_mapping("G_mapping."), _synthesis("G_synthesis.")),
        ("state_dict",),
        reads_only=_WITH_ARGUMENTS,
        form=_FORM,
        others=_UPSAMPLING_ONES,
    ),
    Naming(
        ARCHITECTURE,
        "generator",
        _synthesis(),
        ("G_synthesis",),
        reads_only=_WITH_ARGUMENTS,
        form=_FORM,
        others=_UPSAMPLING_ONES,
    ),
    Naming(ARCHITECTURE, "mapping", _mapping(), ("G_mapping",), reads_only=_WITH_ARGUMENTS, form=_FORM),
    Naming(ARCHITECTURE, "discriminator", _discriminator, ("state_dict",), reads_only=_WITH_ARGUMENTS),
)
PSP = (
    replace(
        ROSINALITY[0],
        slots=_under("decoder.", ROSINALITY[0].slots),
        place=("state_dict", "decoder."),
        ema_place=(),
        reads_only=_WITH_ENCODER,
        training=_WITH_ENCODER,
        others=r"(?:(?:pretrained_)?encoder|hypernet)\..*",
    ),
)
