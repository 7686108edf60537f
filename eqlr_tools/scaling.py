"""The arithmetic of equalized learning rate, and nothing else.

Karras et al., *Progressive Growing of GANs for Improved Quality, Stability, and Variation* (2018), section 4.1:
weights are drawn from N(0, 1) and multiplied at run time by the per-layer constant of He's initialiser,

    w = c * v,        c = gain * lr_multiplier / sqrt(fan_in)

where `v` is what a checkpoint stores and `w` is what the layer applies. `lr_multiplier` (StyleGAN's `lrmul`) is
divided out of the initial `v`, so that its standard deviation is 1 / lr_multiplier.

Projects agree on the formula and differ in `fan_in`, most of all for transposed convolutions, whose weight is
stored (in, out, *kernel). The conventions that live files use are the functions below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

SQRT2 = math.sqrt(2.0)

Shape = Sequence[int]
FanIn = Callable[[Shape], int]


def he_constant(fan_in: float, gain: float = 1.0, lr_multiplier: float = 1.0) -> float:
    """Return c = gain * lr_multiplier / sqrt(fan_in), in float64.

    Raises ValueError unless `fan_in` is positive and the result is a positive finite number.
    """
    if not fan_in > 0:
        raise ValueError(f"fan_in must be positive, not {fan_in}")
    constant = gain * lr_multiplier / math.sqrt(fan_in)
    if not (constant > 0 and math.isfinite(constant)):
        raise ValueError(f"gain {gain} and lr_multiplier {lr_multiplier} give no usable constant")
    return constant


def nearest_power_of_two(constant: float) -> float:
    """Round a positive constant to the nearest power of two in the logarithm, so that scaling by it is exact."""
    return 2.0 ** round(math.log2(constant))


def dense_fan_in(shape: Shape) -> int:
    """Fan-in of (out, in, *kernel) weights: in * prod(kernel). The rule of `nn.Linear` and `nn.Conv*d`."""
    return math.prod(shape[1:])


def modulated_fan_in(shape: Shape) -> int:
    """Fan-in of StyleGAN2's (1, out, in, k, k) modulated weights: in * k * k."""
    return math.prod(shape[2:])


def transposed_fan_in(shape: Shape) -> int:
    """Fan-in of (in, out, *kernel) weights by true input channels: in * prod(kernel) (NVIDIA, genforce, t-ae)."""
    return shape[0] * math.prod(shape[2:])


def channel_fan_in(shape: Shape) -> int:
    """Fan-in of (in, out, *kernel) weights that leaves the kernel out: in (akanimax, chainer-gan-lib)."""
    return shape[0]


def is_modulated(shape: Shape) -> bool:
    """True for StyleGAN2's (1, out, in, k, k) weights. A volume convolution of one output has (1, in, k, k, k)."""
    return len(shape) == 5 and shape[0] == 1 and shape[3] == shape[4] != shape[2]


def second_axis_fan_in(shape: Shape) -> int:
    """Fan-in as the hook dialects compute it: shape[1] * prod(shape[2:]), of `weight[0]` where it is modulated.

    For a transposed convolution shape[1] is the *output* channels, and those projects mean it so.
    """
    return modulated_fan_in(shape) if is_modulated(shape) else dense_fan_in(shape)
