"""The optional accelerator: the loops of `compiled`, used where numba is installed. The numbers stay the same, bit for
bit."""

from __future__ import annotations

from collections.abc import Collection
from types import ModuleType

import numpy as np

from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.ranges.channels import Channels

WORTHWHILE_FROM_BYTES = 1 << 30
"""Importing numba and loading the compiled code takes as long as it saves on 1 GB of float32, 2 GB of 16-bit floats."""

_TRIAL_ELEMENTS = 1 << 13
"""More than what is sorted instead of counted by a loop (`counters`)."""


def load(nbytes: int, dtypes: Collection[DType]) -> ModuleType | None:
    """The compiled loops, if numba is installed and there is enough to do.

    They are run once for every type, so that worker processes inherit machine code instead of loading it each.
    """
    if nbytes < WORTHWHILE_FROM_BYTES:
        return None
    from eqlr_tools.ranges.counters import counter_for
    from eqlr_tools.ranges.workers import interrupts_held

    with interrupts_held():  # Code that numba runs while it loads swallows a KeyboardInterrupt.
        try:
            from eqlr_tools.ranges import compiled
        except ImportError:
            return None
        for dtype in dtypes:
            counter = counter_for(dtype, 1.0, Channels(1, _TRIAL_ELEMENTS), compiled)
            counter.add(np.zeros(_TRIAL_ELEMENTS, dtype=dtype.bits_dtype), 0)
        return compiled
