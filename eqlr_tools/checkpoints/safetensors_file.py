"""Reading safetensors: eight bytes of length, a JSON header, the tensors behind it.

The format is documented by the safetensors project (huggingface/safetensors, README). The header is checked as
strictly as that library does, so that a file which opens here opens everywhere.
"""

from __future__ import annotations

import math
from typing import Any

from eqlr_tools.checkpoints.bounded_json import parse_json
from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.checkpoints.sources import Source
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.errors import UnreadableError

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library."""

MAX_TENSORS = 150_000
"""Far more than the largest models have in one file: listing them takes seconds."""

_MAX_AXES = 64


def read_safetensors(source: Source) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors by name, in the header's order, and the metadata."""
    header, data_start = _read_header(source)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(source, "its metadata is not a table of strings")
    tensors = {name: _tensor(source, name, entry, data_start) for name, entry in header.items()}
    _check_layout(source, header, data_start)
    return tensors, metadata


def looks_like_safetensors(source: Source) -> bool:
    """True if the first bytes can be a header length and an opening brace."""
    if source.size < 10:
        return False
    head = source.read(0, 9)
    return 2 <= int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES and head[8:9] == b"{"


def _read_header(source: Source) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(source.read(0, 8), "little")
    if length > min(MAX_HEADER_BYTES, source.size - 8):
        raise _damaged(source, f"its header claims {length:,} bytes, the file has {source.size:,}")
    text = source.read(8, length)
    try:
        header = parse_json(text)
    except ValueError as error:
        raise _damaged(source, f"its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise _damaged(source, "its header is no table")
    if len(header) > MAX_TENSORS:
        raise _damaged(source, f"its header lists more than {MAX_TENSORS:,} tensors")
    return header, 8 + length


def _tensor(source: Source, name: str, entry: Any, data_start: int) -> Tensor:
    try:
        dtype_name, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = (*shape, begin, end)
        if len(shape) > _MAX_AXES or not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
            raise ValueError
    except (TypeError, KeyError, ValueError) as error:
        raise _damaged(source, f"the header entry of {name!r} is malformed") from error
    if not isinstance(dtype_name, str) or dtype_name not in BY_NAME:
        raise UnreadableError(
            f"{source.name}: tensor {name!r} has dtype {dtype_name!r}, which eqlr does not know",
            hint=f"known dtypes: {', '.join(BY_NAME)}",
        )
    dtype = BY_NAME[dtype_name]
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise _damaged(source, f"tensor {name!r} of shape {list(shape)} claims {end - begin:,} bytes")
    if data_start + end > source.size:
        raise _damaged(source, f"tensor {name!r} ends behind the end of the file")
    storage = Storage(source, data_start + begin, end - begin)
    return Tensor(storage, dtype, shape, contiguous_strides(shape))


def _check_layout(source: Source, header: dict[str, Any], data_start: int) -> None:
    """Tensors must follow each other without gap or overlap, to the end of the file."""
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        if begin != position:
            what = "overlaps the one before it" if begin < position else "leaves a gap before it"
            raise _damaged(source, f"the data of tensor {name!r} {what}")
        position = end
    if data_start + position != source.size:
        raise _damaged(source, f"its header describes {data_start + position:,} bytes, the file has {source.size:,}")


def _damaged(source: Source, why: str) -> UnreadableError:
    return UnreadableError(
        f"{source.name}: damaged safetensors file: {why}", hint="it is truncated or was altered; get it again"
    )
