"""StyleGAN3 as its projects and eqlr itself name it, against the canonical names of `networks/stylegan3.py`.

nvidia-stylegan3   `synthesis.L0_36_512.affine`, `.magnitude_ema`; the names hold sizes and channels, as canonical ones
mmgen-stylegan3    the same, but `style_mapping` instead of `mapping`
stylegan-xl        the same; a class is embedded (`mapping.embed`) and then projected (`mapping.embed_proj`)
hammer-stylegan3   `synthesis.layer0.conv.weight`: sizes follow from the filters' lengths and the input's grid
stylegan3-plain    the canonical names, as `eqlr convert --to plain` writes them

The discriminator of all of them is StyleGAN2's, in NVIDIA's layout.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from eqlr_tools.families.naming import Depth, Naming, Slot
from eqlr_tools.families.stylegan2_names import NVIDIA_DISCRIMINATORS, PLAIN_DISCRIMINATORS
from eqlr_tools.families.training import Training, registered
from eqlr_tools.networks.stylegan3 import PREFIX, layer_names, output_size
from eqlr_tools.scaling import Shape

ARCHITECTURE = "stylegan3"
MARGIN = 10
"""Pixels that activations have on every side of the image, until the last two layers."""

_Rename = Callable[[str], str]


def canonical_slots(depth: Depth, *, embedding: bool = False) -> Iterator[tuple[str, bool]]:
    """The canonical names of a generator, and whether a file may lack them."""
    yield "synthesis.input.weight", False
    yield "synthesis.input.transform", True
    yield "synthesis.input.freqs", False
    yield "synthesis.input.phases", False
    yield from _dense("synthesis.input.style")
    for name in depth.layers:
        layer = f"{PREFIX}{name}"
        yield from _dense(layer)
        yield f"{layer}.magnitude", False
        if name != depth.layers[-1]:
            yield f"{layer}.up_filter", False
            yield f"{layer}.down_filter", False
        yield from _dense(f"{layer}.style")
    yield "mapping.w_avg", True
    if embedding:
        yield "mapping.embedding.weight", False
    if depth.labels:
        yield from _dense("mapping.label")
    for i in range(depth.mapping_layers):
        yield from _dense(f"mapping.fc{i}")


def _dense(layer: str) -> Iterator[tuple[str, bool]]:
    yield f"{layer}.weight", False
    yield f"{layer}.bias", False


def _nvidia(name: str) -> str:
    name = name.replace(".style.", ".affine.").replace("mapping.label.", "mapping.embed.")
    return re.sub(r"\.magnitude$", ".magnitude_ema", name)


def _xl(name: str) -> str:
    if name.startswith("mapping.label."):
        return name.replace("label", "embed_proj")
    return name.replace("mapping.embedding.", "mapping.embed.") if "embedding" in name else _nvidia(name)


def _mmgen(name: str) -> str:
    return re.sub("^mapping", "style_mapping", _nvidia(name))


def _same(name: str) -> str:
    return name


_HAMMER = (
    (r"mapping\.w_avg", "w_avg"),
    (r"mapping\.label\.(.+)", r"mapping.embedding.\1"),
    (r"mapping\.fc(.+)", r"mapping.dense\1"),
    (r"synthesis\.input\.freqs", "synthesis.early_layer.frequency"),
    (r"synthesis\.input\.phases", "synthesis.early_layer.phase"),
    (r"synthesis\.input\.style\.(.+)", r"synthesis.early_layer.affine.\1"),
    (r"synthesis\.input\.(.+)", r"synthesis.early_layer.\1"),
    (r"synthesis\.L(\d+)_\d+_\d+\.magnitude", r"synthesis.layer\1.magnitude_ema"),
    (r"synthesis\.L(\d+)_\d+_\d+\.(bias|up_filter|down_filter)", r"synthesis.layer\1.filter.\2"),
    (r"synthesis\.L(\d+)_\d+_\d+\.(.+)", r"synthesis.layer\1.conv.\2"),
)


def _hammer(name: str) -> str:
    for pattern, stored in _HAMMER:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, stored, name)
    return name


def _slots(rename: _Rename, *, embedding: bool = False, keeps_defaults: bool = True) -> Callable[..., Iterator[Slot]]:
    def slots(depth: Depth) -> Iterator[Slot]:
        for name, optional in canonical_slots(depth, embedding=embedding):
            yield Slot(name, rename(name), optional=optional, may_lack=optional and not keeps_defaults)

    return slots


def _hammer_slots(depth: Depth) -> Iterator[Slot]:
    yield from _slots(_hammer)(depth)
    yield Slot("synthesis.input.grid", "synthesis.early_layer.grid")


def _measured(rename: _Rename) -> Callable[[Mapping[str, Shape]], Depth | None]:
    """The depth of a generator whose layers' names are the canonical ones."""

    def measured(shapes: Mapping[str, Shape]) -> Depth | None:
        layers = layer_names(shapes)
        return _depth(shapes, layers, output_size(layers[-1]), rename) if layers else None

    return measured


def _depth(shapes: Mapping[str, Shape], layers: list[str], resolution: int, rename: _Rename) -> Depth:
    """A network without a mapping is none, so one layer at least is asked for."""
    mapping = 1
    while rename(f"mapping.fc{mapping}.weight") in shapes:
        mapping += 1
    return Depth(resolution, mapping, rename("mapping.label.weight") in shapes, tuple(layers))


def _hammer_measured(shapes: Mapping[str, Shape]) -> Depth | None:
    """Hammer numbers its layers. The sampling rate grows by the ratio of a layer's filters, from the input's on."""
    grid = shapes.get("synthesis.early_layer.grid", ())
    count = 0
    while f"synthesis.layer{count}.conv.weight" in shapes:
        count += 1
    if len(grid) != 4 or count < 2:
        return None
    rate, rates = grid[1] - 2 * MARGIN, []
    for number in range(count):
        filters = [shapes.get(f"synthesis.layer{number}.filter.{way}_filter", (1,)) for way in ("up", "down")]
        if not all(shape and shape[0] for shape in filters):
            return None
        rate = rate * filters[0][0] // filters[1][0]
        rates.append(rate)
    sizes = [*(rate + 2 * MARGIN for rate in rates[:-2]), rates[-1], rates[-1]]
    channels = [shapes[f"synthesis.layer{number}.conv.weight"][:1] for number in range(count)]
    layers = [f"L{n}_{size}_{width[0]}" for n, (size, width) in enumerate(zip(sizes, channels, strict=True)) if width]
    return _depth(shapes, layers, rates[-1], _hammer)


def _generator(
    rename: _Rename,
    places: tuple[tuple[str, ...], tuple[str, ...]],
    *,
    keeps_defaults: bool = True,
    embedding: bool = False,
    caution: str = "",
    reads_only: str = "",
    training: Training | str = "no project trains networks of these names",
) -> Naming:
    slots = _slots(rename, embedding=embedding, keeps_defaults=keeps_defaults)
    measured = _measured(rename)
    structure = "a class embedding" if embedding else ""
    return Naming(
        ARCHITECTURE,
        "generator",
        slots,
        *places,
        reads_only,
        caution,
        measured=measured,
        structure=structure,
        training=training,
    )


_ORDER = registered("weight bias synthesis mapping style_mapping input L affine embed fc")
NVIDIA = (
    _generator(_nvidia, (("G",), ("G_ema",)), training=Training(_ORDER, ("G_optim",))),
    *NVIDIA_DISCRIMINATORS,
)
XL = (_generator(_xl, (("G",), ("G_ema",)), embedding=True, reads_only="no other project has its class embedding"),)
PLAIN = (_generator(_same, (("generator",), ("generator_ema",)), keeps_defaults=False), *PLAIN_DISCRIMINATORS)
MMGEN = (
    _generator(
        _mmgen,
        (("state_dict", "generator."), ("state_dict", "generator_ema.")),
        caution="mmgeneration's configuration may swap red and blue (rgb2bgr), which no tensor says",
        training=Training(_ORDER, ("optimizer", "generator")),
    ),
)
HAMMER = (
    Naming(
        ARCHITECTURE,
        "generator",
        _hammer_slots,
        ("models", "generator"),
        ("models", "generator_smooth"),
        measured=_hammer_measured,
    ),
)
