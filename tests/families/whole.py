"""Whole networks of every architecture, in the layout of every family that has names for it.

Canonical parameters are drawn in the shapes of `networks/tables.py`, and stored by the family's own naming: what a
cell of `eqlr families` promises can so be tried for each of them. Whether names and constants are those of the
original code is what `builders.py`, `tests/progan`, `tests/stylegan1_files.py` and the oracles ask.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eqlr_tools.checkpoints.outputs import constant_tensor, leaves
from eqlr_tools.families.catalogue import FAMILIES
from eqlr_tools.families.family import Family, Overrides
from eqlr_tools.families.naming import Depth, Naming, Slot
from eqlr_tools.families.registry import family_named
from eqlr_tools.networks.doubling import SMOOTH
from eqlr_tools.networks.stylegan1 import BLUR, FORM
from eqlr_tools.networks.stylegan2 import FIR
from eqlr_tools.networks.stylegan3 import form_of, stored_grid
from eqlr_tools.networks.tables import table
from eqlr_tools.rewriting.canonical import CanonicalNetwork, Part
from eqlr_tools.rewriting.convert import _write
from eqlr_tools.rewriting.destinations import Target
from tests import stylegan1_files
from tests.families.builders import psp
from tests.progan import projects

Arrays = dict[str, NDArray[Any]]

SIZES = {"rgb": 3, "labels": 5, "scores": 1, "h": 4, "v": 4, "w": 8, "e": 8, "image": 3, "t0": 8, "z0": 16}
FILTER = np.hanning(14)[1:-1] / np.hanning(14).sum()
STYLEGAN3 = Depth(16, 2, layers=("L0_36_8", "L1_36_6", "L2_16_6", "L3_16_3"))


@dataclass(frozen=True)
class Whole:
    """One kind of network of one family."""

    family: Family
    naming: Naming

    @property
    def name(self) -> str:
        kind = f"{self.naming.architecture} {self.naming.role} {self.naming.structure}".strip()
        return f"{self.family.id}: {kind}"


def whole_networks() -> dict[str, Whole]:
    """The first naming of each kind in each family, but for mapping networks, which are no whole ones."""
    found: dict[str, Whole] = {}
    for family in FAMILIES:
        for naming in family.namings:
            if naming.role != "mapping" and naming.architecture != "stylegan2-clean":  # Only a way to be baked.
                found.setdefault(Whole(family, naming).name, Whole(family, naming))
    return found


def depth_of(naming: Naming, *, labels: bool = False) -> Depth:
    if naming.architecture == "stylegan3":
        depth = STYLEGAN3
        embedded = any(slot.canonical == "mapping.embedding.weight" for slot in naming.slots(depth))
        return Depth(depth.resolution, depth.mapping_layers, labels or embedded, depth.layers)
    maps = naming.architecture in ("stylegan1", "stylegan2") and (naming.role == "generator" or labels)
    return Depth(8, 2 if maps else 0, labels)


def canonical_arrays(naming: Naming, depth: Depth) -> Arrays:
    """Parameters of a network that this naming can hold."""
    slots = [slot for slot in naming.slots(depth) if not slot.read_only and not slot.canonical.startswith(FORM)]
    names = {slot.canonical: slot for slot in reversed(slots)}
    architecture = naming.architecture.removesuffix("-clean")
    lines = dict(table(architecture, naming.role, names))
    if architecture != naming.architecture or not lines:
        raise ValueError(f"no table for {naming.architecture}")
    drawn = _Drawn(depth)
    drawn_values = {name: drawn.values(name, lines.get(name, ""), slot) for name, slot in names.items()}
    if "synthesis.input.grid" in names:
        drawn_values["synthesis.input.grid"] = stored_grid(form_of({n: v.shape for n, v in drawn_values.items()}))
    return drawn_values


class _Drawn:
    """Sizes for variables, each its own, and values that keep activations near 1."""

    def __init__(self, depth: Depth) -> None:
        named = {f"c{n}": int(layer.rpartition("_")[2]) for n, layer in enumerate(depth.layers)}
        self._sizes, self._free = SIZES | named, itertools.count(6, 2)

    def values(self, name: str, line: str, slot: Slot) -> NDArray[Any]:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        shape = tuple(self._size(axis, name) for axis in self._form(line, slot))
        known = {"fir": FIR, "smooth": SMOOTH, "blur": BLUR, "transform": np.eye(3), "lod": np.zeros(())}
        known["mean"] = np.full((2, 2), 0.25)
        last = name.rpartition(".")[2]
        if last in known:
            return known[last]
        if last == "magnitude":
            return np.array(1.3)
        if last.endswith("_filter"):
            return FILTER
        if last == "weight" and len(shape) > 1:
            return rng.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        around = 1.0 if re.search(r"(style|gamma|modulation)\.bias", name) else 0.0
        return around + rng.standard_normal(shape) * (1.0 if last in ("const", "noise", "freqs", "phases") else 0.1)

    def _form(self, line: str, slot: Slot) -> list[str]:
        """Of several shapes the one that the family can store."""
        forms = [form.split() for form in line.split(";")]
        wanted = 1 if slot.spread else len(slot.arrangement(0).right) if slot.layout else None
        return next((form for form in forms if len(form) == wanted), forms[0])

    def _size(self, axis: str, name: str) -> int:
        if axis == "*":
            return len(FILTER) if name.endswith("_filter") else 14
        if axis.startswith("@"):
            return 3 if re.search(r"conv\d?\.weight|synthesis\.L\d", name) else 1
        if axis.startswith(">"):
            return self._value(axis[1:]) + 6
        return self._value(axis.removesuffix("~").split("/")[-1]) + axis.endswith("~")

    def _value(self, expression: str) -> int:
        total = 0
        for product in expression.split("+"):
            factors = product.split("*")
            total += math.prod(int(f) if f.isdigit() else self._variable(f) for f in factors)
        return total

    def _variable(self, name: str) -> int:
        if name not in self._sizes:
            self._sizes[name] = next(self._free)
        return self._sizes[name]


def stored_tree(whole: Whole, depth: Depth | None = None) -> dict[str, Any]:
    """The network as a file of its family holds it: a tree of arrays."""
    if whole.name in BY_HAND:
        return BY_HAND[whole.name]()
    naming = whole.naming
    depth = depth or depth_of(naming)
    tree = stored_arrays(whole.family, naming, depth, canonical_arrays(naming, depth))
    return BESIDE.get(whole.name, lambda tree: tree)(tree)


def _tf_stylegan1() -> dict[str, Any]:
    main, mapping, synthesis = stylegan1_files.tf(stylegan1_files.network(8))
    parts = [{f"{part}/{name}": v for name, v in group.items()} for part, group in _parts(mapping, synthesis)]
    return {"Gs": _single({**main, **parts[0], **parts[1]})}


def _parts(mapping: Arrays, synthesis: Arrays) -> list[tuple[str, Arrays]]:
    return [("G_mapping", mapping), ("G_synthesis", synthesis)]


def _single(arrays: Mapping[str, Any]) -> Arrays:
    return {name: np.array(values, dtype=np.float32) for name, values in arrays.items()}


def _wscale() -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in projects.GENERATORS["wscale"].state().items()}


def _rms_module(role: str) -> dict[str, Any]:
    """A whole pickled module: the wrappers around its layers hold their scales."""
    whole = next(w for w in whole_networks().values() if w.family.id == "rms-progan" and w.naming.role == role)
    root = torch.nn.Module()
    for name, values in stored_tree(whole)["state_dict"].items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, torch.nn.Parameter(torch.from_numpy(values)))
        if values.ndim > 1:
            root.get_submodule(".".join(path[:-1])).scale = 1.01 / math.sqrt(math.prod(values.shape[1:]))
    return {"net": root}


def _with_labml_mapping(tree: dict[str, Any]) -> dict[str, Any]:
    family = family_named("labml-stylegan2")
    naming = next(naming for naming in family.namings if naming.role == "mapping")
    depth = Depth(8, 2)
    arrays = canonical_arrays(family.namings[0], Depth(8, 2))
    wanted = {slot.canonical for slot in naming.slots(depth)}
    drawn = _Drawn(depth)
    mapping = {
        name: drawn.values(name, line, Slot(name, name))
        for name, line in table("stylegan2", "generator", dict.fromkeys(wanted))
        if name in wanted
    }
    return tree | stored_arrays(family, naming, depth, {**arrays, **mapping})


def _with_raw_copies(tree: dict[str, Any]) -> dict[str, Any]:
    """lucidrains keeps the networks in training beside their averages, SE and GE."""
    tree["GAN"] |= {name.replace("E.", ".", 1): values for name, values in tree["GAN"].items()}
    return tree


def _behind_an_encoder(tree: dict[str, Any]) -> dict[str, Any]:
    decoder = {name.replace("decoder.decoder.", "decoder."): values for name, values in tree["state_dict"].items()}
    encoder = {name: values for name, values in psp().tensors.items() if name.startswith("encoder.")}
    return tree | {"state_dict": decoder | encoder}


BY_HAND: dict[str, Callable[[], dict[str, Any]]] = {
    "nvidia-stylegan-tf: stylegan1 generator": _tf_stylegan1,
    "tae-stylegan: stylegan1 generator": lambda: _single(stylegan1_files.tae(stylegan1_files.network(8))),
    "wscale-progan: progan generator": _wscale,
    "rms-progan-modules: progan generator": lambda: _rms_module("generator"),
    "rms-progan-modules: progan discriminator": lambda: _rms_module("discriminator"),
}
"""Files that eqlr never writes, and that hold more than the parameters: constants, or halves in one tensor."""

BESIDE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "labml-stylegan2: stylegan2 generator": _with_labml_mapping,
    "lucidrains-stylegan2: stylegan2 generator": _with_raw_copies,
    "psp-encoder: stylegan2 generator": _behind_an_encoder,
}


def stored_arrays(family: Family, naming: Naming, depth: Depth, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    parts = {name: _part(name, values) for name, values in arrays.items()}
    recognition: Any = SimpleNamespace(network=SimpleNamespace(name="net", tensors={}), equalized=())
    network = CanonicalNetwork(recognition, family, naming, depth, parts, form=naming.form)
    place = naming.place
    prefix = place[-1] if place[-1].endswith(".") else ""
    tree: dict[str, Any] = {}
    unordered = replace(naming, training="")
    _write(tree, {}, network, Target(unordered, place[:-1] if prefix else place, prefix), family, Overrides(), [])
    return _as_arrays(tree)


def _part(name: str, values: NDArray[Any]) -> Part:
    tensor = constant_tensor(np.asarray(values), "F32")
    return Part(Slot(name, name), name, tensor, tensor, 1.0)


def _as_arrays(tree: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, output in leaves(tree):
        inner = found
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        bits = np.concatenate([block.reshape(-1) for block in output.blocks()] or [np.zeros(0)])
        inner[path[-1]] = output.dtype.values(bits).reshape(output.shape).copy()
    return found


def save(tree: Mapping[str, Any], path: Path) -> Path:
    torch.save(_as_tensors(tree), path)
    return path


def _as_tensors(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_tensors(inner) for key, inner in value.items()}
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray | np.generic) else value


def arrays_in(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], NDArray[Any]]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from arrays_in(value, (*path, key))
    elif isinstance(tree, np.ndarray):
        yield path, tree
