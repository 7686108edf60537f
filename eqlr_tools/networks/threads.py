"""Work on parts of arrays in several threads: numpy lets others run while it computes.

Channels are divided, not products of matrices: BLAS divides large ones itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

Part = TypeVar("Part")


def for_each(work: Callable[[Part], None], parts: Iterable[Part]) -> None:
    """Call `work` with every part. The first exception is raised here."""
    from concurrent.futures import ThreadPoolExecutor  # Not where only the names of a network are wanted.

    with ThreadPoolExecutor(_processors()) as pool:
        for _ in pool.map(work, parts):
            pass


def slices(length: int, step: int) -> list[slice]:
    """An axis in parts of so many, one at least."""
    step = max(step, 1)
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
