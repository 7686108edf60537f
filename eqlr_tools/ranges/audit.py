"""The range of every layer of a network, stored and effective, and how unequally its layers learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from eqlr_tools.families.layer import Layer
from eqlr_tools.families.registry import Recognition
from eqlr_tools.ranges.channels import channels_of
from eqlr_tools.ranges.examining import Question
from eqlr_tools.ranges.pieces import Subject, examine_all
from eqlr_tools.ranges.statistics import Statistics, spread
from eqlr_tools.ranges.training import NO_TRAINING, AdamStep, Training, adam_step


@dataclass(frozen=True)
class LayerRange:
    """One layer's weights. `effective` is None where the applied weight is not a multiple of the stored one.

    `adam_step` is known where the checkpoint holds the layer's Adam state.
    """

    layer: Layer
    dtype: str
    elements: int
    stored: Statistics
    effective: Statistics | None
    adam_step: AdamStep | None = None


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

    @property
    def measured_spread(self) -> float | None:
        """Largest over smallest Adam step relative to the layer's rms: how unequally the layers learn, measured."""
        return spread([layer.adam_step.relative_step or 0.0 for layer in self.layers if layer.adam_step])


def audit_networks(
    recognitions: Sequence[Recognition],
    wanted: Callable[[str, str], bool] = lambda network, layer: True,
    progress: Callable[[int], None] = lambda _: None,
    *,
    exact_quantiles: bool = False,
    training: Training = NO_TRAINING,
    jobs: int | None = None,
) -> list[NetworkRange]:
    """Count every wanted layer's weight once; effective figures follow from the constant. `progress` gets bytes.

    With the checkpoint's `training` state, the steps that Adam takes are measured too.
    """
    chosen = wanted_layers(recognitions, wanted)
    subjects = [subject_of(*pair, exact_quantiles=exact_quantiles) for pair in chosen]
    results = examine_all(subjects, progress, jobs)
    ranges = [layer_range(*pair, result, training) for pair, result in zip(chosen, results, strict=True)]
    return network_ranges(recognitions, chosen, ranges)


def wanted_layers(
    recognitions: Sequence[Recognition], wanted: Callable[[str, str], bool]
) -> list[tuple[Recognition, Layer]]:
    """The layers to audit, in the order of the file."""
    return [
        (recognition, layer)
        for recognition in recognitions
        for layer in recognition.layers
        if wanted(recognition.network.name, layer.name)
    ]


def network_ranges(
    recognitions: Sequence[Recognition], chosen: Sequence[tuple[Recognition, Layer]], ranges: Sequence[LayerRange]
) -> list[NetworkRange]:
    """The ranges of the chosen layers, network by network."""
    owned = [(owner, found) for (owner, _), found in zip(chosen, ranges, strict=True)]
    return [
        NetworkRange(recognition, tuple(found for owner, found in owned if owner is recognition))
        for recognition in recognitions
    ]


def layer_range(
    recognition: Recognition, layer: Layer, examined: Sequence[Statistics], training: Training
) -> LayerRange:
    """The range of a layer from the statistics of its stored and effective weights."""
    stored, effective = examined
    tensor = recognition.network.tensors[layer.weight]
    known = None if layer.scale is None and layer.row_epsilon is None else effective
    state = training.of(recognition.network.name, layer.weight)
    step = adam_step(state, stored.rms) if state else None
    return LayerRange(layer, tensor.dtype.torch, tensor.numel, stored, known, step)


def audited_bytes(recognitions: Sequence[Recognition], wanted: Callable[[str, str], bool]) -> int:
    """Bytes that an audit reads, for progress."""
    return sum(
        recognition.network.tensors[layer.weight].nbytes
        for recognition in recognitions
        for layer in recognition.layers
        if wanted(recognition.network.name, layer.name)
    )


def subject_of(recognition: Recognition, layer: Layer, *, exact_quantiles: bool = False) -> Subject:
    """A layer's weight, and what an audit asks about it."""
    tensor = recognition.network.tensors[layer.weight]
    channels = channels_of(layer.kind, tensor.shape)
    scale = 1.0 if layer.scale is None else layer.scale
    terms = (layer.fan_in or tensor.numel // channels.count) if len(tensor.shape) > 1 else None
    scales_output = recognition.layout is not None and recognition.layout.scales_output
    applied_as_stored = scales_output or (scale == 1.0 and layer.row_epsilon is None)
    question = Question(scale, channels, terms, terms if applied_as_stored else None, exact_quantiles)
    applied = layer.applied(tensor) if layer.row_epsilon is not None else None
    return Subject(tensor, replace(question, applied=applied[0]) if applied else question)
