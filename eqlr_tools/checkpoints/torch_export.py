"""Reading the weights of what `torch.export.save` writes (`.pt2`), without torch.

Since torch 2.8 the archive has a table `data/weights/<model>_weights_config.json` (name -> member, element type by the
number of `torch._export.serde.schema.ScalarType`, sizes, strides) beside the weights as raw bytes; before, one member
`serialized_state_dict.pt` that `torch.save` wrote. The exported program and its constants are not read.
"""

from __future__ import annotations

from typing import Any

from eqlr_tools.checkpoints.bounded_json import parse_json
from eqlr_tools.checkpoints.dtypes import BY_TORCH
from eqlr_tools.checkpoints.pickled_values import StateDict
from eqlr_tools.checkpoints.tensors import Storage, Tensor
from eqlr_tools.checkpoints.torch_files import ZipReader, read_nested
from eqlr_tools.errors import UnreadableError

MAX_TABLE_BYTES = 100_000_000
_TABLE = "_weights_config.json"
_OLD_MEMBER = "serialized_state_dict.pt"
_FIRST_TYPES = "uint8 int8 int16 int32 int64 float16 float32 float64 complex32 complex64 complex128 bool bfloat16"
_SCALAR_TYPES = {
    **dict(enumerate(_FIRST_TYPES.split(), start=1)),
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}


def looks_like_export(archive: ZipReader) -> bool:
    """True for an archive of torch.export that holds weights."""
    return bool(_tables(archive)) or _old_member(archive) is not None


def read_torch_export(archive: ZipReader) -> Any:
    """Return the state dict, or one for each model if the archive holds several."""
    old = _old_member(archive)
    if old is not None:
        return read_nested(archive.member(old))
    models = {table.rpartition("/")[2].removesuffix(_TABLE): _read_table(archive, table) for table in _tables(archive)}
    return next(iter(models.values())) if len(models) == 1 else models


_PARTS = [
    ("the exported program", ("/models/", "serialized_exported_program.json")),
    ("constants", ("/data/constants/", "serialized_constants.pt")),
    ("sample inputs", ("/data/sample_inputs/", "serialized_example_inputs.pt")),
    ("compiled code", ("/data/aotinductor/", "/data/delegates/")),
    ("extra files", ("/extra/", "extra_files/")),
]
"""What an archive holds besides weights, and how its members are called."""


def left_out_of_export(archive: ZipReader) -> str:
    """A sentence about what is in the archive and is not read; empty if that is nothing."""
    names = [f"/{name}" for name, info in archive.members.items() if info.file_size]
    found = [what for what, parts in _PARTS if any(part in name for name in names for part in parts)]
    return f"weights alone: {', '.join(found)} of the archive are not read" if found else ""


def _tables(archive: ZipReader) -> list[str]:
    return sorted(name for name in archive.members if "data/weights/" in name and name.endswith(_TABLE))


def _old_member(archive: ZipReader) -> str | None:
    return next((name for name in archive.members if name.rpartition("/")[2] == _OLD_MEMBER), None)


def _read_table(archive: ZipReader, table: str) -> StateDict:
    folder = table.rpartition("/")[0]
    source = archive.member(table, MAX_TABLE_BYTES)
    storages: dict[str, Storage] = {}
    state = StateDict()
    try:
        for name, entry in parse_json(source.read(0, source.size))["config"].items():
            member = f"{folder}/{entry['path_name']}"
            if entry["use_pickle"]:
                state[name] = read_nested(archive.member(member))
                continue
            if member not in storages:
                part = archive.member(member)
                storages[member] = Storage(part, 0, part.size)
            state[name] = _tensor(storages[member], entry)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableError(
            f"{archive.source.name}: its table of weights is damaged ({type(error).__name__})", hint="get it again"
        ) from error
    return state


def _tensor(storage: Storage, entry: Any) -> Tensor:
    """The archive holds each group of overlapping tensors as one storage, of which each is a view."""
    meta = entry["tensor_meta"]
    dtype = BY_TORCH[_SCALAR_TYPES[meta["dtype"]]]
    shape = tuple(_integer(size) for size in meta["sizes"])
    strides = tuple(_integer(stride) for stride in meta["strides"])
    parameter = entry["is_param"] is True
    offset = _integer(meta["storage_offset"])
    if len(shape) != len(strides):
        raise ValueError("sizes and strides differ in number")
    return Tensor(storage, dtype, shape, strides, offset, parameter, parameter and meta["requires_grad"] is True)


def _integer(value: Any) -> int:
    number = value["as_int"]
    if type(number) is not int:
        raise TypeError("a size that is no number")
    return number
