"""Resampling with long FIR filters, as banded matrices along one axis.

Both are true convolutions (the filter runs backwards over its input), as signal processing and NVIDIA's code mean them:

    upsampling     every sample, and up - 1 zeros behind it; `padding` zeros before and behind, fewer than none being a
                   crop; the filter; times up, for the samples that the zeros would have taken
    downsampling   the filter, then every `down`-th of its results

The filters of two axes are one and the same, or one of two dimensions, which is a sum of products of vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 16
"""Rows of a banded matrix that are multiplied at once: few enough that most columns of a long axis are left out."""

_PRODUCT = 1 << 17
"""Multiplications in one product of matrices: larger ones BLAS divides among threads, which costs more than it gains
while every thread works on channels of its own."""

_NEGLIGIBLE = 1e-14
"""A singular value this much smaller than the largest one is rounding."""


def upsampling(length: int, taps: NDArray, up: int, padding: tuple[int, int]) -> NDArray:
    """The matrix that upsamples an axis of this length."""
    rows = length * up + sum(padding) - len(taps) + 1
    tap = np.arange(rows)[:, None] + len(taps) - 1 - padding[0] - np.arange(length) * up
    matrix: NDArray = np.where((tap >= 0) & (tap < len(taps)), up * taps[np.clip(tap, 0, len(taps) - 1)], 0.0)
    return matrix


def downsampling(length: int, taps: NDArray, down: int) -> NDArray:
    """The matrix that downsamples an axis of this length."""
    rows = (length - len(taps)) // down + 1
    matrix = np.zeros((rows, length))
    for row in range(rows):
        matrix[row, row * down : row * down + len(taps)] = taps[::-1]
    return matrix


def separated(fir: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """Pairs of taps (along rows, along columns) whose products add up to the filter of one or two dimensions."""
    if fir.ndim == 1:
        yield fir, fir
        return
    left, sizes, right = np.linalg.svd(fir)
    for column, size, row in zip(left.T, sizes, right, strict=True):
        if size > _NEGLIGIBLE * sizes[0]:
            yield column * size, row


def along_height(matrix: NDArray, x: NDArray) -> NDArray:
    """The matrix applied to the last axis but one."""
    out = np.empty((*x.shape[:-2], len(matrix), x.shape[-1]), dtype=x.dtype)
    for rows, columns, block in _blocks(matrix.astype(x.dtype)):
        for part in _parts(x.shape[-1], block.size):
            np.matmul(block, x[..., columns, part], out=out[..., rows, part])
    return out


def along_width(matrix: NDArray, x: NDArray) -> NDArray:
    """The matrix applied to the last axis."""
    out = np.empty((*x.shape[:-1], len(matrix)), dtype=x.dtype)
    for rows, columns, block in _blocks(matrix.astype(x.dtype)):
        for part in _parts(x.shape[-2], block.size):
            np.matmul(x[..., part, columns], block.T, out=out[..., part, rows])
    return out


def _parts(length: int, each: int) -> Iterator[slice]:
    """An axis in parts whose products are of the size that one thread works off, if every index costs `each`."""
    step = max(_PRODUCT // max(each, 1), 1)
    return (slice(start, start + step) for start in range(0, length, step))


def _blocks(matrix: NDArray) -> Iterator[tuple[slice, slice, NDArray]]:
    """Some rows at a time, and of them only the columns that are not all zero."""
    for start in range(0, len(matrix), _BLOCK):
        rows = slice(start, start + _BLOCK)
        used = np.flatnonzero(matrix[rows].any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)
        yield rows, columns, np.ascontiguousarray(matrix[rows, columns])
