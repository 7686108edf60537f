"""Where each network of a checkpoint goes when it is converted: its view, the target's names for it, and its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.errors import AmbiguousError, InexpressibleError, NothingMatchedError, UsageError
from eqlr_tools.families.family import Family
from eqlr_tools.families.naming import Naming
from eqlr_tools.families.plain import PLAIN
from eqlr_tools.families.registry import FAMILIES, Recognition, family_named
from eqlr_tools.families.training import Training
from eqlr_tools.networks import doubling
from eqlr_tools.rewriting.canonical import CanonicalNetwork
from eqlr_tools.rewriting.limits import losses

_FORM_PHRASES = {
    "gain": "the gain of activations",
    "features": "enlarging features",
    "image": "enlarging images",
    "per_block": "one style for all layers of a size",
    "colour_activated": "an activation behind to-RGB",
}
"""What rewrites of StyleGAN2 compute in their own way (`networks/doubling.py`)."""


@dataclass(frozen=True)
class Target:
    """Where a network goes: the target's names for it, the path of its dict, and the prefix of its keys there."""

    naming: Naming
    path: TreePath
    prefix: str


def refuse_doubt(source: Checkpoint, recognitions: list[Recognition]) -> None:
    """Raise AmbiguousError for a network of a known layout whose weights look plain."""
    for recognition in recognitions:
        if recognition.doubt and recognition.layout:
            raise AmbiguousError(
                f"{source.path}: network {recognition.network.name} has the {recognition.note}",
                hint=f"--family {recognition.layout.id} takes it as equalized, --network NAME leaves it out",
            )


def networks_for(
    source: Checkpoint, recognitions: list[Recognition], seen: Mapping[str, list[CanonicalNetwork]], family: Family
) -> tuple[list[CanonicalNetwork], list[Recognition]]:
    """The networks that can be converted, as the target sees them, and those of no known architecture."""
    architectures = {naming.architecture for naming in family.namings}
    networks, others = [], []
    for recognition in recognitions:
        views = seen[recognition.network.name]
        view = next((view for view in views if view.naming.architecture in architectures), None)
        if view:
            networks.append(view)
        elif views:
            own = views[0].naming
            alone = not any(
                n.architecture == own.architecture and not n.reads_only for f in FAMILIES for n in f.namings
            )
            reason = f": {own.reads_only}" if alone else f", which has no {own.architecture} {own.role}"
            raise InexpressibleError(
                f"{source.path}: network {recognition.network.name} cannot be written as {family.id}{reason}",
                hint="--network NAME picks the networks to convert",
            )
        elif recognition.layout and recognition.layout.namings:
            raise _not_whole(source, recognition, recognition.layout)
        else:
            others.append(recognition)
    # Beside others one that is already goes along as it is: Hammer's PGGAN has genforce's generator.
    if networks and all(network.family.id == family.id for network in networks):
        name = networks[0].recognition.network.name
        raise UsageError(f"network {name} is {family.id} already", hint="eqlr bake or eqlr equalize change it")
    return networks, others


def _not_whole(source: Checkpoint, recognition: Recognition, layout: Family) -> InexpressibleError:
    """Say what keeps a network of a known family from being one that can be converted."""
    shapes = {name: tensor.shape for name, tensor in recognition.network.tensors.items()}
    missing = min(filter(None, (naming.missing(shapes) for naming in layout.namings)), key=len, default=[])
    return InexpressibleError(
        f"{source.path}: network {recognition.network.name} has the layout of {layout.id}, but is a variant of it "
        f"that eqlr has no canonical names for: {missing[0] if missing else 'a tensor'} is missing",
        hint="--network NAME picks the networks to convert; eqlr bake works without canonical names",
    )


def target_family(
    source: Checkpoint, to: str, recognitions: list[Recognition], seen: Mapping[str, list[CanonicalNetwork]]
) -> Family:
    """The family that is meant, plain being the canonical names of the source's architecture."""
    if to != PLAIN:
        family_named(to)
    views = [view for found in seen.values() for view in found]
    if not views:
        whole = [r for r in recognitions if r.layout and r.layout.namings]
        if whole and whole[0].layout:
            raise _not_whole(source, whole[0], whole[0].layout)
        raise _nothing(source, recognitions)
    family = _plain_family(source, views[0]) if to == PLAIN else family_named(to)
    architectures = {view.naming.architecture for view in views}
    if not any(naming.architecture in architectures for naming in family.namings):
        first = views[0].naming
        kind = (first.architecture, first.role)
        possible = [
            f.id for f in FAMILIES if any((n.architecture, n.role) == kind and not n.reads_only for n in f.namings)
        ]
        it_is = f"it is {family.architecture}" if family.namings else "eqlr has no canonical names for it"
        raise InexpressibleError(
            f"{source.path}: {family.id} cannot express a {first.architecture} {first.role}: {it_is}",
            hint=f"families that can: {', '.join(possible) or 'none'}",
        )
    return family


def _plain_family(source: Checkpoint, view: CanonicalNetwork) -> Family:
    """The family of the architecture's canonical names. Raises InexpressibleError for one that has none."""
    architecture = view.naming.architecture
    name = f"{architecture}-{PLAIN}"
    found = next((family for family in FAMILIES if family.id == name), None)
    if found is not None:
        return found
    others = [f.id for f in FAMILIES if any(n.architecture == architecture and not n.reads_only for n in f.namings)]
    others = [other for other in others if other != view.family.id]
    towards = f"--to {' or --to '.join(others)} writes one that it has; " if others else ""
    own = "eqlr bake makes the weights plain in the source's own layout"
    raise InexpressibleError(
        f"{source.path}: there is no plain layout of {architecture} for --to {PLAIN}",
        hint=f"{towards}{own if view.family.equalized else 'the weights are plain as they are'}",
    )


def _nothing(source: Checkpoint, recognitions: list[Recognition]) -> NothingMatchedError:
    written = [naming for family in FAMILIES for naming in family.namings if not naming.reads_only]
    sources = (f for f in FAMILIES if any(mine.same_kind(other) for mine in f.namings for other in written))
    known = ", ".join(sorted(family.id for family in sources))
    unnamed = ", which eqlr has no canonical names for"
    said = "; ".join(
        f"network {r.network.name}: {r.note or r.family + (unnamed if r.layout else '')}" for r in recognitions
    )
    return NothingMatchedError(
        f"{source.path}: no network that can be converted: {said}",
        hint=f"whole networks of these families can be: {known}",
    )


def places_for(
    source: Checkpoint,
    networks: list[CanonicalNetwork],
    family: Family,
    accepted: frozenset[str],
    *,
    trained: bool = False,
) -> dict[str, Target]:
    """A place in the target for every network; some projects have another one for networks that are `trained` on.

    The only generator of a file counts as the average one, unless the file is one of a training, with optimizers.
    """
    generators = [network for network in networks if network.naming.role == "generator"]
    found: dict[str, Target] = {}
    for network in networks:
        name = network.recognition.network.name
        naming = _naming_for(network, family, accepted)
        if naming is None or naming.reads_only:
            reason = naming.reads_only if naming else _difference(network.naming, family)
            raise InexpressibleError(
                f"{source.path}: network {name} cannot be written as {family.id}: {reason}",
                hint="--network NAME picks the networks to convert",
            )
        average = naming.ema_place and (network.is_average or (len(generators) == 1 and not source.optimizers))
        usual = naming.alone if naming.alone and len(networks) == 1 else naming.place
        place = naming.ema_place if average else usual
        place = (*naming.training.root, *place) if trained and isinstance(naming.training, Training) else place
        prefix = place[-1] if place[-1].endswith(".") else ""
        where = Target(naming, place[:-1] if prefix else place, prefix)
        if where in found.values():
            raise UsageError(
                f"{source.path}: two networks would become {'.'.join(place)} of {family.id}: {name} is the second",
                hint="--network NAME picks the one to convert",
            )
        found[name] = where
    return found


def _naming_for(network: CanonicalNetwork, family: Family, accepted: frozenset[str]) -> Naming | None:
    """Of a family's names for such a network, those that lose the least of it; the first of several that lose alike."""
    fitting = [naming for naming in family.namings if naming.same_kind(network.naming)]
    writable = [naming for naming in fitting if not naming.reads_only]
    if len(writable) < 2:
        return next(iter(writable or fitting), None)
    return min(writable, key=lambda naming: sum(loss.name not in accepted for loss in losses(network, naming)))


def _difference(naming: Naming, family: Family) -> str:
    """Why no naming of the family is for networks like this one."""
    kind = (naming.architecture, naming.role)
    near = next((n for n in family.namings if (n.architecture, n.role) == kind), None)
    if near is None:
        return f"eqlr has no names for its {kind[0]} {kind[1]}"
    if naming.structure != near.structure:
        return f"its structure is {naming.structure or 'the usual one'}, and not {near.structure or 'the usual one'}"
    differing = [key for key in {**naming.form, **near.form} if naming.form.get(key) != near.form.get(key)]
    usual = asdict(doubling.ORIGINAL) if naming.architecture == "stylegan2" else {}
    here, there = ({**usual, **each.form} for each in (naming, near))
    said = "; ".join(
        f"{_FORM_PHRASES.get(key, key.replace('_', ' '))}: {_shown(here.get(key))} here, {_shown(there.get(key))} there"
        for key in differing
    )
    return f"its code and the target's compute otherwise what no tensor says ({said})"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "as usual"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)
