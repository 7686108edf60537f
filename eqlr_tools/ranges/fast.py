"""The optional accelerator: the loops of `compiled`, used where numba is installed. The numbers stay the same, bit for
bit."""

from __future__ import annotations

from types import ModuleType

WORTHWHILE_FROM_BYTES = 1 << 30
"""Importing numba and loading the compiled code takes as long as it saves on 1 GB of float32, 2 GB of 16-bit floats."""


def load(nbytes: int) -> ModuleType | None:
    """The compiled loops, if numba is installed and there is enough to do."""
    if nbytes < WORTHWHILE_FROM_BYTES:
        return None
    from eqlr_tools.ranges.workers import interrupts_held

    with interrupts_held():  # Code that numba runs while it loads swallows a KeyboardInterrupt.
        try:
            from eqlr_tools.ranges import compiled
        except ImportError:
            return None
        return compiled
