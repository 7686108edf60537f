"""Do two checkpoints compute the same? Every effective tensor of both, compared in units in the last place.

The effective weights are computed from the files alone, by another route than the executor's: stored value times the
constant that recognition gives. Nothing of a plan is used. Where the product in float32, which is what a network
applies, is not the same to the bit, it is computed in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.checkpoints.outputs import constant_tensor
from eqlr_tools.checkpoints.streaming import in_threads
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.errors import NothingMatchedError
from eqlr_tools.families.registry import Recognition
from eqlr_tools.rewriting.canonical import (
    CONSTANT_BIAS,
    CanonicalNetwork,
    Part,
    canonical_networks,
    with_folded_bias,
)
from eqlr_tools.rewriting.defaults import derived_parameter, implied_parameter, is_of_growth, is_open

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ULP = 2
"""Scaling by a constant rounded to float32, in float32, is within 2 ulp of the product with the exact constant."""

_BLOCK_ELEMENTS = 1 << 16
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
    """Two effective tensors of one shape that are to be compared."""

    network: str
    name: str
    left: Effective
    right: Effective
    tolerance_ulp: int

    @property
    def exact(self) -> bool:
        return not (self.left.tensor.dtype.is_float and self.right.tensor.dtype.is_float)

    @property
    def spans(self) -> list[Span]:
        return spans(self.left.tensor, self.right.tensor)

    def judged(self, found: Iterable[_Difference]) -> Comparison:
        """The comparison that the differences of all spans make."""
        worst, relative, differing = _total(found)
        equal = worst is not None and worst <= self.tolerance_ulp
        problem = "" if equal else "values differ" if worst is not None or self.exact else OVERFLOWS
        elements = self.left.tensor.numel
        return Comparison(self.network, self.name, equal, worst, relative, differing, elements, problem)


@dataclass(frozen=True)
class Verification:
    """The result for a pair of checkpoints. It passes if every tensor is within the tolerance and none is missing."""

    tolerance_ulp: int
    comparisons: tuple[Comparison, ...]
    pairs: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if not comparison.equal]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def max_ulp(self) -> int | None:
        values = [comparison.max_ulp for comparison in self.comparisons]
        return None if any(value is None for value in values) else max((v for v in values if v is not None), default=0)

    @property
    def max_relative(self) -> float:
        return max((comparison.max_relative for comparison in self.comparisons), default=0.0)


def verify(
    first: list[Recognition],
    second: list[Recognition],
    *,
    tolerance_ulp: int = MAX_ULP,
    progress: Progress = lambda _: None,
) -> Verification:
    """Compare two recognised checkpoints network by network.

    Networks are paired by name; a single one on each side is a pair whatever they are called. Raises
    NothingMatchedError if no network has a partner.
    """
    pairs, notes = _pair(first, second)
    return verify_pairs(pairs, notes, tolerance_ulp=tolerance_ulp, progress=progress)


def verify_pairs(
    pairs: Sequence[tuple[Recognition, Recognition]],
    notes: Sequence[str] = (),
    *,
    tolerance_ulp: int = MAX_ULP,
    progress: Progress = lambda _: None,
) -> Verification:
    """Compare networks whose partners are known.

    Networks of one architecture in different layouts are compared as the canonical parameters that they are.
    """
    items: list[Pair | Comparison] = []
    for left, right in pairs:
        sides = _canonical_sides(left, right)
        items += _pairs_of_canonical(*sides, tolerance_ulp) if sides else _pairs_of_networks(left, right, tolerance_ulp)
    comparisons = compare_all(items, progress)
    names = tuple((left.network.name, right.network.name) for left, right in pairs)
    return Verification(tolerance_ulp, tuple(comparisons), names, tuple(notes))


def effective_tensors(recognition: Recognition) -> dict[str, Effective]:
    """Everything a network applies, under the names that it would have if it were baked."""
    found = {name: Effective(tensor, 1.0) for name, tensor in recognition.network.tensors.items()}
    for layer in recognition.equalized:
        if layer.scale is None:
            continue
        found.pop(layer.weight, None)
        found[layer.baked_weight] = Effective(recognition.network.tensors[layer.weight], layer.scale)
        if layer.bias:
            found.pop(layer.bias, None)
            found[layer.baked_bias or layer.bias] = Effective(recognition.network.tensors[layer.bias], layer.bias_scale)
        for name in layer.scale_tensors:
            found.pop(name, None)
    return found


def _pair(
    first: list[Recognition], second: list[Recognition]
) -> tuple[list[tuple[Recognition, Recognition]], list[str]]:
    if len(first) == 1 and len(second) == 1:
        return [(first[0], second[0])], []
    others = {recognition.network.name: recognition for recognition in second}
    pairs = [(left, others[left.network.name]) for left in first if left.network.name in others]
    paired = {left.network.name for left, _ in pairs}
    lonely = [r.network.name for r in (*first, *second) if r.network.name not in paired]
    if not pairs:
        raise NothingMatchedError(
            f"no network of one file has a partner in the other ({', '.join(lonely)})",
            hint="--network NAME, once for each file, names the pair",
        )
    return pairs, [f"network {name} is in one file only and was not compared" for name in lonely]


def _canonical_sides(left: Recognition, right: Recognition) -> tuple[CanonicalNetwork, CanonicalNetwork] | None:
    """Both as canonical networks, if they are of different layouts and of one architecture."""
    if left.layout is None or right.layout is None or left.layout.id == right.layout.id:
        return None
    sides = [(a, b) for a in canonical_networks(left) for b in canonical_networks(right)]
    alike = (pair for pair in sides if _kind(pair[0]) == _kind(pair[1]))
    return next(alike, None)


def _kind(network: CanonicalNetwork) -> tuple[str, str]:
    return network.naming.architecture, network.naming.role


def _pairs_of_canonical(
    left: CanonicalNetwork, right: CanonicalNetwork, tolerance_ulp: int
) -> Iterator[Pair | Comparison]:
    """Every stored tensor of both with its partner, under its canonical name.

    A parameter that one file lacks counts as what its absence means; where it means nothing, there is nothing to
    compare. Tensors that are no canonical parameter have no partner.
    """
    network = left.recognition.network.name
    if (CONSTANT_BIAS in left.parts) != (CONSTANT_BIAS in right.parts):
        left, right = with_folded_bias(left), with_folded_bias(right)
    pairs: list[tuple[str, Part | None, Part | None]]
    pairs = [(name, part, right.parts.get(name)) for name, part in left.parts.items()]
    pairs += [(name, left.parts.get(name), part) for name, part in right.parts.items() if name not in left.parts]
    pairs += [(copy.slot.canonical, left.parts.get(copy.slot.canonical), copy) for copy in right.copies]
    pairs += [(copy.slot.canonical, copy, right.parts.get(copy.slot.canonical)) for copy in left.copies]
    for name, mine, theirs in pairs:
        if (mine is None or theirs is None) and (is_open(name) or is_of_growth(name)):
            continue
        a, b = _effective_part(name, mine, left), _effective_part(name, theirs, right)
        if a is None or b is None:
            problem = f"missing in the {'first' if a is None else 'second'} file"
            yield Comparison(network, name, False, None, problem=problem)
        else:
            yield paired(network, name, a, b, tolerance_ulp)
    for side, names in (("first", left.leftover), ("second", right.leftover)):
        for name in names:
            yield Comparison(network, name, False, None, problem=f"in the {side} file only")


def _effective_part(name: str, part: Part | None, network: CanonicalNetwork) -> Effective | None:
    if part is not None:
        return Effective(part.tensor, part.scale, part.add)
    implied = implied_parameter(name, network)
    implied = derived_parameter(name, network) if implied is None else implied
    return None if implied is None else Effective(constant_tensor(implied, "F32"), 1.0)


def _pairs_of_networks(left: Recognition, right: Recognition, tolerance_ulp: int) -> Iterator[Pair | Comparison]:
    mine, theirs = effective_tensors(left), effective_tensors(right)
    network = left.network.name
    for name, effective in mine.items():
        if name not in theirs:
            yield Comparison(network, name, False, None, problem="missing in the second file")
        else:
            yield paired(network, name, effective, theirs[name], tolerance_ulp)
    for name in theirs:
        if name not in mine:
            yield Comparison(network, name, False, None, problem="missing in the first file")


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
    items = list(items)
    parts = [(item, span) for item in items if isinstance(item, Pair) for span in item.spans]
    total_bytes = sum(item.left.tensor.nbytes for item in items if isinstance(item, Pair))

    def difference(part: tuple[Pair, Span]) -> _Difference:
        return _compare_span(part[0].left, part[0].right, part[1])

    results = in_threads(difference, parts, total_bytes)
    comparisons = []
    for item in items:
        if isinstance(item, Pair):
            found = []
            for first, end in item.spans:
                found.append(next(results))
                progress((end - first) * item.left.tensor.dtype.itemsize)
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
    elif not (_applies_plainly(left) and _applies_plainly(right)):
        return False
    with np.errstate(invalid="ignore", under="ignore"):
        pairs = _block_pairs(left, right, span)
        return all(np.array_equal(_applied(left, a), _applied(right, b)) for a, b in pairs)


def _compare_block(left: Effective, a: NDArray, right: Effective, b: NDArray) -> _Difference:
    if not (left.tensor.dtype.is_float and right.tensor.dtype.is_float):
        return None, 0.0, int(np.count_nonzero(a != b))
    if left.tensor.dtype == right.tensor.dtype and _applies_plainly(left) and _applies_plainly(right):
        with np.errstate(invalid="ignore", under="ignore"):
            unequal = _applied(left, a.copy()) != _applied(right, b.copy())
        a, b = a[unequal], b[unequal]
    return _distance(left, a, right, b)


def _applies_plainly(effective: Effective) -> bool:
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
    """The difference in units of the coarser of the two types."""
    x = left.tensor.dtype.values(a).astype(np.float64) * left.scale + left.add
    y = right.tensor.dtype.values(b).astype(np.float64) * right.scale + right.add
    both_nan = np.isnan(x) & np.isnan(y)
    coarse = min(left.tensor.dtype, right.tensor.dtype, key=lambda dtype: dtype.itemsize)
    ordered_x, ordered_y = _ordered(x, coarse), _ordered(y, coarse)
    same = (ordered_x == ordered_y) | both_nan
    if same.all():
        return 0, 0.0, 0
    x, y = x[~same], y[~same]
    if not (np.isfinite(x) & np.isfinite(y)).all() or not _stays_finite(x, coarse) or not _stays_finite(y, coarse):
        return None, math.inf, int(x.size)
    steps = np.abs(ordered_x[~same] - ordered_y[~same])
    relative = np.abs(x - y) / np.maximum(np.maximum(np.abs(x), np.abs(y)), np.finfo(np.float64).tiny)
    return int(steps.max()), float(relative.max()), int(x.size)


def _stays_finite(values: NDArray, dtype: DType) -> bool:
    return bool(np.isfinite(dtype.values(dtype.bits(values))).all())


def _ordered(values: NDArray, dtype: DType) -> NDArray[np.int64]:
    """Round to `dtype` and number its values in order, so that neighbours differ by one."""
    bits = dtype.bits(values).astype(np.int64) if dtype.itemsize < 8 else dtype.bits(values).view(np.int64)
    sign = np.int64(1) << np.int64(8 * dtype.itemsize - 1) if dtype.itemsize < 8 else None
    if sign is None:
        return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)
    return np.where(bits & sign, -(bits & (sign - 1)), bits)
