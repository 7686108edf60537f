"""A zip archive whose every byte has its place before the first is written, so that members can be written in parallel.

Members are stored uncompressed, their data at multiples of 64 as in torch's own files. The format is PKWARE's
APPNOTE.TXT: a local header before each member, the directory behind them; sizes beyond 32 bits stand in a ZIP64 extra
field, with 0xffffffff in their place. Python's `zipfile` writes members one after another only.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from eqlr_tools.checkpoints.outputs import Output
from eqlr_tools.checkpoints.streaming import Piece, Placed, Progress, reserve, write_all, write_placed

ALIGNMENT = 64
_ELSEWHERE = 0xFFFFFFFF  # What stands for a number that the ZIP64 field holds.
_LARGE = _ELSEWHERE
_ZIP64, _PADDING = 1, 0x4246  # The second is the tag that torch pads with: "FB".
_DATE = 0x21  # 1 January 1980: the same content gives the same bytes.
_UTF8 = 1 << 11


def _short(number: int) -> int:
    return _ELSEWHERE if number >= _LARGE else number


@dataclass(frozen=True)
class _Member:
    name: bytes
    content: bytes | Output
    header_at: int
    data_at: int

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.nbytes

    @property
    def is_large(self) -> bool:
        return self.size >= _LARGE

    def fields(self, crc: int) -> bytes:
        """What local header and directory have in common, from the version needed to the length of the name."""
        size = _short(self.size)
        version = 45 if self.is_large or self.header_at >= _LARGE else 20
        return struct.pack("<HHHHHIIIH", version, _UTF8, 0, 0, _DATE, crc, size, size, len(self.name))

    def local_header(self, crc: int) -> bytes:
        extra = struct.pack("<HHQQ", _ZIP64, 16, self.size, self.size) if self.is_large else b""
        padding = self.data_at - self.header_at - 30 - len(self.name) - len(extra) - 4
        extra += struct.pack("<HH", _PADDING, padding) + bytes(padding)
        return b"PK\x03\x04" + self.fields(crc) + struct.pack("<H", len(extra)) + self.name + extra

    def directory_entry(self, crc: int) -> bytes:
        large = [self.size, self.size] if self.is_large else []
        large += [self.header_at] if self.header_at >= _LARGE else []
        extra = struct.pack(f"<HH{len(large)}Q", _ZIP64, 8 * len(large), *large) if large else b""
        rest = struct.pack("<HHHHII", len(extra), 0, 0, 0, 0, _short(self.header_at))
        return b"PK\x01\x02" + struct.pack("<H", 45) + self.fields(crc) + rest + self.name + extra


@dataclass
class ArchiveLayout:
    """The members in order. `write` puts them into a new file."""

    members: list[_Member] = field(default_factory=list)
    _end: int = 0

    def add(self, name: str, content: bytes | Output) -> None:
        encoded = name.encode()
        size = len(content) if isinstance(content, bytes) else content.nbytes
        least = self._end + 30 + len(encoded) + (20 if size >= _LARGE else 0) + 4
        data_at = least + -least % ALIGNMENT
        self.members.append(_Member(encoded, content, self._end, data_at))
        self._end = data_at + size

    def write(self, descriptor: int, progress: Progress) -> list[Piece]:
        reserve(descriptor, self._end)
        outputs = [Placed(m.content, m.data_at) for m in self.members if isinstance(m.content, Output)]
        written = write_placed(descriptor, outputs, progress, checksums=True)
        crcs = iter(written.checksums)
        directory = bytearray()
        for member in self.members:
            content = member.content
            crc = zlib.crc32(content) if isinstance(content, bytes) else next(crcs)
            write_all(descriptor, member.local_header(crc), member.header_at)
            if isinstance(content, bytes):
                write_all(descriptor, content, member.data_at)
            directory += member.directory_entry(crc)
        write_all(descriptor, bytes(directory) + self._trailer(len(directory)), self._end)
        return written.pieces

    def _trailer(self, directory_bytes: int) -> bytes:
        """The end of the directory, preceded by its ZIP64 form where a number does not fit."""
        count, start = len(self.members), self._end
        trailer = b""
        if count >= 0xFFFF or start >= _LARGE or directory_bytes >= _LARGE:
            trailer += b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, directory_bytes, start)
            trailer += b"PK\x06\x07" + struct.pack("<IQI", 0, start + directory_bytes, 1)
        few = min(count, 0xFFFF)
        sizes = _short(directory_bytes), _short(start)
        return trailer + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, few, few, *sizes, 0)
