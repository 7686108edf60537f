"""The range of every layer of a network, stored and effective, and how unequally its layers learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eqlr_tools.families.family import Layer
from eqlr_tools.families.registry import Recognition
from eqlr_tools.ranges.counting import Counts, count_tensor
from eqlr_tools.ranges.statistics import Statistics, spread, statistics_of


@dataclass(frozen=True)
class LayerRange:
    """One layer's weights. `effective` is None where the applied weight is not a multiple of the stored one."""

    layer: Layer
    dtype: str
    counts: Counts
    stored: Statistics
    effective: Statistics | None


@dataclass(frozen=True)
class NetworkRange:
    """All layers of a network, and the learning-speed spread: largest over smallest rms of its layers."""

    recognition: Recognition
    layers: tuple[LayerRange, ...]

    @property
    def stored_spread(self) -> float | None:
        return spread([layer.stored.rms or 0.0 for layer in self.layers if layer.effective])

    @property
    def effective_spread(self) -> float | None:
        return spread([layer.effective.rms or 0.0 for layer in self.layers if layer.effective])


def audit_network(
    recognition: Recognition,
    wanted: Callable[[str, str], bool] = lambda network, layer: True,
    progress: Callable[[int], None] = lambda _: None,
) -> NetworkRange:
    """Count every wanted layer's weight once; effective figures follow from the constant."""
    layers = []
    for layer in recognition.layers:
        if not wanted(recognition.network.name, layer.name):
            continue
        tensor = recognition.network.tensors[layer.weight]
        counts = count_tensor(tensor)
        progress(tensor.nbytes)
        effective = statistics_of(counts, layer.scale) if layer.scale is not None else None
        layers.append(LayerRange(layer, tensor.dtype.torch, counts, statistics_of(counts), effective))
    return NetworkRange(recognition, tuple(layers))


def audited_bytes(recognitions: Sequence[Recognition]) -> int:
    """Bytes that an audit reads, for progress."""
    return sum(r.network.tensors[layer.weight].nbytes for r in recognitions for layer in r.layers)
