"""Compressed members of a zip archive.

Small ones are inflated in memory. Large ones, arrays that `numpy.savez_compressed` wrote, cannot be read from the
middle: when somebody asks for more than their beginning, they go once to a file that has no name and ends with the
process. Both are bounded: the first by the file's allowance, the second by what trained weights can be compressed to.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator
from functools import cached_property
from typing import BinaryIO

from eqlr_tools.checkpoints.allowance import Allowance
from eqlr_tools.checkpoints.sources import Source
from eqlr_tools.errors import DamagedError, UnreadableError

SPOOLED_FROM_BYTES = 1 << 20
MAX_RATIO = 8
"""Trained weights shrink by a tenth, those with many zeros by half or more. A bomb unfolds to a thousand times."""

_STEP = 1 << 20
_HEAD_BYTES = 1 << 16


def may_be_spooled(compressed: int, inflated: int) -> bool:
    """True for a member that is large, and could be weights."""
    return SPOOLED_FROM_BYTES <= inflated <= MAX_RATIO * compressed


class SpooledMember:
    """A deflated run of bytes at the beginning of `packed`, which inflates to `size` bytes of this checksum."""

    def __init__(self, packed: Source, what: str, size: int, crc: int) -> None:
        self.size = size
        self.allowance: Allowance = packed.allowance
        self._packed, self._what, self._crc = packed, what, crc
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._packed.name

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.readinto(offset, memoryview(data))
        return bytes(data)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        if offset < 0 or offset + len(buffer) > self.size:
            raise DamagedError(f"{self.name}: {self._what} has {self.size:,} bytes, more are expected")
        if offset + len(buffer) <= len(self._head):
            buffer[:] = self._head[offset : offset + len(buffer)]
            return
        with self._lock:
            descriptor = self._file.fileno()
        done = 0
        while done < len(buffer):
            count = os.preadv(descriptor, [buffer[done:]], offset + done)
            if count == 0:
                raise self._damaged("it is shorter than the archive says")
            done += count

    @cached_property
    def _head(self) -> bytes:
        """The beginning, which holds an array's header."""
        return next(self._blocks(_HEAD_BYTES), b"")

    @cached_property
    def _file(self) -> BinaryIO:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if self.size > free:
            raise UnreadableError(
                f"{self.name}: unpacking {self._what} takes {self.size:,} bytes, {tempfile.gettempdir()} has {free:,}",
                hint="free some space, or let TMPDIR name a folder on a larger disk",
            )
        file = tempfile.TemporaryFile(prefix="eqlr-")  # noqa: SIM115 - it lives as long as this source.
        crc = written = 0
        try:
            for block in self._blocks(_STEP):
                crc, written = zlib.crc32(block, crc), written + len(block)
                if written > self.size:
                    break
                file.write(block)
            file.flush()
        except OSError as error:
            raise UnreadableError(f"{self.name}: {self._what} cannot be unpacked ({error.strerror})") from error
        if (written, crc) != (self.size, self._crc):
            raise self._damaged("it does not unpack to what the archive says")
        return file

    def _blocks(self, step: int) -> Iterator[bytes]:
        """What the member inflates to, in blocks of at most `step` bytes."""
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        position, rest = 0, b""
        try:
            while not inflater.eof:
                if not rest:
                    rest = self._packed.read(position, min(step, self._packed.size - position))
                    position += len(rest)
                offered, block = rest, inflater.decompress(rest, step)
                rest = inflater.unconsumed_tail
                if block:
                    yield block
                elif not offered:
                    raise self._damaged("it ends too early")
        except zlib.error as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> UnreadableError:
        return UnreadableError(f"{self.name}: {self._what} is damaged ({why})", hint="get the file again")
