"""Reading what torch 0.1 wrote: a tar archive of storages, tensors and a pickle that refers to them by address.

The layout is the one that `torch.serialization` still reads (its `_legacy_load`): member `storages` is a count, then
per storage a pickle (key, location, class) and its elements behind their count, then the views among them; member
`tensors` is a count, then per tensor a pickle (key, storage, class) and its layout as integers.
"""

from __future__ import annotations

import re
import struct
from typing import Any, BinaryIO, cast

from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.checkpoints.pickled_values import TypedStorage
from eqlr_tools.checkpoints.pickles import Unpickler
from eqlr_tools.checkpoints.rebuilding import storage_dtype
from eqlr_tools.checkpoints.sources import SeekableSource, SliceSource, Source
from eqlr_tools.checkpoints.tensors import Storage, Tensor
from eqlr_tools.checkpoints.torch_files import storage_view
from eqlr_tools.errors import DamagedError, UnreadableError

MEMBERS = ("storages", "tensors", "pickle")
_HEADER_BYTES, _CHECKSUM = 512, slice(148, 156)
_MAX_ENTRIES = 64
_MAX_OBJECTS = 1_000_000
_MAX_AXES = 64


def looks_like_tar(source: Source) -> bool:
    """True if the first header has the checksum that makes it one: the oldest have no magic, and are read as well."""
    if source.size < 1024:
        return False
    header = source.read(0, _HEADER_BYTES)
    stated = header[_CHECKSUM].strip(b" \0")
    if not re.fullmatch(rb"[0-7]{1,7}", stated):
        return False
    others = header[: _CHECKSUM.start] + header[_CHECKSUM.stop :]
    sums = [sum(others), sum(byte - 256 if byte > 127 else byte for byte in others)]  # Sun's tar had signed bytes.
    return int(stated, 8) - 8 * ord(" ") in sums


def read_torch_tar(source: Source) -> Any:
    """Return the object tree, tensors lazy. Raises UnreadableError for any other tar archive."""
    members = _members(source)
    objects: dict[str, Any] = {}
    try:
        _read_storages(members["storages"], objects)
        _read_tensors(members["tensors"], objects)
    except (TypeError, ValueError, struct.error) as error:
        raise UnreadableError(f"{source.name}: its index of tensors is damaged", hint="get it again") from error

    def load(identifier: Any) -> Any:
        if isinstance(identifier, tuple) and identifier:
            return identifier[0]  # (class, file, source): torch kept the source of pickled classes beside their name.
        if str(identifier) not in objects:
            raise DamagedError(f"{source.name}: the pickle refers to a tensor that is not there")
        return objects[str(identifier)]

    return Unpickler(members["pickle"], persistent_load=load).load()


def _members(source: Source) -> dict[str, Source]:
    import tarfile  # Files of other kinds, nearly all, start faster without it.

    found: dict[str, Source] = {}
    try:
        with tarfile.open(fileobj=cast("BinaryIO", SeekableSource(source)), mode="r:") as archive:
            for _ in range(_MAX_ENTRIES):
                entry = archive.next()
                if entry is None:
                    break
                if entry.isreg() and not entry.issparse() and entry.name in MEMBERS and entry.name not in found:
                    found[entry.name] = SliceSource(source, entry.offset_data, entry.size)
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise UnreadableError(f"{source.name}: damaged tar archive ({error})", hint="get it again") from error
    if set(found) != set(MEMBERS):
        raise UnreadableError(
            f"{source.name}: a tar archive, but not one that torch wrote",
            hint="if it is a packed folder, unpack it and name the checkpoint inside",
        )
    return found


def _read_storages(member: Source, objects: dict[str, Any]) -> None:
    count, position = _count(member, 0)
    for _ in range(count):
        (key, _, cls), position = _triple(member, position)
        dtype = storage_dtype(cls)
        itemsize = dtype.itemsize if dtype else 1
        nbytes = int.from_bytes(member.read(position, 8), "little") * itemsize
        if position + 8 + nbytes > member.size:
            raise UnreadableError(f"{member.name}: the file ends inside storage {key}", hint="get it again")
        objects[str(key)] = TypedStorage(Storage(member, position + 8, nbytes), dtype)
        position += 8 + nbytes
    for target, root_key, offset, elements in _pickle_at(member, position)[0]:
        root = objects.get(str(root_key))
        if root is None:
            raise TypeError("a view of no storage")
        objects[str(target)] = storage_view(root, offset, elements)


def _read_tensors(member: Source, objects: dict[str, Any]) -> None:
    count, position = _count(member, 0)
    for _ in range(count):
        (key, storage_key, _), position = _triple(member, position)
        storage = objects.get(str(storage_key))
        (axes,) = struct.unpack("<i", member.read(position, 4))
        if not isinstance(storage, TypedStorage) or storage.dtype is None or not 0 <= axes <= _MAX_AXES:
            raise TypeError("a tensor without a storage")
        numbers = struct.unpack(f"<{2 * axes + 1}q", member.read(position + 8, 16 * axes + 8))
        position += 16 + 16 * axes
        dtype: DType = storage.dtype
        objects[str(key)] = Tensor(storage.storage, dtype, numbers[:axes], numbers[axes:-1], numbers[-1])


def _count(member: Source, position: int) -> tuple[int, int]:
    value, position = _pickle_at(member, position)
    if type(value) is not int or not 0 <= value <= _MAX_OBJECTS:
        raise TypeError("no count")
    return value, position


def _triple(member: Source, position: int) -> tuple[tuple[Any, Any, Any], int]:
    value, position = _pickle_at(member, position)
    if not isinstance(value, tuple) or len(value) != 3:
        raise TypeError("no entry")
    return value, position


def _pickle_at(member: Source, position: int) -> tuple[Any, int]:
    """One of the pickles that follow each other in a member, and where it ends."""
    reader = Unpickler(member, position)
    return reader.load(), reader.position
