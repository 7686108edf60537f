"""What reading one file may cost. Every limit is far above what real checkpoints need, and keeps a hostile one from
taking more than seconds and a few hundred megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eqlr_tools.errors import UnreadableError

MAX_INSTRUCTIONS = 2_000_000
"""Pickle instructions: a state dict needs some 30 per tensor, a list of numbers one per number."""

MAX_COPIED_BYTES = 1 << 27
"""Text and short byte strings; long byte strings stay in the file."""

MAX_INFLATED_BYTES = 1 << 28
"""Compressed archive members, which have to be unpacked in memory. torch writes none."""

MAX_COMPOSITE_KEYS = 10_000
"""Dict keys and set members whose hash a file can choose: tuples of numbers, frozensets, complex numbers."""


@dataclass
class Allowance:
    """What is left for one file, shared by all the pickles and archives in it."""

    instructions: int = MAX_INSTRUCTIONS
    copied_bytes: int = MAX_COPIED_BYTES
    inflated_bytes: int = MAX_INFLATED_BYTES
    composite_keys: int = MAX_COMPOSITE_KEYS

    def spend(self, what: str, amount: int, name: str) -> None:
        """Take `amount` of what is left. Raises UnreadableError, naming the file, when there is not enough."""
        left = getattr(self, what) - amount
        setattr(self, what, left)
        if left < 0:
            raise UnreadableError(f"{name}: {_EXCEEDED[what]}", hint=_HINT)

    def key(self, key: Any, name: str) -> Any:
        """Return a dict key or set member if hashing and comparing it is cheap, else raise ValueError.

        Nested tuples can be built to hash for ever. Numbers, and tuples of them, can be built to collide, because
        only the hashes of strings are secret: so large integers are refused, and the rest may be few.
        """
        if isinstance(key, int):
            if abs(key) >= _MAX_INTEGER_KEY:
                raise ValueError("integers this large can be built to collide")
        elif isinstance(key, tuple):
            if any(isinstance(part, tuple | frozenset) for part in key):
                raise ValueError("a nested tuple as key")
            if not isinstance(key[0] if key else "", str | bytes):
                self.spend("composite_keys", 1 + len(key) // 16, name)
        elif isinstance(key, frozenset | complex):
            self.spend("composite_keys", 1, name)
        return key


_MAX_INTEGER_KEY = (1 << 61) - 1
"""Python's modulus for hashing numbers: from here on, different integers share a hash."""

_HINT = "no project writes such a file; it may be made to exhaust the reader"

_EXCEEDED = {
    "instructions": f"its pickles take more than {MAX_INSTRUCTIONS:,} instructions",
    "copied_bytes": f"its pickles hold more than {MAX_COPIED_BYTES >> 20} MiB of text",
    "inflated_bytes": f"its compressed members inflate to more than {MAX_INFLATED_BYTES >> 20} MiB",
    "composite_keys": f"its pickles use more than {MAX_COMPOSITE_KEYS:,} tuples as keys",
}
