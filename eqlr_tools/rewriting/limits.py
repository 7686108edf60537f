"""What a target family cannot express of a network, each by its name. Nothing is left out silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.errors import InexpressibleError, UsageError
from eqlr_tools.families.family import Family
from eqlr_tools.families.naming import Naming, Slot
from eqlr_tools.networks import stylegan2
from eqlr_tools.networks.stylegan1 import FORM
from eqlr_tools.rewriting.canonical import CanonicalNetwork
from eqlr_tools.rewriting.defaults import default_parameter, implied_parameter, is_derived, is_of_growth, is_open
from eqlr_tools.rewriting.forms import form_losses, form_notes, group_notes
from eqlr_tools.rewriting.stylegan1_form import GIVEN_UP, differences, notes
from eqlr_tools.rewriting.stylegan3_form import unsaid

CLAMP = "conv_clamp"
SMALLER_SIZES = "smaller_sizes"
ACCEPTABLE = (CLAMP, "noise", "w_avg", SMALLER_SIZES, *GIVEN_UP)
"""What a user may give up: without these the network still computes its images, or nearly so, or knows the target's
code to be changed accordingly."""

_MARGIN = 2.0
"""A clamp counts as idle if one of half its size is."""


@dataclass(frozen=True)
class Loss:
    """Something that the target has no place for. `name` is empty if it cannot be given up."""

    sentence: str
    name: str = ""


def refuse_inexpressible(
    source: Checkpoint, network: CanonicalNetwork, naming: Naming, family: Family, accepted: frozenset[str]
) -> list[str]:
    """Raise InexpressibleError for the first thing that would be lost; return notes on what was found harmless."""
    name = network.recognition.network.name
    unknown = sorted(accepted - set(ACCEPTABLE))
    if unknown:
        raise UsageError(f"--accept {unknown[0]} is nothing that can be given up", hint=f"only {', '.join(ACCEPTABLE)}")
    for loss in losses(network, naming):
        if loss.name in accepted:
            continue
        way_out = f"--accept {loss.name} converts without it; " if loss.name else ""
        raise InexpressibleError(
            f"{source.path}: network {name} cannot be written as {family.id}: {loss.sentence}",
            hint=f"{way_out}eqlr bake keeps the source's own layout",
        )
    told = [*_width_notes(network, naming), *group_notes(network, naming)]
    clamp = None if _clamps_by_itself(network) else _clamp(network)
    if clamp is None:
        return [*told, *notes(network, naming), *form_notes(network, naming)]
    if CLAMP in accepted:
        return [*told, f"network {name}: {CLAMP} {clamp:g} is given up, as told"]
    if not _clamp_is_idle(network, clamp):
        raise InexpressibleError(
            f"{source.path}: network {name} cannot be written as {family.id}: its {CLAMP} of {clamp:g} limits "
            "activations that it really has, and the target does not clamp",
            hint=f"--accept {CLAMP} converts without it; the images will differ",
        )
    return [*told, f"network {name}: {CLAMP} {clamp:g} has no place in the target; on random inputs it never acts"]


def _width_notes(network: CanonicalNetwork, naming: Naming) -> Iterator[str]:
    """What must be changed in the target's code, which has other sizes, before it loads the file."""
    shapes = {name: part.tensor.shape for name, part in network.parts.items()}
    for rule in naming.widths:
        for sentence in rule(shapes):
            yield (
                f"network {network.recognition.network.name}: the target's code is made for {sentence}; it loads the "
                "file only when changed"
            )


def losses(network: CanonicalNetwork, naming: Naming) -> Iterator[Loss]:
    """Everything of a network that a naming has no place for."""
    slots = list(naming.slots(network.depth))
    places = {slot.canonical for slot in slots}
    if _clamps_by_itself(network):
        for what, sentence in unsaid(network):
            yield Loss(sentence, CLAMP if what == "clamp" else "")
    for name, sentence in differences(network, naming):
        yield Loss(sentence, name)
    yield from map(Loss, form_losses(network, naming))
    yield from _uneven(network, slots)
    yield from _scores(network, naming)
    for copy in network.copies:
        here, there = copy.tensor.values() * copy.scale, network.values(copy.slot.canonical)
        if here.shape != there.shape or not np.allclose(here, there, atol=1e-6):
            first = network.parts[copy.slot.canonical].stored
            yield Loss(f"{copy.stored} and {first} are different filters, and it has one for all layers")
    for name in network.leftover:
        yield Loss(f"{name} belongs to no part of the architecture that it could express")
    for name, part in network.parts.items():
        if name in places or name.startswith(FORM) or _is_implied(network, name, naming):
            continue
        if is_derived(network, name):
            continue
        if name.startswith("mapping.label"):
            yield Loss(f"it is conditional (label embedding {part.stored}), and the target takes no labels")
        if name == "fir":
            yield Loss(f"its filter {part.stored} is not [1, 3, 3, 1], and the target stores none")
        if name == "blur":
            yield Loss("it blurs what it doubles, and the target does not, or otherwise")
        if is_of_growth(name):
            yield Loss(f"{part.stored} makes images of a smaller size, which the target does not", SMALLER_SIZES)
            continue
        kind = name.rpartition(".")[2]
        yield Loss(f"{part.stored} has no place there", kind if is_open(name) else "")
    for slot in slots:
        if slot.optional or slot.outside or slot.read_only or slot.canonical in network.parts:
            continue
        if default_parameter(slot, network) is None:
            yield Loss(f"it has no {slot.canonical}, which {slot.stored} would hold there")


def _uneven(network: CanonicalNetwork, slots: list[Slot]) -> Iterator[Loss]:
    """Tensors that differ from channel to channel where one for all is meant, by the source or by the target."""
    for part in (*network.parts.values(), *network.copies):
        if part.slot.repeats:
            rows = network.recognition.network.tensors[part.stored].values()
            if not (rows == rows[:1]).all():
                yield Loss(f"{part.stored} is another filter for every channel, and it has one for all")
    for slot in slots:
        if slot.spread and slot.canonical in network.parts:
            values = network.values(slot.canonical)
            if not np.allclose(values, values[:1], rtol=1e-6):
                stored = network.parts[slot.canonical].stored
                yield Loss(f"{stored} differs from channel to channel, and the target has one number for all")


def _scores(network: CanonicalNetwork, naming: Naming) -> Iterator[Loss]:
    """StyleGAN's and StyleGAN2's conditional discriminators that score every label, for code that returns one score."""
    out = network.parts.get("b4.out.weight")
    stylegan = network.naming.architecture in ("stylegan1", "stylegan2")
    if out is None or not stylegan or naming.scores_labels or "mapping.label.weight" in network.parts:
        return
    if (count := out.tensor.shape[0]) > 1:
        yield Loss(
            f"it is conditional ({out.stored} has a score for each of {count} labels), and the target's is not so"
        )


def _is_implied(network: CanonicalNetwork, name: str, naming: Naming) -> bool:
    """True if the target means by absence what the source stores. What styles a file truncates is for its own code."""
    if name == "mapping.truncation":
        return True
    implied = naming.implied.get(name, implied_parameter(name, network))
    values = network.values(name)
    return implied is not None and values.shape == implied.shape and bool(np.allclose(values, implied, atol=1e-6))


def _clamps_by_itself(network: CanonicalNetwork) -> bool:
    """True for architectures of which every project clamps, to one and the same limit."""
    return (network.naming.architecture, network.naming.role) == ("stylegan3", "generator")


def _clamp(network: CanonicalNetwork) -> float | None:
    """The limit of activations that the modules of an NVIDIA pickle state. State dicts do not tell."""
    attributes = network.recognition.network.module_attributes.values()
    stated = [module[CLAMP] for module in attributes if module.get(CLAMP) is not None]
    return min(map(float, stated)) if stated else None


def _clamp_is_idle(network: CanonicalNetwork, clamp: float) -> bool:
    """Compute some outputs with a clamp of half the size and without one: they are the same if it never acts."""
    parameters = {name: network.values(name).astype(np.float32) for name in network.parts}
    samples = 4 if network.depth.resolution <= 128 else 1
    random = np.random.default_rng(0)
    limit = clamp / _MARGIN
    if network.naming.role == "generator":
        if network.depth.labels or not network.depth.mapping_layers:
            return False
        z = random.standard_normal((samples, parameters["mapping.fc0.weight"].shape[1]), dtype=np.float32)
        return np.array_equal(stylegan2.generate(parameters, z), stylegan2.generate(parameters, z, clamp=limit))
    colours = parameters[f"b{network.depth.resolution}.fromrgb.weight"].shape[1]
    shape = (samples, colours, network.depth.resolution, network.depth.resolution)
    image = random.uniform(-1, 1, shape).astype(np.float32)
    free = stylegan2.discriminate(parameters, image)
    return np.array_equal(free, stylegan2.discriminate(parameters, image, clamp=limit))
