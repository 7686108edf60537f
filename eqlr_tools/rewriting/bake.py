"""Equalized to plain: every stored weight times its constant, every scaled bias too, the constants gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.errors import AmbiguousError, NothingMatchedError, UnreadableError, UsageError
from eqlr_tools.families.family import Family
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.plain import PLAIN
from eqlr_tools.families.registry import FAMILIES, Recognition, inference
from eqlr_tools.families.statistics import looks_equalized
from eqlr_tools.families.views import NetworkView
from eqlr_tools.rewriting.canonical import canonical_networks
from eqlr_tools.rewriting.convert import plan_convert
from eqlr_tools.rewriting.edits import Edit, network_path
from eqlr_tools.rewriting.optimizer import OptimizerOptions
from eqlr_tools.rewriting.plan import Plan, build_plan
from eqlr_tools.rewriting.scale import Scale
from eqlr_tools.rewriting.selection import Selection, recognise_all, refuse_undecided
from eqlr_tools.rewriting.switches import switched


def plan_bake(
    source: Checkpoint,
    target: Path,
    selection: Selection,
    *,
    optimizers: OptimizerOptions | None = None,
    to_original: bool = False,
) -> Plan:
    """Plan the bake of all selected networks that are equalized; everything else is copied.

    `to_original` leaves out what the project's code multiplies by even when its equalization is switched off.

    Optimizer states are converted along, as `optimizers` says. Raises NothingMatchedError if no layer is equalized,
    AmbiguousError if a network may have been baked before, or if a question about it is open.
    """
    recognitions = recognise_all(source, selection)
    _refuse_doubt(source, recognitions)
    refuse_undecided(source, recognitions)
    edits: dict[TreePath, list[Edit]] = {}
    baked: dict[str, dict[str, Any]] = dict(source.provenance.get("baked", {}))
    notes = []
    for recognition in recognitions:
        network = recognition.network
        layers = _chosen(recognition, selection)
        if layers and to_original:
            layers = _switchable(source, recognition, layers)
        if not layers:
            notes.append(f"network {network.name} is carried over: {recognition.note or 'no equalized layer'}")
            continue
        notes += _about_rows(recognition, layers)
        if inferred := inference(layers):
            notes.append(f"network {network.name}: {inferred}")
        left = _left_to_the_code(recognition, layers) if to_original else {}
        for layer in layers:
            kept = _without_multiplier(layer) if layer.baked_weight in left else layer
            edits.update(_edits(network, kept, source))
        if to_original and recognition.layout:
            how = f"to load it in {recognition.layout.upstream}: {recognition.load_back}"
            notes.append(f"network {network.name}: {how}")
        elif recognition.layout and _leaves_more(recognition, layers):
            notes.append(
                f"network {network.name}: what {recognition.layout.upstream} loads is written with --to original"
            )
        before = baked.get(network.name, {}).get("weights", [])
        weights = [*(before if isinstance(before, list) else []), *(layer.baked_weight for layer in layers)]
        multipliers = {layer.baked_weight: layer.lr_multiplier for layer in layers if layer.lr_multiplier != 1.0}
        baked[network.name] = {
            "family": recognition.family,
            "weights": sorted(set(weights)),
            "prefixes": list(_prefixes(recognition)),
            "lr_multipliers": {**baked.get(network.name, {}).get("lr_multipliers", {}), **multipliers},
            **({"multipliers_left": left} if left else {}),
        }
    if not edits:
        raise _nothing(source, recognitions)
    families = sorted({recognition.family for recognition in recognitions if recognition.equalized})
    whole = [r for r in recognitions if r.equalized and len(_chosen(r, selection)) == len(r.equalized)]
    settings, said = switched(source, [r for r in whole if to_original or not _keeps_multiplier(r)], on=False)
    notes += said
    return build_plan("bake", source, target, ", ".join(families), edits, {"baked": baked}, notes, optimizers, settings)


def _about_rows(recognition: Recognition, layers: list[Layer]) -> list[str]:
    """What to know of layers whose rows have constants of their own."""
    rows = [layer for layer in layers if layer.row_epsilon is not None]
    if not rows:
        return []
    name, tensors = recognition.network.name, recognition.network.tensors
    notes = [f"network {name}: {recognition.note}"] if recognition.note else []
    narrow = {tensors[layer.weight].dtype.torch for layer in rows if tensors[layer.weight].dtype.itemsize < 4}
    if narrow:
        kept = " and ".join(sorted(narrow))
        notes.append(f"network {name}: weights are stored in {kept}, and baked ones are rounded once to it")
    return notes


_SAID = "but its configuration says"
"""How a family declines whose setting is off in the file (`families/rules.py`)."""

ORIGINAL = "original"
"""The form that the project's own code loads, with its equalization switched off."""


def _switchable(source: Checkpoint, recognition: Recognition, layers: list[Layer]) -> list[Layer]:
    """The layers that the project's code applies as they are with its switch off; the others stay as they are stored.

    Raises UsageError if there is no switch for any of them.
    """
    name, layout = recognition.network.name, recognition.layout
    reached = {layer.weight for layer in recognition.switchable}
    chosen = [layer for layer in layers if layer.weight in reached]
    if not chosen:
        reasons = dict.fromkeys(recognition.fixed[x.weight] for x in layers if x.weight in recognition.fixed)
        why = f"where {'; '.join(reasons)}" if reasons and layout and layout.load_back else "whose code has no switch"
        hint = "bake without --to writes plain weights for a network of your own; --network NAME chooses another"
        form = _plain_form_of(recognition)
        raise UsageError(
            f"{source.path}: network {name} is {recognition.family}, {why}",
            hint=f"bake --to {form} writes it for a class of the project that has no constants" if form else hint,
        )
    return chosen


def _plain_form_of(recognition: Recognition) -> str:
    """The plain layout of its own that the project has for such a network; empty if it has none."""
    kinds = {(network.naming.architecture, network.naming.role) for network in canonical_networks(recognition)}
    forms = [(name, form) for name, form in _plain_forms().items() if name != PLAIN]
    return next((name for name, form in forms if kinds & {(n.architecture, n.role) for n in form.namings}), "")


def _prefixes(recognition: Recognition) -> tuple[str, ...]:
    return next((verdict.prefixes for verdict in recognition.verdicts if verdict.family == recognition.family), ())


def _left_to_the_code(recognition: Recognition, layers: list[Layer]) -> dict[str, float]:
    """The learning-rate multipliers that the project's code applies even when its constants are switched off."""
    if not _keeps_multiplier(recognition):
        return {}
    return {layer.baked_weight: layer.lr_multiplier for layer in layers if layer.lr_multiplier != 1.0}


def _leaves_more(recognition: Recognition, layers: list[Layer]) -> bool:
    """True if the project's code, switched off, multiplies some of these layers nevertheless."""
    if not recognition.load_back:
        return False
    return bool(_left_to_the_code(recognition, layers)) or any(layer.weight in recognition.fixed for layer in layers)


def _keeps_multiplier(recognition: Recognition) -> bool:
    return recognition.layout is not None and recognition.layout.keep_multiplier


def _without_multiplier(layer: Layer) -> Layer:
    scale = None if layer.scale is None else layer.scale / layer.lr_multiplier
    return replace(layer, scale=scale, bias_scale=layer.bias_scale / layer.lr_multiplier if layer.bias else 1.0)


def _chosen(recognition: Recognition, selection: Selection) -> list[Layer]:
    """The layers that the user wants, and with each the other names of the same tensor: they are one layer."""
    network = recognition.network
    wanted = [layer for layer in recognition.equalized if selection.wants(network.name, layer.name)]
    storages = {id(network.tensors[layer.weight].storage) for layer in wanted}
    return [layer for layer in recognition.equalized if id(network.tensors[layer.weight].storage) in storages]


def plan_bake_to(
    source: Checkpoint, target: Path, selection: Selection, to: str, optimizers: OptimizerOptions | None = None
) -> Plan:
    """Plan to bake into a plain layout that the project itself has, where it keeps its square roots elsewhere.

    `original` is not one layout: it is what the project's code loads with its switch off.

    Raises UsageError if `to` is no such layout, InexpressibleError if a network has none.
    """
    if to == ORIGINAL:
        return plan_bake(source, target, selection, optimizers=optimizers, to_original=True)
    forms = _plain_forms()
    family = forms.get(to) or next((form for form in forms.values() if form.id == to), None)
    if family is None:
        raise UsageError(f"--to {to} is no plain layout", hint=f"there are: {', '.join(sorted([*forms, ORIGINAL]))}")
    if selection.include or selection.exclude:
        raise UsageError("--to bakes whole networks, so --include and --exclude make no sense with it")
    return plan_convert(source, target, selection, to=PLAIN if to == PLAIN else family.id, operation="bake")


def _plain_forms() -> dict[str, Family]:
    return {family.id.rpartition("-")[2]: family for family in FAMILIES if _is_plain_form(family)}


def _is_plain_form(family: Family) -> bool:
    return not family.equalized and any(not naming.reads_only for naming in family.namings)


def _edits(network: Network, layer: Layer, source: Checkpoint) -> dict[TreePath, list[Edit]]:
    applied = layer.applied(network.tensors[layer.weight])
    if applied is None:
        return {}
    tensor, scale = applied
    weight = _rescaled(network, layer.weight, layer.baked_weight, scale, source)
    if layer.row_epsilon is not None:
        weight = replace(weight, tensor=tensor, normalised=True)
    edits = {network_path(network, layer.weight): [weight]}
    if layer.bias and (layer.bias_scale != 1.0 or layer.baked_bias):
        edits[network_path(network, layer.bias)] = [
            _rescaled(network, layer.bias, layer.baked_bias or layer.bias, layer.bias_scale, source)
        ]
    for name in layer.scale_tensors:
        reason = "the constant is in the weight now"
        edits[network_path(network, name)] = [Edit(network.name, name, None, network.tensors[name], reason=reason)]
    return edits


def _rescaled(network: Network, name: str, new_name: str, scale: float, source: Checkpoint) -> Edit:
    tensor = network.tensors[name]
    if not tensor.dtype.is_float:
        raise UnreadableError(
            f"{source.path}: {name} of network {network.name} holds {tensor.dtype.torch} values, which no scale fits",
            hint=f"--exclude '{name.rpartition('.')[0]}' leaves it as it is",
        )
    return Edit(network.name, name, network.key(new_name), tensor, Scale(multiply=scale) if scale != 1.0 else None)


def _refuse_doubt(source: Checkpoint, recognitions: list[Recognition]) -> None:
    for recognition in recognitions:
        if recognition.doubt and recognition.layout:
            raise AmbiguousError(
                f"{source.path}: network {recognition.network.name} has the {recognition.note}; "
                "baking it again would destroy it",
                hint=f"if it is equalized all the same, --family {recognition.layout.id} bakes it; "
                "--network NAME leaves it out",
            )


def _nothing(source: Checkpoint, recognitions: list[Recognition]) -> NothingMatchedError:
    reasons = "; ".join(f"network {recognition.network.name}: {_reason(recognition)}" for recognition in recognitions)
    hint = f"eqlr explain {source.path} shows why"
    if any(_size_of_equalized(recognition) for recognition in recognitions):
        hint += "; if you know gain, fan-in and biases of its layers, write them down as a family: --families FILE.py"
    return NothingMatchedError(f"{source.path}: no equalized layer to bake: {reasons}", hint=hint)


def _reason(recognition: Recognition) -> str:
    if recognition.layout and not recognition.equalized:
        return f"{recognition.layout.id}, {recognition.note}"
    if recognition.note:
        return recognition.note
    if recognition.equalized:
        return f"{recognition.family}, all layers excluded"
    said = next((v for v in recognition.verdicts if _SAID in v.sentence), None)
    return (f"{said.family} {said.sentence}" if said else _size_of_equalized(recognition)) or "plain"


def _size_of_equalized(recognition: Recognition) -> str:
    if recognition.layout or recognition.note:
        return ""
    return looks_equalized(NetworkView(recognition.network), recognition.layers)
