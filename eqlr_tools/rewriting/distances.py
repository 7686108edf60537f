"""How far are two effective tensors apart? Block by block, in units in the last place, on two threads.

Bits that are equal as stored, or as a network applies them (times the constant in float32), are equal. What is not is
computed in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.checkpoints.memory import keep_freed_memory
from eqlr_tools.checkpoints.streaming import in_threads
from eqlr_tools.checkpoints.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ULP = 2
"""Scaling by a constant rounded to float32, in float32, is within 2 ulp of the product with the exact constant."""

_BLOCK_ELEMENTS = 1 << 16
_VOUCHED_ELEMENTS = 1 << 12
_SPAN_ELEMENTS = 1 << 21

OVERFLOWS = "finite in one file only"

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Effective:
    """What a network applies under one name: a tensor times a constant, plus another."""

    tensor: Tensor
    scale: float
    add: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """One tensor of two checkpoints. `max_ulp` is None where a number meets a NaN or infinity, or shapes differ."""

    network: str
    name: str
    equal: bool
    max_ulp: int | None = 0
    max_relative: float = 0.0
    differing: int = 0
    elements: int = 0
    problem: str = ""


Span = tuple[int, int]
"""Flat indices, from the first to before the second."""

_Difference = tuple[int | None, float, int]
"""(largest ulp, largest relative difference, count of differing elements)."""

NO_DIFFERENCE: _Difference = (0, 0.0, 0)


@dataclass(frozen=True)
class Pair:
    """Two effective tensors of one shape that are to be compared; only their beginnings where `witness` vouches for the
    rest."""

    network: str
    name: str
    left: Effective
    right: Effective
    tolerance_ulp: int
    vouched: bool = False

    def held_to_copies(self) -> Pair:
        """The pair, with no tolerance if one side can only be a copy of the other."""
        sides = ((side.tensor.dtype, side.scale, side.add) for side in (self.left, self.right))
        return replace(self, tolerance_ulp=0) if next(sides) == next(sides) else self

    @property
    def exact(self) -> bool:
        return not (self.left.tensor.dtype.is_float and self.right.tensor.dtype.is_float)

    @property
    def spans(self) -> list[Span]:
        if self.vouched:
            return [(0, min(self.left.tensor.numel, _VOUCHED_ELEMENTS))]
        return spans(self.left.tensor, self.right.tensor)

    def judged(self, found: Iterable[_Difference]) -> Comparison:
        """The comparison that the differences of all spans make."""
        worst, relative, differing = _total(found)
        equal = worst is not None and worst <= self.tolerance_ulp
        problem = "" if equal else "values differ" if worst is not None or self.exact else OVERFLOWS
        elements = self.left.tensor.numel
        return Comparison(self.network, self.name, equal, worst, relative, differing, elements, problem)


def paired(network: str, name: str, left: Effective, right: Effective, tolerance_ulp: int) -> Pair | Comparison:
    """What is to be compared, or why it cannot be. Types that are no floats must be equal bit for bit."""
    if left.tensor.shape != right.tensor.shape:
        problem = f"shape {list(left.tensor.shape)} in the first file, {list(right.tensor.shape)} in the second"
        return Comparison(network, name, False, None, problem=problem)
    pair = Pair(network, name, left, right, tolerance_ulp)
    if pair.exact and left.tensor.dtype != right.tensor.dtype:
        problem = f"{left.tensor.dtype.torch} in the first file, {right.tensor.dtype.torch} in the second"
        return Comparison(network, name, False, None, problem=problem)
    return pair


def compare_all(items: Iterable[Pair | Comparison], progress: Progress) -> list[Comparison]:
    """Compare all pairs; the answers are in order. Tensors are cut into spans, so that a large one is no bottleneck."""
    keep_freed_memory()
    items = list(items)
    parts = [(item, span) for item in items if isinstance(item, Pair) for span in item.spans]
    total_bytes = sum((end - first) * item.left.tensor.dtype.itemsize for item, (first, end) in parts)

    def difference(part: tuple[Pair, Span]) -> _Difference:
        return _compare_span(part[0].left, part[0].right, part[1])

    results = in_threads(difference, parts, total_bytes)
    comparisons = []
    for item in items:
        if isinstance(item, Pair):
            found = []
            for first, end in item.spans:
                found.append(next(results))
                compared = item.left.tensor.numel if item.vouched else end - first
                progress(compared * item.left.tensor.dtype.itemsize)
            item = item.judged(found)
        comparisons.append(item)
    return comparisons


def _total(differences: Iterable[_Difference]) -> _Difference:
    worst: int | None = 0
    relative, differing = 0.0, 0
    for ulp, rel, count in differences:
        worst = None if worst is None or ulp is None else max(worst, ulp)
        relative, differing = max(relative, rel), differing + count
    return worst, relative, differing


def spans(left: Tensor, right: Tensor) -> list[Span]:
    """Spans to compare at a time. A view that is not contiguous cannot be read in parts."""
    step = _SPAN_ELEMENTS if left.is_contiguous and right.is_contiguous else max(left.numel, 1)
    return [(first, min(first + step, left.numel)) for first in range(0, left.numel, step)]


def _compare_span(left: Effective, right: Effective, span: Span) -> _Difference:
    """What is equal to the bit, as stored or as a network applies it, needs no arithmetic in float64."""
    if _same_bits(left, right, span):
        return NO_DIFFERENCE
    return _total(_compare_block(left, a, right, b) for a, b in _block_pairs(left, right, span))


def _block_pairs(left: Effective, right: Effective, span: Span) -> Iterator[tuple[NDArray, NDArray]]:
    block = _BLOCK_ELEMENTS if left.tensor.is_contiguous and right.tensor.is_contiguous else left.tensor.numel
    blocks = (side.tensor.blocks(block * side.tensor.dtype.itemsize, span) for side in (left, right))
    return zip(*blocks, strict=True)


def _same_bits(left: Effective, right: Effective, span: Span) -> bool:
    if left.tensor.dtype != right.tensor.dtype:
        return False
    if (left.scale, left.add) == (right.scale, right.add):
        left, right = (Effective(side.tensor, 1.0) for side in (left, right))
    elif not (applies_plainly(left) and applies_plainly(right)):
        return False
    with np.errstate(invalid="ignore", under="ignore"):
        pairs = _block_pairs(left, right, span)
        return all(np.array_equal(_applied(left, a), _applied(right, b)) for a, b in pairs)


def _compare_block(left: Effective, a: NDArray, right: Effective, b: NDArray) -> _Difference:
    if not (left.tensor.dtype.is_float and right.tensor.dtype.is_float):
        return None, 0.0, int(np.count_nonzero(a != b))
    if left.tensor.dtype == right.tensor.dtype and applies_plainly(left) and applies_plainly(right):
        with np.errstate(invalid="ignore", under="ignore"):
            unequal = _applied(left, a.copy()) != _applied(right, b.copy())
        a, b = a[unequal], b[unequal]
    return _distance(left, a, right, b)


def applies_plainly(effective: Effective) -> bool:
    """True if one float32 product gives what is applied, and cannot overflow: an overflow must be found."""
    dtype = effective.tensor.dtype
    return dtype.is_float and dtype.itemsize <= 4 and effective.add == 0.0 and 0 < effective.scale <= 1


def _applied(effective: Effective, bits: NDArray) -> NDArray:
    """The bits of the effective weights as a network computes them: times the constant in float32, rounded once.

    They take the place of the stored ones.
    """
    dtype, scale = effective.tensor.dtype, effective.scale
    if scale == 1.0:
        return bits
    if dtype.itemsize <= 2:
        return np.take(_applied_patterns(dtype, scale), bits, mode="clip", out=bits)
    values = dtype.values(bits)
    np.multiply(values, np.float32(scale), out=values)
    return bits


@lru_cache(maxsize=64)
def _applied_patterns(dtype: DType, scale: float) -> NDArray:
    """What is applied for each pattern of an 8- or 16-bit float."""
    patterns = np.arange(1 << 8 * dtype.itemsize, dtype=dtype.bits_dtype)
    with np.errstate(invalid="ignore", under="ignore"):
        return dtype.bits(dtype.values(patterns).astype(np.float32) * np.float32(scale))


def _distance(left: Effective, a: NDArray, right: Effective, b: NDArray) -> _Difference:
    """The difference in units of the coarser of the two types. What rounds to the same bits is looked at no further."""
    coarse = min(left.tensor.dtype, right.tensor.dtype, key=lambda dtype: dtype.itemsize)
    rounded_a, rounded_b = _rounded(left, a, coarse), _rounded(right, b, coarse)
    different = np.flatnonzero(rounded_a != rounded_b)
    rounded_a, rounded_b = rounded_a[different], rounded_b[different]
    x, y = coarse.values(rounded_a), coarse.values(rounded_b)
    places_a, places_b = _ordered(rounded_a, coarse), _ordered(rounded_b, coarse)
    differing = (places_a != places_b) & ~(np.isnan(x) & np.isnan(y))
    count = int(np.count_nonzero(differing))
    if count == 0:
        return NO_DIFFERENCE
    if not (np.isfinite(x[differing]) & np.isfinite(y[differing])).all():
        return None, math.inf, count
    steps = np.abs(places_a - places_b)[differing]
    x, y = _exact(left, a[different[differing]]), _exact(right, b[different[differing]])
    relative = np.abs(x - y) / np.maximum(np.maximum(np.abs(x), np.abs(y)), np.finfo(np.float64).tiny)
    return int(steps.max()), float(relative.max()), count


def _exact(effective: Effective, bits: NDArray) -> NDArray:
    """The effective values in float64."""
    values: NDArray = effective.tensor.dtype.values(bits).astype(np.float64)
    values *= effective.scale
    if effective.add:
        values += effective.add
    return values


def _rounded(effective: Effective, bits: NDArray, dtype: DType) -> NDArray:
    """The bits of the effective values, rounded once to a type."""
    plain = (effective.scale, effective.add, effective.tensor.dtype) == (1.0, 0.0, dtype)
    return bits if plain else dtype.bits(_exact(effective, bits))


def _ordered(bits: NDArray, dtype: DType) -> NDArray[np.int64]:
    """The numbers of a type's values in their order, so that neighbours differ by one; both zeros are 0."""
    if dtype.itemsize == 8:
        wide = bits.view(np.int64)
        return np.where(wide < 0, np.int64(-(2**63)) - wide, wide)
    places = bits.astype(np.int64)
    sign = np.int64(1) << np.int64(8 * dtype.itemsize - 1)
    return np.where(places & sign, sign - places, places)
