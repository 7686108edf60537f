"""Writing tensors at known places of a file, in bounded memory and on two threads.

A block is read, changed in place and written while it is in the cache of one core. Reading, numpy's arithmetic,
checksums and writing all release the interpreter lock. The file's blocks are reserved before the first write, which
makes every later one cheaper, and write-back is started after every piece, so that the disk works while the next are
computed and while the file is verified, and the final fsync has little left to wait for. What a rewrite costs beside
copying the file, with start-up and verification, is printed by `benchmarks/rewrite.py`.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from eqlr_tools.checkpoints.fingerprints import BLOCK_BYTES, fingerprint
from eqlr_tools.checkpoints.outputs import Output
from eqlr_tools.checkpoints.sources import FileSource
from eqlr_tools.errors import OutputError

Progress = Callable[[int], None]
T = TypeVar("T")
R = TypeVar("R")

THREADS = 2
PIECE_BYTES = 1 << 23
"""Tensors are cut into pieces of 8 MiB, so that one huge tensor keeps both threads busy, and soon the disk."""


@dataclass(frozen=True)
class Placed:
    """An output and the position of its first byte in the file."""

    output: Output
    position: int


@dataclass(frozen=True)
class Piece:
    """A run of bytes that was written, and its fingerprint."""

    position: int
    nbytes: int
    fingerprint: int


@dataclass(frozen=True)
class Written:
    """What was written: the pieces, and the CRC-32 of each output if checksums were wanted."""

    pieces: list[Piece]
    checksums: list[int]


def write_placed(descriptor: int, placed: Sequence[Placed], progress: Progress, *, checksums: bool) -> Written:
    """Write all outputs to their places."""
    pieces = [(number, *piece) for number, item in enumerate(placed) for piece in _pieces(item.output)]

    def write(piece: tuple[int, int, int]) -> tuple[int, int, Piece]:
        number, first, last = piece
        item = placed[number]
        start = position = item.position + first * item.output.dtype.itemsize
        checksum = found = 0
        for block in item.output.blocks((first, last)):
            data = memoryview(block.view(np.uint8))  # type: ignore[arg-type]
            checksum = zlib.crc32(data, checksum) if checksums else 0
            found = fingerprint(data, found)
            position += write_all(descriptor, data, position)
        _start_write_back(descriptor, start, position - start)
        return number, checksum, Piece(start, position - start, found)

    written = Written([], [0] * len(placed))
    for number, checksum, done in in_threads(write, pieces, sum(item.output.nbytes for item in placed)):
        if checksums:
            written.checksums[number] = combined_crc(written.checksums[number], checksum, done.nbytes)
        written.pieces.append(done)
        progress(done.nbytes)
    return written


def reads_back(path: Path, pieces: Sequence[Piece]) -> bool:
    """True if the file holds in all these places what was written there."""
    source = FileSource(path)

    def intact(piece: Piece) -> bool:
        buffer = memoryview(bytearray(min(BLOCK_BYTES, piece.nbytes)))
        found = 0
        for first in range(0, piece.nbytes, BLOCK_BYTES):
            block = buffer[: min(BLOCK_BYTES, piece.nbytes - first)]
            source.readinto(piece.position + first, block)
            found = fingerprint(block, found)
        return found == piece.fingerprint

    return all(list(in_threads(intact, pieces, sum(piece.nbytes for piece in pieces))))


def reserve(descriptor: int, nbytes: int) -> None:
    """Give a new file its size and, where the system can without writing, its blocks: a full disk is found here."""
    call = _c_function("fallocate", "c_int", "c_int", "c_int64", "c_int64")
    if call is not None and nbytes and call(descriptor, 0, 0, nbytes) != 0:
        import ctypes

        number = ctypes.get_errno()
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(number, os.strerror(number))
    os.truncate(descriptor, nbytes)


def write_all(descriptor: int, data: bytes | memoryview, position: int) -> int:
    """Write all of `data` at `position`; a write may take less than it is offered. Returns the length."""
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, position)
        if count == 0:
            raise OutputError("writing failed: the file takes no more bytes")
        rest, position = rest[count:], position + count
    return len(data)


def in_threads(function: Callable[[T], R], items: Sequence[T], total_bytes: int) -> Iterator[R]:
    """Results in order. Small jobs are done at once; of large ones only a few results wait at a time."""
    if total_bytes < PIECE_BYTES or len(items) < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            yield from pool.map(function, items)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _pieces(output: Output) -> Iterator[tuple[int, int]]:
    """The spans of elements to write in one go. A view that is not contiguous cannot be read in parts."""
    elements = output.tensor.numel
    step = max(PIECE_BYTES // output.dtype.itemsize, 1) if output.tensor.is_contiguous else max(elements, 1)
    for first in range(0, elements, step):
        yield first, min(first + step, elements)


@cache
def _c_function(name: str, *types: str) -> Callable[..., Any] | None:
    """A call of Linux that Python does not have; None elsewhere, where its effect is done without."""
    try:
        import ctypes

        call = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError, ImportError, TypeError):
        return None
    call.argtypes = tuple(getattr(ctypes, kind) for kind in types)
    return call  # type: ignore[no-any-return]


def _start_write_back(descriptor: int, start: int, size: int) -> None:
    call = _c_function("sync_file_range", "c_int", "c_int64", "c_int64", "c_uint")
    if call is not None and size >= PIECE_BYTES // 4:
        call(descriptor, start, size, 2)  # SYNC_FILE_RANGE_WRITE. Only a hint: errors come back from fsync.


def combined_crc(first: int, second: int, second_bytes: int) -> int:
    """The CRC-32 of a concatenation from those of its parts.

    Appending n zero bytes to a message is a linear map of its CRC over GF(2), a 32x32 matrix of bits; it is found by
    squaring the matrix of one zero bit (the method is Mark Adler's, in zlib's `crc32_combine`).
    """
    if second_bytes == 0:
        return first
    if first == 0:
        return second
    for matrix in _zero_byte_powers(second_bytes):
        first = _times(matrix, first)
    return first ^ second


@cache
def _zero_byte_powers(count: int) -> tuple[tuple[int, ...], ...]:
    """The matrices whose product appends `count` zero bytes."""
    one_bit = (0xEDB88320, *(1 << bit for bit in range(31)))
    power = _squared(_squared(_squared(one_bit)))
    chosen = []
    while count:
        if count & 1:
            chosen.append(power)
        count >>= 1
        power = _squared(power)
    return tuple(chosen)


def _times(matrix: tuple[int, ...], vector: int) -> int:
    result = 0
    for row in matrix:
        if vector & 1:
            result ^= row
        vector >>= 1
    return result


def _squared(matrix: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_times(matrix, row) for row in matrix)
