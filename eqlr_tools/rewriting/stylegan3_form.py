"""The form of a StyleGAN3 generator: what its pickled modules state, else what its names and shapes say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from eqlr_tools.errors import UsageError
from eqlr_tools.networks.stylegan3 import MAX_SIZE, Form, Layer, form_of
from eqlr_tools.rewriting.canonical import CanonicalNetwork

_STATED = {
    "layers": "factors and paddings of its layers",
    "rate": "the sampling rate of its input",
    "bandwidth": "the bandwidth of its input",
    "clamp": "conv_clamp",
    "output_scale": "output_scale",
}


def shaped_form(network: CanonicalNetwork) -> Form:
    """What any file of these names and shapes means."""
    return form_of({name: part.tensor.shape for name, part in network.parts.items()})


def stated_form(network: CanonicalNetwork) -> Form:
    """What this file means. Raises UsageError for modules that state no square layers, or what is no number."""
    try:
        return _stated(network, shaped_form(network))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UsageError(
            f"network {network.recognition.network.name}: its modules do not state StyleGAN3's attributes as its code "
            f"writes them ({type(error).__name__}: {error})",
            hint="eqlr bake does without them",
        ) from error


def _stated(network: CanonicalNetwork, form: Form) -> Form:
    layers = [(layer, _attributes(network, f"{layer.name}.weight")) for layer in form.layers]
    stated = [_stated_layer(network, layer, said) for layer, said in layers]
    clamps = [said.get("conv_clamp") for _, said in layers if "conv_clamp" in said]
    source = _attributes(network, "synthesis.input.weight")
    synthesis = _attributes(network, "synthesis.input.weight", up=2)
    return replace(
        form,
        layers=tuple(stated),
        rate=float(source.get("sampling_rate", form.rate)),
        bandwidth=float(source.get("bandwidth", form.bandwidth)),
        clamp=form.clamp if not clamps else None if clamps[0] is None else float(clamps[0]),
        output_scale=float(synthesis.get("output_scale", form.output_scale)),
    )


def unsaid(network: CanonicalNetwork) -> Iterator[tuple[str, str]]:
    """What the modules state and a file of tensors alone would mean otherwise: its name, and a sentence."""
    stated, meant = stated_form(network), shaped_form(network)
    for name, words in _STATED.items():
        here, there = getattr(stated, name), getattr(meant, name)
        if here != there:
            values = "" if name == "layers" else f" {here} (without modules, {there} is meant)"
            yield name, f"its modules state {words}{values}, which no tensor says"


def _attributes(network: CanonicalNetwork, canonical: str, up: int = 1) -> Mapping[str, Any]:
    """The attributes of the module that owns a parameter, or of one that owns that."""
    path = network.parts[canonical].stored.split(".")[:-up]
    return network.recognition.network.module_attributes.get(".".join(path), {})


def _stated_layer(network: CanonicalNetwork, layer: Layer, said: Mapping[str, Any]) -> Layer:
    if not said.get("padding"):
        return layer
    sizes, outputs, padding = said["in_size"], said["out_size"], said["padding"]
    if sizes[0] != sizes[1] or outputs[0] != outputs[1] or padding[:2] != padding[2:]:
        raise UsageError(
            f"network {network.recognition.network.name}: {layer.name} is not square, and eqlr knows StyleGAN3 only so",
            hint="eqlr bake works whatever the sizes are",
        )
    up, down = int(said["up_factor"]), int(said["down_factor"])
    if not (0 < int(sizes[0]) <= MAX_SIZE and 0 < int(outputs[0]) <= MAX_SIZE and up > 0 and down > 0):
        raise ValueError(f"sizes {sizes} and {outputs}, factors {up} and {down}")
    return Layer(layer.name, int(sizes[0]), int(outputs[0]), up, down, (int(padding[0]), int(padding[1])))
