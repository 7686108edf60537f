"""Fingerprints of what is written, so that it can be read back without the source and without its arithmetic.

A multilinear hash (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): the sum of all 64-bit words,
each times an odd number that belongs to its place, modulo 2^64. An odd factor can be undone, so one changed word, byte
or bit always changes the sum; blocks that trade places change it too. It is no defence against somebody who means to
deceive, and need not be: nobody but this process has a hand in the file.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_BYTES = 1 << 18
"""What is written at a time: it stays in the L2 cache of its core from the read to the write. Half of it made a rewrite
some 10 % longer, twice and four times as much no shorter."""

_WORDS = BLOCK_BYTES // 8
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: its multiples are spread evenly over the 64-bit numbers (Knuth, TAOCP 3, 6.4)."""


def fingerprint(data: memoryview, before: int = 0) -> int:
    """The fingerprint of bytes, or of what `before` is the fingerprint of followed by them.

    What is hashed in several calls must be cut at multiples of `BLOCK_BYTES`.
    """
    found = before
    for first in range(0, len(data), BLOCK_BYTES):
        found = (found * _GOLDEN + _of_block(data[first : first + BLOCK_BYTES])) & _MASK
    return found


def _of_block(data: memoryview) -> int:
    whole, factors = len(data) // 8, _factors()
    words = np.frombuffer(data[: whole * 8], dtype=np.uint64)
    total = int(np.multiply(words, factors[:whole]).sum()) if whole else 0
    rest = int.from_bytes(data[whole * 8 :], "little")
    return total + rest * int(factors[whole]) + len(data)


@cache
def _factors() -> NDArray[np.uint64]:
    factors = np.arange(1, _WORDS + 2, dtype=np.uint64) * np.uint64(_GOLDEN)
    factors ^= factors >> np.uint64(31)
    return factors | np.uint64(1)
