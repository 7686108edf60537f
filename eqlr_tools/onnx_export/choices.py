"""What an architecture's exporter is handed, and what it hands back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eqlr_tools.networks.gfpgan import Resampling
from eqlr_tools.onnx_export.network import Fact, OnnxNetwork

if TYPE_CHECKING:
    from eqlr_tools.rewriting.canonical import CanonicalNetwork


@dataclass(frozen=True)
class Choices:
    """What the user says where the file is silent. `clamp` None means: what the file says; infinity: none."""

    clamp: float | None = None
    resampling: Resampling | None = None
    resolution: int | None = None
    alpha: float | None = None


@dataclass(frozen=True)
class Made:
    """A network, further facts about it that were inferred, and what had to be supplied."""

    network: OnnxNetwork
    facts: Mapping[str, Fact] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def limit(canonical: CanonicalNetwork, choices: Choices) -> float | None:
    """The clamp that the user says, else the file; infinity means none."""
    clamp = _clamp(canonical) if choices.clamp is None else choices.clamp
    return clamp if clamp is not None and math.isfinite(clamp) else None


def _clamp(canonical: CanonicalNetwork) -> float | None:
    """`conv_clamp` of NVIDIA's layers, which their pickles keep."""
    attributes = canonical.recognition.network.module_attributes.values()
    values = [module.get("conv_clamp") for module in attributes]
    return next((float(value) for value in values if isinstance(value, int | float)), None)
