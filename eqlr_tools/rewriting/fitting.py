"""Refusing a network whose tensors do not fit each other, before anything is computed from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eqlr_tools.errors import UnreadableError
from eqlr_tools.networks.fitting import misfit
from eqlr_tools.networks.tables import table
from eqlr_tools.rewriting.canonical import CanonicalNetwork


def require_fitting(source: Path, network: CanonicalNetwork) -> None:
    """Raise UnreadableError that names the first tensor whose shape does not fit the others or the architecture."""
    naming = network.naming
    shapes = {name: part.tensor.shape for name, part in network.parts.items()}
    found = misfit(shapes, table(naming.architecture, naming.role, shapes))
    if found is None:
        return
    told = f", as {_described(network, found.witness)} says" if found.witness else ""
    raise UnreadableError(
        f"{source}: network {network.recognition.network.name}: {_described(network, found.name)} does not fit a "
        f"{naming.architecture} {naming.role}: {found.reason}{told}",
        hint="the file is damaged, or the network a variant that eqlr does not know; eqlr bake needs no architecture",
    )


def require_finite(source: Path, network: CanonicalNetwork) -> None:
    """Raise UnreadableError that names the first tensor with a NaN or an infinity: no image comes of such a network."""
    for name, part in network.parts.items():
        bad = int(np.count_nonzero(~np.isfinite(part.tensor.values())))
        if bad:
            raise UnreadableError(
                f"{source}: network {network.recognition.network.name}: {part.stored or name} has {bad:,} elements "
                "that are NaN or infinite, and so would be whatever is computed from it",
                hint="eqlr audit shows where such numbers are; an earlier snapshot may have none",
            )


def _described(network: CanonicalNetwork, name: str) -> str:
    """The stored name and shape, and the shape that is meant by axes where the file has others."""
    part = network.parts[name]
    stored, read = part.raw.shape, part.tensor.shape
    return f"{part.stored or name} {stored}" + (f", here {read}," if stored != read else "")
