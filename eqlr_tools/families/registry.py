"""All families, and the question that is put to each of them: is this network yours?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.errors import AmbiguousError, UsageError
from eqlr_tools.families import (
    aladdin,
    basicsr_stylegan2,
    fb_gan_zoo,
    gfpgan_clean,
    rosinality_hook,
    rosinality_stylegan2,
    stylegan2_plain,
    torch_parametrize,
)
from eqlr_tools.families.family import Family, Layer, Overrides, Verdict
from eqlr_tools.families.plain import PLAIN, plain_layers
from eqlr_tools.scaling import Shape

FAMILIES: tuple[Family, ...] = (
    torch_parametrize.FAMILY,
    rosinality_stylegan2.FAMILY,
    basicsr_stylegan2.FAMILY,
    basicsr_stylegan2.GFPGAN_V1,
    gfpgan_clean.FAMILY,
    aladdin.PROGAN,
    aladdin.STYLEGAN,
    fb_gan_zoo.FAMILY,
    rosinality_hook.FAMILY,
    stylegan2_plain.FAMILY,
)

BY_ID = {family.id: family for family in FAMILIES}

_BAKED_BELOW = 0.35
"""Median rms * lr_multiplier under which a network is suspected to be baked: N(0, 1) and training keep it near 1."""


class NetworkView:
    """The view of a network that families get. Sizes are estimated once, from the first block of each tensor."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.shapes: Mapping[str, Shape] = {name: tensor.shape for name, tensor in network.tensors.items()}
        self._rms: dict[str, float] = {}

    def rms(self, name: str) -> float:
        if name not in self._rms:
            tensor = self.network.tensors[name]
            self._rms[name] = _sample_rms(tensor) if tensor.dtype.is_float else 0.0
        return self._rms[name]

    def scalar(self, name: str) -> float:
        return float(self.network.tensors[name].values().reshape(-1)[0])


@dataclass(frozen=True)
class Recognition:
    """What a network was found to be, and what every family said about it.

    `layout` is the family whose names the network has; `family` is what its weights are: the same, or `plain` if
    the layout is one of plain weights, or the weights were baked. `beside` are loose tensors next to the networks.
    """

    network: Network
    family: str
    layout: Family | None
    layers: tuple[Layer, ...]
    verdicts: tuple[Verdict, ...]
    note: str = ""
    doubt: str = ""
    beside: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def equalized(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.equalized)


def family_named(name: str) -> Family:
    """Look a family up by its id. Raises UsageError with the known ones."""
    if name not in BY_ID:
        raise UsageError(f"no family is called {name!r}", hint=f"known families: {', '.join(sorted(BY_ID))}, plain")
    return BY_ID[name]


def recognise(
    checkpoint: Checkpoint, network: Network, *, family: str | None = None, overrides: Overrides | None = None
) -> Recognition:
    """Ask every family about a network, and decide. `family` is the user's decision, which overrules doubts.

    Raises AmbiguousError if several families claim the network, UsageError if the named one does not fit.
    """
    found = _recognise(checkpoint, network, family, overrides or Overrides())
    return replace(found, beside={str(path[0]): tensor for path, tensor in checkpoint.loose.items() if len(path) == 1})


def _recognise(checkpoint: Checkpoint, network: Network, family: str | None, overrides: Overrides) -> Recognition:
    view = NetworkView(network)
    verdicts = tuple(candidate.answer(view) for candidate in FAMILIES)
    matched = [verdict for verdict in verdicts if verdict.matched]
    if family == PLAIN:
        return _plain(network, view, verdicts, None, "taken as plain, as told")
    if family is not None:
        chosen = family_named(family)
        matched = [verdict for verdict in matched if verdict.family == chosen.id]
        if not matched:
            said = next(verdict.sentence for verdict in verdicts if verdict.family == chosen.id)
            raise UsageError(
                f"{checkpoint.path}: network {network.name} is not {chosen.id}: {said}",
                hint=f"eqlr explain {checkpoint.path} shows what every family says",
            )
    if len(matched) > 1:
        names = " or ".join(verdict.family for verdict in matched)
        raise AmbiguousError(f"{checkpoint.path}: network {network.name} can be {names}", hint="--family NAME decides")
    if not matched:
        return _plain(network, view, verdicts, None, "")
    layout = BY_ID[matched[0].family]
    layers = layout.layers(view, matched[0].prefix, overrides)
    if not layout.equalized:
        return _plain(network, view, verdicts, layout, layout.advice)
    done = _baked_by_us(checkpoint, network)
    if done and family is None:
        layers = [layer for layer in layers if layer.baked_weight not in done["weights"]]
        if not layers:
            return _plain(network, view, verdicts, layout, f"baked by eqlr, was {done['family']}")
        doubt = ""
    else:
        doubt = "" if family or layout.keys_are_proof else _looks_baked(view, layers)
    if doubt:
        return _plain(network, view, verdicts, layout, f"layout of {layout.id}, but {doubt}", doubt)
    taken = {name for layer in layers for name in (layer.weight, layer.bias, layer.scale_tensor) if name}
    every = [*layers, *plain_layers(view, taken)]
    order = {name: place for place, name in enumerate(view.shapes)}
    every.sort(key=lambda layer: order[layer.weight])
    return Recognition(network, layout.id, layout, tuple(every), verdicts)


def _sample_rms(tensor: Tensor) -> float:
    """Root mean square of the finite values in the tensor's first block: enough to tell 100 from 1 from 0.02."""
    block = next(tensor.blocks(), None)
    values = np.zeros(1) if block is None else tensor.dtype.values(block).astype(np.float64)
    values = values[np.isfinite(values)]
    largest = float(np.abs(values).max(initial=0.0))
    return largest * math.sqrt(float(np.mean(np.square(values / largest)))) if largest > 0 else 0.0


def _plain(
    network: Network,
    view: NetworkView,
    verdicts: tuple[Verdict, ...],
    layout: Family | None,
    note: str,
    doubt: str = "",
) -> Recognition:
    layers = tuple(plain_layers(view, set()))
    return Recognition(network, PLAIN, layout, layers, verdicts, note, doubt)


def _baked_by_us(checkpoint: Checkpoint, network: Network) -> dict[str, Any] | None:
    """What eqlr recorded of a bake of this network: {"family": id, "weights": [baked names]}."""
    records = checkpoint.provenance.get("baked")
    record = records.get(network.name) if isinstance(records, dict) else None
    return record if isinstance(record, dict) and {"family", "weights"} <= set(record) else None


def _looks_baked(view: NetworkView, layers: list[Layer]) -> str:
    """Say so if the stored weights have the size of effective ones. Empty if not, or if there is little to go by.

    Names and shapes of most families stay the same when they are baked, so only size can tell: stored weights are
    near 1 / lr_multiplier, baked ones near c. It is a reason to ask, never one to rewrite.
    """
    sizes = [(view.rms(layer.weight), layer) for layer in layers if layer.scale]
    ratios = [(rms * layer.lr_multiplier, rms / (layer.scale or 1.0)) for rms, layer in sizes if rms > 0]
    if not ratios:
        return ""
    stored = statistics.median(ratio for ratio, _ in ratios)
    baked = statistics.median(ratio for _, ratio in ratios)
    if stored < _BAKED_BELOW and abs(math.log2(baked)) < abs(math.log2(stored)):
        return f"its weights look baked already (median rms {stored:.3g}; equalized weights are stored near 1)"
    return ""
