"""Working memory of counting: one set of buffers for every thread, for whatever it counts one block after the other.

What is never needed at the same time shares its memory, so that more of it stays in the cache.
"""

from __future__ import annotations

import threading

import numpy as np

BLOCK_ELEMENTS = 1 << 17
"""Enough to spread the cost of the calls, few enough for the float32 block to stay in the L2 cache."""

NARROW_BLOCK_ELEMENTS = 1 << 18
"""Of 8- and 16-bit floats: adding up the tables of the blocks costs as much as counting some ten thousand elements."""


class _Scratch(threading.local):
    """`places` are indices into a histogram; `wide` and `powers` are the values and their powers, once it is taken."""

    def __init__(self) -> None:
        self.places = np.zeros(NARROW_BLOCK_ELEMENTS, dtype=np.intp)
        memory = self.places.view(np.float64)
        self.wide, self.powers = memory[:BLOCK_ELEMENTS], memory[BLOCK_ELEMENTS:]
        self.patterns = {kind: np.empty(BLOCK_ELEMENTS, dtype=kind) for kind in (np.uint32, np.uint64)}
        self.flags, self.more_flags = np.empty((2, BLOCK_ELEMENTS), dtype=np.bool_)


scratch = _Scratch()
