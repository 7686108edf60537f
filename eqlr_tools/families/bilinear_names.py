"""StyleGAN2 as labml and lucidrains rewrote it, against the canonical names of `networks/stylegan2.py`.

Both double images by bilinear interpolation, have no sqrt(2) in their activations, give all layers of a size the same
w, and divide z by its length instead of its root mean square: a factor 1 / sqrt(z) that stands in `mapping.fc0` here.

labml        the mapping network is a state dict of its own; what is enlarged is smoothed; leaky ReLU behind to-RGB
lucidrains   `S` and `G`, averaged `SE` and `GE`, all in one dict; a convolution on the constant; noise has a strength
             and a bias per channel, and the layers no other bias; styles without their 1; to-RGB without a bias
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from eqlr_tools.families.naming import Depth, Naming, Slot

_FORM = {"gain": 1.0, "per_block": True}
LABML_FORM = {**_FORM, "features": "smooth-replicate", "image": "smooth-replicate", "colour_activated": True}
LUCIDRAINS_FORM = {**_FORM, "features": "bilinear", "image": "smooth-reflect"}
_LUCIDRAINS_MULTIPLIER = 0.1
_READ_ONLY = "its architecture is known for export only"


def _labml_mapping(depth: Depth) -> Iterator[Slot]:
    for i in range(max(depth.mapping_layers, 1)):
        yield Slot(f"mapping.fc{i}.weight", f"net.{2 * i}.weight.weight", he=i == 0)
        yield Slot(f"mapping.fc{i}.bias", f"net.{2 * i}.bias")


def _labml_generator(depth: Depth) -> Iterator[Slot]:
    yield Slot("synthesis.const", "initial_constant", "1 c h w -> c h w")
    yield from _labml_styled("synthesis.b4.conv1", "style_block")
    yield from _labml_layer("synthesis.b4.torgb", "to_rgb")
    for index, size in enumerate(depth.blocks):
        yield from _labml_styled(f"synthesis.b{size}.conv0", f"blocks.{index}.style_block1")
        yield from _labml_styled(f"synthesis.b{size}.conv1", f"blocks.{index}.style_block2")
        yield from _labml_layer(f"synthesis.b{size}.torgb", f"blocks.{index}.to_rgb")
    yield Slot("smooth", "up_sample.smooth.kernel", "1 1 h w -> h w", optional=True)


def _labml_layer(canonical: str, stored: str) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.conv.weight.weight")
    yield Slot(f"{canonical}.bias", f"{stored}.bias")
    yield Slot(f"{canonical}.style.weight", f"{stored}.to_style.weight.weight")
    yield Slot(f"{canonical}.style.bias", f"{stored}.to_style.bias")


def _labml_styled(canonical: str, stored: str) -> Iterator[Slot]:
    yield from _labml_layer(canonical, stored)
    yield Slot(f"{canonical}.noise_strength", f"{stored}.scale_noise", "1 -> ")


def _labml_discriminator(depth: Depth) -> Iterator[Slot]:
    def conv(canonical: str, stored: str) -> Iterator[Slot]:
        yield Slot(f"{canonical}.weight", f"{stored}.weight.weight")
        yield Slot(f"{canonical}.bias", f"{stored}.bias")

    yield from conv(f"b{depth.resolution}.fromrgb", "from_rgb.0")
    for index, size in enumerate(reversed(depth.blocks)):
        yield from conv(f"b{size}.conv0", f"blocks.{index}.block.0")
        yield from conv(f"b{size}.conv1", f"blocks.{index}.block.2")
        yield from conv(f"b{size}.skip", f"blocks.{index}.residual.1")
        for name, holder in (("conv1", "down_sample"), ("skip", "residual.0")):
            kernel = f"blocks.{index}.{holder}.smooth.kernel"
            yield Slot(f"b{size}.{name}.smooth", kernel, "1 1 h w -> h w", optional=True)
    yield from conv("b4.conv", "conv")
    yield from conv("b4.out", "final")


def _lucidrains(mapping: str, generator: str) -> Callable[[Depth], Iterator[Slot]]:
    def slots(depth: Depth) -> Iterator[Slot]:
        for i in range(depth.mapping_layers):
            scale = _LUCIDRAINS_MULTIPLIER
            yield Slot(f"mapping.fc{i}.weight", f"{mapping}.net.{2 * i}.weight", scale=scale, he=i == 0)
            yield Slot(f"mapping.fc{i}.bias", f"{mapping}.net.{2 * i}.bias", scale=scale)
        yield Slot("synthesis.const", f"{generator}.initial_block", "1 c h w -> c h w")
        yield Slot("synthesis.initial.weight", f"{generator}.initial_conv.weight")
        yield Slot("synthesis.initial.bias", f"{generator}.initial_conv.bias")
        for index, size in enumerate((4, *depth.blocks)):
            block, stored = f"synthesis.b{size}", f"{generator}.blocks.{index}"
            # The first size has two convolutions as well, of which the first enlarges nothing.
            for name, number in (("conv0", 1), ("conv1", 2)):
                yield Slot(f"{block}.{name}.weight", f"{stored}.conv{number}.weight")
                yield Slot(f"{block}.{name}.bias", f"{stored}.to_noise{number}.bias")
                yield Slot(f"{block}.{name}.noise_strength", f"{stored}.to_noise{number}.weight", "c 1 -> c")
                yield Slot(f"{block}.{name}.style.weight", f"{stored}.to_style{number}.weight")
                yield Slot(f"{block}.{name}.style.bias", f"{stored}.to_style{number}.bias", add=1.0)
            yield Slot(f"{block}.torgb.weight", f"{stored}.to_rgb.conv.weight")
            yield Slot(f"{block}.torgb.style.weight", f"{stored}.to_rgb.to_style.weight")
            yield Slot(f"{block}.torgb.style.bias", f"{stored}.to_rgb.to_style.bias", add=1.0)

    return slots


LABML = (
    Naming(
        "stylegan2",
        "generator",
        _labml_generator,
        ("generator",),
        reads_only=_READ_ONLY,
        form=LABML_FORM,
    ),
    Naming("stylegan2", "mapping", _labml_mapping, ("mapping_network",), reads_only=_READ_ONLY, form=LABML_FORM),
    Naming(
        "labml-stylegan2",
        "discriminator",
        _labml_discriminator,
        ("discriminator",),
        reads_only=_READ_ONLY,
    ),
)
LUCIDRAINS = tuple(
    Naming(
        "stylegan2",
        "generator",
        _lucidrains(mapping, generator),
        ("GAN",),
        reads_only=_READ_ONLY,
        form=LUCIDRAINS_FORM,
        others=r"(?:S|G|SE|GE|D|D_aug|D_cl)\..*",
    )
    for mapping, generator in (("SE", "GE"), ("S", "G"))
)
