"""The few array operations that the networks are made of, in numpy and in the dtype of their input.

Images are (samples, channels, height, width), kernels (out, in, height, width). Every kernel is *correlated* with
its input, as `nn.Conv2d` does it. These are references to check against, written for clarity; a 1024 pixel generator
takes seconds.
"""

from __future__ import annotations

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
    out = np.zeros((samples, kernel.shape[0], rows * columns), dtype=np.result_type(x, kernel))
    for i in range(kernel.shape[2]):
        for j in range(kernel.shape[3]):
            seen = padded[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            out += kernel[:, :, i, j] @ seen[:, :, :rows, :columns].reshape(samples, channels, rows * columns)
    return out.reshape(samples, kernel.shape[0], rows, columns)


def correlate_spread(x: NDArray, kernel: NDArray) -> NDArray:
    """`correlate` of x with a zero behind every pixel but the last ones, padded by 2, without multiplying zeros.

    A 3x3 kernel's tap (i, j) meets the pixels at rows 2 - i, 4 - i ... of the result, so each tap is one product.
    """
    samples, channels, height, width = x.shape
    out = np.zeros((samples, kernel.shape[0], 2 * height + 1, 2 * width + 1), dtype=np.result_type(x, kernel))
    flat = x.reshape(samples, channels, height * width)
    for i in range(3):
        for j in range(3):
            product = (kernel[:, :, i, j] @ flat).reshape(samples, -1, height, width)
            out[:, :, 2 - i : 2 - i + 2 * height : 2, 2 - j : 2 - j + 2 * width : 2] += product
    return out


def pad(x: NDArray, amount: tuple[int, int]) -> NDArray:
    """Zeros before and behind, alike for height and width."""
    return np.pad(x, ((0, 0), (0, 0), amount, amount))


def insert_zeros(x: NDArray) -> NDArray:
    """Twice the size: a zero behind every row and every column."""
    spread = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]), dtype=x.dtype)
    spread[:, :, ::2, ::2] = x
    return spread


def filtered(x: NDArray, fir: NDArray, padding: tuple[int, int], *, gain: float = 1.0) -> NDArray:
    """Convolve (flipped, as a filter is) every channel with one FIR kernel."""
    kernel = (fir[::-1, ::-1] * gain).astype(x.dtype)
    padded = pad(x, padding)
    rows, columns = padded.shape[2] - kernel.shape[0] + 1, padded.shape[3] - kernel.shape[1] + 1
    out = np.zeros((*x.shape[:2], rows, columns), dtype=x.dtype)
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            out += kernel[i, j] * padded[:, :, i : i + rows, j : j + columns]
    return out


def leaky_relu(x: NDArray, gain: float = SQRT2) -> NDArray:
    """max(x, 0.2 x) times a gain, which is sqrt(2) where the activation keeps the variance."""
    return np.where(x >= 0, x, SLOPE * x) * gain


def normalised(x: NDArray, eps: float = 1e-8) -> NDArray:
    """Every vector (or pixel) along axis 1 divided by its root mean square."""
    scaled: NDArray = x / np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + eps)
    return scaled


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
