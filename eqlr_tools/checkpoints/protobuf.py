"""Reading protocol-buffer messages field by field, without their schema and without copying what is long.

Wire format: protobuf.dev/programming-guides/encoding. A message is a run of (tag, value); a value of wire type 2 is a
run of bytes (text, a nested message, packed numbers), which is handed out as its place in the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.sources import SliceSource, Source
from eqlr_tools.errors import UnreadableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WORD = (1 << 64) - 1
_LONGEST_VARINT = 10
_WINDOW = 1 << 16
_MAX_FIELDS = 1_000_000
"""A model has some ten fields per node and per tensor; a number that is not packed with others is one."""

_PACKED_BYTES = 1 << 20


@dataclass
class Budget:
    """How many fields a file may hold in all, so that nesting cannot multiply the work."""

    left: int = _MAX_FIELDS


@dataclass(frozen=True)
class Field:
    """One field. `number` is the value of a varint, `span` the (offset, length) in the source of anything else."""

    tag: int
    wire: int
    number: int
    span: tuple[int, int]


@dataclass
class Message:
    """A message at `start` to `end` of a source."""

    source: Source
    start: int
    end: int
    budget: Budget = field(default_factory=Budget)
    _window: bytes = b""
    _window_start: int = 0

    def fields(self) -> Iterator[Field]:
        """Yield the fields in order. Raises UnreadableError where the bytes are no message."""
        position = self.start
        while position < self.end:
            self.budget.left -= 1
            if self.budget.left < 0:
                raise UnreadableError(
                    f"{self.source.name}: more than {_MAX_FIELDS:,} fields", hint="no model needs that many"
                )
            key, position = self._varint(position)
            tag, wire = key >> 3, key & 7
            if wire == VARINT:
                number, position = self._varint(position)
                yield Field(tag, wire, number, (position, 0))
                continue
            if wire == BYTES:
                length, position = self._varint(position)
            else:
                length = {FIXED64: 8, FIXED32: 4}.get(wire, -1)
            if length < 0 or position + length > self.end or tag == 0:
                raise self._damaged(position)
            yield Field(tag, wire, 0, (position, length))
            position += length

    def nested(self, place: Field) -> Message:
        """The message that a field holds."""
        start, length = place.span
        return Message(self.source, start, start + length, self.budget, self._window, self._window_start)

    def bytes_of(self, place: Field, limit: int = 1 << 20) -> bytes:
        """The bytes of a field. Raises UnreadableError if they are more than a name or a number list needs."""
        start, length = place.span
        if place.wire == VARINT or length > limit:
            raise self._damaged(start)
        return self._bytes(start, length)

    def text_of(self, place: Field) -> str:
        """The text of a field."""
        return self.bytes_of(place).decode("utf-8", "replace")

    def numbers_of(self, place: Field, limit: int = 1 << 20) -> NDArray[np.uint64]:
        """The integers of a field, in 64 bits: one varint, or many packed ones."""
        if place.wire == VARINT:
            return np.array([place.number & _WORD], np.uint64)
        start, length = place.span
        if length > limit:
            raise self._damaged(start)
        parts, position = [], start
        while position < start + length:
            count = min(_PACKED_BYTES, start + length - position)
            block = np.frombuffer(self._bytes(position, count), np.uint8)
            numbers, used = _unpacked(block)
            if not used:
                raise self._damaged(position)
            parts.append(numbers)
            position += used
        return np.concatenate(parts) if parts else np.zeros(0, np.uint64)

    def slice_of(self, place: Field) -> SliceSource:
        """The bytes of a field as a source, not read."""
        return SliceSource(self.source, *place.span)

    def _varint(self, position: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            index = position - self._window_start
            if not 0 <= index < len(self._window):
                self._fill(position)
                index = 0
            byte = self._window[index]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
            if shift > 63:
                raise self._damaged(position)

    def _bytes(self, start: int, length: int) -> bytes:
        index = start - self._window_start
        if index >= 0 and index + length <= len(self._window):
            return self._window[index : index + length]
        return self.source.read(start, length)

    def _fill(self, position: int) -> None:
        length = min(_WINDOW, self.end - position)
        if length <= 0:
            raise self._damaged(position)
        self._window = self.source.read(position, length)
        self._window_start = position

    def _damaged(self, position: int) -> UnreadableError:
        return UnreadableError(
            f"{self.source.name}: damaged at byte {position:,}", hint="it is truncated or was altered; get it again"
        )


def _unpacked(block: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], int]:
    """The varints that end in a block of bytes, and how many bytes they are; none if one of them is too long.

    Seven bits of each byte count, the lowest first; the eighth says that another byte follows.
    """
    if block.max(initial=0) < 0x80:
        return block.astype(np.uint64), len(block)
    ends = np.flatnonzero(block < 0x80)
    if not len(ends):
        return np.zeros(0, np.uint64), 0
    begins = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - begins + 1
    if lengths.max() > _LONGEST_VARINT:
        return np.zeros(0, np.uint64), 0
    used = int(ends[-1]) + 1
    places = np.arange(used) - np.repeat(begins, lengths)
    bits = (block[:used] & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.bitwise_or.reduceat(bits, begins), used
