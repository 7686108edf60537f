"""ProGAN as aladdinpersson's tutorial names it, against the canonical names of `networks/progan.py`."""

from __future__ import annotations

from collections.abc import Iterator

from eqlr_tools.families.naming import Depth, Naming, Slot


def _generator(depth: Depth) -> Iterator[Slot]:
    yield Slot("b4.input.weight", "initial.1.weight", "z c h=4 w=4 -> (c h=4 w=4) z")
    yield Slot("b4.input.bias", "initial.1.bias")
    yield from _scaled("b4.conv", "initial.3")
    yield from _scaled("b4.torgb", "rgb_layers.0")
    # The same module under a second name.
    yield from _scaled("b4.torgb", "initial_rgb")
    for index, size in enumerate(depth.blocks):
        yield from _scaled(f"b{size}.conv0", f"prog_blocks.{index}.conv1")
        yield from _scaled(f"b{size}.conv1", f"prog_blocks.{index}.conv2")
        yield from _scaled(f"b{size}.torgb", f"rgb_layers.{index + 1}")


def _scaled(canonical: str, stored: str) -> Iterator[Slot]:
    yield Slot(f"{canonical}.weight", f"{stored}.conv.weight")
    yield Slot(f"{canonical}.bias", f"{stored}.bias")


_FORM = {"tanh": True, "input_normalised": False}
ALADDIN = (Naming("progan", "generator", _generator, ("state_dict",), form=_FORM),)
