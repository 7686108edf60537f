"""Widths that a project's code takes from no argument: what networks of other widths it does not load.

Their files have the right names all the same, for code that is changed accordingly; which is why this is told, and
nothing is refused. Shapes are those of canonical parameters.

    rosinality, BasicSR    one number for z, w and what lies between; three colours
    mmagic                 what lies between z and w is as wide as w
    all three, ProGANs     one map of the batch's deviations in front of the discriminator's last convolution
    ppeetteerrs            one colour
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from eqlr_tools.scaling import Shape

Widths = Callable[[Mapping[str, Shape]], Iterator[str]]
"""From the shapes of a network to what its code is made for and this network is not."""


def colours(count: int) -> Widths:
    """Images of so many channels."""

    def rule(shapes: Mapping[str, Shape]) -> Iterator[str]:
        made = {shape[0] for name, shape in shapes.items() if name.endswith(".torgb.weight")}
        read = {shape[1] for name, shape in shapes.items() if name.endswith(".fromrgb.weight")}
        for other in sorted((made | read) - {count}):
            yield f"images of {count} channel{'s' if count > 1 else ''}, and this network's have {other}"

    return rule


def one_latent_width(shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Latents that are as wide in front of the mapping network as behind it."""
    yield from _mapping("latents of one width throughout the mapping network", shapes, first=0)


def one_style_width(shapes: Mapping[str, Shape]) -> Iterator[str]:
    """A mapping network whose layers all return as many numbers."""
    yield from _mapping("mapping layers of one width", shapes, first=1)


def _mapping(what: str, shapes: Mapping[str, Shape], first: int) -> Iterator[str]:
    layers = [shapes[name] for n in range(len(shapes)) if (name := f"mapping.fc{n}.weight") in shapes]
    widths = [*(shape[1] for shape in layers[:1]), *(shape[0] for shape in layers)][first:]
    if len(set(widths)) > 1:
        yield f"{what}, and here they are {', '.join(map(str, dict.fromkeys(widths)))}"


def one_deviation(shapes: Mapping[str, Shape]) -> Iterator[str]:
    """A discriminator whose last convolution sees one channel more than the block before it returns."""
    maps = deviation_maps(shapes)
    if maps not in (None, 1):
        yield f"one map of the batch's deviations, and this network has {maps}"


def deviation_maps(shapes: Mapping[str, Shape]) -> int | None:
    """How many channels more a discriminator's last convolution sees than arrive there; None where nothing tells."""
    last, before = shapes.get("b4.conv.weight"), shapes.get("b8.conv1.weight", shapes.get("b4.fromrgb.weight"))
    return last[1] - before[0] if last and before else None
