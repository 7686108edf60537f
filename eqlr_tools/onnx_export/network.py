"""What the exporter asks of a network, whatever its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.onnx_export.graph import Graph
    from eqlr_tools.onnx_export.options import Options

Fact = str | int | float


class OnnxNetwork(Protocol):
    """A network that can be emitted as graphs, and computed in numpy to check them."""

    @property
    def facts(self) -> dict[str, Fact]:
        """What was inferred of it, for people."""
        ...

    @property
    def mixes_samples(self) -> bool:
        """True if a sample's output depends on the others in its batch."""
        ...

    def graphs(self, options: Options) -> dict[str, Graph]:
        """The graphs by part, one unless split."""
        ...

    def half_weights(self) -> Mapping[str, NDArray]:
        """By layer, the effective weights, as an audit sees them, of what half precision would convert."""
        ...

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        """The outputs of a part, computed in float64. Random noise that a graph drew is in `inputs` by its name."""
        ...


def in_single_precision(network: OnnxNetwork) -> OnnxNetwork | None:
    """The network with float32 parameters, whose reference then computes in float32. None for one without parameters
    of its own, such as a user's module.
    """
    parameters = getattr(network, "parameters", None)
    if parameters is None:
        return None
    single = {name: values.astype(np.float32) for name, values in parameters.items()}
    return replace(network, parameters=single)  # type: ignore[type-var]
