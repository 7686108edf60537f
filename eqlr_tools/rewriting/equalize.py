"""Plain to equalized: every weight divided by its constant, the constant stored beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network
from eqlr_tools.checkpoints.outputs import constant_tensor
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.errors import NothingMatchedError, UsageError
from eqlr_tools.families.layer import Layer
from eqlr_tools.families.plain import equalizable_layers
from eqlr_tools.families.registry import NetworkView, Recognition, family_named
from eqlr_tools.rewriting.edits import Edit, network_path
from eqlr_tools.rewriting.optimizer import OptimizerOptions
from eqlr_tools.rewriting.plan import Plan, build_plan
from eqlr_tools.rewriting.scale import Scale
from eqlr_tools.rewriting.selection import Selection, recognise_all, refuse_undecided
from eqlr_tools.rewriting.switches import switched
from eqlr_tools.scaling import nearest_power_of_two

DEFAULT_TARGET = "torch-parametrize"


@dataclass(frozen=True)
class _Chosen:
    layers: list[Layer]
    skipped: list[tuple[str, str]]
    how: str


def plan_equalize(
    source: Checkpoint,
    target: Path,
    selection: Selection,
    *,
    to: str = DEFAULT_TARGET,
    exact: bool = False,
    optimizers: OptimizerOptions | None = None,
) -> Plan:
    """Plan to equalize the selected plain networks.

    The constants come from the family whose layout a network has (a baked StyleGAN2, say), else from names and
    shapes. `exact` rounds each constant to a power of two, which makes the way there and back exact.

    Raises NothingMatchedError if no layer can be equalized, UsageError if `to` cannot name the layers.
    """
    family_named(to)
    edits: dict[TreePath, list[Edit]] = {}
    baked: dict[str, Any] = dict(source.provenance.get("baked", {}))
    notes, reasons, back = [], [], []
    recognitions = recognise_all(source, replace(selection, family=None))
    refuse_undecided(source, recognitions)
    for recognition in recognitions:
        network = recognition.network
        if recognition.equalized:
            reasons.append(f"network {network.name} is {recognition.family}, equalized already")
            continue
        chosen = _choose(recognition, _about_plain_weights(selection, baked.get(network.name)), to)
        if chosen.layers:
            notes.append(f"network {network.name}: {len(chosen.layers)} layers by {chosen.how}")
            back.append(recognition)
            _forget_baked(baked, network.name, chosen.layers)
        else:
            reasons.append(f"network {network.name}: no layer qualifies")
        notes += [f"{network.name}.{name} is left as it is: {reason}" for name, reason in chosen.skipped]
        for layer in chosen.layers:
            constant = _stored_constant(layer, network, exact)
            edits.update(
                _named_by_family(network, layer, constant)
                if to != DEFAULT_TARGET
                else _parametrized(network, layer, constant)
            )
    if not edits:
        raise NothingMatchedError(
            f"{source.path}: nothing to equalize: {'; '.join(reasons)}",
            hint="--include GLOB names the layers; eqlr explain lists them",
        )
    # torch's own names bring their constants along; the family's code needs its switch on again.
    settings, said = switched(source, back, on=True) if to != DEFAULT_TARGET else ({}, [])
    notes = [*reasons, *notes, *said]
    equalized = sorted(recognition.network.name for recognition in back)
    provenance = {"baked": baked, "equalized": equalized}
    return build_plan("equalize", source, target, to, edits, provenance, notes, optimizers, settings)


def _about_plain_weights(selection: Selection, record: dict[str, Any] | None) -> Selection:
    """The selection for weights whose size says nothing of a multiplier, with those that a bake recorded."""
    recorded = record.get("lr_multipliers", {}) if record else {}
    known = {name: value for name, value in recorded.items() if isinstance(value, float) and 0 < value < math.inf}
    return replace(selection, overrides=replace(selection.overrides, plain=True, recorded=known))


def _forget_baked(baked: dict[str, Any], network: str, layers: list[Layer]) -> None:
    """Strike layers that are equalized again from the record of what was baked."""
    record = baked.pop(network, None)
    left = set(record["weights"]) - {layer.baked_weight for layer in layers} if record else set()
    if record and left:
        baked[network] = {**record, "weights": sorted(left)}


def _choose(recognition: Recognition, selection: Selection, to: str) -> _Chosen:
    network, layout = recognition.network, recognition.layout
    view = NetworkView(network)
    if to not in (DEFAULT_TARGET, layout.id if layout else None):
        raise UsageError(
            f"network {network.name} does not have the layout of {to}",
            hint=f"leave --to out for torch's own names{f', or use --to {layout.id}' if layout else ''}",
        )
    table: list[Layer] = []
    if layout is not None and layout.equalized:
        table = [
            layer for layer in layout.all_layers(view, layout.answer(view), selection.overrides) if layer.equalized
        ]
    if layout is not None and any(layer.row_epsilon is not None for layer in table):
        raise UsageError(
            f"network {network.name} has the layout of {layout.id}, whose layers divide every row by its own size: "
            "a bake keeps no row's size, so nothing can put it back",
            hint="keep the file that was baked; --network NAME leaves this network out",
        )
    if layout is not None and table:
        wanted = [layer for layer in table if selection.wants(network.name, layer.name)]
        return _Chosen(wanted, [], f"the table of {layout.id}")
    layers, skipped = equalizable_layers(view, selection.overrides, lambda layer: selection.choice(network.name, layer))
    return _Chosen(layers, skipped, "names and shapes")


def _stored_constant(layer: Layer, network: Network, exact: bool) -> float:
    """The constant as it will be stored: a power of two if asked, else rounded to the precision it is kept in."""
    constant = nearest_power_of_two(layer.scale or 1.0) if exact else layer.scale or 1.0
    return constant if network.tensors[layer.weight].dtype.name == "F64" else float(np.float32(constant))


def _parametrized(network: Network, layer: Layer, constant: float) -> dict[TreePath, list[Edit]]:
    """torch's names: `X.parametrizations.weight.original` and `X.parametrizations.weight.0.scale`."""
    tensor = network.tensors[layer.weight]
    if not f".{layer.weight}".endswith(".weight"):
        raise UsageError(
            f"network {network.name}: {layer.weight} is no torch parameter called weight, and {DEFAULT_TARGET} stores "
            "constants beside those alone",
            hint="--to FAMILY writes the layers under the family's own names",
        )
    stem = layer.weight.removesuffix(".weight") if "." in layer.weight else ""
    stem = f"{stem}.parametrizations.weight" if stem else "parametrizations.weight"
    scale_dtype = "F64" if tensor.dtype.name == "F64" else "F32"
    scale = constant_tensor(np.array(constant, dtype=np.float64), scale_dtype)
    return {
        network_path(network, layer.weight): [
            Edit(network.name, layer.weight, network.key(f"{stem}.original"), tensor, Scale(divide=constant)),
            Edit(network.name, None, network.key(f"{stem}.0.scale"), scale),
        ]
    }


def _named_by_family(network: Network, layer: Layer, constant: float) -> dict[TreePath, list[Edit]]:
    """The family's own names: its code multiplies by the constant, so only the numbers change."""
    weight = Edit(network.name, layer.weight, network.key(layer.weight), network.tensors[layer.weight])
    edits = {network_path(network, layer.weight): [replace(weight, scale=Scale(divide=constant))]}
    if layer.bias and layer.bias_scale != 1.0:
        bias = Edit(network.name, layer.bias, network.key(layer.bias), network.tensors[layer.bias])
        edits[network_path(network, layer.bias)] = [replace(bias, scale=Scale(divide=layer.bias_scale))]
    return edits
