"""The order of a network's layers, where they are drawn one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eqlr_tools.reports.baseline import Json


def in_depth(layers: Sequence[Json]) -> list[Json]:
    """The layers from the first to the last. Files that hold their names in alphabetical order, as safetensors writes
    them type by type, have `blocks.10` before `blocks.2`; there the numbers decide."""
    by_type: dict[str, list[str]] = {}
    for layer in layers:
        by_type.setdefault(layer["dtype"], []).append(layer["weight"])
    if any(names != sorted(names) for names in by_type.values()):
        return list(layers)
    return sorted(layers, key=lambda layer: _numbered(layer["weight"]))


def _numbered(name: str) -> list[tuple[int, str]]:
    """A key that orders names as people do, by the numbers in them: the longer is the larger."""
    parts = re.split(r"0*([0-9]+)", name)
    return [(len(part) if index % 2 else 0, part) for index, part in enumerate(parts)]
