"""NVIDIA's TensorFlow network pickles as data: ProGAN, StyleGAN, StyleGAN2 and its -ada version.

An instance of `tfutil.Network` or `dnnlib.tflib.network.Network` pickles `name`, `version` (2 to 5), `static_kwargs`,
`build_func_name`, `variables` as a list of (name, array), and from version 3 on `components`, which are networks
themselves. It also pickles the source of its module, which `__setstate__` executes; here it stays a string.

Variables get the names that the project's own `vars` has: those of a component behind the component's name, as in
`G_synthesis/4x4/Const/const`. A file usually is the tuple (G, D, Gs); Gs is the moving average.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.checkpoints.modules import ModuleTree, plain_attributes
from eqlr_tools.checkpoints.pickled_values import Record
from eqlr_tools.checkpoints.sources import MemorySource
from eqlr_tools.checkpoints.tensors import Storage, Tensor
from eqlr_tools.errors import DamagedError, UnreadableError

MAX_COMPONENTS = 1000
_OWN = ("name", "version", "build_func_name")


def is_tf_network(record: Record, source: str) -> bool:
    """True for the state of NVIDIA's TensorFlow networks. Raises UnreadableError for those of Theano."""
    attributes = record.attributes
    if str(record.cls) == "network.Network" and "param_values" in attributes:
        raise UnreadableError(
            f"{source}: a network pickle of ProGAN's Theano version, which eqlr does not read",
            hint="load it with the TensorFlow version of progressive_growing_of_gans (legacy.py) and save it again",
        )
    return isinstance(attributes.get("variables"), list) and {"static_kwargs", "build_func_name"} <= set(attributes)


def flatten_tf_network(record: Record, tree: ModuleTree, visit: Callable[[Any], Any], source: str) -> None:
    """Fill `tree` with the variables and attributes. `visit` turns pickled arrays into tensors."""
    pending: list[tuple[str, Record]] = [("", record)]
    for _ in range(MAX_COMPONENTS):
        if not pending:
            return
        prefix, network = pending.pop(0)
        attributes = network.attributes
        for entry in attributes["variables"]:
            name, value = _variable(entry, source)
            array = _scalar(value, source) if isinstance(value, int | float) else visit(value)
            if isinstance(array, Tensor):
                tree[f"{prefix}{name}"] = array
        tree.module_attributes[prefix.rstrip("/")] = _attributes(network, source)
        for key, component in _components(attributes, source).items():
            pending.append((f"{prefix}{component.attributes.get('name') or key}/", component))
    raise UnreadableError(f"{source}: a network with more than {MAX_COMPONENTS} components", hint="get the file again")


def named_networks(tree: Any) -> Any:
    """The tuple (G, D, Gs), or a single network, as a dict by the networks' own names; everything else as it is."""
    networks = list(tree) if isinstance(tree, tuple | list) else [tree]
    names = [_own_name(network) for network in networks]
    if not all(names) or len(set(names)) < len(names):
        return tree
    return dict(zip(names, networks, strict=True))


def _own_name(value: Any) -> str:
    """The name that a TensorFlow network gives itself; empty for anything else."""
    attributes = value.module_attributes.get("", {}) if isinstance(value, ModuleTree) else {}
    name = attributes.get("name")
    return name if isinstance(name, str) and "build_func_name" in attributes else ""


def _variable(entry: Any, source: str) -> tuple[str, Any]:
    if not isinstance(entry, tuple | list) or len(entry) != 2 or not isinstance(entry[0], str):
        raise UnreadableError(f"{source}: a network whose variables are not (name, array)", hint="get the file again")
    return entry[0], entry[1]


def _scalar(value: float, source: str) -> Tensor:
    """A scalar variable (`lod`, `noise_strength`): TensorFlow returns numpy scalars for them, which are numbers here.

    They are float32 unless that does not hold them; integers are int64.
    """
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise DamagedError(f"{source}: a variable that is an integer of more than 64 bits")
    with np.errstate(over="ignore"):
        single = np.float32(value) == value or value != value
    dtype = BY_NAME["I64" if isinstance(value, int) else "F32" if single else "F64"]
    data = np.array(value, dtype=dtype.numpy).tobytes()
    return Tensor(Storage(MemorySource(source, data), 0, len(data)), dtype, (), ())


def _attributes(network: Record, source: str) -> dict[str, Any]:
    """What builds the network: its constructor's arguments and the name of its function."""
    static = network.attributes["static_kwargs"]
    arguments = {**static.pairs, **static.attributes} if isinstance(static, Record) else static
    own = {key: network.attributes[key] for key in _OWN if key in network.attributes}
    plain = plain_attributes(arguments, source) if isinstance(arguments, dict) else {}
    return {**plain, **plain_attributes(own, source), "__class__": str(network.cls)}


def _components(attributes: dict[Any, Any], source: str) -> dict[Any, Record]:
    components = attributes.get("components")
    pairs = components.pairs if isinstance(components, Record) else components
    found = pairs if isinstance(pairs, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, Record) and is_tf_network(value, source)}
