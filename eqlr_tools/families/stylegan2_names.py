"""StyleGAN2 as NVIDIA, genforce and eqlr itself name it, against the canonical names of `networks/stylegan2.py`.

nvidia-stylegan2-ada   `synthesis.b8.conv0.affine`; up-convolutions are true convolutions, so both kernel axes run
                       backwards; demodulated weights are stored and applied without a constant
nvidia-stylegan2-tf    `G_synthesis/8x8/Conv0_up/mod_weight`; (height, width, in, out); styles without their 1
genforce-stylegan2     `synthesis.layer1.style`; correlated kernels; styles without their 1; filters times 4
stylegan2-plain        the canonical names, as `eqlr convert --to plain` writes them

NVIDIA's code has three structures, `skip`, `resnet` and `orig`: the usual one is `skip` for generators and `resnet` for
discriminators. They are told apart by their tensors: to-RGB (from-RGB) at every size or at the largest only, a 1x1
convolution beside every size or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from eqlr_tools.families.naming import Depth, Naming, Role, Slot, Slots
from eqlr_tools.families.training import Order, Training, registered

ARCHITECTURE = "stylegan2"
Structure = Literal["skip", "resnet", "orig"]
USUAL: dict[Role, Structure] = {"generator": "skip", "discriminator": "resnet"}
_NO_TRAINING = "no project trains networks of these names"
_NO_PICKLE = "its files are pickles of TensorFlow networks, which eqlr reads but does not write"


def dense(canonical: str, stored: str) -> Iterator[Slot]:
    """A weight and its bias, laid out as the canonical ones are."""
    yield Slot(f"{canonical}.weight", f"{stored}.weight")
    yield Slot(f"{canonical}.bias", f"{stored}.bias")


def _mapping(depth: Depth, layer: str = "mapping.fc{}") -> Iterator[Slot]:
    for i in range(depth.mapping_layers):
        yield from dense(f"mapping.fc{i}", layer.format(i))


# eqlr's own names


def plain_generator(depth: Depth, structure: Structure = "skip") -> Iterator[Slot]:
    if depth.labels:
        yield from dense("mapping.label", "mapping.label")
    yield from _mapping(depth)
    yield Slot("mapping.w_avg", "mapping.w_avg", optional=True, may_lack=True)
    yield Slot("synthesis.const", "synthesis.const")
    for resolution in (4, *depth.blocks):
        if structure == "resnet" and resolution > 4:
            yield Slot(f"synthesis.b{resolution}.skip.weight", f"synthesis.b{resolution}.skip.weight")
        for name in ("conv0", "conv1", "torgb")[resolution == 4 :]:
            if name == "torgb" and not has_colour(depth, resolution, structure):
                continue
            layer = f"synthesis.b{resolution}.{name}"
            yield from dense(layer, layer)
            yield from dense(f"{layer}.style", f"{layer}.style")
            if name != "torgb":
                yield Slot(f"{layer}.noise_strength", f"{layer}.noise_strength", optional=True, may_lack=True)
                yield Slot(f"{layer}.noise", f"{layer}.noise", optional=True, may_lack=True)
    yield Slot("fir", "fir", optional=True)


def has_colour(depth: Depth, resolution: int, structure: Structure) -> bool:
    """True if there is a to-RGB or from-RGB layer at this size."""
    return structure == "skip" or resolution == depth.resolution


def plain_discriminator(depth: Depth, structure: Structure = "resnet") -> Iterator[Slot]:
    if depth.labels:
        yield from dense("mapping.label", "mapping.label")
    yield from _mapping(depth)
    for resolution in reversed((4, *depth.blocks)):
        if has_colour(depth, resolution, structure):
            yield from dense(f"b{resolution}.fromrgb", f"b{resolution}.fromrgb")
    for resolution in reversed(depth.blocks):
        yield from dense(f"b{resolution}.conv0", f"b{resolution}.conv0")
        yield from dense(f"b{resolution}.conv1", f"b{resolution}.conv1")
        if structure == "resnet":
            yield Slot(f"b{resolution}.skip.weight", f"b{resolution}.skip.weight")
    for layer in ("b4.conv", "b4.fc", "b4.out"):
        yield from dense(layer, layer)
    yield Slot("fir", "fir", optional=True)


# NVlabs/stylegan2-ada-pytorch


def ada_generator(depth: Depth, structure: Structure = "skip") -> Iterator[Slot]:
    if depth.labels:
        yield from dense("mapping.label", "mapping.embed")
    yield from _mapping(depth)
    yield Slot("mapping.w_avg", "mapping.w_avg", optional=True)
    yield Slot("synthesis.const", "synthesis.b4.const")
    for resolution in (4, *depth.blocks):
        block = f"synthesis.b{resolution}"
        yield Slot("fir", f"{block}.resample_filter", optional=True)
        for name in ("conv0", "conv1")[resolution == 4 :]:
            reverse = "h w" if name == "conv0" else ""
            layer = f"{block}.{name}"
            yield Slot(f"{layer}.weight", f"{layer}.weight", "o i h w -> o i h w", reverse, he=True)
            yield Slot(f"{layer}.bias", f"{layer}.bias")
            yield from dense(f"{layer}.style", f"{layer}.affine")
            yield Slot(f"{layer}.noise_strength", f"{layer}.noise_strength", optional=True)
            yield Slot(f"{layer}.noise", f"{layer}.noise_const", optional=True)
            yield Slot("fir", f"{layer}.resample_filter", optional=True)
        if structure == "resnet" and resolution > 4:
            yield Slot(f"{block}.skip.weight", f"{block}.skip.weight")
            yield Slot("fir", f"{block}.skip.resample_filter", optional=True)
        if has_colour(depth, resolution, structure):
            yield from dense(f"{block}.torgb", f"{block}.torgb")
            yield from dense(f"{block}.torgb.style", f"{block}.torgb.affine")


def ada_discriminator(depth: Depth, structure: Structure = "resnet") -> Iterator[Slot]:
    for slot in plain_discriminator(depth, structure):
        if slot.canonical.startswith("mapping.label"):
            yield Slot(slot.canonical, slot.canonical.replace("label", "embed"))
        elif slot.canonical != "fir":
            yield slot
    parts = ("", ".conv0", ".conv1", *([".skip"] if structure == "resnet" else []))
    layers = [f"b{r}{part}" for r in depth.blocks for part in parts]
    colours = [f"b{r}.fromrgb" for r in (4, *depth.blocks) if has_colour(depth, r, structure)]
    for layer in (*colours, *layers, "b4.conv"):
        yield Slot("fir", f"{layer}.resample_filter", optional=True)


# NVlabs/stylegan2 and stylegan2-ada (TensorFlow)


def _tf_dense(canonical: str, stored: str) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}/weight", "i o -> o i")
    yield Slot(f"{canonical}.bias", f"{stored}/bias")


def _tf_conv(canonical: str, stored: str) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}/weight", "h w i o -> o i h w")
    yield Slot(f"{canonical}.bias", f"{stored}/bias")


def _tf_styled(canonical: str, stored: str) -> Iterator[Slot]:
    yield from _tf_conv(canonical, stored)
    yield Slot(f"{canonical}.style.weight", f"{stored}/mod_weight", "i o -> o i")
    yield Slot(f"{canonical}.style.bias", f"{stored}/mod_bias", add=1.0)


def tf_generator(depth: Depth, structure: Structure = "skip") -> Iterator[Slot]:
    if depth.labels:
        yield from _tf_dense("mapping.label", "G_mapping/LabelEmbed")
    for i in range(depth.mapping_layers):
        yield from _tf_dense(f"mapping.fc{i}", f"G_mapping/Dense{i}")
    yield Slot("mapping.w_avg", "dlatent_avg", optional=True)
    for holder in ("", "G_synthesis/"):
        yield Slot("lod", f"{holder}lod", optional=True, read_only=True)
    yield Slot("synthesis.const", "G_synthesis/4x4/Const/const", "1 c h w -> c h w")
    for index, resolution in enumerate((4, *depth.blocks)):
        block, stored = f"synthesis.b{resolution}", f"G_synthesis/{resolution}x{resolution}"
        layers = {"conv0": "Conv0_up", "conv1": "Conv1"} if resolution > 4 else {"conv1": "Conv"}
        for number, (name, theirs) in enumerate(layers.items()):
            yield from _tf_styled(f"{block}.{name}", f"{stored}/{theirs}")
            yield Slot(f"{block}.{name}.noise_strength", f"{stored}/{theirs}/noise_strength", optional=True)
            noise = max(2 * index - 1, 0) + number
            yield Slot(f"{block}.{name}.noise", f"G_synthesis/noise{noise}", "1 1 h w -> h w", optional=True)
        if structure == "resnet" and resolution > 4:
            yield Slot(f"{block}.skip.weight", f"{stored}/Skip/weight", "h w i o -> o i h w")
        if has_colour(depth, resolution, structure):
            yield from _tf_styled(f"{block}.torgb", f"{stored}/ToRGB")


def tf_discriminator(depth: Depth, structure: Structure = "resnet") -> Iterator[Slot]:
    if depth.labels:
        yield from _tf_dense("mapping.label", "LabelEmbed")
    for i in range(depth.mapping_layers):
        yield from _tf_dense(f"mapping.fc{i}", f"Mapping{i}")
    for resolution in reversed((4, *depth.blocks)):
        if has_colour(depth, resolution, structure):
            yield from _tf_conv(f"b{resolution}.fromrgb", f"{resolution}x{resolution}/FromRGB")
    for resolution in reversed(depth.blocks):
        block, stored = f"b{resolution}", f"{resolution}x{resolution}"
        yield from _tf_conv(f"{block}.conv0", f"{stored}/Conv0")
        yield from _tf_conv(f"{block}.conv1", f"{stored}/Conv1_down")
        if structure == "resnet":
            yield Slot(f"{block}.skip.weight", f"{stored}/Skip/weight", "h w i o -> o i h w")
    yield from _tf_conv("b4.conv", "4x4/Conv")
    yield from _tf_dense("b4.fc", "4x4/Dense0")
    yield from _tf_dense("b4.out", "Output")


# genforce/genforce


def genforce_generator(depth: Depth) -> Iterator[Slot]:
    yield from _mapping(depth, "mapping.dense{}")
    yield Slot("mapping.w_avg", "truncation.w_avg", optional=True)
    yield Slot("synthesis.const", "synthesis.early_layer.const", "1 c h w -> c h w")
    for index, resolution in enumerate((4, *depth.blocks)):
        block = f"synthesis.b{resolution}"
        for number, name in ((0, "conv0"), (1, "conv1"))[resolution == 4 :]:
            layer = f"synthesis.layer{2 * index - 1 + number}"
            yield from _genforce_styled(f"{block}.{name}", layer)
            yield Slot(f"{block}.{name}.noise_strength", f"{layer}.noise_strength", optional=True)
            yield Slot(f"{block}.{name}.noise", f"{layer}.noise", "1 1 h w -> h w", optional=True)
            if name == "conv0":
                yield Slot("fir", f"{layer}.filter.kernel", "1 1 h w -> h w", "h w", scale=0.25, optional=True)
        yield from _genforce_styled(f"{block}.torgb", f"synthesis.output{index}")
    if depth.blocks:
        yield Slot("fir", "synthesis.upsample.kernel", "1 1 h w -> h w", "h w", scale=0.25, optional=True)


def _genforce_styled(canonical: str, stored: str) -> Iterator[Slot]:
    yield from dense(canonical, stored)
    yield Slot(f"{canonical}.style.weight", f"{stored}.style.weight")
    yield Slot(f"{canonical}.style.bias", f"{stored}.style.bias", add=1.0)


def genforce_discriminator(depth: Depth) -> Iterator[Slot]:
    yield from dense(f"b{depth.resolution}.fromrgb", "input0")
    for index, resolution in enumerate(reversed(depth.blocks)):
        block, second, skip = f"b{resolution}", f"layer{2 * index + 1}", f"skip_layer{index}"
        yield from dense(f"{block}.conv0", f"layer{2 * index}")
        yield from dense(f"{block}.conv1", second)
        yield Slot(f"{block}.skip.weight", f"{skip}.weight")
        for layer in (second, skip):
            yield Slot("fir", f"{layer}.filter.kernel", "1 1 h w -> h w", "h w", optional=True)
    last = 2 * len(depth.blocks)
    for number, layer in enumerate(("b4.conv", "b4.fc", "b4.out")):
        yield from dense(layer, f"layer{last + number}")


GENFORCE_DISCRIMINATOR = registered(
    "weight bias input layer skip_layer", blocks={"input": (1, 0), "layer": (2, 0), "skip_layer": (1, 0)}
)


def genforce_training(name: str, order: Order) -> Training:
    """genforce makes a group of every parameter, to give biases a learning rate of their own."""
    return Training(order, ("optimizers", name), root=("models",), one_by_one=True)


def structures(
    role: Role,
    slots: Callable[[Depth, Structure], Iterable[Slot]],
    place: tuple[str, ...],
    ema_place: tuple[str, ...] = (),
    reads_only: str = "",
    training: Training | str = _NO_TRAINING,
    scores_labels: bool = False,
) -> Iterator[Naming]:
    """A naming per structure, the most demanding first: what fits it fits `orig` as well."""

    def having(structure: Structure) -> Slots:
        return lambda depth: slots(depth, structure)

    others: tuple[Structure, ...] = ("skip", "resnet", "orig")
    for structure in sorted(others, key=lambda s: (s != USUAL[role], s == "orig")):
        said = "" if structure == USUAL[role] else structure
        yield Naming(
            ARCHITECTURE,
            role,
            having(structure),
            place,
            ema_place,
            reads_only=reads_only,
            structure=said,
            training=training,
            scores_labels=scores_labels,
        )


_LAYERS = ("const", "fromrgb", "conv", "conv0", "conv1", "torgb", "skip", "fc", "out")
_PARTS = ("weight", "noise_strength", "bias", "affine.weight", "affine.bias")


def _ada_order(name: str) -> tuple[int, ...]:
    """As NVIDIA's modules register: synthesis before mapping; a discriminator's mapping before its last block."""
    if name.startswith("mapping."):
        _, layer, part = name.split(".")
        behind = 0 if layer == "embed" else 1 + int(layer.removeprefix("fc"))
        return 1, -5, behind, _PARTS.index(part)
    generator = name.startswith("synthesis.")
    block, layer, part = f"{name.removeprefix('synthesis.')}.".split(".", 2)
    size = int(block.removeprefix("b"))
    place = (0, size) if generator else (1, -size)
    return *place, _LAYERS.index(layer), _PARTS.index(part.rstrip(".")) if part else 0


PLAIN_DISCRIMINATORS = tuple(structures("discriminator", plain_discriminator, ("discriminator",), scores_labels=True))
PLAIN = (
    *structures("generator", plain_generator, ("generator",), ("generator_ema",)),
    *PLAIN_DISCRIMINATORS,
)
# NVIDIA's own code keeps no optimizer; this is where one fits beside its networks.
NVIDIA_DISCRIMINATORS = tuple(
    structures("discriminator", ada_discriminator, ("D",), training=Training(_ada_order, ("D_optim",)))
)
NVIDIA_ADA = (
    *structures("generator", ada_generator, ("G",), ("G_ema",), training=Training(_ada_order, ("G_optim",))),
    *NVIDIA_DISCRIMINATORS,
)
NVIDIA_TF = (
    *structures("generator", tf_generator, ("G",), ("Gs",), reads_only=_NO_PICKLE),
    *structures("discriminator", tf_discriminator, ("D",), reads_only=_NO_PICKLE, scores_labels=True),
)
GENFORCE = (
    Naming(
        ARCHITECTURE,
        "generator",
        genforce_generator,
        ("generator",),
        ("generator_smooth",),
        training=genforce_training(
            "generator",
            registered(
                "weight bias noise_strength label_weight const mapping dense synthesis early_layer layer output style",
                blocks={"layer": (2, 1), "output": (1, 0)},
            ),
        ),
    ),
    Naming(
        ARCHITECTURE,
        "discriminator",
        genforce_discriminator,
        ("discriminator",),
        training=genforce_training("discriminator", GENFORCE_DISCRIMINATOR),
        scores_labels=True,
    ),
)
