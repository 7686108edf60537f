"""Hammer's networks against the canonical names of their architectures.

The layers are called as in genforce. StyleGAN2's hold what NVIDIA's do in PyTorch: kernels of up-convolutions are
applied as true convolutions, so both their axes run backwards; styles hold their 1; filters are stored as they are,
one in every layer that resamples and one for the images. StyleGAN's and PGGAN's hold what genforce's do, the 1 of a
style's factor being added at run time; but a blur is one filter for all channels, a noise strength (1, channels, 1, 1),
and the discriminator's score is `output`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from eqlr_tools.families import stylegan1_names
from eqlr_tools.families.naming import Depth, Naming, Setting, Slot
from eqlr_tools.families.progan_names import ARCHITECTURE as PROGAN
from eqlr_tools.families.progan_port_names import genforce_discriminator, genforce_generator
from eqlr_tools.families.stylegan2_names import Structure, dense, has_colour, structures


def _generator(depth: Depth, structure: Structure = "skip") -> Iterator[Slot]:
    if depth.labels:
        yield from dense("mapping.label", "mapping.embedding")
    for i in range(depth.mapping_layers):
        yield from dense(f"mapping.fc{i}", f"mapping.dense{i}")
    yield Slot("mapping.w_avg", "w_avg", optional=True)
    yield Slot("synthesis.const", "synthesis.early_layer.const", "1 c h w -> c h w")
    for index, resolution in enumerate((4, *depth.blocks)):
        block = f"synthesis.b{resolution}"
        if resolution > 4:
            yield from _styled(f"{block}.conv0", f"synthesis.layer{2 * index - 1}", "h w")
            yield Slot("fir", f"synthesis.layer{2 * index - 1}.filter", optional=True)
        yield from _styled(f"{block}.conv1", f"synthesis.layer{2 * index}")
        if structure == "resnet" and resolution > 4:
            yield Slot(f"{block}.skip.weight", f"synthesis.residual{index}.weight")
            yield Slot("fir", f"synthesis.residual{index}.filter", optional=True)
        if has_colour(depth, resolution, structure):
            yield from dense(f"{block}.torgb", f"synthesis.output{index}")
            yield from dense(f"{block}.torgb.style", f"synthesis.output{index}.style")
    if structure == "skip":
        yield Slot("fir", "synthesis.filter", optional=True)


def _styled(canonical: str, stored: str, reverse: str = "") -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.weight", "o i h w -> o i h w", reverse)
    yield Slot(f"{canonical}.bias", f"{stored}.bias")
    yield from dense(f"{canonical}.style", f"{stored}.style")
    yield Slot(f"{canonical}.noise_strength", f"{stored}.noise_strength", optional=True)
    yield Slot(f"{canonical}.noise", f"{stored}.noise", "1 1 h w -> h w", optional=True)


def _discriminator(depth: Depth, structure: Structure = "resnet") -> Iterator[Slot]:
    if depth.labels:
        yield from dense("mapping.label", "embedding")
    for i in range(depth.mapping_layers):
        yield from dense(f"mapping.fc{i}", f"mapping{i}")
    for index, resolution in enumerate(reversed((4, *depth.blocks))):
        block, first, second = f"b{resolution}", f"layer{2 * index}", f"layer{2 * index + 1}"
        if has_colour(depth, resolution, structure):
            yield from dense(f"{block}.fromrgb", f"input{index}")
        names = ("conv0", "conv1") if resolution > 4 else ("conv", "fc")
        yield from dense(f"{block}.{names[0]}", first)
        yield from dense(f"{block}.{names[1]}", second)
        if resolution > 4:
            yield Slot("fir", f"{second}.filter", optional=True)
            if structure == "resnet":
                yield Slot(f"{block}.skip.weight", f"residual{index}.weight")
                yield Slot("fir", f"residual{index}.filter", optional=True)
    yield from dense("b4.out", "output")
    if structure == "skip":
        yield Slot("fir", "filter", optional=True)


_RENAMED = {
    "mapping.label_weight": "mapping.embedding",
    "truncation.w_avg": "w_avg",
    ".apply_noise.weight": ".noise_strength",
    ".apply_noise.noise": ".noise",
    ".blur.kernel": ".filter",
}


def _as_in_genforce(genforce: Naming) -> Naming:
    """Hammer's naming of a StyleGAN network, which is genforce's but for some names."""

    def slots(depth: Depth) -> Iterator[Slot]:
        score = f"layer{2 * len(depth.blocks) + 2}." if genforce.role == "discriminator" else ""
        renamed = {**_RENAMED, score: "output."} if score else _RENAMED
        for slot in genforce.slots(depth):
            stored = slot.stored
            for theirs, ours in renamed.items():
                stored = stored.replace(theirs, ours)
            layout = "1 c 1 1 -> c" if stored.endswith(".noise_strength") else slot.layout
            yield replace(slot, stored=stored, layout=layout, repeats="")

    return replace(
        genforce,
        slots=slots,
        place=("models", *genforce.place),
        ema_place=("models", *genforce.ema_place) if genforce.ema_place else (),
        training=_TRAINING,
    )


_GENERATOR, _AVERAGE, _DISCRIMINATOR = (("models", name) for name in ("generator", "generator_smooth", "discriminator"))
_TRAINING = "eqlr does not know in which order the target's code numbers its parameters"
STYLEGAN2 = (
    *structures("generator", _generator, _GENERATOR, _AVERAGE, training=_TRAINING),
    *structures("discriminator", _discriminator, _DISCRIMINATOR, training=_TRAINING),
)
PGGAN = (
    Naming(
        PROGAN,
        "discriminator",
        partial(genforce_discriminator, score="output"),
        _DISCRIMINATOR,
        form={"group_size": 16},
        settings={"group_size": Setting("mbstd_groups"), "pool_first": Setting("fused_scale")},
        training=_TRAINING,
    ),
    *(
        Naming(
            PROGAN,
            "generator",
            partial(genforce_generator, fused=fused),
            _GENERATOR,
            _AVERAGE,
            settings={"tanh": Setting("final_tanh")},
            training=_TRAINING,
        )
        for fused in (False, True)
    ),
)
STYLEGAN = tuple(map(_as_in_genforce, stylegan1_names.GENFORCE))
