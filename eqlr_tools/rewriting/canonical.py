"""A recognised network seen as the canonical parameters of its architecture, whatever its family calls them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.arranging import arranged, rows, spread
from eqlr_tools.checkpoints.outputs import constant_tensor
from eqlr_tools.checkpoints.tensors import Tensor, contiguous_strides
from eqlr_tools.errors import UnreadableError
from eqlr_tools.families.family import Family
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.naming import Depth, Naming, Slot
from eqlr_tools.families.registry import Recognition
from eqlr_tools.networks.stylegan1 import FORM

_AVERAGES = ("ema", "smooth", "avg", "shadow", "running", "average")


@dataclass(frozen=True)
class Part:
    """One stored tensor, or its share of one, and how it becomes a canonical one: arranged, times `scale`, plus `add`.

    What a naming implies is stored nowhere, and has no stored name.
    """

    slot: Slot
    stored: str
    raw: Tensor
    tensor: Tensor
    scale: float

    @property
    def add(self) -> float:
        return self.slot.add


@dataclass(frozen=True)
class CanonicalNetwork:
    """`parts` by canonical name. `copies` are further tensors that hold what a part holds (filters, mostly),
    `leftover` ones that the naming does not know, `others` those of which it knows that they are not the network's.
    `form` is what the network computes that no tensor says, where that is compared argument by argument.
    `lr_multiplier` is that of the mapping network, and `multiplier_stated` whether the file says so, where else only
    the size of its weights does."""

    recognition: Recognition
    family: Family
    naming: Naming
    depth: Depth
    parts: Mapping[str, Part]
    copies: tuple[Part, ...] = ()
    leftover: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    lr_multiplier: float | None = None
    multiplier_stated: bool = False
    form: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_average(self) -> bool:
        """True for an exponential moving average of a generator's weights, going by its name."""
        name = self.recognition.network.name
        return name == "Gs" or any(word in name.lower() for word in _AVERAGES)

    def values(self, name: str) -> np.ndarray:
        """A canonical parameter in float64."""
        part = self.parts[name]
        values: np.ndarray = part.tensor.values().astype(np.float64) * part.scale + part.add
        return values


@dataclass
class _Reading:
    parts: dict[str, Part] = field(default_factory=dict)
    copies: list[Part] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


def canonical_networks(recognition: Recognition) -> list[CanonicalNetwork]:
    """The network as canonical parameters of every architecture that its family has names for, if it is a whole one.

    Most families have one; BasicSR's generator can also be seen as one that resamples bilinearly. Of several that fit,
    those come first that leave the least over. Raises UnreadableError if the names fit and the shapes do not.
    """
    family = recognition.layout
    if family is None:
        return []
    prefix = next(verdict.prefix for verdict in recognition.verdicts if verdict.family == family.id)
    tensors = {name[len(prefix) :]: t for name, t in recognition.network.tensors.items() if name.startswith(prefix)}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    found: list[CanonicalNetwork] = []
    misfit: UnreadableError | None = None
    for naming in family.namings:
        depth = naming.fit(shapes)
        if depth is None or (naming.fits and not naming.fits(recognition.said)):
            continue
        try:
            reading = _read(recognition, naming, depth, tensors, prefix)
            _require_outputs(recognition, reading.parts)
        except UnreadableError as error:
            misfit = misfit or error
            continue
        found.append(_view(recognition, family, naming, depth, reading, tensors, prefix))
    if misfit and all(network.leftover for network in found):
        raise misfit  # Otherwise a smaller variant would do, and tell that the rest is no part of it.
    # A naming that leaves tensors over fits by chance, as a smaller network would; sorting keeps the order otherwise.
    return sorted(found, key=lambda network: len(network.leftover))


def _view(
    recognition: Recognition,
    family: Family,
    naming: Naming,
    depth: Depth,
    reading: _Reading,
    tensors: Mapping[str, Tensor],
    prefix: str,
) -> CanonicalNetwork:
    forms = {name: t for name, t in tensors.items() if naming.keeps_form and name.startswith(FORM) and t.shape == ()}
    scales = {name for layer in recognition.equalized for name in layer.scale_tensors}
    known = reading.used | scales | {prefix + name for name in forms}
    unused = [name for name in recognition.network.tensors if name not in known]
    others = tuple(name for name in unused if _is_other(naming, name, prefix))
    leftover = tuple(name for name in unused if name not in others)
    telling = _layer_that_tells_the_multiplier(recognition, reading.parts)
    stored = {name.removeprefix(FORM): tensor.values().reshape(-1)[0].item() for name, tensor in forms.items()}
    form = {**naming.stated_form(recognition.said), **stored}
    parts, copies = reading.parts, tuple(reading.copies)
    return CanonicalNetwork(
        recognition,
        family,
        naming,
        depth,
        parts,
        copies,
        leftover,
        others,
        lr_multiplier=telling.lr_multiplier if telling else None,
        multiplier_stated=telling is not None and telling.origin == "stated",
        form=form,
    )


def _require_outputs(recognition: Recognition, parts: Mapping[str, Part]) -> None:
    """Raise UnreadableError if a weight and its bias differ in their outputs: then the layout is another one.

    A dense layer that makes a 4x4 image has one bias per channel.
    """
    for name, part in parts.items():
        bias, shape = parts.get(name.removesuffix("weight") + "bias"), part.tensor.shape
        if not name.endswith(".weight") or bias is None or len(bias.tensor.shape) != 1 or len(shape) < 2:
            continue
        outputs = bias.tensor.shape[0]
        if shape[0] != outputs and not (len(shape) == 2 and shape[0] == 16 * outputs):
            raise UnreadableError(
                f"{part.raw.storage.source.name}: network {recognition.network.name}: {part.stored} {part.raw.shape} "
                f"has {shape[0]} outputs, and {bias.stored} {bias.raw.shape} is for {outputs}",
                hint="the file is damaged, or the network a variant that eqlr has no names for",
            )


def canonical_network(recognition: Recognition) -> CanonicalNetwork | None:
    """The network as canonical parameters of its family's own architecture, or None if it is no whole known one."""
    return next(iter(canonical_networks(recognition)), None)


def with_mapping(network: CanonicalNetwork, others: Sequence[CanonicalNetwork]) -> CanonicalNetwork:
    """A generator that lacks a mapping network, joined with the only one of its family among the others."""
    if network.naming.role != "generator" or network.depth.mapping_layers:
        return network
    found = [other for other in others if other.naming.role == "mapping" and other.family == network.family]
    if len(found) != 1:
        return network
    (mapping,) = found
    depth = replace(network.depth, mapping_layers=mapping.depth.mapping_layers)
    return replace(network, parts={**network.parts, **mapping.parts}, depth=depth)


def _is_other(naming: Naming, name: str, prefix: str) -> bool:
    return re.fullmatch(naming.others, name.removeprefix(prefix)) is not None


def beside_names(recognition: Recognition, name: str) -> tuple[str, str]:
    """Under which names a tensor of a network may stand beside it: first the network's own, then the common one."""
    return f"{name}_{recognition.network.name}", name


def _read(
    recognition: Recognition, naming: Naming, depth: Depth, tensors: Mapping[str, Tensor], prefix: str
) -> _Reading:
    scales = stored_scales(recognition.equalized)
    reading = _Reading()
    for slot in naming.slots(depth):
        raw, stored = tensors.get(slot.stored), prefix + slot.stored
        if raw is None and slot.outside:
            names = beside_names(recognition, slot.stored)
            stored = next((name for name in names if name in recognition.beside), slot.stored)
            raw = recognition.beside.get(stored)
        if raw is None:
            continue
        try:
            share = _share(raw, slot, reading.parts)
            tensor = arranged(share, slot.arrangement(len(share.shape))) if share else None
        except UnreadableError as error:
            file = raw.storage.source.name
            said = error.message.removeprefix(f"{file}: ")
            raise UnreadableError(
                f"{file}: network {recognition.network.name}: {stored}: {said}", hint=error.hint
            ) from error
        if share is None or tensor is None:
            continue
        raw = share
        scale = scales.get(stored, 1.0) * slot.factor(tensor.shape)
        part = Part(slot, stored, raw, tensor, scale)
        if raw.dtype.kind == "complex":
            raise UnreadableError(
                f"{raw.storage.source.name}: network {recognition.network.name}: {stored} is of complex numbers",
                hint="no network that eqlr knows has such parameters; eqlr bake carries them over",
            )
        if not raw.dtype.is_float:
            part = _as_float(part)
        reading.used.add(stored)
        if slot.canonical in reading.parts:
            reading.copies.append(part)
        else:
            reading.parts[slot.canonical] = part
    dtype = next((part.raw.dtype.name for part in reading.parts.values() if part.raw.dtype.is_float), "F32")
    for name, values in naming.implied.items():
        if name not in reading.parts:
            tensor = constant_tensor(values, "F64" if name.startswith(FORM) else dtype)
            reading.parts[name] = Part(Slot(name, ""), "", tensor, tensor, 1.0)
    return reading


def _as_float(part: Part) -> Part:
    """A count as the number that it stands for: what is stored as an integer cannot be scaled as one."""
    values = part.tensor.values().astype(np.float64) * part.scale + part.add
    tensor = constant_tensor(values, "F32")
    return Part(Slot(part.slot.canonical, part.stored), part.stored, tensor, tensor, 1.0)


def _share(raw: Tensor, slot: Slot, parts: Mapping[str, Part]) -> Tensor | None:
    """What of a stored tensor is the canonical parameter: of one that is repeated, the first."""
    if slot.outside:
        return _one_of_many(raw)
    if slot.spread:
        return spread(raw, parts[slot.spread].tensor.shape[0])
    if slot.repeats:
        return rows(raw, 0, max(raw.shape[0], 1) if raw.shape else 1)
    number, count = slot.part
    if count == 1:
        return raw
    how = slot.arrangement(len(raw.shape))
    return rows(raw, number, count, how.left.index(how.right[0]))


def _one_of_many(average: Tensor) -> Tensor | None:
    """An average w; encoders keep it repeated for every layer, (places, w). None if the rows differ."""
    if len(average.shape) != 2:
        return average
    rows = average.values()
    return replace(average, shape=average.shape[1:], strides=average.strides[1:]) if (rows == rows[0]).all() else None


def stored_scales(layers: Sequence[Layer]) -> dict[str, float]:
    """The constant of every scaled tensor, biases included, by its stored name."""
    weights = {layer.weight: layer.scale or 1.0 for layer in layers}
    return weights | {layer.bias: layer.bias_scale for layer in layers if layer.bias}


def _layer_that_tells_the_multiplier(recognition: Recognition, parts: Mapping[str, Part]) -> Layer | None:
    """The mapping network's first layer, if the file says its multiplier; None for a family that has none there."""
    weights = {part.stored for name, part in parts.items() if name.startswith("mapping.fc")}
    layers = (layer for layer in recognition.equalized if layer.weight in weights)
    return next((layer for layer in layers if layer.origin != "family" and not layer.scale_tensors), None)


CONSTANT, CONSTANT_BIAS = "synthesis.const", "synthesis.b4.conv0.bias"


def with_folded_bias(network: CanonicalNetwork) -> CanonicalNetwork:
    """The same network with the bias of StyleGAN1's constant added to it, for layouts that have no such bias."""
    constant, bias = network.parts.get(CONSTANT), network.parts.get(CONSTANT_BIAS)
    if constant is None or bias is None:
        return network
    values = network.values(CONSTANT) + network.values(CONSTANT_BIAS)[:, None, None]
    tensor = constant_tensor(values, constant.raw.dtype.name)
    parts = {name: part for name, part in network.parts.items() if name != CONSTANT_BIAS}
    parts[CONSTANT] = Part(Slot(CONSTANT, constant.stored), constant.stored, tensor, tensor, 1.0)
    return replace(network, parts=parts)


def relaid(part: Part, target: Slot) -> Tensor:
    """A stored tensor of one family in the layout of another's slot."""
    there = part.slot.arrangement(len(part.raw.shape))
    back = target.arrangement(len(part.tensor.shape)).inverse
    how = there.then(back)
    return arranged(part.raw, how) if how else arranged(part.tensor, back)


def relaid_like(part: Part, target: Slot, companion: Tensor) -> Tensor:
    """A tensor of a stored parameter's shape, a moment of its optimizer, laid out as `relaid` lays out the part."""
    companion = _own_share(part, companion)
    there = part.slot.arrangement(len(companion.shape))
    back = target.arrangement(len(part.tensor.shape)).inverse
    how = there.then(back)
    return arranged(companion, how) if how else arranged(arranged(companion, there), back)


def _own_share(part: Part, companion: Tensor) -> Tensor:
    """What of a companion belongs to the part, whose parameter may hold others beside it."""
    number, count = part.slot.part
    if count > 1:
        how = part.slot.arrangement(len(companion.shape))
        return rows(companion, number, count, how.left.index(how.right[0]))
    # A constant to which a bias was added has the canonical shape.
    shape = part.raw.shape
    if part.slot.spread or companion.shape == shape or companion.numel != math.prod(shape):
        return companion
    return replace(companion, shape=shape, strides=contiguous_strides(shape))
