"""The error of storing weights in other formats, measured on the weights themselves.

Of 8- and 16-bit floats the histogram tells the error exactly. Of wider types it is measured in a second reading: on
every element of a tensor of up to `ALL` elements, and on `SAMPLE` elements in evenly spaced runs of a larger one, which
leaves an uncertainty of about 0.015 dB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.ranges.channels import Channels
from eqlr_tools.ranges.counting import Counts
from eqlr_tools.ranges.formats import FORMATS, powers_of_two
from eqlr_tools.ranges.reading import numbers
from eqlr_tools.ranges.scaled import Scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALL = 1 << 20
SAMPLE = 1 << 17
_RUN = 1 << 15
_INT8_LARGEST = 127
_ROW = 1 << 13
"""Elements of one dot product: below the length from which BLAS would start threads."""

_FAR = 1000
"""Exponents beyond which a power of two may be no float64."""

_Span = tuple[int, int]


@dataclass(frozen=True)
class Noise:
    """Sums of squares of weights and of their errors, in a common unit. Parts add up."""

    signal: float = 0.0
    error: float = 0.0

    def __add__(self, other: Noise) -> Noise:
        return Noise(self.signal + other.signal, self.error + other.error)

    @property
    def snr_db(self) -> float | None:
        """The signal-to-noise ratio; None where there is no error."""
        if not (self.error > 0 and self.signal > 0):
            return None
        return 10 * (math.log10(self.signal) - math.log10(self.error))


@dataclass(frozen=True)
class NoiseReport:
    """The noise of each format, for stored and effective weights, and of int8. `exact`: of all elements."""

    stored: dict[str, Noise]
    effective: dict[str, Noise]
    int8_per_tensor: Noise
    int8_per_channel: Noise
    exact: bool


def measure_noise(tensor: Tensor, counts: Counts, scale: float, channels: Channels) -> NoiseReport:
    """Read the tensor, or a sample of it, again, and round it to every format."""
    largest = max(abs(counts.minimum), abs(counts.maximum)) if counts.finite else 0.0
    meter = _Meter(counts, scale, channels, largest)
    if counts.cuts is None:
        meter.add_products()
    if counts.cuts is not None or channels.count > 1:
        for spans, values in _sampled(tensor, counts):
            meter.add(values, spans)
    else:
        meter.per_channel = meter.per_tensor
    return NoiseReport(meter.stored, meter.effective, meter.per_tensor, meter.per_channel, tensor.numel <= ALL)


def _sampled(tensor: Tensor, counts: Counts) -> Iterator[tuple[list[_Span], NDArray[Any]]]:
    """Finite values in the layout's type and the spans of flat indices they stand at, non-finite ones as zero."""
    for spans in _spans(tensor):
        runs = [next(tensor.blocks(tensor.nbytes, span)) for span in spans]
        bits = runs[0] if len(runs) == 1 else np.concatenate(runs)
        values = numbers(tensor.dtype, bits)
        if counts.finite != counts.count:
            values = np.where(np.isfinite(values), values, values.dtype.type(0))
        yield spans, values


def _spans(tensor: Tensor) -> Iterator[list[_Span]]:
    """What is looked at together: all of a small tensor, `SAMPLE` elements after the other, or runs of a large one."""
    if tensor.numel <= ALL:
        for start in range(0, tensor.numel, SAMPLE):
            yield [(start, min(start + SAMPLE, tensor.numel))]
        return
    runs = SAMPLE // _RUN
    starts = [index * (tensor.numel - _RUN) // (runs - 1) for index in range(runs)]
    yield [(start, start + _RUN) for start in starts]


class _Meter:
    """Adds up the noise of blocks of values."""

    def __init__(self, counts: Counts, scale: float, channels: Channels, largest: float) -> None:
        self._layout = counts.layout
        self._counts = counts
        self._scale = scale
        self._channels = channels
        self._largest = largest
        self._unit = -math.frexp(largest)[1]
        maxima = np.ldexp(self._layout.values(counts.channel_maxima).astype(np.float64), self._unit)
        # A channel below 1e-300 of the largest weight adds nothing to either sum, whatever it is divided by.
        self._maxima = np.where(maxima > 1e-300, maxima, 1.0)
        self._tensor_maximum = np.full(1, math.ldexp(largest, self._unit) or 1.0)
        self._formats = () if counts.cuts is None else FORMATS
        self.stored = {form.name: Noise() for form in FORMATS}
        self.effective = {form.name: Noise() for form in FORMATS}
        self.per_tensor = self.per_channel = Noise()

    def add(self, values: NDArray[Any], spans: list[_Span]) -> None:
        if self._formats:
            _add_formats(self.stored, values, self._largest)
            if self._scale != 1.0:
                products = self._layout.scaled(values, self._scale)
                _add_formats(self.effective, products, Scaled(self._counts, self._scale).product(self._largest))
            else:
                self.effective = self.stored
        if self._largest > 0:
            wide = _in_unit(values.astype(np.float64), self._unit)
            signal = sum_of_squares(wide)
            if self._formats:
                self.per_tensor += Noise(signal, _int8_error(wide, self._tensor_maximum))
            if self._maxima.size == 1:
                self.per_channel = self.per_tensor
            else:
                maxima = [self._channels.spread(self._maxima, first, end - first) for first, end in spans]
                self.per_channel += Noise(
                    signal, _int8_error(wide, maxima[0] if len(maxima) == 1 else np.concatenate(maxima))
                )

    def add_products(self) -> None:
        """Measure 8- and 16-bit floats from their histogram, all but int8 by channel."""
        values, weights = self._add_scaled(self.stored, 1.0)
        wide = _in_unit(values, self._unit)
        self.per_tensor = Noise(sum_of_squares(wide * weights), _int8_error(wide, self._tensor_maximum, weights))
        if self._scale == 1.0:
            self.effective = self.stored
        else:
            self._add_scaled(self.effective, self._scale)

    def _add_scaled(self, noises: dict[str, Noise], scale: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Add the noise of the values that occur, times a constant. Returns them, and the roots of how often."""
        products, times = Scaled(self._counts, scale).products
        weights = np.sqrt(times.astype(np.float64))
        _add_formats(noises, products.astype(np.float32), float(np.abs(products).max(initial=0.0)), weights)
        return products, weights


def sum_of_squares(values: NDArray[np.float64]) -> float:
    """In dot products too short for BLAS to start threads for."""
    whole = values.size // _ROW * _ROW
    rows, rest = values[:whole].reshape(-1, _ROW), values[whole:]
    return float(np.vecdot(rows, rows).sum() + np.dot(rest, rest))


def _add_formats(
    noises: dict[str, Noise], values: NDArray[Any], largest: float, weights: NDArray[np.float64] | None = None
) -> None:
    """Add the noise of one block in every format; none is measured where something overflows.

    Values that stand for several equal ones come with the square root of their number.
    """
    largest = abs(largest)
    unit = -math.frexp(largest)[1] if values.dtype == np.float64 and math.isfinite(largest) else 0
    signal, powers = _energy(values, unit, weights), powers_of_two(values)
    for form in FORMATS:
        if largest < form.bounds(values.dtype)[2]:
            noises[form.name] += Noise(signal, _energy(form.rounding_errors(values, powers), unit, weights))


def _energy(values: NDArray[Any], unit: int, weights: NDArray[np.float64] | None) -> float:
    wide = _in_unit(values.astype(np.float64), unit)
    if weights is not None:
        wide *= weights
    return sum_of_squares(wide)


def _in_unit(values: NDArray[np.float64], exponent: int) -> NDArray[np.float64]:
    """The values times a power of two, in place."""
    if abs(exponent) > _FAR:
        np.ldexp(values, exponent, out=values)
    elif exponent:
        np.multiply(values, math.ldexp(1.0, exponent), out=values)
    return values


def _int8_error(
    values: NDArray[np.float64], largest: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> float:
    """The squared error of rounding to multiples of 1/127 of the `largest` magnitude; `weights` as everywhere.

    Divided by it first, the largest is 1 exactly, and loses nothing.
    """
    errors = values / largest
    errors *= _INT8_LARGEST
    errors -= np.rint(errors)
    if weights is not None:
        errors *= weights
    if largest.size == 1:
        return sum_of_squares(errors) * float(largest[0] / _INT8_LARGEST) ** 2
    errors *= largest
    return sum_of_squares(errors) / _INT8_LARGEST**2
