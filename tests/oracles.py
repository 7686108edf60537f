"""Reading an oracle: a checkpoint in a real project's container, and what that project's code computes from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from eqlr_tools.checkpoints.checkpoint import Checkpoint, Network
from eqlr_tools.checkpoints.opening import open_checkpoint


@dataclass(frozen=True)
class Oracle:
    """One folder of `../shared/oracles`."""

    folder: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "oracle.json").read_text()))

    @cached_property
    def truth(self) -> Any:
        return safe_open(self.folder / "truth.safetensors", "numpy")

    @cached_property
    def truth_names(self) -> set[str]:
        return set(self.truth.keys())

    @property
    def files(self) -> dict[str, Path]:
        """The checkpoint files by the name under which network prefixes refer to them; '' is the main one."""
        extra = self.record.get("extra_checkpoints") or {}
        names = list(extra.values()) if isinstance(extra, dict) else list(extra)
        return {"": self.folder / self.record["checkpoint"], **{name: self.folder / name for name in names}}

    def layers(self, net: str) -> list[dict[str, Any]]:
        return [entry for entry in self.record["equalized"] if entry["net"] == net]

    def self_normalised(self, net: str) -> list[dict[str, Any]]:
        return [entry for entry in self.record.get("self_normalised", []) if entry["net"] == net]

    def untouched(self, net: str) -> list[str]:
        """Keys that no bake may change."""
        return [entry["key"] for entry in self.record["not_equalized"] if entry["net"] == net]

    def array(self, net: str, path: str, what: str) -> NDArray[np.float64] | None:
        name = f"layer.{net}.{path}.{what}"
        return np.asarray(self.truth.get_tensor(name), dtype=np.float64) if name in self.truth_names else None

    def file_and_path(self, net: str) -> tuple[str, tuple[str, ...]]:
        """Which file holds a network, and under which keys."""
        prefix = self.record["networks"][net]["checkpoint_prefix"]
        if prefix is None:
            return "", ()
        file, colon, inside = prefix.partition(":")
        if colon:
            return file, tuple(inside.split("/")) if inside else ()
        if prefix == self.record["checkpoint"]:
            return "", ()
        if prefix in self.files:
            return prefix, ()
        return "", tuple(prefix.split("/"))

    def network(self, net: str, checkpoint: Checkpoint) -> Network:
        """The network of an opened checkpoint that the oracle calls `net`."""
        path = self.file_and_path(net)[1]
        return next(network for network in checkpoint.networks if network.path == path)

    @staticmethod
    def baked_name(entry: dict[str, Any]) -> str:
        """What a baked layer's weight is called, in the file: labml's `X.weight.weight` becomes `X.weight`."""
        name = str(entry.get("baked_key", entry["weight_key"]))
        return name.removesuffix(".weight") if name.endswith(".weight.weight") else name

    def open(self, net: str) -> tuple[Checkpoint, Network]:
        checkpoint = open_checkpoint(self.files[self.file_and_path(net)[0]])
        return checkpoint, self.network(net, checkpoint)


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference relative to the largest expected entry."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    return float(difference / max(np.abs(expected).max(initial=0.0), 1e-300))
