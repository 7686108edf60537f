"""Writing tensors at known places of a file, in bounded memory and on two threads.

A block is read, changed in place and written while it is in the cache of one core. Reading, numpy's arithmetic,
checksums and writing all release the interpreter lock. Write-back is started after every piece, so that the disk works
while the next are computed and while the file is verified, and the final fsync has little left to wait for. What a
rewrite costs beside copying the file, with start-up and verification, is printed by `benchmarks/rewrite.py`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np

from eqlr_tools.checkpoints.outputs import Output
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


def write_placed(descriptor: int, placed: Sequence[Placed], progress: Progress, *, checksums: bool) -> list[int]:
    """Write all outputs to their places. Returns the CRC-32 of each, or zeros if no checksums are wanted."""
    pieces = [(number, *piece) for number, item in enumerate(placed) for piece in _pieces(item.output)]

    def write(piece: tuple[int, int, int]) -> tuple[int, int, int]:
        number, first, last = piece
        item = placed[number]
        start = position = item.position + first * item.output.dtype.itemsize
        checksum = 0
        for block in item.output.blocks((first, last)):
            data = memoryview(block.view(np.uint8))  # type: ignore[arg-type]
            checksum = zlib.crc32(data, checksum) if checksums else 0
            position += write_all(descriptor, data, position)
        _start_write_back(descriptor, start, position - start)
        return number, checksum, position - start

    crcs = [0] * len(placed)
    for number, checksum, size in in_threads(write, pieces, sum(item.output.nbytes for item in placed)):
        crcs[number] = combined_crc(crcs[number], checksum, size) if checksums else 0
        progress(size)
    return crcs


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
def _sync_file_range() -> Callable[[int, int, int, int], Any] | None:
    """Linux's call that starts write-back without waiting; elsewhere the final fsync does all the work."""
    try:
        import ctypes

        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError, ImportError, TypeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


def _start_write_back(descriptor: int, start: int, size: int) -> None:
    call = _sync_file_range()
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
