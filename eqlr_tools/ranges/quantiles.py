"""Exact quantiles of wide floats: the histogram names the bins, and a second reading sorts what is inside them.

Bins that hold too much to be sorted are resolved further first, by 16 more bits of the patterns in each reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.ranges.counting import Counts, wide_bits
from eqlr_tools.ranges.scaled import OrderStatistics, bin_of_rank, quantile_rank
from eqlr_tools.ranges.scratch import BLOCK_ELEMENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)

SORTED_ELEMENTS = 1 << 18
"""At most so many elements are sorted: a few megabytes, whatever the tensor."""

_Wanted = dict[int, list[tuple[int, int]]]
"""By the leading bits of the pattern: (rank, rank among the values with these bits, by ascending pattern)."""


def exact_order_statistics(tensor: Tensor, counts: Counts) -> OrderStatistics:
    """The exact values behind every quantile of `QUANTILES`, by rank."""
    ranks = set()
    for share in QUANTILES if counts.finite else ():
        rank, between = quantile_rank(share, counts.finite)
        ranks |= {rank, rank + 1} if between else {rank}
    wanted: _Wanted = {}
    inside_all = 0
    for rank in sorted(ranks):
        place, inside, times = bin_of_rank(counts, rank)
        inside_all += 0 if place in wanted else times
        # Inside a negative bin values ascend while patterns descend.
        wanted.setdefault(place, []).append((rank, times - 1 - inside if place >= 0x8000 else inside))
    layout = counts.layout
    unknown_bits = layout.shift
    while unknown_bits and inside_all > SORTED_ELEMENTS:
        wanted, inside_all = _refined(tensor, layout.bits_type, unknown_bits, wanted)
        unknown_bits -= 16
    if unknown_bits and wanted:
        wanted = _sorted(tensor, layout.bits_type, unknown_bits, wanted)
    found = {rank: pattern for pattern, entries in wanted.items() for rank, _ in entries}
    patterns = np.array(list(found.values()), dtype=layout.bits_type)
    return dict(zip(found, patterns.view(layout.float_type).astype(float).tolist(), strict=True))


def _sorted(tensor: Tensor, bits_type: Any, unknown_bits: int, wanted: _Wanted) -> _Wanted:
    """Read the tensor once and find the whole pattern of every wanted entry."""
    prefixes = np.array(sorted(wanted), dtype=bits_type)
    gathered = [np.zeros(0, dtype=bits_type)]
    for block in tensor.blocks(BLOCK_ELEMENTS * tensor.dtype.itemsize):
        bits = wide_bits(tensor.dtype, block)
        gathered.append(bits[_belongs(bits >> bits_type(unknown_bits), prefixes)])
    patterns = np.sort(np.concatenate(gathered))
    starts = np.searchsorted(patterns, prefixes << bits_type(unknown_bits)).tolist()
    found: _Wanted = {}
    for prefix, start in zip(prefixes.tolist(), starts, strict=True):
        for rank, place in wanted[prefix]:
            found.setdefault(int(patterns[start + place]), []).append((rank, 0))
    return found


def _belongs(heads: NDArray[Any], prefixes: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the leading bits are among the wanted ones."""
    if int(prefixes[-1]) < 1 << 16:
        flags = np.zeros(1 << 16, dtype=np.bool_)
        flags[prefixes] = True
        chosen: NDArray[np.bool_] = flags[heads.astype(np.intp)]
        return chosen
    return np.isin(heads, prefixes)


def _refined(tensor: Tensor, bits_type: Any, unknown_bits: int, wanted: _Wanted) -> tuple[_Wanted, int]:
    """Read the tensor once and extend the leading bits of every wanted entry by 16; also how much is left inside."""
    inside = {prefix: np.zeros(1 << 16, dtype=np.int64) for prefix in wanted}
    for block in tensor.blocks(BLOCK_ELEMENTS * tensor.dtype.itemsize):
        bits = wide_bits(tensor.dtype, block)
        heads = bits >> bits_type(unknown_bits)
        for prefix in wanted:
            tails = bits[heads == bits_type(prefix)] >> bits_type(unknown_bits - 16)
            if tails.size:
                inside[prefix] += np.bincount(tails.astype(np.int64) & 0xFFFF, minlength=1 << 16)
    refined: _Wanted = {}
    left = 0
    for prefix, entries in wanted.items():
        cumulative = np.cumsum(inside[prefix])
        for rank, place in entries:
            tail = int(np.searchsorted(cumulative, place, side="right"))
            before = int(cumulative[tail - 1]) if tail else 0
            left += 0 if prefix << 16 | tail in refined else int(cumulative[tail]) - before
            refined.setdefault(prefix << 16 | tail, []).append((rank, place - before))
    return refined, left
