"""The few array operations that the networks are made of, in numpy and in the dtype of their input.

Images are (samples, channels, height, width), kernels (out, in, height, width). Every kernel is *correlated* with
its input, as `nn.Conv2d` does it. These are references to check against, written for clarity; a 1024 pixel generator
takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.scaling import SQRT2

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLOPE = 0.2
"""Negative slope of the leaky ReLU, in every network of this lineage."""


def correlate(x: NDArray, kernel: NDArray, *, stride: int = 1, padding: int = 0) -> NDArray:
    """Convolution as networks mean it. A matrix product per tap of the kernel, so that memory stays small."""
    samples, channels, height, width = x.shape
    padded = pad(x, (padding, padding))
    rows = (height + 2 * padding - kernel.shape[2]) // stride + 1
    columns = (width + 2 * padding - kernel.shape[3]) // stride + 1
    if stride == 1:
        across = padded.shape[3]
        taps = [(kernel[:, :, i, j], i * across + j) for i, j in np.ndindex(*kernel.shape[2:])]
        return np.stack([_summed(sample, taps, rows, columns) for sample in padded])
    out = np.zeros((samples, kernel.shape[0], rows * columns), dtype=np.result_type(x, kernel))
    for i in range(kernel.shape[2]):
        for j in range(kernel.shape[3]):
            seen = padded[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            out += kernel[:, :, i, j] @ seen[:, :, :rows, :columns].reshape(samples, channels, rows * columns)
    return out.reshape(samples, kernel.shape[0], rows, columns)


def correlate_spread(x: NDArray, kernel: NDArray) -> NDArray:
    """`correlate` of x with a zero behind every pixel but the last ones, padded by 2, without multiplying zeros.

    A 3x3 kernel's tap (i, j) meets the pixels at rows 2 - i, 4 - i ... of the result: the even rows see taps 2 and 0
    of the pixel above and at it, the odd ones tap 1, and columns alike.
    """
    samples, _, height, width = x.shape
    out = np.empty((samples, kernel.shape[0], 2 * height + 1, 2 * width + 1), dtype=np.result_type(x, kernel))
    padded, across = pad(x, (1, 1)), width + 2
    seen = ([(0, 0), (2, 1)], [(1, 1)])
    for p, q in np.ndindex(2, 2):
        taps = [(kernel[:, :, i, j], row * across + column) for i, row in seen[p] for j, column in seen[q]]
        # Tap 0 meets the pixel above: a result's first row sees nothing there, and the last one nothing but that.
        for sample, image in zip(padded, out, strict=True):
            image[:, p::2, q::2] = _summed(sample, taps, height + 1 - p, width + 1 - q)
    return out


_BLOCK_BYTES = 1 << 24
"""Taps laid below each other, for one product of matrices: few and large ones keep all cores busy."""


def _summed(image: NDArray, taps: Sequence[tuple[NDArray, int]], rows: int, columns: int) -> NDArray:
    """Sums of matrices (out, in) times the image, shifted by flat offsets, as one product per block of pixels.

    Rows are as long as the image's, and what runs over their ends is cut off behind.
    """
    channels, _, across = image.shape
    flat = image.reshape(channels, -1)
    length = (rows - 1) * across + columns
    kernels = np.concatenate([kernel for kernel, _ in taps], axis=1)
    out = np.empty((len(kernels), rows * across), dtype=np.result_type(image, kernels))
    step = max(_BLOCK_BYTES // (channels * len(taps) * image.itemsize), 64)
    below = np.empty((len(taps), channels, min(step, length)), dtype=image.dtype)
    for start in range(0, length, step):
        end = min(start + step, length)
        block = below if end - start == below.shape[2] else np.empty((*below.shape[:2], end - start), below.dtype)
        for place, (_, offset) in zip(block, taps, strict=True):
            place[...] = flat[:, start + offset : end + offset]
        out[:, start:end] = kernels @ block.reshape(len(taps) * channels, end - start)
    summed: NDArray = out.reshape(len(kernels), rows, across)[:, :, :columns]
    return summed


def pad(x: NDArray, amount: tuple[int, int]) -> NDArray:
    """Zeros before and behind, alike for height and width."""
    return np.pad(x, ((0, 0), (0, 0), amount, amount))


def insert_zeros(x: NDArray) -> NDArray:
    """Twice the size: a zero behind every row and every column."""
    spread = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]), dtype=x.dtype)
    spread[:, :, ::2, ::2] = x
    return spread


def filtered(x: NDArray, fir: NDArray, padding: tuple[int, int], *, gain: float = 1.0) -> NDArray:
    """Convolve (flipped, as a filter is) every channel with one FIR kernel, by columns and rows if it is a product."""
    kernel = (fir[::-1, ::-1] * gain).astype(x.dtype)
    down, across = kernel.sum(axis=1), kernel.sum(axis=0) / kernel.sum()
    passes = [down[:, None], across[None, :]] if np.allclose(np.outer(down, across), kernel, rtol=1e-14) else [kernel]
    rows, columns = (size + sum(padding) - taps + 1 for size, taps in zip(x.shape[2:], kernel.shape, strict=True))
    out = np.empty((*x.shape[:2], rows, columns), dtype=x.dtype)
    for sample, images in zip(x, out, strict=True):
        for channel, image in zip(sample, images, strict=True):
            seen = np.pad(channel, padding)
            for taps in passes:
                seen = _applied(seen, taps)
            image[...] = seen
    return out


def _applied(image: NDArray, kernel: NDArray) -> NDArray:
    """Correlate one channel."""
    rows, columns = image.shape[0] - kernel.shape[0] + 1, image.shape[1] - kernel.shape[1] + 1
    out: NDArray = kernel[0, 0] * image[:rows, :columns]
    term = np.empty_like(out)
    for i, j in list(np.ndindex(*kernel.shape))[1:]:
        out += np.multiply(image[i : i + rows, j : j + columns], kernel[i, j], out=term)
    return out


def leaky_relu(x: NDArray, gain: float = SQRT2, slope: float = SLOPE) -> NDArray:
    """max(x, 0.2 x) times a gain, which is sqrt(2) where the activation keeps the variance."""
    out: NDArray = np.maximum(x, x * x.dtype.type(slope))
    out *= out.dtype.type(gain)
    return out


def normalised(x: NDArray, eps: float = 1e-8, *, outside: bool = False, by_deviation: bool = False) -> NDArray:
    """Every vector (or pixel) along axis 1 divided by its root mean square, or `by_deviation` from its mean, which is
    left in; `eps` may be added outside the root."""
    mean = x.var(axis=1, keepdims=True) if by_deviation else np.mean(np.square(x), axis=1, keepdims=True)
    scaled: NDArray = x / (np.sqrt(mean) + eps if outside else np.sqrt(mean + eps))
    return scaled


def doubled(x: NDArray, *, bilinear: bool = False) -> NDArray:
    """Twice the size: every pixel four times, or interpolated."""
    return interpolated(x) if bilinear else x.repeat(2, axis=2).repeat(2, axis=3)


def interpolated(x: NDArray) -> NDArray:
    """Bilinear interpolation to twice the size, pixel centres aligned, edges repeated."""
    for axis in (2, 3):
        before, behind = (np.concatenate(parts, axis) for parts in _neighbours(x, axis))
        x = np.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * behind], axis + 1)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return x


def _neighbours(x: NDArray, axis: int) -> tuple[list[NDArray], list[NDArray]]:
    """The pixels before and behind each along an axis, as parts to join."""
    first, rest = np.split(x, [1], axis)
    others, last = np.split(x, [x.shape[axis] - 1], axis)
    return [first, others], [rest, last]


def halved(x: NDArray) -> NDArray:
    """Half the size: the means of 2x2 pixels."""
    samples, channels, height, width = x.shape
    pairs = x.reshape(samples, channels, height // 2, 2, width // 2, 2)
    mean: NDArray = pairs.mean(axis=(3, 5))
    return mean


def with_group_deviation(x: NDArray, group_size: int = 4, eps: float = 1e-8, maps: int = 1) -> NDArray:
    """Minibatch standard deviation: further channels, the mean deviation within groups of samples.

    Samples n, n + N/G, n + 2N/G ... form a group, as in NVIDIA's code. The channels are divided into `maps` parts, each
    of which has its own mean.
    """
    samples, channels, height, width = x.shape
    size = min(group_size, samples)
    groups = x.reshape(size, samples // size, maps, channels // maps, height, width)
    deviation = np.sqrt(groups.var(axis=0) + eps).mean(axis=(2, 3, 4))
    extra = np.broadcast_to(np.tile(deviation, (size, 1))[:, :, None, None], (samples, maps, height, width))
    return np.concatenate([x, extra], axis=1)
