"""Where bytes come from: positioned reads of a file, of a part of it, or of memory.

Everything is `pread` into a buffer of the caller's. A memory map would be shorter to write, but its pages count
as resident memory of the process, and a truncated file under a map is a fatal signal instead of an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from eqlr_tools.checkpoints.allowance import Allowance
from eqlr_tools.errors import DamagedError, UnreadableError


class Source(Protocol):
    """A readable run of bytes with a known length and a name for error messages.

    `allowance` is what interpreting it may still cost; parts of a file share the file's.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def allowance(self) -> Allowance: ...

    def readinto(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises UnreadableError when the bytes are not there."""

    def read(self, offset: int, length: int) -> bytes: ...


def survives_fork(source: Source) -> bool:
    """True if forked processes can read the source at the same time: it has no position and no connection to share."""
    return bool(getattr(source, "survives_fork", False))


def is_file(path: Path) -> bool:
    """True for a regular file that can be looked at, False also for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


class FileSource:
    """A file opened once, read only. Its size is taken at opening, and a file that shrinks later is an error."""

    survives_fork = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.allowance = Allowance()
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise UnreadableError(f"{path}: {error.strerror or error}") from error
        self._size = os.fstat(self._descriptor).st_size

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        return self._size

    def readinto(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise UnreadableError(f"{self.path}: {error.strerror or error}") from error
            if count == 0:
                wanted, end = offset + len(buffer), offset + done
                raise UnreadableError(
                    f"{self.path}: the file ends at byte {end:,}, but data is expected up to byte {wanted:,}",
                    hint="the file is truncated or was changed while it was read; get it again",
                )
            done += count

    def read(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        self.readinto(offset, memoryview(buffer))
        return bytes(buffer)


class MemorySource:
    """Bytes that are in memory already: a decompressed archive member, a string inside a pickle."""

    survives_fork = True

    def __init__(self, name: str, data: bytes | bytearray, allowance: Allowance | None = None) -> None:
        self.name = name
        self.allowance = allowance or Allowance()
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        if offset < 0 or offset + len(buffer) > len(self._data):
            raise DamagedError(f"{self.name}: {len(self._data):,} bytes are there, more are expected")
        buffer[:] = memoryview(self._data)[offset : offset + len(buffer)]

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > len(self._data):
            raise DamagedError(f"{self.name}: {len(self._data):,} bytes are there, more are expected")
        return bytes(memoryview(self._data)[offset : offset + length])


class SliceSource:
    """A part of another source, addressed from zero: an archive member, a nested pickle."""

    def __init__(self, parent: Source, start: int, size: int) -> None:
        if start < 0 or size < 0 or start + size > parent.size:
            raise DamagedError(f"{parent.name}: a part of {size:,} bytes at {start:,} lies outside the file")
        self._parent = parent
        self._start = start
        self._size = size
        self.allowance = parent.allowance

    @property
    def survives_fork(self) -> bool:
        return survives_fork(self._parent)

    @property
    def name(self) -> str:
        return self._parent.name

    @property
    def size(self) -> int:
        return self._size

    def readinto(self, offset: int, buffer: memoryview) -> None:
        self._check(offset, len(buffer))
        self._parent.readinto(self._start + offset, buffer)

    def read(self, offset: int, length: int) -> bytes:
        self._check(offset, length)
        return self._parent.read(self._start + offset, length)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self._size:
            raise DamagedError(f"{self.name}: a read of {length:,} bytes at {offset:,} leaves its part of the file")


class SeekableSource:
    """The file interface that `zipfile` and `tarfile` want, over a source.

    They use it for what describes the members. One read must not take more than `limit`, whatever a header says.
    """

    def __init__(self, source: Source, limit: int = 1 << 24) -> None:
        self._limit = limit
        self._source = source
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        position = offset + (0, self._position, self._source.size)[whence]
        if position < 0:
            raise ValueError("a position before the start")
        self._position = position
        return position

    def read(self, count: int = -1) -> bytes:
        left = max(self._source.size - self._position, 0)
        length = left if count < 0 else min(count, left)
        if length > self._limit:
            raise ValueError(f"a directory of {length:,} bytes")
        data = self._source.read(self._position, length)
        self._position += length
        return data

    def readinto(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
