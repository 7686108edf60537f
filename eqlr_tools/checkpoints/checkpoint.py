"""A checkpoint as the rest of the program sees it: a tree, and the networks found in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from eqlr_tools.checkpoints.modules import ModuleTree
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.checkpoints.trees import dotted, walk

SOLE_NETWORK = "model"
"""The name of a network that has none: a flat file that is one state dict."""

NETWORK_NAMES = frozenset(
    """
    g d G D g_ema d_ema G_ema D_ema Gs ema model_ema netG netD avgG net_G net_D net_g net_d gen disc crit critic
    generator discriminator generator_ema discriminator_ema generator_smooth shadow_generator g_running
    Generator Discriminator params params_ema g_params g_ema_params d_params mapping_network
    """.split()
)
"""Names that projects give to networks. A flat file is split by them when they prefix *every* tensor but numbers."""

_TRANSPARENT = ("state_dict", "model_state_dict", "model_state", "model", "net")
"""Wrapper keys that add nothing to the name of the network they wrap."""


@dataclass(frozen=True, eq=False)
class Network:
    """One model. A tensor `name` of it is the tree's entry `path` + (`prefix` + `name`,)."""

    name: str
    path: TreePath
    prefix: str
    tensors: dict[str, Tensor]
    module_attributes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """The key of a tensor in the dict that holds the network."""
        return self.prefix + name

    @property
    def parameters(self) -> int:
        """Elements of all tensors; names of one and the same tensor count once, views of a common storage each."""
        views = {(id(t.storage), t.offset, t.shape, t.strides): t for t in self.tensors.values()}
        return sum(tensor.numel for tensor in views.values())


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What one file (or set of shards) holds. Read-only and lazy: only headers have been read.

    `tree` holds everything, in the file's own nesting. `provenance` is what eqlr itself wrote into the file. `nested`
    says that the nesting was made of the names of a flat file, which are to stay whole. `left_out` is a sentence about
    what else is in the file and is not read.
    """

    path: Path
    container: str
    tree: Any
    files: tuple[Path, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    nested: bool = False
    left_out: str = ""

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        return _find_networks(self)

    @cached_property
    def optimizers(self) -> tuple[TreePath, ...]:
        """Paths of the torch optimizer states."""
        return tuple(path for path, value in walk(self.tree, str(self.path)) if is_optimizer_state(value))

    @cached_property
    def loose(self) -> dict[TreePath, Tensor]:
        """Tensors outside every network: optimizer moments, averages, buffers of the training loop."""
        inside = {(*net.path, net.key(name)) for net in self.networks for name in net.tensors}
        found = ((path, value) for path, value in walk(self.tree, str(self.path)) if isinstance(value, Tensor))
        return {path: tensor for path, tensor in found if path not in inside}

    @property
    def nbytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)


def is_optimizer_state(value: Any) -> bool:
    return isinstance(value, dict) and "param_groups" in value and isinstance(value.get("state"), dict)


def split_prefixes(tensors: Mapping[str, Tensor]) -> list[str]:
    """The network prefixes (`g_ema.`, `G/`) that together cover every tensor with axes, or none.

    Numbers beside the networks are counters of the training: mmagic's `mean_path_length`, `_curr_scale_int`.
    """
    for separator in "./":
        heads = dict.fromkeys(name.partition(separator)[0] for name in tensors if separator in name)
        prefixes = tuple(f"{head}{separator}" for head in heads if head in NETWORK_NAMES and head not in tensors)
        if prefixes and all(name.startswith(prefixes) or not tensor.shape for name, tensor in tensors.items()):
            return list(prefixes)
    return []


def _find_networks(checkpoint: Checkpoint) -> tuple[Network, ...]:
    holders: list[tuple[TreePath, dict[Any, Any]]] = []
    claimed: list[TreePath] = []
    for path, value in walk(checkpoint.tree, str(checkpoint.path)):
        if any(path[: len(prefix)] == prefix for prefix in claimed):
            continue
        if is_optimizer_state(value):
            claimed.append(path)
        elif isinstance(value, dict) and _is_state_dict(value):
            holders.append((path, value))
            claimed.append(path)
    networks = [network for path, value in holders for network in _networks_of(path, value)]
    return tuple(_with_unique_names(networks))


def _is_state_dict(value: dict[Any, Any]) -> bool:
    """A dict whose direct entries are (nearly) all tensors under string keys, some of them more than a number."""
    tensors = [child for key, child in value.items() if isinstance(child, Tensor) and isinstance(key, str)]
    if isinstance(value, ModuleTree):
        return value.has_weights
    containers = [child for child in value.values() if isinstance(child, dict | list)]
    dotted_keys = any(isinstance(key, str) and "." in key for key in value)
    return any(t.shape for t in tensors) and len(tensors) > len(containers) and (dotted_keys or not containers)


def _networks_of(path: TreePath, value: dict[Any, Any]) -> list[Network]:
    tensors = {key: child for key, child in value.items() if isinstance(child, Tensor) and isinstance(key, str)}
    attributes = value.module_attributes if isinstance(value, ModuleTree) else {}
    prefixes = split_prefixes(tensors)
    if not prefixes:
        return [_network(_name(path), path, "", tensors, attributes)]
    return [
        _network(prefix[:-1], path, prefix, {k: t for k, t in tensors.items() if k.startswith(prefix)}, attributes)
        for prefix in prefixes
    ]


def _network(
    name: str, path: TreePath, prefix: str, tensors: dict[str, Tensor], attributes: dict[str, dict[str, Any]]
) -> Network:
    """Strip `module.` (DataParallel) where every name starts with it; inside a name it means something else.

    A number beside `module.` counts what an average was made of: torch's `n_averaged`, mmengine's `steps`.
    """
    inner = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    while wrapped := {key: tensor for key, tensor in inner.items() if key.startswith("module.")}:
        if any(tensor.shape for key, tensor in inner.items() if key not in wrapped):
            break
        prefix += "module."
        inner = {key.removeprefix("module."): tensor for key, tensor in wrapped.items()}
    inside = {
        f"{module}.".removeprefix(prefix).rstrip("."): values
        for module, values in attributes.items()
        if f"{module}.".startswith(prefix)
    }
    return Network(name, path, prefix, inner, inside)


def _name(path: TreePath) -> str:
    keys = [key for key in path if str(key) not in _TRANSPARENT]
    return dotted(tuple(keys)) or dotted(path[-1:]) or SOLE_NETWORK


def _with_unique_names(networks: list[Network]) -> list[Network]:
    names = [network.name for network in networks]
    unique = []
    for network in networks:
        name = network.name
        if names.count(name) > 1:
            name = dotted((*network.path, *filter(None, [network.prefix.rstrip(".")])))
        unique.append(Network(name, network.path, network.prefix, network.tensors, network.module_attributes))
    return unique
