"""Exact quantiles of wide floats, without sorting: the histogram names the bin, and a second reading looks inside.

Each reading resolves 16 more bits of the patterns in the wanted bins, so float32 needs one and float64 three.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.ranges.counting import BLOCK_ELEMENTS, Counts, wide_bits
from eqlr_tools.ranges.scaled import OrderStatistics, bin_of_rank, quantile_rank

QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)

_Wanted = dict[int, list[tuple[int, int]]]
"""By the leading bits of the pattern: (rank, rank among the values with these bits, by ascending pattern)."""


def exact_order_statistics(tensor: Tensor, counts: Counts) -> OrderStatistics:
    """The exact values behind every quantile of `QUANTILES`, by rank."""
    ranks = set()
    for share in QUANTILES if counts.finite else ():
        rank, between = quantile_rank(share, counts.finite)
        ranks |= {rank, rank + 1} if between else {rank}
    wanted: _Wanted = {}
    for rank in sorted(ranks):
        place, inside, times = bin_of_rank(counts, rank)
        # Inside a negative bin values ascend while patterns descend.
        wanted.setdefault(place, []).append((rank, times - 1 - inside if place >= 0x8000 else inside))
    layout = counts.layout
    for known_bits in range(16, layout.bits, 16):
        wanted = _refined(tensor, layout.bits_type, layout.bits - known_bits, wanted)
    found = {rank: pattern for pattern, entries in wanted.items() for rank, _ in entries}
    patterns = np.array(list(found.values()), dtype=layout.bits_type)
    return dict(zip(found, patterns.view(layout.float_type).astype(float).tolist(), strict=True))


def _refined(tensor: Tensor, bits_type: Any, unknown_bits: int, wanted: _Wanted) -> _Wanted:
    """Read the tensor once and extend the leading bits of every wanted entry by 16."""
    inside = {prefix: np.zeros(1 << 16, dtype=np.int64) for prefix in wanted}
    for block in tensor.blocks(BLOCK_ELEMENTS * tensor.dtype.itemsize):
        bits = wide_bits(tensor.dtype, block)
        heads = bits >> bits_type(unknown_bits)
        for prefix in wanted:
            tails = bits[heads == bits_type(prefix)] >> bits_type(unknown_bits - 16)
            if tails.size:
                inside[prefix] += np.bincount(tails.astype(np.int64) & 0xFFFF, minlength=1 << 16)
    refined: _Wanted = {}
    for prefix, entries in wanted.items():
        cumulative = np.cumsum(inside[prefix])
        for rank, place in entries:
            tail = int(np.searchsorted(cumulative, place, side="right"))
            before = int(cumulative[tail - 1]) if tail else 0
            refined.setdefault(prefix << 16 | tail, []).append((rank, place - before))
    return refined
