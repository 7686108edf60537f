"""Reading what `torch.save` writes: the zip format (torch 1.6 and later) and the older stream, without torch.

Both are one pickle that describes objects and refers to storages by key; the storages are raw bytes. In the zip
format they are members `<archive>/data/<key>`, stored uncompressed; in the older one they follow the pickle.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from functools import cached_property
from typing import Any, BinaryIO, cast

from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.checkpoints.inflating import SpooledMember, may_be_spooled
from eqlr_tools.checkpoints.pickled_values import TypedStorage
from eqlr_tools.checkpoints.pickles import Unpickler
from eqlr_tools.checkpoints.rebuilding import storage_dtype
from eqlr_tools.checkpoints.sources import MemorySource, SeekableSource, SliceSource, Source
from eqlr_tools.checkpoints.tensors import Storage
from eqlr_tools.errors import DamagedError, UnreadableError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_HEAD = re.compile(rb"\x80[\x02-\x05](\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
"""The magic number as a pickle; `torch.save` takes the protocol as an argument, and from 4 on there is a frame."""

MAX_PICKLE_BYTES = 1 << 28
MAX_DIRECTORY_BYTES = 1 << 24
"""The list of an archive's members: 16 MiB is some 150 000 tensors."""

_LOCAL_HEADER_BYTES, _END_BYTES, _END64_BYTES, _LOCATOR_BYTES = 30, 22, 56, 20
_INFLATE_BYTES = 1 << 20
_UTF8_NAME = 1 << 11


def _stated_directory(source: Source, comment_bytes: int) -> int:
    """Where the end of an archive says that its list of members begins; -1 if the end is not what it should be.

    `zipfile` looks for the list where it should end and shifts all positions by what is before the archive, others
    go to the position that is stated.
    """
    at = source.size - _END_BYTES - comment_bytes
    end = source.read(at, _END_BYTES)
    stated, after = int.from_bytes(end[16:20], "little"), at
    if at >= _LOCATOR_BYTES and (locator := source.read(at - _LOCATOR_BYTES, _LOCATOR_BYTES))[:4] == b"PK\x06\x07":
        after = at - _LOCATOR_BYTES - _END64_BYTES
        if int.from_bytes(locator[8:16], "little") != after:
            return -1
        end64 = source.read(after, _END64_BYTES)
        size, stated = (int.from_bytes(end64[place : place + 8], "little") for place in (40, 48))
    else:
        size = int.from_bytes(end[12:16], "little")
    return stated if end[:4] == b"PK\x05\x06" and stated + size == after else -1


class ZipReader:
    """The members of a zip archive as sources. Uncompressed ones are read in place.

    Readers of zip files disagree about archives whose two tables contradict each other, which has been used to show
    a scanner one pickle and torch another. Such archives are refused, and so are members that share bytes.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        try:
            archive = zipfile.ZipFile(cast("BinaryIO", SeekableSource(source, MAX_DIRECTORY_BYTES)))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, EOFError, struct.error) as error:
            raise UnreadableError(
                f"{source.name}: damaged zip archive ({error})", hint="the file is truncated; get it again"
            ) from error
        self._archive = archive
        if _stated_directory(source, len(archive.comment)) != archive.start_dir:
            raise UnreadableError(
                f"{source.name}: bytes that are no part of the zip archive lie before or behind it",
                hint="torch may read another archive than the one that is found from the end",
            )
        infos = archive.infolist()
        self.members = {info.filename: info for info in infos}
        if len(self.members) != len(infos):
            raise DamagedError(f"{source.name}: the archive has two members of one name")
        end = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise DamagedError(f"{source.name}: member {info.filename!r} overlaps another")
            end = info.header_offset + _LOCAL_HEADER_BYTES + len(info.orig_filename) + info.compress_size

    def member(self, name: str, limit: int | None = None) -> Source:
        """The bytes of a member. Raises UnreadableError if it is missing, encrypted or larger than `limit`."""
        info = self.members.get(name)
        if info is None:
            raise DamagedError(f"{self.source.name}: the archive lacks its member {name!r}")
        if limit is not None and info.file_size > limit:
            raise DamagedError(f"{self.source.name}: member {name!r} claims {info.file_size:,} bytes")
        if info.flag_bits & 1:
            raise UnreadableError(
                f"{self.source.name}: member {name!r} is encrypted", hint="unpack it, and name what is inside"
            )
        if info.compress_type == zipfile.ZIP_STORED:
            if info.compress_size != info.file_size or info.header_offset + info.file_size > self.source.size:
                raise DamagedError(f"{self.source.name}: member {name!r} lies about its size")
            return _StoredMember(self, info)
        return self._inflated(info)

    def data_start(self, info: zipfile.ZipInfo) -> int:
        head = self.source.read(info.header_offset, _LOCAL_HEADER_BYTES)
        name_length, extra_length = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        if head[:4] != b"PK\x03\x04":
            raise DamagedError(f"{self.source.name}: member {info.filename!r} is not where the archive says")
        name = self.source.read(info.header_offset + _LOCAL_HEADER_BYTES, name_length)
        if name != info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8_NAME else "cp437"):
            raise DamagedError(f"{self.source.name}: member {info.filename!r} has two different names")
        return info.header_offset + _LOCAL_HEADER_BYTES + name_length + extra_length

    def _inflated(self, info: zipfile.ZipInfo) -> Source:
        """A compressed member. torch never writes one; repacking tools and `numpy.savez_compressed` do."""
        if info.compress_type != zipfile.ZIP_DEFLATED:
            raise UnreadableError(
                f"{self.source.name}: member {info.filename!r} is compressed in an unusual way",
                hint="unpack the archive and save it again with torch.save",
            )
        if may_be_spooled(info.compress_size, info.file_size):
            packed = SliceSource(self.source, self.data_start(info), info.compress_size)
            return SpooledMember(packed, f"member {info.filename!r}", info.file_size, info.CRC)
        self.source.allowance.spend("inflated_bytes", info.file_size, self.source.name)
        data = bytearray()
        try:
            with self._archive.open(info) as member:
                while len(data) <= info.file_size and (block := member.read(_INFLATE_BYTES)):
                    data += block
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise DamagedError(f"{self.source.name}: member {info.filename!r} is damaged ({error})") from error
        if len(data) != info.file_size:
            raise DamagedError(f"{self.source.name}: member {info.filename!r} lies about its size")
        return MemorySource(self.source.name, data, self.source.allowance)


class _StoredMember:
    """An uncompressed member. Where its data begins stands in a header of its own, read when the data is wanted."""

    def __init__(self, archive: ZipReader, info: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._info = info
        self.name = archive.source.name
        self.size = info.file_size
        self.allowance = archive.source.allowance

    @cached_property
    def _data(self) -> SliceSource:
        return SliceSource(self._archive.source, self._archive.data_start(self._info), self.size)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        self._data.readinto(offset, buffer)

    def read(self, offset: int, length: int) -> bytes:
        return self._data.read(offset, length)


def read_bare_pickle(source: Source) -> Any:
    """Return the object tree of a pickle that torch.save had no part in: NVIDIA's network pickles, `pickle.dump`.

    Storages are files of torch's inside the pickle, as byte strings. They stay where they are. Something behind the
    pickle is refused: a second pickle would be lost when the file is rewritten.
    """
    return _sole(Unpickler(source, load_blob=read_nested))


def _sole(reader: Unpickler) -> Any:
    tree = reader.load()
    rest = reader.source.size - reader.position
    if rest:
        raise DamagedError(f"{reader.source.name}: {rest:,} bytes follow the pickle")
    return tree


def read_nested(blob: Source) -> Any:
    """A storage that was pickled by itself. In it there is no further file: the readers below allow none."""
    if blob.size >= 4 and blob.read(0, 4) == b"PK\x03\x04":
        return read_torch_zip(ZipReader(blob))
    return read_torch_legacy(blob)


def read_torch_zip(archive: ZipReader) -> Any:
    """Return the object tree of a torch zip, tensors lazy. `archive` must have a `data.pkl`."""
    pickle_name = find_pickle(archive)
    if pickle_name is None:
        raise DamagedError(f"{archive.source.name}: a zip archive, but not one that torch wrote")
    root = pickle_name.removesuffix("data.pkl")
    _refuse_lookalikes(archive, root)
    byteorder = _byteorder(archive, root)
    known: dict[str, Storage] = {}

    def load_storage(identifier: Any) -> TypedStorage:
        dtype, key, _, view = _storage_id(identifier)
        if view is not None:
            raise ValueError("a persistent id that torch does not write")
        if key not in known:
            part = archive.member(f"{root}data/{key}")
            known[key] = Storage(part, 0, part.size, byteorder)
        return TypedStorage(known[key], dtype)

    reader = Unpickler(archive.member(pickle_name, MAX_PICKLE_BYTES), persistent_load=load_storage)
    return _sole(reader)


def _refuse_lookalikes(archive: ZipReader, root: str) -> None:
    """torch looks members up without regard to case, we do not: it could be shown another pickle than we are."""
    names = [name.replace("\\", "/").lower() for name in archive.members]
    meant = [name for name in names if name.startswith(f"{root.lower()}data")]
    if len(set(meant)) != len(meant):
        raise DamagedError(f"{archive.source.name}: the archive has two members whose names differ by case only")


def find_pickle(archive: ZipReader) -> str | None:
    """The name of the main pickle: `data.pkl` in the archive's top folder. None if there is none.

    torch takes the folder of the first member, whatever else is there: further pickles may lie in that folder only.
    """
    names = [name for name in archive.members if name == "data.pkl" or name.endswith("/data.pkl")]
    if not names:
        return None
    depth = min(name.count("/") for name in names)
    top = [name for name in names if name.count("/") == depth]
    root = next(iter(archive.members)).rpartition("/")[0].partition("/")[0]
    if len(names) > 1 and (len(top) > 1 or not root or not all(name.startswith(f"{root}/") for name in names)):
        raise DamagedError(f"{archive.source.name}: the archive has several pickles: {', '.join(sorted(names)[:3])}")
    return top[0]


def looks_like_torch_legacy(head: bytes) -> bool:
    """True for the first bytes of what torch wrote before 1.6."""
    return _LEGACY_HEAD.match(head) is not None


def read_torch_legacy(source: Source) -> Any:
    """Return the object tree of a file from before torch 1.6 (or `_use_new_zipfile_serialization=False`).

    Five pickles follow each other (magic number, protocol, system, objects, storage keys), then the storages in
    the order of the keys, each a count of elements and its bytes. Where a storage lies is known only behind the
    objects, so they are read twice: once for the storages' sizes, once with their places.
    """
    position = 0
    for index in range(3):
        head = Unpickler(source, position)
        value = head.load()
        position = head.position
        if index == 0 and value != LEGACY_MAGIC:
            raise DamagedError(f"{source.name}: not a torch file (wrong magic number)")
        if index == 2 and isinstance(value, dict) and value.get("little_endian") is False:
            raise UnreadableError(
                f"{source.name}: written on a big-endian machine, which is not supported",
                hint="save it with torch 1.6 or later",
            )
    sizes: dict[str, tuple[DType | None, int]] = {}

    def note_size(identifier: Any) -> Any:
        if _is_class_id(identifier):
            return identifier[1]
        dtype, key, count, view = _storage_id(identifier)
        sizes[key] = (dtype, count)
        itemsize = dtype.itemsize if dtype else 1
        whole = TypedStorage(Storage(source, 0, count * itemsize), dtype)
        return whole if view is None else storage_view(whole, view[1], view[2])

    first = Unpickler(source, position, persistent_load=note_size)
    first.load()
    keys = Unpickler(source, first.position)
    storages = _legacy_storages(source, keys, sizes)
    views: dict[str, Storage] = {}

    def load_storage(identifier: Any) -> Any:
        if _is_class_id(identifier):
            return identifier[1]
        dtype, key, _, view = _storage_id(identifier)
        if key not in storages:
            raise DamagedError(f"{source.name}: the data of storage {key} is missing")
        whole = TypedStorage(storages[key], dtype)
        if view is None:
            return whole
        part = views.setdefault(view[0], storage_view(whole, view[1], view[2]).storage)
        return TypedStorage(part, dtype)

    return Unpickler(source, position, persistent_load=load_storage).load()


def _legacy_storages(source: Source, keys: Unpickler, sizes: dict[str, tuple[DType | None, int]]) -> dict[str, Storage]:
    order = keys.load()
    position = keys.position
    storages = {}
    for key in order if isinstance(order, list) else []:
        dtype, expected = sizes.get(str(key), (None, -1))
        count = int.from_bytes(source.read(position, 8), "little")
        if count != expected:
            raise DamagedError(f"{source.name}: storage {key} has {count:,} elements, not {expected:,}")
        nbytes = count * (dtype.itemsize if dtype else 1)
        if position + 8 + nbytes > source.size:
            raise UnreadableError(
                f"{source.name}: the file ends inside storage {key}", hint="it is truncated; get it again"
            )
        storages[str(key)] = Storage(source, position + 8, nbytes)
        position += 8 + nbytes
    return storages


def _is_class_id(identifier: Any) -> bool:
    """('module', class, file, source): old torch kept the source of pickled classes beside their name."""
    return isinstance(identifier, tuple) and len(identifier) == 4 and identifier[0] == "module"


def _storage_id(identifier: Any) -> tuple[DType | None, str, int, tuple[str, int, int] | None]:
    """('storage', class, key, location, elements[, view]) as torch writes it; a view is (key, offset, elements)."""
    if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
        raise ValueError("a persistent id that torch does not write")
    _, cls, key, _, count = identifier[:5]
    if not isinstance(key, str | int) or type(count) is not int or count < 0:
        raise ValueError("a persistent id that torch does not write")
    view = identifier[5] if len(identifier) > 5 else None
    if view is not None:
        if not isinstance(view, tuple) or len(view) != 3:
            raise ValueError("a persistent id that torch does not write")
        view = (str(view[0]), view[1], view[2])
    return storage_dtype(cls), str(key), count, view


def storage_view(root: TypedStorage, offset: Any, elements: Any) -> TypedStorage:
    """A part of a storage, counted in elements. Raises TypeError if it is none."""
    itemsize = root.dtype.itemsize if root.dtype else 1
    if type(offset) is not int or type(elements) is not int or min(offset, elements) < 0:
        raise TypeError("a view of no storage")
    start, nbytes = offset * itemsize, elements * itemsize
    if start + nbytes > root.storage.nbytes:
        raise TypeError("a view outside its storage")
    storage = root.storage
    return TypedStorage(Storage(storage.source, storage.offset + start, nbytes, storage.byteorder), root.dtype)


def _byteorder(archive: ZipReader, root: str) -> str:
    if f"{root}byteorder" not in archive.members:
        return "little"
    member = archive.member(f"{root}byteorder", 16)
    order = member.read(0, member.size)
    if order not in (b"little", b"big"):
        raise DamagedError(f"{archive.source.name}: the byte order is {order!r}")
    return order.decode()
