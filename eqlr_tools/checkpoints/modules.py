"""Pickled modules as data: the state dict that `Module.state_dict()` would have returned, and the plain attributes.

The attributes are what a family needs to know about a layer and what no state dict keeps: `weight_gain`, `up`,
`conv_clamp`, `lr_multiplier`, the constructor's arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eqlr_tools.checkpoints.arrays import array_tensor, is_array
from eqlr_tools.checkpoints.pickled_values import Record, StateDict
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.errors import UnreadableError

MAX_MODULE_DEPTH = 100
MAX_MODULE_ENTRIES = 500_000
"""Modules, parameters and attributes in one file, where each path to a shared module counts."""

_MAX_ATTRIBUTE_ENTRIES = 1000
_MAX_ATTRIBUTE_DEPTH = 20
_CONSTRUCTOR_ARGUMENTS = ("_init_args", "_init_kwargs")


@dataclass
class Work:
    """What flattening the modules of one file may still cost."""

    left: int = MAX_MODULE_ENTRIES


class ModuleTree(StateDict):
    """The state dict of a pickled module, with the plain attributes of each of its submodules by path.

    `marks_parameters` is True where the file tells parameters from buffers.
    """

    def __init__(self, class_name: str = "", *, marks_parameters: bool = False) -> None:
        super().__init__()
        self.module_attributes: dict[str, dict[str, Any]] = {}
        self.class_name = class_name
        self.marks_parameters = marks_parameters

    @property
    def has_weights(self) -> bool:
        """False for modules without anything to train, such as an augmentation pipeline."""
        tensors = [value for value in self.values() if isinstance(value, Tensor)]
        return any(tensor.parameter or not self.marks_parameters for tensor in tensors)


def is_module(record: Record) -> bool:
    """True for the state of a `torch.nn.Module`, whatever its class, and for the modules of TorchScript."""
    attributes = record.attributes
    return ("_parameters" in attributes and "_modules" in attributes) or is_script(record)


def flatten_module(record: Record, tree: ModuleTree, source: str, work: Work, prefix: str = "", depth: int = 0) -> None:
    """Collect parameters, persistent buffers and submodules under their dotted names, in torch's order."""
    attributes = record.attributes
    work.left -= 1 + sum(len(part) for part in (attributes, *attributes.values()) if isinstance(part, dict | list))
    if depth > MAX_MODULE_DEPTH or work.left < 0:
        raise UnreadableError(
            f"{source}: modules are nested too deeply or refer to each other too often",
            hint="no project writes such a file; it may be made to exhaust memory",
        )
    if is_script(record):
        own = {name: value for name, value in attributes.items() if isinstance(value, Tensor)}
        children = {name: value for name, value in attributes.items() if isinstance(value, Record)}
    else:
        hidden = attributes.get("_non_persistent_buffers_set") or set()
        own = {**_mapping(attributes.get("_parameters")), **_mapping(attributes.get("_buffers"))}
        own = {name: value for name, value in own.items() if name not in hidden}
        children = _mapping(attributes.get("_modules"))
    for name, value in own.items():
        if isinstance(value, Tensor):
            tree[f"{prefix}{name}"] = value
    tree.module_attributes[prefix.rstrip(".")] = {"__class__": str(record.cls), **plain_attributes(attributes, source)}
    for name, child in children.items():
        if isinstance(child, Record):
            flatten_module(child, tree, source, work, f"{prefix}{name}.", depth + 1)


def plain_attributes(attributes: dict[Any, Any], source: str) -> dict[str, Any]:
    """The attributes that are numbers (tensors of one, too), strings, or small lists and tables of them, without
    torch's internal ones."""
    plain = {}
    for name, value in attributes.items():
        if isinstance(name, str) and (not name.startswith("_") or name in _CONSTRUCTOR_ARGUMENTS):
            try:
                plain[name] = _Plain(source).of(value)
            except TypeError:
                continue
    return plain


@dataclass
class _Plain:
    """Converts one attribute. Raises TypeError if it holds anything that is not plain, or too much."""

    source: str
    left: int = _MAX_ATTRIBUTE_ENTRIES

    def of(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if self.left < 0 or depth > _MAX_ATTRIBUTE_DEPTH:
            raise TypeError("too large for an attribute")
        if isinstance(value, int | float | str | bool) or value is None:
            return value
        if isinstance(value, Record) and is_array(value):
            return self._array(array_tensor(value, self.source))
        if isinstance(value, Tensor) and value.numel == 1 and value.dtype.is_float:
            return value.values().reshape(()).tolist()
        if isinstance(value, Record) and not value.arguments and not value.items:
            value = {**value.pairs, **value.attributes}
        if isinstance(value, list | tuple):
            return [self.of(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {str(key): self.of(item, depth + 1) for key, item in value.items()}
        raise TypeError("not plain")

    def _array(self, array: Tensor | Record) -> Any:
        if isinstance(array, Record) or array.numel > self.left:
            raise TypeError("not plain")
        return array.values().tolist()


def is_script(record: Record) -> bool:
    return record.cls.module.startswith("__torch__")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
