"""One family's layout to another's: every tensor by way of the canonical parameter that it is.

    canonical = c * stored + add            in the source's layout, with the source's constants
    stored'   = (canonical - add') / c'     in the target's layout, with the target's constants

Both steps are one multiplication and one addition, done in float64 and rounded once. Where the constants agree, as
they do between most families, the bits are carried over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.arranging import joined, rows
from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.outputs import Output, constant_tensor
from eqlr_tools.checkpoints.pickled_values import StateDict
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.checkpoints.trees import dotted
from eqlr_tools.families.family import Family, Overrides
from eqlr_tools.families.multipliers import USUAL_MULTIPLIER
from eqlr_tools.families.naming import Constant, Naming, Slot
from eqlr_tools.families.registry import Recognition
from eqlr_tools.networks.stylegan1 import FORM
from eqlr_tools.rewriting.canonical import (
    CONSTANT_BIAS,
    CanonicalNetwork,
    Part,
    canonical_networks,
    relaid,
    stored_scales,
    with_folded_bias,
)
from eqlr_tools.rewriting.carry_optimizer import (
    Carried,
    Moved,
    OptimizerStates,
    carry_optimizers,
    is_parameter,
    notes_of,
)
from eqlr_tools.rewriting.defaults import default_parameter, stored_default
from eqlr_tools.rewriting.destinations import Target, networks_for, places_for, refuse_doubt, target_family
from eqlr_tools.rewriting.edits import Dropped, Edit
from eqlr_tools.rewriting.fitting import require_fitting
from eqlr_tools.rewriting.forms import form_values
from eqlr_tools.rewriting.limits import refuse_inexpressible
from eqlr_tools.rewriting.plan import Plan, is_flat, steps_of_tree
from eqlr_tools.rewriting.scale import Scale
from eqlr_tools.rewriting.selection import Selection, recognise_all, refuse_undecided
from eqlr_tools.scaling import Shape

_HALF_ULP = 2.0**-24
"""A factor nearer to 1 than this (half a unit in the last place of float32) is a rounding of the constant itself."""


def plan_convert(
    source: Checkpoint,
    target: Path,
    selection: Selection,
    *,
    to: str,
    accept: Iterable[str] = (),
    operation: str = "convert",
) -> Plan:
    """Plan to write the source's networks as the family `to` has them.

    `accept` names what may be lost although the target has no place for it. Raises InexpressibleError for everything
    else that would be, NothingMatchedError if no network is a whole one of an architecture that `to` has.
    """
    is_flat(target)
    recognitions = recognise_all(source, selection)
    refuse_undecided(source, recognitions)
    refuse_doubt(source, recognitions)
    seen = {recognition.network.name: canonical_networks(recognition) for recognition in recognitions}
    family = target_family(source, to, recognitions, seen)
    networks, others = networks_for(source, recognitions, seen, family)
    for network in networks:
        require_fitting(source.path, network)
    accepted = frozenset(accept)
    targets = places_for(source, networks, family, accepted, trained=bool(source.optimizers) and not is_flat(target))
    tree: dict[str, Any] = {}
    origin: dict[int, Edit] = {}
    notes: list[str] = []
    moved: dict[str, Moved] = {}
    # The averaged generator first: a tensor that lies beside the networks is foremost its own.
    for network in sorted(networks, key=lambda network: not network.is_average):
        where = targets[network.recognition.network.name]
        fitted = _fitted(network, where.naming, notes)
        notes += refuse_inexpressible(source, fitted, where.naming, family, accepted)
        made_of = _write(tree, origin, fitted, where, family, selection.overrides, notes)
        moved[network.recognition.network.name] = Moved(network, where.naming, made_of)
    notes += dict.fromkeys(where.naming.caution for where in targets.values() if where.naming.caution)
    states = carry_optimizers(source, moved, flat=is_flat(target))
    states.put_into(tree)
    origin |= states.origins
    notes += notes_of(states)
    dropped = [*_left_out(source, selection, others), *_beside(networks), *_rest(source, tree, states, networks)]
    notes += [f"{drop.tensor or f'network {drop.network}'} is left out: {drop.reason}" for drop in dropped]
    places = {name: (where.path, where.prefix) for name, where in targets.items()}
    paths = {where.path for where in targets.values()}
    sole = next(iter(paths)) if len(paths) == 1 else ()
    steps = steps_of_tree(source, target, tree, sole, origin)
    multipliers = {
        places[network.recognition.network.name]: _multiplier(network, selection.overrides) for network in networks
    }
    foreign = not all(family.signed(_written_shapes(tree, where)) for where in targets.values())
    reading = Selection(family=None if foreign else family.id, multipliers=multipliers)
    return Plan(
        operation=operation,
        source=source,
        target=target,
        family=f"{', '.join(sorted({network.family.id for network in networks}))} to {family.id}",
        steps=steps,
        dropped=tuple(dropped),
        tree=tree,
        sole_network=sole,
        provenance={"to": family.id},
        notes=tuple(notes),
        rates=tuple(states.rates),
        places=places,
        reading=reading,
    )


def _written_shapes(tree: dict[str, Any], where: Target) -> dict[str, Shape]:
    """A network of the target. One that shows no sign of the family is another's too, by whose name it is read back:
    StyleGAN2's discriminator in files of StyleGAN3, genforce's generator in Hammer's."""
    found = ((key, value) for key, value in _dict_at(tree, where.path).items() if isinstance(value, Output))
    return {key[len(where.prefix) :]: value.shape for key, value in found if key.startswith(where.prefix)}


def _fitted(network: CanonicalNetwork, naming: Naming, notes: list[str]) -> CanonicalNetwork:
    """The network as the target can hold it, where that needs more than names: a bias that it has no place for."""
    bias = network.parts.get(CONSTANT_BIAS)
    if bias is None or any(slot.canonical == CONSTANT_BIAS for slot in naming.slots(network.depth)):
        return network
    notes.append(f"network {network.recognition.network.name}: {bias.stored} is added to the constant")
    return with_folded_bias(network)


def _write(
    tree: dict[str, Any],
    origin: dict[int, Edit],
    network: CanonicalNetwork,
    where: Target,
    family: Family,
    overrides: Overrides,
    notes: list[str],
) -> dict[Slot, Carried | None]:
    """Put a network's outputs into the tree, and return of what each of them is made."""
    name = network.recognition.network.name
    made_of: dict[Slot, Carried | None] = {}
    slots = [slot for slot in where.naming.slots(network.depth) if not slot.read_only]
    parts: dict[Slot, Part | None] = {slot: network.parts.get(slot.canonical) for slot in slots}
    shapes = {slot.stored: _stored_shape(slot, part, network) for slot, part in parts.items()}
    known = {stored: shape for stored, shape in shapes.items() if shape is not None}
    constants = _constants(where.naming, known)
    scales = _target_scales(family, known, network, overrides, notes) | _as_stored(constants)
    state = _dict_at(tree, where.path)
    shares: dict[str, list[Edit]] = {}
    for slot, part in parts.items():
        if part is None and shapes[slot.stored] is None:
            continue
        key = where.prefix + slot.stored
        made_of[slot] = None
        if part is None:
            tensor, note = stored_default(slot, network, scales.get(slot.stored, 1.0))
            edit = Edit(name, None, key, tensor)
            notes.append(f"network {name}: {note}")
        else:
            edit = _carried(name, part, slot, key, scales.get(slot.stored, 1.0))
            made_of[slot] = Carried(part, slot, edit.scale)
        if slot.part[1] > 1 or slot.repeats:
            edits = shares.setdefault(slot.stored, [])
            edits += [edit] * (_repetitions(slot, network) if slot.repeats else 1)
            if len(edits) < slot.part[1]:
                continue
            output = Output(joined([Output(each.tensor, each.scale) for each in edits]))
            edit = replace(edits[0], tensor=output.tensor, relaid=True)
        else:
            output = Output(edit.tensor, edit.scale)
        origin[id(output)] = edit
        if not slot.outside:
            state[key] = output
        elif slot.stored not in tree:
            tree[slot.stored] = output
        elif tree[slot.stored].tensor is not output.tensor:
            tree[f"{slot.stored}_{(*where.path, where.prefix.rstrip('.'))[-1] or where.path[-1]}"] = output
    values = {f"{FORM}{argument}": value for argument, value in form_values(network, where.naming).items()}
    values |= {constant.stored: np.full(constant.shape, constant.value) for constant in constants.values()}
    for stored, value in values.items():
        edit = Edit(name, None, where.prefix + stored, constant_tensor(value, "F32"))
        output = Output(edit.tensor, edit.scale)
        origin[id(output)] = edit
        state[where.prefix + stored] = output
    notes[:] = list(dict.fromkeys(notes))
    _in_order_of_registration(state, where, slots)
    return made_of


def _in_order_of_registration(state: dict[str, Any], where: Target, slots: list[Slot]) -> None:
    """Parameters as the target's code would list them, then buffers: optimizers number parameters by that order."""
    if isinstance(where.naming.training, str):
        return
    stored = {slot.stored: is_parameter(slot) for slot in slots}
    ours = [name for name in stored if where.prefix + name in state]
    parameters = sorted((name for name in ours if stored[name]), key=where.naming.training.order)
    ranked = [*parameters, *(name for name in ours if not stored[name])]
    state |= {where.prefix + name: state.pop(where.prefix + name) for name in ranked}


def _carried(name: str, part: Part, slot: Slot, key: str, scale: float) -> Edit:
    tensor = relaid(part, slot)
    tensor = rows(tensor, 0, tensor.shape[0]) if slot.spread else tensor
    scale *= slot.factor(part.tensor.shape)
    factor, add = part.scale / scale, (part.add - slot.add) / scale
    changed = abs(factor - 1.0) > (_HALF_ULP if tensor.dtype.itemsize <= 4 else 0.0) or add != 0.0
    scaling = Scale(part.scale, scale, add) if changed else None
    edit = Edit(name, part.stored or None, key, tensor, scaling)
    return replace(edit, relaid=tensor is not part.raw)


def _stored_shape(slot: Slot, part: Part | None, network: CanonicalNetwork) -> Shape | None:
    """The shape of a tensor of the target; None if neither the source nor a default gives it one."""
    values = part.tensor.shape if part else default_parameter(slot, network)
    if values is None:
        return None
    shape = tuple(values) if part else tuple(values.shape)  # type: ignore[union-attr]
    how = slot.arrangement(len(shape)).inverse
    sizes = how.sizes(shape)
    shape = how.shape(sizes) if sizes is not None else shape
    count = _repetitions(slot, network) if slot.repeats else slot.part[1]
    return (count * shape[0], *shape[1:]) if count > 1 else (1, *shape[1:]) if slot.spread else shape


def _repetitions(slot: Slot, network: CanonicalNetwork) -> int:
    return network.parts[slot.repeats].tensor.shape[0]


def _constants(naming: Naming, shapes: Mapping[str, Shape]) -> dict[str, Constant]:
    """The constants that a file stores beside its weights, by these."""
    if naming.constant is None:
        return {}
    found = {stored: naming.constant(stored, shape) for stored, shape in shapes.items()}
    return {stored: constant for stored, constant in found.items() if constant is not None}


def _as_stored(constants: Mapping[str, Constant]) -> dict[str, float]:
    """What weights are multiplied by: constants as single precision keeps them."""
    return {weight: float(np.float32(constant.value)) for weight, constant in constants.items()}


def _target_scales(
    family: Family, shapes: Mapping[str, Shape], network: CanonicalNetwork, overrides: Overrides, notes: list[str]
) -> dict[str, float]:
    """The constants that the target's own rules give to tensors of these names and shapes."""
    if not family.equalized:
        return {}
    multiplier = _multiplier(network, overrides)
    layers = family.layers(_Shapes(shapes, multiplier), "", Overrides(lr_multiplier=multiplier))
    if any(layer.origin == "given" for layer in layers):
        notes += _multiplier_notes(network, multiplier)
    return stored_scales(layers)


def _multiplier(network: CanonicalNetwork, overrides: Overrides) -> float:
    """The learning-rate multiplier that the target's mapping network is written for.

    No target states it in its files: its code is constructed with one, by default the usual one. That is taken where
    the source states another, or is plain. One that was only inferred from the weights' size stays, so that weights of
    an unusual size keep their bits: as the source's code, so the target's.
    """
    inferred = None if network.multiplier_stated else network.lr_multiplier
    return overrides.lr_multiplier or inferred or USUAL_MULTIPLIER


def _multiplier_notes(network: CanonicalNetwork, written: float) -> Iterator[str]:
    name, stated = network.recognition.network.name, network.lr_multiplier if network.multiplier_stated else None
    if written != USUAL_MULTIPLIER:
        yield (
            f"network {name}: its mapping has the learning-rate multiplier {written:g}: construct the target with it, "
            f"for its default is {USUAL_MULTIPLIER:g}"
        )
    elif stated not in (None, written):
        yield (
            f"network {name}: its mapping's learning-rate multiplier {stated:g} becomes {written:g}, which the target "
            f"has by default; --lr-multiplier {stated:g} keeps it"
        )


@dataclass(frozen=True)
class _Shapes:
    """The view of a network that does not exist yet: names and shapes, and the size that its mapping will have."""

    shapes: Mapping[str, Shape]
    multiplier: float

    def rms(self, name: str) -> float:
        return 1.0 / self.multiplier

    def scalar(self, name: str) -> float:
        return 1.0

    def attribute(self, path: str, name: str) -> Any:
        return None

    def said(self, name: str) -> Any:
        return None


def _dict_at(tree: dict[str, Any], path: TreePath) -> dict[str, Any]:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    state: dict[str, Any] = tree.setdefault(path[-1], StateDict())
    return state


def _left_out(source: Checkpoint, selection: Selection, others: list[Recognition]) -> Iterator[Dropped]:
    for recognition in others:
        reason = "no network of a known architecture; the target's files have no place for it"
        yield Dropped(recognition.network.name, "", reason)
    if selection.networks:
        for network in source.networks:
            if network.name not in selection.networks:
                yield Dropped(network.name, "", "not selected")


def _beside(networks: list[CanonicalNetwork]) -> Iterator[Dropped]:
    """What stands in one dict with a network and is none of it: an encoder."""
    for network in networks:
        name, heads = network.recognition.network.name, {other.partition(".")[0] for other in network.others}
        for head in sorted(heads):
            yield Dropped(name, f"{head}.*", "it is no part of the generator, and the target has no place for it")


def _rest(
    source: Checkpoint, tree: Mapping[str, Any], states: OptimizerStates, networks: list[CanonicalNetwork]
) -> Iterator[Dropped]:
    """What is no network: a converted file is made for another program, which would not know it."""
    for path, reason in states.left_out.items():
        yield Dropped("", dotted(path), f"optimizer state: {reason}")
    inside = {network.path[0] for network in source.networks if network.path} | {path[0] for path in source.optimizers}
    if not isinstance(source.tree, dict) or any(not network.path for network in source.networks):
        return
    inside |= {part.stored for network in networks for part in network.parts.values() if part.slot.outside}
    for key in source.tree:
        if key not in inside and key not in tree:
            yield Dropped("", str(key), "it is no network, and the target's files do not have it")
