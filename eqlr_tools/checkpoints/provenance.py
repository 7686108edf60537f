"""What eqlr leaves in the files that it writes, beside the tensors.

In safetensors one metadata entry, `eqlr`, in a torch zip one more archive member, `eqlr.json`, which torch ignores.
It says where the file comes from, and, in safetensors, holds what that format cannot: the nesting, the values that
are no tensors, and which names are one tensor (the *skeleton*). So a `.pt` can become a `.safetensors` and come back.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from eqlr_tools.checkpoints.bounded_json import parse_json
from eqlr_tools.checkpoints.dtypes import BY_TORCH
from eqlr_tools.checkpoints.pickled_values import Global, LazyBytes, Record, StateDict
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import MAX_DEPTH
from eqlr_tools.errors import UnreadableError

METADATA_KEY = "eqlr"
PROVENANCE_MEMBER = "eqlr.json"

# Tags of what JSON has no form for. A plain dict whose keys could be taken for one is written as pairs.
_TENSOR, _TUPLE, _PAIRS, _STATE = "tensor$", "tuple$", "pairs$", "state_dict$"
_FLOAT, _BYTES, _SET, _COMPLEX, _TORCH = "float$", "bytes$", "set$", "complex$", "torch$"


def encode_skeleton(value: Any, flat_names: dict[int, str]) -> Any:
    """The tree as JSON, each leaf that is a tensor replaced by its flat name (looked up by the leaf's identity)."""
    return _encode(value, flat_names, 0)


def _encode(value: Any, names: dict[int, str], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise UnreadableError(f"data nested more than {MAX_DEPTH} deep cannot be kept in safetensors metadata")
    if id(value) in names:
        return {_TENSOR: names[id(value)]}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: repr(value)}
    if isinstance(value, bytes | LazyBytes):
        raw = value if isinstance(value, bytes) else value.read()
        return {_BYTES: base64.b64encode(raw).decode("ascii")}
    if isinstance(value, complex):
        return {_COMPLEX: [_encode(value.real, names, depth), _encode(value.imag, names, depth)]}
    if is_torch_value(value):
        name, arguments = (value.name, ()) if isinstance(value, Global) else (value.cls.name, value.arguments)
        return {_TORCH: name, "arguments$": _encode(arguments, names, depth + 1)}
    if isinstance(value, list):
        return [_encode(child, names, depth + 1) for child in value]
    if isinstance(value, tuple):
        return {_TUPLE: [_encode(child, names, depth + 1) for child in value]}
    if isinstance(value, set | frozenset):
        return {_SET: [_encode(child, names, depth + 1) for child in value]}
    if isinstance(value, dict):
        return _encode_dict(value, names, depth)
    return _encode(plain_record(value), names, depth)


def _encode_dict(value: dict[Any, Any], names: dict[int, str], depth: int) -> Any:
    if isinstance(value, StateDict):
        pairs = [[_encode(key, names, depth + 1), _encode(child, names, depth + 1)] for key, child in value.items()]
        return {_STATE: pairs, "attributes$": _encode(value.attributes, names, depth + 1)}
    if all(isinstance(key, str) and not key.endswith("$") for key in value):
        return {key: _encode(child, names, depth + 1) for key, child in value.items()}
    return {
        _PAIRS: [[_encode(key, names, depth + 1), _encode(child, names, depth + 1)] for key, child in value.items()]
    }


def is_torch_value(value: Any) -> bool:
    """True for the few values of torch's own classes that `weights_only=True` knows: sizes, devices, dtypes."""
    if isinstance(value, Record):
        return str(value.cls) in ("torch.Size", "torch.device") and value.state is None
    return isinstance(value, Global) and value.module == "torch" and value.name in BY_TORCH


def plain_record(value: Any) -> Any:
    """A record as plain data: a namespace becomes the dict of its attributes, others keep their class's name.

    Classes are not written back: a file without foreign names opens everywhere, with `weights_only=True` too.
    """
    if isinstance(value, Global):
        return str(value)
    if not isinstance(value, Record):
        return repr(value)
    content = {**value.pairs, **value.attributes}
    if value.arguments or value.items or (value.state is not None and not isinstance(value.state, dict)):
        content = {"__class__": str(value.cls), **content}
        content |= {"__args__": list(value.arguments)} if value.arguments else {}
        content |= {"__items__": value.items} if value.items else {}
        content |= {} if isinstance(value.state, dict | None) else {"__state__": value.state}
    return content


def read_provenance(own: str | None) -> dict[str, Any]:
    """Parse the `eqlr` metadata entry. What is not ours, or damaged, counts as absent: it is only additional."""
    try:
        provenance = parse_json(own.encode()) if own else {}
    except ValueError:
        return {}
    return sound_provenance(provenance) if isinstance(provenance, dict) else {}


def sound_provenance(provenance: dict[str, Any]) -> dict[str, Any]:
    """The record without what eqlr does not write in this form: a stranger can have written it."""
    if "baked" not in provenance:
        return provenance
    records = provenance["baked"]
    sound = {name: each for name, each in records.items() if _is_record(each)} if isinstance(records, dict) else {}
    return {**provenance, "baked": sound}


def _is_record(record: Any) -> bool:
    """True for what `bake` says of a network: a family, names of weights, multipliers by name."""
    if not isinstance(record, dict) or not isinstance(record.get("family"), str):
        return False
    weights, tables = record.get("weights"), [record.get(key, {}) for key in ("lr_multipliers", "multipliers_left")]
    return (
        isinstance(weights, list)
        and all(isinstance(name, str) for name in weights)
        and all(isinstance(table, dict) for table in tables)
    )


def restore_aliases(tensors: dict[str, Tensor], provenance: dict[str, Any]) -> dict[str, Tensor]:
    """Make names one tensor again that were one before safetensors, which has no aliases, stored them apart."""
    aliases = provenance.get("aliases")
    restored = dict(tensors)
    for name, first in aliases.items() if isinstance(aliases, dict) else ():
        mine, other = tensors.get(name), tensors.get(str(first))
        if mine and other and (mine.dtype, mine.shape) == (other.dtype, other.shape):
            restored[name] = other
    return restored


def restore_tree(tensors: dict[str, Tensor], provenance: dict[str, Any]) -> Any:
    """The nesting that eqlr recorded, or None if there is none or it does not fit the tensors."""
    skeleton = provenance.get("skeleton")
    if skeleton is None:
        return None
    used: set[str] = set()
    try:
        restored = _decode(skeleton, tensors, used)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return restored if used == set(tensors) else None


def _decode(value: Any, flat: dict[str, Tensor], used: set[str]) -> Any:
    if isinstance(value, list):
        return [_decode(child, flat, used) for child in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        used.add(value[_TENSOR])
        return flat[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_decode(child, flat, used) for child in value[_TUPLE])
    if _SET in value:
        return {_decode(child, flat, used) for child in value[_SET]}
    if _FLOAT in value:
        return float(value[_FLOAT])
    if _BYTES in value:
        return base64.b64decode(value[_BYTES])
    if _COMPLEX in value:
        real, imaginary = (_decode(part, flat, used) for part in value[_COMPLEX])
        return complex(real, imaginary)
    if _TORCH in value:
        name = Global("torch", str(value[_TORCH]))
        return name if name.name in BY_TORCH else Record(name, tuple(_decode(value["arguments$"], flat, used)))
    if _STATE in value:
        state = StateDict((_decode(k, flat, used), _decode(v, flat, used)) for k, v in value[_STATE])
        state.attributes = _decode(value.get("attributes$"), flat, used)
        if not isinstance(state.attributes, dict | None):
            raise TypeError("attributes that are no table")
        return state
    if _PAIRS in value:
        return {_decode(k, flat, used): _decode(v, flat, used) for k, v in value[_PAIRS]}
    return {key: _decode(child, flat, used) for key, child in value.items()}
