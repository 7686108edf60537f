"""All families, and the question that is put to each of them: is this network yours?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.errors import UsageError
from eqlr_tools.families.catalogue import FAMILIES, known_families
from eqlr_tools.families.family import ALL, Family, Overrides, Question, Verdict
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.multipliers import Multiplier
from eqlr_tools.families.parts import are_apart, in_order, parts_of_others
from eqlr_tools.families.plain import PLAIN, plain_layers, reparametrised
from eqlr_tools.families.views import NetworkView

__all__ = ["FAMILIES", "UNDECIDED", "NetworkView", "Recognition", "family_named", "recognise"]

UNDECIDED = "undecided"
"""What a network is called while the question about it is open: neither plain nor of a family."""

_BAKED_BELOW = 0.75
"""Median rms * lr_multiplier under which a network is suspected to be baked: N(0, 1) and training keep it near 1."""

_FAR = 4.0
"""Octaves after which a layer is just far off: one that training has all but switched off must not decide alone."""


@dataclass(frozen=True)
class Recognition:
    """What a network was found to be, and what every family said about it.

    `layout` is the family whose names the network has; `family` is what its weights are: the same, or `plain` if
    the layout is one of plain weights, or the weights were baked, or `undecided` while a `question` is open.
    `beside` are single tensors next to the networks, `said` answers what else the file says by name. `fixed` are
    weights of layers that the project's code equalizes whatever its switch says, each with the reason.
    """

    network: Network
    family: str
    layout: Family | None
    layers: tuple[Layer, ...]
    verdicts: tuple[Verdict, ...]
    note: str = ""
    doubt: str = ""
    question: Question | None = None
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    said: Callable[[str], Any] = field(default=lambda name: None, compare=False)
    fixed: Mapping[str, str] = field(default_factory=dict)

    @property
    def equalized(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.equalized)

    @property
    def switchable(self) -> tuple[Layer, ...]:
        """The layers that the project's own code can apply as they are, if it is told so."""
        known = self.layout is not None and self.layout.load_back != ""
        return tuple(layer for layer in self.equalized if known and layer.weight not in self.fixed)

    @property
    def load_back(self) -> str:
        """How the project's own code loads the network baked; empty if it cannot."""
        if self.layout is None or not self.switchable:
            return ""
        left = [layer.weight for layer in self.equalized if layer.weight in self.fixed]
        if not left:
            return self.layout.load_back
        reasons = "; ".join(dict.fromkeys(self.fixed[name] for name in left))
        several = f"{left[0]} and {len(left) - 1} more stay" if len(left) > 1 else f"{left[0]} stays"
        return f"{self.layout.load_back}; {several} equalized with bake --to original, because {reasons}"


def family_named(name: str) -> Family:
    """Look a family up by its id. Raises UsageError with the known ones."""
    by_id = {family.id: family for family in known_families()}
    if name not in by_id:
        from difflib import get_close_matches

        near = get_close_matches(name, by_id)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        hint = f"{meant}known families: {', '.join(sorted(by_id))}, plain"
        raise UsageError(f"no family is called {name!r}", hint=hint)
    return by_id[name]


def recognise(
    checkpoint: Checkpoint, network: Network, *, family: str | None = None, overrides: Overrides | None = None
) -> Recognition:
    """Ask every family about a network, and decide. `family` is the user's decision, which overrules doubts.

    If several families claim the network and none of them is more specific than the others, that is the question.
    Raises UsageError if the named one does not fit.
    """
    found = _recognise(checkpoint, network, family, overrides or Overrides())
    view = NetworkView(network, checkpoint)
    prefixes = next((v.prefixes for v in found.verdicts if found.layout and v.family == found.layout.id), ())
    fixed = found.layout.fixed_layers(view, prefixes) if found.layout else {}
    return replace(found, beside=_beside(checkpoint), said=view.said, fixed={**found.fixed, **fixed})


def _beside(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Single tensors next to the networks; a dict that holds but one, an average w, passes for a network."""
    alone = [network.tensors for network in checkpoint.networks if len(network.tensors) == 1]
    loose = {str(path[0]): tensor for path, tensor in checkpoint.loose.items() if len(path) == 1}
    return {name: tensor for tensors in alone for name, tensor in tensors.items()} | loose


def _recognise(checkpoint: Checkpoint, network: Network, family: str | None, overrides: Overrides) -> Recognition:
    view = NetworkView(network, checkpoint)
    done = _baked_by_us(checkpoint, network)
    verdicts = tuple(_undoubted(candidate, done).answer(view) for candidate in known_families())
    if family == PLAIN:
        return _plain(network, view, verdicts, None, "taken as plain, as told")
    verdicts = _with_recorded(verdicts, view, done, overrides)
    claims = _decide(checkpoint, network, verdicts, family, (done or {}).get("family"))
    if not claims:
        return _plain(network, view, verdicts, None, "")
    if len(claims) > 1:
        return _undecided(network, view, verdicts, None, _which_of(claims), _layers_claimed(view, claims, overrides))
    verdict = claims[0]
    layout = family_named(verdict.family)
    if not layout.equalized:
        return _plain(network, view, verdicts, layout, layout.advice)
    others = parts_of_others(view, verdict, verdicts, overrides)
    own = layout.all_layers(view, verdict, overrides)
    layers = in_order(view, own, *(part.layers for part in others))
    question = layout.question(view, verdict.prefix) if layout.question else None
    ours = _equalized_by_us(checkpoint, network, layout)
    if done:  # Also where the user names the family: that says what it was, not that it is so again.
        left = done.get("multipliers_left", {})
        layers = [_multiplied_only(layer, left.get(layer.baked_weight)) for layer in layers]
        layers = [layer for layer in layers if layer.baked_weight not in done["weights"] or layer.baked_weight in left]
        if not any(layer.equalized for layer in layers):
            return _plain(network, view, verdicts, layout, f"baked by eqlr, was {done['family']}")
    elif family is None and not ours:
        for each, found in ((layout, own), *((part.family, part.layers) for part in others)):
            doubt = "" if each.keys_are_proof else _looks_baked(view, found)
            if doubt:
                return _plain(network, view, verdicts, each, f"layout of {each.id}, but {doubt}", doubt)
    if question and _settled(question, family or (done or {}).get("family") or ours, overrides):
        question = None
    asking = next((part for part in others if part.question and not _settled(part.question, None, overrides)), None)
    if question is None and asking:
        question, layout = asking.question, asking.family
    if question:
        return _undecided(network, view, verdicts, layout, question, layers)
    note = "; ".join(filter(None, (layout.advice, *(part.sentence for part in others), inference(layers))))
    fixed = {layer.weight: f"it is {part.family.id}'s" for part in others for layer in part.layers}
    return Recognition(network, layout.id, layout, _with_plain(view, layers), verdicts, note, fixed=fixed)


def _undecided(
    network: Network,
    view: NetworkView,
    verdicts: tuple[Verdict, ...],
    layout: Family | None,
    question: Question,
    layers: list[Layer],
) -> Recognition:
    """The network with the open question; no constant of it is known."""
    unknown = [replace(layer, scale=None) if layer.equalized else layer for layer in layers]
    asked = f"{question.text}; answer with {question.answer}"
    return Recognition(network, UNDECIDED, layout, _with_plain(view, unknown), verdicts, asked, question=question)


def _which_of(claims: Sequence[Verdict]) -> Question:
    """What is asked where several families know the names equally well."""
    families = [family_named(verdict.family) for verdict in claims]
    return Question(
        f"its names are those of {' and of '.join(family.id for family in families)}",
        tuple(f"--family {family.id}: {family.title}" for family in families),
        "--family NAME",
    )


def _layers_claimed(view: NetworkView, claims: Sequence[Verdict], overrides: Overrides) -> list[Layer]:
    """The layers that any of several families claims."""
    claimed: dict[str, Layer] = {}
    for verdict in claims:
        for layer in family_named(verdict.family).all_layers(view, verdict, overrides):
            claimed.setdefault(layer.weight, layer)
    return in_order(view, claimed.values())


def _multiplied_only(layer: Layer, multiplier: float | None) -> Layer:
    """A layer that was baked for code which still applies the multiplier: that alone is its constant now."""
    if multiplier is None:
        return layer
    return layer.with_constant(multiplier, multiplier if layer.bias else 1.0, 1, 1.0, Multiplier(multiplier, "stated"))


def inference(layers: Sequence[Layer]) -> str:
    """What is told of learning-rate multipliers that no file states; empty if there are none."""
    values = sorted({layer.lr_multiplier for layer in layers if layer.origin == "inferred"})
    if not values:
        return ""
    said = ", ".join(f"{value:g}" for value in values)
    return (
        f"learning-rate multiplier {said} inferred from the size of the weights, to the nearest power of ten; "
        "--lr-multiplier says otherwise"
    )


def _with_recorded(
    verdicts: tuple[Verdict, ...], view: NetworkView, done: dict[str, Any] | None, overrides: Overrides
) -> tuple[Verdict, ...]:
    """The answers, and instead of the family's that eqlr baked in part its record, if nothing else knows the rest.

    Where baking renames weights, those that are left may lack the names by which the family is told.
    """
    if done is None:
        return verdicts
    told = [verdict for verdict in verdicts if verdict.matched and not family_named(verdict.family).generic]
    family = next((known for known in known_families() if known.id == done["family"]), None)
    prefixes = done.get("prefixes")
    if told or family is None or not isinstance(prefixes, list) or not all(isinstance(p, str) for p in prefixes):
        return verdicts
    recorded = Verdict(family.id, True, "is what eqlr baked a part of", tuple(prefixes))
    left = [
        layer for layer in family.all_layers(view, recorded, overrides) if layer.baked_weight not in done["weights"]
    ]
    return tuple(recorded if left and verdict.family == family.id else verdict for verdict in verdicts)


def _undoubted(family: Family, done: dict[str, Any] | None) -> Family:
    """What eqlr baked is the family's, although the file says now that it is not equalized."""
    return replace(family, doubt=None) if done and done["family"] == family.id else family


def _decide(
    checkpoint: Checkpoint, network: Network, verdicts: tuple[Verdict, ...], family: str | None, recorded: str | None
) -> tuple[Verdict, ...]:
    """The one verdict that counts: the named family's, or that of the most specific family, or none.

    Several if they claim the same part of the network, and none of them is more specific. A file that eqlr baked may
    lack what told its family from one with the same names; then the `recorded` one counts.
    """
    matched = [verdict for verdict in verdicts if verdict.matched]
    if family is not None:
        chosen = family_named(family)
        said = next(verdict for verdict in verdicts if verdict.family == chosen.id)
        if not said.matched:
            raise UsageError(
                f"{checkpoint.path}: network {network.name} is not {chosen.id}: {said.sentence}",
                hint=f"eqlr explain {checkpoint.path} shows what every family says",
            )
        return (said,)
    named = {verdict.family: family_named(verdict.family) for verdict in matched}
    outdone = {name for claimant in named.values() for name in claimant.over}
    for claimant in named.values():
        if ALL in claimant.over:
            outdone |= set(named) - {claimant.id}
    specific = any(not claimant.generic for claimant in named.values())
    left = [v for v in matched if v.family not in outdone and not (specific and named[v.family].generic)]
    left = [verdict for verdict in left if verdict.family == recorded] or left
    if len(left) > 1 and are_apart(left):
        return (next((verdict for verdict in left if named[verdict.family].equalized), left[0]),)
    return tuple(left)


def _settled(question: Question, family: str | None, overrides: Overrides) -> bool:
    given = {
        "family": family is not None,
        "gain": overrides.gain is not None,
        "fan_in": overrides.fan_in is not None or overrides.transposed_fan_in is not None,
    }
    return (all if question.needs_all else any)(given[name] for name in question.settled_by)


def _with_plain(view: NetworkView, layers: list[Layer]) -> tuple[Layer, ...]:
    """The family's layers and the plain ones among them, in the order of the file."""
    taken = {name for layer in layers for name in (layer.weight, layer.bias, *layer.scale_tensors) if name}
    order = {name: place for place, name in enumerate(view.shapes)}
    return tuple(sorted([*layers, *plain_layers(view, taken)], key=lambda layer: order[layer.weight]))


def _plain(
    network: Network,
    view: NetworkView,
    verdicts: tuple[Verdict, ...],
    layout: Family | None,
    note: str,
    doubt: str = "",
) -> Recognition:
    layers = tuple(plain_layers(view, set()))
    if layout is None and not note:
        found = reparametrised(layers)
        note = f"re-parametrised by {found}, which is no equalization" if found else ""
    return Recognition(network, PLAIN, layout, layers, verdicts, note, doubt)


def _baked_by_us(checkpoint: Checkpoint, network: Network) -> dict[str, Any] | None:
    """What eqlr recorded of a bake of this network: {"family": id, "weights": [baked names]}."""
    records = checkpoint.provenance.get("baked")
    record = records.get(network.name) if isinstance(records, dict) else None
    return record if isinstance(record, dict) and {"family", "weights"} <= set(record) else None


def _equalized_by_us(checkpoint: Checkpoint, network: Network, layout: Family) -> str | None:
    """The family's id, if eqlr wrote the network for it, equalized: that settles what names and sizes leave open."""
    record = checkpoint.provenance
    named = record.get("equalized")
    converted = record.get("operation") == "convert" and record.get("to") == layout.id
    equalized = record.get("family") == layout.id and isinstance(named, list) and network.name in named
    return layout.id if converted or equalized else None


def _looks_baked(view: NetworkView, layers: list[Layer]) -> str:
    """Say so if the stored weights have the size of effective ones. Empty if not, or if there is little to go by.

    Names and shapes of most families stay the same when they are baked, so only size can tell: stored weights are
    near 1 / lr_multiplier, baked ones near c. It is a reason to ask, never one to rewrite. Layers whose constants
    the file states need no such guess.
    """
    guessed = [layer for layer in layers if layer.equalized and layer.usual_size and layer.origin != "stated"]
    sizes = [(view.rms(layer.weight), layer) for layer in guessed]
    ratios = [(rms * layer.lr_multiplier, rms / (layer.usual_size or 1.0)) for rms, layer in sizes if rms > 0]
    if not ratios:
        return ""
    stored = statistics.median(ratio for ratio, _ in ratios)
    from_stored = statistics.mean(min(abs(math.log2(ratio)), _FAR) for ratio, _ in ratios)
    from_baked = statistics.mean(min(abs(math.log2(ratio)), _FAR) for _, ratio in ratios)
    if stored < _BAKED_BELOW and from_baked < from_stored:
        return f"its weights look baked already (median rms {stored:.3g}; equalized weights are stored near 1)"
    return ""
