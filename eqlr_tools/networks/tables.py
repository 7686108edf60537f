"""The shapes of every architecture's canonical parameters, as its module describes them, in the words of `fitting.py`.

Variables: c{R} is what leaves the block of size R, a{R} what its first convolution leaves; w, rgb and labels are the
widths of latents, images and labels. Whatever a network computes from parameters of these shapes, it can compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from eqlr_tools.networks.fitting import Line
from eqlr_tools.networks.stylegan1 import FORM
from eqlr_tools.networks.stylegan2 import mapping_layers, resolutions
from eqlr_tools.networks.stylegan3 import layer_names

Names = Mapping[str, object]


def table(architecture: str, role: str, names: Names) -> Iterable[Line]:
    """The lines about a network with parameters of these names; none for an architecture that is only renamed."""
    known = _TABLES.get((architecture, role))
    return [*known(names), *((name, "") for name in names if name.startswith(FORM))] if known else ()


def _layer(name: str, out: str, into: str, kernel: str = "3 3") -> Iterator[Line]:
    yield f"{name}.weight", f"{out} {into} {kernel}"
    yield f"{name}.bias", out


def _dense(name: str, out: str, into: str) -> Iterator[Line]:
    yield f"{name}.weight", f"{out} {into}"
    yield f"{name}.bias", out


def _mapping(names: Names, latent: str) -> Iterator[Line]:
    """The mapping network; `latent` is its input where there is no label, which otherwise is concatenated to it."""
    count = mapping_layers(names)
    yield "mapping.embedding.weight", "labels g"
    yield "mapping.label.weight", "e g" if "mapping.embedding.weight" in names else "e labels"
    yield "mapping.label.bias", "e"
    conditional = "mapping.label.weight" in names
    widths = [">e" if conditional and latent == "z" else latent, *(f"m{i}" for i in range(1, count)), "w"]
    for i in range(count):
        yield from _dense(f"mapping.fc{i}", widths[i + 1], widths[i])
    yield from (("mapping.w_avg", "w;labels w"), ("mapping.truncation", "places"))


def _noise(layer: str, resolution: int, strength: str) -> Iterator[Line]:
    yield f"{layer}.noise_strength", strength
    yield f"{layer}.noise", f"{resolution // 4}*h {resolution // 4}*v"


def stylegan2_generator(names: Names) -> Iterator[Line]:
    yield from _mapping(names, "z")
    first = "synthesis.initial.weight" in names
    yield "synthesis.const", f"{'i' if first else 'c'} h v"
    yield from _layer("synthesis.initial", "c", "i", "@k @k")
    yield from (("fir", "4 4"), ("smooth", "3 3"))
    before = "c"
    for size in resolutions(names):
        block, out = f"synthesis.b{size}", f"c{size}"
        x = before
        if f"{block}.conv0.weight" in names:
            yield from _styled(f"{block}.conv0", f"a{size}", x, size)
            x = f"a{size}"
        yield from _styled(f"{block}.conv1", out, x, size)
        yield f"{block}.skip.weight", f"{out} {before} 1 1"
        yield from _modulated(f"{block}.torgb", "rgb", out, "1 1")
        before = out


def _styled(layer: str, out: str, into: str, size: int) -> Iterator[Line]:
    yield from _modulated(layer, out, into, "3 3")
    yield from _noise(layer, size, f";1/{out}")


def _modulated(layer: str, out: str, into: str, kernel: str) -> Iterator[Line]:
    yield from _layer(layer, out, into, kernel)
    yield from _dense(f"{layer}.style", into, "w")


def stylegan2_discriminator(names: Names) -> Iterator[Line]:
    yield from _mapping(names, "e")
    yield "fir", "4 4"
    for size in resolutions(names, ""):
        block = f"b{size}"
        yield from _layer(f"{block}.fromrgb", f"c{size}", "rgb", "1 1")
        if size > 4:
            yield from _layer(f"{block}.conv0", f"a{size}", f"c{size}")
            yield from _layer(f"{block}.conv1", f"c{size // 2}", f"a{size}")
            yield f"{block}.skip.weight", f"c{size // 2} c{size} 1 1"
    yield from _layer("b4.conv", "f", "c4~")
    yield from _dense("b4.fc", "g", "16*f")
    conditional = "e" if "mapping.label.weight" in names else "scores"
    yield from _dense("b4.out", "w" if mapping_layers(names) else conditional, "g")


def labml_discriminator(names: Names) -> Iterator[Line]:
    for size in resolutions(names, ""):
        block = f"b{size}"
        yield from _layer(f"{block}.fromrgb", f"c{size}", "rgb", "1 1")
        if size > 4:
            yield from _layer(f"{block}.conv0", f"a{size}", f"c{size}")
            yield from _layer(f"{block}.conv1", f"c{size // 2}", f"a{size}")
            yield from _layer(f"{block}.skip", f"c{size // 2}", f"c{size}", "1 1")
            yield from ((f"{block}.conv1.smooth", "3 3"), (f"{block}.skip.smooth", "3 3"))
    yield from _layer("b4.conv", "f", "c4+1")
    yield from _dense("b4.out", "scores", "4*f")


def stylegan1_generator(names: Names) -> Iterator[Line]:
    yield from _mapping(names, "z")
    yield "synthesis.const", "a4 h v"
    yield from (("blur", "3 3"), ("mean", "2 2"), ("lod", ""))
    before = "a4"
    for size in resolutions(names):
        for conv, out in (("conv0", f"a{size}"), ("conv1", f"c{size}")):
            layer = f"synthesis.b{size}.{conv}"
            yield from _layer(layer, out, before)
            yield from _noise(layer, size, f"1/{out}")
            for part in ("gamma", "beta"):
                yield from _dense(f"{layer}.{part}", out, "w")
            before = out
        yield from _layer(f"synthesis.b{size}.torgb", "rgb", before, "1 1")


def stylegan1_discriminator(names: Names) -> Iterator[Line]:
    yield from (("blur", "3 3"), ("mean", "2 2"), ("lod", ""))
    yield from _growing_discriminator(names)
    yield from _layer("b4.conv", "f", "c4/c4+1")
    yield from _dense("b4.fc", "g", "16*f")
    yield from _dense("b4.out", "scores", "g")


def _growing_discriminator(names: Names) -> Iterator[Line]:
    for size in resolutions(names, ""):
        yield from _layer(f"b{size}.fromrgb", f"c{size}", "rgb", "@k @k")
        if size > 4:
            yield from _layer(f"b{size}.conv0", f"a{size}", f"c{size}")
            yield from _layer(f"b{size}.conv1", f"c{size // 2}", f"a{size}")


def progan_generator(names: Names) -> Iterator[Line]:
    yield from (("lod", ""), ("b4.label.weight", "labels n"))
    yield "b4.input.weight", "16*c >n" if "b4.label.weight" in names else "16*c *"
    yield from (("b4.input.bias", "c"), ("b4.input.bias_map", "16*c"))
    before = "c"
    for size in resolutions(names, ""):
        convs = ("conv0", "conv") if size == 4 else ("conv0", "conv1")
        for conv, out in zip(convs, (f"a{size}", f"c{size}"), strict=True):
            if f"b{size}.{conv}.weight" in names:
                yield from _layer(f"b{size}.{conv}", out, before)
                before = out
        yield from _layer(f"b{size}.torgb", "rgb", before, "@k @k")


def progan_discriminator(names: Names) -> Iterator[Line]:
    yield "lod", ""
    yield from _growing_discriminator(names)
    yield from _layer("b4.conv", "f", "c4/c4+1")
    yield from _dense("b4.fc", "g", "16*f" if "b4.conv.weight" in names else "16*c4+16")
    yield from _dense("b4.out", "scores", "g")


def bmsg_discriminator(names: Names) -> Iterator[Line]:
    """c{R} is from-RGB's share of what a block sees, d{R} that of the block above."""
    sizes = resolutions(names, "")
    for size in sizes:
        seen = f"c{size}" if size == sizes[-1] else f"c{size}+d{size}"
        yield from _layer(f"b{size}.fromrgb", f"c{size}", "rgb", "@k @k")
        if size > 4:
            yield from _layer(f"b{size}.conv0", f"a{size}", seen)
            yield from _layer(f"b{size}.conv1", f"d{size // 2}", f"a{size}")
        else:
            yield from _layer("b4.conv", "f", f"{seen}+1")
    yield from _dense("b4.fc", "g", "16*f")
    yield from _dense("b4.out", "scores", "g")


def stylegan3_generator(names: Names) -> Iterator[Line]:
    yield from _mapping(names, "z")
    source = "synthesis.input"
    yield from ((f"{source}.weight", "c c"), (f"{source}.freqs", "c 2"), (f"{source}.phases", "c"))
    yield f"{source}.transform", "3 3"
    yield from _dense(f"{source}.style", "4", "w")
    layers, before = layer_names(names), "c"
    for number, layer in enumerate(layers):
        name, last = f"synthesis.{layer}", number == len(layers) - 1
        out = "rgb" if last else f"c{number}"
        yield from _modulated(name, out, before, "1 1" if last else "@k @k")
        yield from ((f"{name}.magnitude", ""), (f"{name}.up_filter", "*"), (f"{name}.down_filter", "*;@t @t"))
        before = out


def gfpgan(names: Names) -> Iterator[Line]:
    """b{i} is what leaves the i-th block on the way down, and in the same order enters those on the way up.

    The last linear layer gives a latent for every layer of the decoder, or one for all (`different_w=False`).
    """
    levels = sum(name.startswith("conv_body_down.") and name.endswith(".skip.weight") for name in names)
    yield from _layer("conv_body_first", "b0", "rgb", "@k @k")
    yield from _layer("final_conv", f"b{levels}", f"b{levels}", "@k @k")
    yield from _dense("final_linear", f"w/{2 * levels + 2}*w", f"16*b{levels}")
    for i in range(levels):
        up = f"b{levels - i - 1}" if i < levels - 1 else "u"
        yield from _block(f"conv_body_down.{i}", f"p{i}", f"b{i + 1}", f"b{i}")
        yield from _block(f"conv_body_up.{i}", f"q{i}", up, f"b{levels - i}")
        for kind in ("scale", "shift"):
            yield from _layer(f"condition_{kind}.{i}.0", f"s{kind}{i}", up, "@k @k")
            yield from _layer(f"condition_{kind}.{i}.2", f"t{i}", f"s{kind}{i}", "@k @k")
        yield f"stylegan_decoder.style_convs.{2 * i}.bias", f"t{i}/2*t{i}"
    yield from _decoder(levels)


def _block(name: str, inner: str, out: str, into: str) -> Iterator[Line]:
    yield from _layer(f"{name}.conv1", inner, into)
    yield from _layer(f"{name}.conv2", out, inner)
    yield f"{name}.skip.weight", f"{out} {into} 1 1"


def _decoder(levels: int) -> Iterator[Line]:
    part = "stylegan_decoder"
    yield f"{part}.constant_input.weight", "x 4 4"
    layers = [("style_conv1", "x", "y0", 0)]
    for i in range(levels):
        layers += [(f"style_convs.{2 * i}", f"y{i}", f"z{i}", 2 * i + 1)]
        layers += [(f"style_convs.{2 * i + 1}", f"z{i}", f"y{i + 1}", 2 * i + 2)]
    for layer, into, out, number in layers:
        yield from _converted(f"{part}.{layer}", into, out, "3 3")
        size = 4 << (number + 1) // 2
        yield from ((f"{part}.{layer}.weight", ""), (f"{part}.noises.noise{number}", f"{size} {size}"))
    for i in range(levels + 1):
        yield from _converted(f"{part}.to_rgb1" if i == 0 else f"{part}.to_rgbs.{i - 1}", f"y{i}", "image", "1 1")


def _converted(layer: str, into: str, out: str, kernel: str) -> Iterator[Line]:
    yield f"{layer}.modulated_conv.weight", f"{out} {into} {kernel}"
    yield from _dense(f"{layer}.modulated_conv.modulation", into, "w")
    yield f"{layer}.bias", out


_TABLES: dict[tuple[str, str], Callable[[Names], Iterable[Line]]] = {
    ("stylegan1", "generator"): stylegan1_generator,
    ("stylegan1", "discriminator"): stylegan1_discriminator,
    ("stylegan2", "generator"): stylegan2_generator,
    ("stylegan2", "discriminator"): stylegan2_discriminator,
    ("labml-stylegan2", "discriminator"): labml_discriminator,
    ("stylegan3", "generator"): stylegan3_generator,
    ("progan", "generator"): progan_generator,
    ("progan", "discriminator"): progan_discriminator,
    ("bmsg-gan", "generator"): progan_generator,
    ("bmsg-gan", "discriminator"): bmsg_discriminator,
    ("gfpgan", "generator"): gfpgan,
}
