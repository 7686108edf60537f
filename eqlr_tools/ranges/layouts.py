"""The bit patterns of wide floats, read as ordered integers, and the cuts at which they are counted.

A magnitude's pattern grows with the magnitude, so "how many weights are at least T" asks for the rank of a pattern. A
histogram of the top 16 bits answers for every pattern whose lower bits are zero. The others (thresholds that are no
powers of two, or that were divided by a constant) lie inside a bin; such bins are *watched*, and the few values that
fall into them are counted at full resolution.

Effective weights are products w = v * c, rounded to the type of v. Rounding keeps order, so "w >= T" is "v >= t" for
one pattern t, found by bisection: no count needs the products themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.ranges.formats import FORMATS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Layout:
    """A wide float: its type, bits, and bits of fraction."""

    name: str
    bits: int
    fraction_bits: int

    @property
    def float_type(self) -> Any:
        return np.float32 if self.bits == 32 else np.float64

    @property
    def bits_type(self) -> Any:
        return np.uint32 if self.bits == 32 else np.uint64

    @property
    def shift(self) -> int:
        """Bits below the 16 that the histogram sees."""
        return self.bits - 16

    @property
    def magnitude_mask(self) -> int:
        return (1 << (self.bits - 1)) - 1

    @property
    def infinity(self) -> int:
        """The pattern of infinity; those above it are NaN."""
        return ((1 << (self.bits - 1 - self.fraction_bits)) - 1) << self.fraction_bits

    @property
    def binade_edges(self) -> NDArray[np.float64]:
        """All powers of two that the type represents, subnormal ones included."""
        exponent_bits = self.bits - 1 - self.fraction_bits
        bias = (1 << (exponent_bits - 1)) - 1
        exponents = np.arange(1 - bias - self.fraction_bits, bias + 1)
        return np.ldexp(1.0, exponents)

    def values(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return patterns.astype(self.bits_type).view(self.float_type)

    def scaled(self, values: NDArray[Any], scale: float) -> NDArray[Any]:
        """The effective values, as a network computes them: the product in the type of the weights."""
        with np.errstate(over="ignore", invalid="ignore"):
            product: NDArray[Any] = values * self.float_type(scale)
        return product


F32 = Layout("F32", 32, 23)
F64 = Layout("F64", 64, 52)


@dataclass(frozen=True, eq=False)
class Cuts:
    """Watched bins, and the patterns at which they are cut: their lower edges and the cuts inside, ascending."""

    layout: Layout
    scale: float
    bins: NDArray[np.intp]
    edges: NDArray[Any]
    flags: NDArray[np.bool_]

    def __reduce__(self) -> tuple[Any, tuple[Layout, float]]:
        """Between processes only what the cuts follow from is sent."""
        return cuts_for, (self.layout, self.scale)

    def count(self, magnitudes: NDArray[Any]) -> NDArray[np.int64]:
        """How many of the magnitudes, all in watched bins, lie between each edge and the next."""
        nonzero = magnitudes[magnitudes != 0]
        places = np.searchsorted(self.edges, nonzero, side="right") - 1
        counted = np.bincount(places, minlength=len(self.edges)).astype(np.int64)
        # Zeros, of which a pruned layer has many, are below every cut: no search is needed.
        counted[0] += magnitudes.size - nonzero.size
        return counted


def different(parts: Sequence[ArrayLike]) -> NDArray[Any]:
    """The different values of some arrays, ascending: `np.unique` without its import of `numpy.ma`, a tenth of the time
    in which a small audit starts."""
    values: NDArray[Any] = np.sort(np.concatenate(parts))
    return values[np.flatnonzero(np.append(True, values[1:] != values[:-1]))] if values.size else values


@cache
def bounds_of(layout: Layout) -> NDArray[np.float64]:
    """Every magnitude that a report counts from: all powers of two, the limits of all formats, and infinity."""
    limits = [bound for form in FORMATS for bound in form.bounds(np.dtype(layout.float_type))]
    return different([layout.binade_edges, limits, [np.inf]])


@lru_cache(maxsize=256)
def first_reaching(layout: Layout, scale: float) -> NDArray[Any]:
    """For each of `bounds_of` the least pattern whose value times `scale` reaches it (infinity's, if none does)."""
    bounds = bounds_of(layout)
    low = np.zeros(len(bounds), dtype=layout.bits_type)
    high = np.full(len(bounds), layout.infinity, dtype=layout.bits_type)
    for _ in range(layout.bits - 1):
        middle = low + (high - low) // layout.bits_type(2)
        reached = layout.scaled(middle.view(layout.float_type), scale) >= bounds
        high = np.where(reached, middle, high)
        low = np.where(reached, low, np.minimum(middle + layout.bits_type(1), high))
    return high


@lru_cache(maxsize=256)
def cuts_for(layout: Layout, scale: float) -> Cuts:
    """The cuts that the report of a tensor with this constant needs, stored and effective."""
    patterns = different([first_reaching(layout, 1.0), first_reaching(layout, scale)])
    low_bits = layout.bits_type((1 << layout.shift) - 1)
    inside = patterns[(patterns & low_bits) != 0]
    bins = different([inside >> layout.bits_type(layout.shift)]).astype(np.intp)
    edges = different([inside, bins.astype(layout.bits_type) << layout.bits_type(layout.shift)])
    both = np.concatenate([bins, bins + 0x8000])
    flags = np.zeros(1 << 16, dtype=np.bool_)
    flags[both] = True
    return Cuts(layout, scale, both, edges, flags)
