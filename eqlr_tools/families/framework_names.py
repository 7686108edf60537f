"""StyleGAN2 in JAX and in TensorFlow 2, against the canonical names of `networks/stylegan2.py`.

flaxmodels   `synthesis_network/block_8x8/layer0/conv/weight`, groups and datasets of an HDF5 file; images are (height,
             width, channels), and so are the constant and the noise; filters are in its code. A discriminator skips
             nothing (`resnet` or `orig`) and takes the deviation of the whole batch; what lies behind its label
             embedding has no activation, unlike NVIDIA's
moono        `g_synthesis/8x8/block/conv_0/w`, by the names of its layers, or `synthesis/blocks/0/conv_0/w`, by their
             places in the object that a checkpoint holds; labels are embedded without a bias, and divided by one root
             mean square together with z, unlike ADA's

Both are NVIDIA's TensorFlow networks: kernels (height, width, in, out), correlated, and styles without their 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from eqlr_tools.families.naming import Depth, Naming, Slot
from eqlr_tools.families.stylegan2_names import ARCHITECTURE, Structure, structures
from eqlr_tools.networks.stylegan1 import WHOLE_BATCH

_HWIO = "h w i o -> o i h w"
_IO = "i o -> o i"
_NO_HDF5 = "its files are HDF5, which eqlr reads but does not write"
_NO_CHECKPOINT = "its files are TensorFlow's checkpoints, which eqlr does not write"
Path = Callable[..., str]
"""From the parts of a name to the name, as a file spells it."""


# matthias-wright/flaxmodels


def _flax_layer(canonical: str, stored: str, path: Path, layout: str = _HWIO) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", path(stored, "weight"), layout)
    yield Slot(f"{canonical}.bias", path(stored, "bias"))


def _flax_generator(depth: Depth, path: Path) -> Iterator[Slot]:
    if depth.labels:
        yield from _flax_layer("mapping.label", path("mapping_network", "label_embedding"), path, _IO)
    for i in range(depth.mapping_layers):
        yield from _flax_layer(f"mapping.fc{i}", path("mapping_network", f"fc{i}"), path, _IO)
    yield Slot("mapping.w_avg", path("mapping_network", "w_avg"), optional=True)
    yield Slot("synthesis.const", path("synthesis_network", "const"), "1 h w c -> c h w")
    for size in (4, *depth.blocks):
        block = path("synthesis_network", f"block_{size}x{size}")
        for number, name in enumerate(("conv0", "conv1") if size > 4 else ("conv1",)):
            layer, stored = f"synthesis.b{size}.{name}", path(block, f"layer{number}")
            yield from _flax_styled(layer, stored, path)
            yield Slot(f"{layer}.noise_strength", path(stored, "noise_strength"), optional=True)
            yield Slot(f"{layer}.noise", path(stored, "noise_const"), "1 h w 1 -> h w", optional=True)
        yield from _flax_styled(f"synthesis.b{size}.torgb", path(block, "torgb"), path)


def _flax_styled(canonical: str, stored: str, path: Path) -> Iterator[Slot]:
    yield from _flax_layer(canonical, path(stored, "conv"), path)
    yield Slot(f"{canonical}.style.weight", path(stored, "affine", "weight"), _IO)
    yield Slot(f"{canonical}.style.bias", path(stored, "affine", "bias"), add=1.0)


def _flax_discriminator(depth: Depth, structure: Structure, path: Path) -> Iterator[Slot]:
    if depth.labels:
        yield from _flax_layer("mapping.label", "label_embedding", path, _IO)
    top = depth.resolution
    yield from _flax_layer(f"b{top}.fromrgb", path(f"block_{top}x{top}", "fromrgb"), path)
    for size in reversed(depth.blocks):
        block = f"block_{size}x{size}"
        yield from _flax_layer(f"b{size}.conv0", path(block, "conv0"), path)
        yield from _flax_layer(f"b{size}.conv1", path(block, "conv1"), path)
        if structure == "resnet":
            yield Slot(f"b{size}.skip.weight", path(block, "skip", "weight"), _HWIO)
    yield from _flax_layer("b4.conv", path("block_4x4", "conv0"), path)
    yield from _flax_layer("b4.fc", path("block_4x4", "fc0"), path, _IO)
    yield from _flax_layer("b4.out", "output", path, _IO)


# moono/stylegan2-tf-2.x


def _moono_conv(canonical: str, weight: str, bias: str, path: Path, layout: str = _HWIO) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", path(weight, "w", end=True), layout)
    yield Slot(f"{canonical}.bias", path(bias, "b", end=True))


def _moono_generator(depth: Depth, path: Path, *, by_place: bool) -> Iterator[Slot]:
    dense, act = ("dense_layers", "bias_act_layers") if by_place else ("dense", "bias_act")
    for i in range(depth.mapping_layers):
        names = (path(dense, f"{i}"), path(act, f"{i}")) if by_place else (f"{dense}_{i}", f"{act}_{i}")
        weight, bias = (path("g_mapping", name) for name in names)
        yield from _moono_conv(f"mapping.fc{i}", weight, bias, path, _IO)
    yield Slot("mapping.w_avg", path("w_avg", end=True), optional=True)
    for index, size in enumerate((4, *depth.blocks)):
        block, rgb = _moono_places(index, size, path, by_place=by_place)
        if size == 4:
            yield Slot("synthesis.const", path(block, "const", end=True), "1 c h w -> c h w")
        for name, number in (("conv0", "_0"), ("conv1", "_1")) if size > 4 else (("conv1", ""),):
            layer = f"synthesis.b{size}.{name}"
            bias, noise = ("apply_bias_act", "apply_noise") if by_place else ("bias", "noise")
            strength = "noise_strength" if by_place else "w"
            yield from _moono_styled(layer, path(block, f"conv{number}"), path(block, f"{bias}{number}"), path)
            yield Slot(f"{layer}.noise_strength", path(block, f"{noise}{number}", strength, end=True), optional=True)
        bias = path(rgb, "apply_bias" if by_place else "bias")
        yield from _moono_styled(f"synthesis.b{size}.torgb", path(rgb, "conv"), bias, path)


def _moono_places(index: int, size: int, path: Path, *, by_place: bool) -> tuple[str, str]:
    """Where the convolutions of a size stand, and its to-RGB layer."""
    if not by_place:
        block = path("g_synthesis", f"{size}x{size}")
        return path(block, "block" if index else "const"), path(block, "ToRGB")
    first = ("initial_block", "initial_torgb")
    block, rgb = (path("blocks", f"{index - 1}"), path("torgbs", f"{index - 1}")) if index else first
    return path("synthesis", block), path("synthesis", rgb)


def _moono_styled(canonical: str, stored: str, bias: str, path: Path) -> Iterator[Slot]:
    yield from _moono_conv(canonical, stored, bias, path)
    yield Slot(f"{canonical}.style.weight", path(stored, "mod_dense", "w", end=True), _IO)
    yield Slot(f"{canonical}.style.bias", path(stored, "mod_bias", "b", end=True), add=1.0)


def _moono_discriminator(depth: Depth, path: Path, *, by_place: bool) -> Iterator[Slot]:
    top = depth.resolution
    rgb = "initial_fromrgb" if by_place else path(f"{top}x{top}", "FromRGB")
    bias = "apply_bias_act" if by_place else "bias"
    yield from _moono_conv(f"b{top}.fromrgb", path(rgb, "conv"), path(rgb, bias), path)
    for index, size in enumerate(reversed(depth.blocks)):
        block = path("blocks", f"{index}") if by_place else f"{size}x{size}"
        for number in (0, 1):
            layer, stored = f"b{size}.conv{number}", path(block, f"conv_{number}")
            yield from _moono_conv(layer, stored, path(block, f"{bias}_{number}"), path)
        skip = path(block, "conv_skip" if by_place else "skip", "w", end=True)
        yield Slot(f"b{size}.skip.weight", skip, _HWIO)
    last = "last_block" if by_place else "4x4"
    yield from _moono_conv("b4.conv", path(last, "conv_0"), path(last, f"{bias}_0"), path)
    yield from _moono_conv("b4.fc", path(last, "dense_1"), path(last, f"{bias}_1"), path, _IO)
    yield from _moono_conv("b4.out", "last_dense", "last_bias", path, _IO)


def _spelled(separator: str, ending: str = "") -> Path:
    """Parts joined by a separator; with `end` they are a variable, whose name may have an ending."""

    def path(*parts: str, end: bool = False) -> str:
        return separator.join(parts) + (ending if end else "")

    return path


def _flax(path: Path) -> Iterator[Naming]:
    def generator(depth: Depth) -> Iterator[Slot]:
        return _flax_generator(depth, path)

    def discriminator(depth: Depth, structure: Structure) -> Iterator[Slot]:
        return _flax_discriminator(depth, structure, path)

    yield Naming(ARCHITECTURE, "generator", generator, ("generator",), reads_only=_NO_HDF5)
    for naming in structures("discriminator", discriminator, ("discriminator",), reads_only=_NO_HDF5):
        if naming.structure != "skip":
            yield replace(naming, deviation_of=WHOLE_BATCH)


def _moono(path: Path, *, by_place: bool) -> Iterator[Naming]:
    def generator(depth: Depth) -> Iterator[Slot]:
        return _moono_generator(depth, path, by_place=by_place)

    def discriminator(depth: Depth) -> Iterator[Slot]:
        return _moono_discriminator(depth, path, by_place=by_place)

    yield Naming(ARCHITECTURE, "generator", generator, ("generator",), ("g_clone",), reads_only=_NO_CHECKPOINT)
    yield Naming(
        ARCHITECTURE, "discriminator", discriminator, ("discriminator",), reads_only=_NO_CHECKPOINT, scores_labels=True
    )


_ENDINGS = ((False, ":0"), (True, "/.ATTRIBUTES/VARIABLE_VALUE"), (False, ""), (True, ""))
FLAX = (*_flax(_spelled("/")), *_flax(_spelled(".")))
MOONO = tuple(
    itertools.chain.from_iterable(
        _moono(_spelled(separator, ending), by_place=by_place)
        for separator in "/."
        for by_place, ending in _ENDINGS
        if separator == "/" or not ending
    )
)
