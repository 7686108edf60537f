"""Output channels of a weight: which elements of the flat tensor belong to which, and the largest magnitude of each.

Seen as (outer, channels, inner) the channel of flat element i is (i // inner) % channels. The channel axis is the
first one (linear, convolution), or the second: transposed convolutions are stored (in, out, *kernel), StyleGAN2's
modulated ones (1, out, in, k, k).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.scaling import is_modulated

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONG_ROW = 64
"""From here on `reduceat` is the fastest maximum over rows; shorter ones are transposed first."""


@dataclass(frozen=True)
class Channels:
    """How many channels there are, and how many elements of one follow each other."""

    count: int
    inner: int

    def spread(self, values: NDArray[Any], first: int, size: int) -> NDArray[Any]:
        """The value that belongs to the channel of each of `size` elements from flat index `first` on."""
        rows = np.arange(first // self.inner, (first + size - 1) // self.inner + 1)
        lengths = np.full(rows.size, self.inner)
        lengths[-1:] = (first + size - 1) % self.inner + 1
        lengths[:1] -= first % self.inner
        return np.repeat(values[rows % self.count], lengths)

    def add_maxima(self, maxima: NDArray[Any], magnitudes: NDArray[Any], first: int) -> None:
        """Raise each channel's maximum by the magnitudes of a run of elements that begins at flat index `first`."""
        head = -first % self.inner
        if self.inner >= _LONG_ROW or head >= magnitudes.size:
            starts = np.arange(head, magnitudes.size, self.inner)
            if head:
                starts = np.concatenate([[0], starts])
            self._raise(maxima, np.maximum.reduceat(magnitudes, starts), first // self.inner)
            return
        body = (magnitudes.size - head) // self.inner * self.inner
        if head:
            self._raise(maxima, magnitudes[:head].max(keepdims=True), first // self.inner)
        row = (first + head) // self.inner
        rows = magnitudes[head : head + body].reshape(-1, self.inner)
        self._raise(maxima, np.ascontiguousarray(rows.T).max(axis=0, initial=0), row)
        if head + body < magnitudes.size:
            self._raise(maxima, magnitudes[head + body :].max(keepdims=True), row + len(rows))

    def _raise(self, maxima: NDArray[Any], rows: NDArray[Any], first_row: int) -> None:
        np.maximum.at(maxima, np.arange(first_row, first_row + len(rows)) % self.count, rows)


def channels_of(kind: str, shape: tuple[int, ...]) -> Channels:
    """The output channels of a layer's weight. A tensor of fewer than two axes has one channel."""
    if len(shape) < 2:
        return Channels(1, max(math.prod(shape), 1))
    axis = 1 if kind.startswith("conv_transpose") or is_modulated(shape) else 0
    return Channels(max(shape[axis], 1), max(math.prod(shape[axis + 1 :]), 1))
