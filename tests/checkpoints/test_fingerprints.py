"""A fingerprint changes with every byte, with their order, and not with how what is hashed was cut into calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlr_tools.checkpoints.fingerprints import BLOCK_BYTES, fingerprint


def _data(size: int) -> bytearray:
    return bytearray(np.random.default_rng(size).bytes(size))


@given(size=st.integers(1, 3000), place=st.integers(0, 2999), bit=st.integers(0, 7))
def test_one_changed_bit_changes_it(size: int, place: int, bit: int) -> None:
    data = _data(size)
    before = fingerprint(memoryview(data))
    data[place % size] ^= 1 << bit
    assert fingerprint(memoryview(data)) != before


@pytest.mark.parametrize("size", [BLOCK_BYTES, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES + 5])
def test_large_runs(size: int) -> None:
    data = _data(size)
    whole = fingerprint(memoryview(data))
    parts = 0
    for first in range(0, size, BLOCK_BYTES):
        parts = fingerprint(memoryview(data)[first : first + BLOCK_BYTES], parts)
    assert parts == whole
    for one, other in ((0, 8), (0, size - 16), (BLOCK_BYTES // 2, size // 2 // 8 * 8)):
        swapped = bytearray(data)
        swapped[one : one + 8], swapped[other : other + 8] = data[other : other + 8], data[one : one + 8]
        assert swapped == data or fingerprint(memoryview(swapped)) != whole
    assert fingerprint(memoryview(data)[:-1]) != whole
    assert fingerprint(memoryview(data + b"\0")) != whole


def test_blocks_that_trade_places() -> None:
    data = _data(2 * BLOCK_BYTES)
    swapped = data[BLOCK_BYTES:] + data[:BLOCK_BYTES]
    assert fingerprint(memoryview(swapped)) != fingerprint(memoryview(data))
