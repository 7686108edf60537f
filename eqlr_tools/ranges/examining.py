"""All figures of one tensor, stored and effective: count it, then look again where counting was not enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType

from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.ranges.central_sums import with_central_sums
from eqlr_tools.ranges.channels import Channels
from eqlr_tools.ranges.counters import count_tensor
from eqlr_tools.ranges.counting import Counts
from eqlr_tools.ranges.hazards import accumulation_of
from eqlr_tools.ranges.noise import ALL, measure_noise
from eqlr_tools.ranges.products import products_of
from eqlr_tools.ranges.quantiles import exact_order_statistics
from eqlr_tools.ranges.scaled import Scaled
from eqlr_tools.ranges.statistics import Measured, Statistics, statistics_of


@dataclass(frozen=True)
class Question:
    """What is asked about a tensor.

    `scale` is the constant of its layer. `terms` is how many products of effective weights a layer sums up, and
    `stored_terms` the same of stored ones, None where they are scaled before they are used. `applied` is what a layer
    applies where that is no multiple of the tensor.
    """

    scale: float = 1.0
    channels: Channels | None = None
    terms: int | None = None
    stored_terms: int | None = None
    exact_quantiles: bool = False
    applied: Tensor | None = None


def examine(
    tensor: Tensor,
    question: Question | None = None,
    counts: Counts | None = None,
    loops: ModuleType | None = None,
) -> list[Statistics]:
    """The statistics of the stored and of the effective values. `counts` are the tensor's, if they are known."""
    question = question or Question()
    channels = question.channels or Channels(1, max(tensor.numel, 1))
    if counts is None:
        counts = count_tensor(tensor, question.scale, channels, loops=loops)
    counts = with_central_sums(tensor, counts)
    scaled, applied = Scaled(counts, question.scale), question.applied
    if applied is None and not scaled.fits:
        applied = products_of(tensor, question.scale)
    noise = measure_noise(tensor, counts, 1.0 if applied else question.scale, channels)
    look_inside = counts.cuts is not None and (question.exact_quantiles or tensor.numel <= ALL)
    measured = Measured(
        exact_order_statistics(tensor, counts) if look_inside else None,
        noise.stored,
        {"int8_per_tensor": noise.int8_per_tensor.snr_db, "int8_per_channel": noise.int8_per_channel.snr_db},
        noise.exact or counts.cuts is None,
    )
    stored = statistics_of(Scaled(counts), measured, question.stored_terms)
    if applied:
        return [stored, examine(applied, replace(question, scale=1.0, applied=None), loops=loops)[1]]
    if question.scale == 1.0:
        return [stored, replace(stored, accumulation=accumulation_of(stored.abs_max, question.terms))]
    return [stored, statistics_of(scaled, replace(measured, noise=noise.effective), question.terms)]
