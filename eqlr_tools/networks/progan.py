"""ProGAN's generator (Karras et al., 2018): the canonical names of its parameters, and what is computed from them.

Every tensor is *effective*: run-time constants are multiplied in.

    generator, with R = 4, 8, ... resolution          shape
    b4.input.weight, .bias                            (16 C, z), (C,)          output in order channel, row, column
    b4.conv.weight, .bias                             (C, C, 3, 3), (C,)
    b{R}.conv0, .conv1 .weight, .bias                 (C', C, 3, 3), (C',)     from R = 8 on
    b{R}.torgb.weight, .bias                          (3, C, 1, 1), (3,)

Conventions: z is divided by its root mean square, and so is every pixel behind each activation, a leaky ReLU with
slope 0.2; whether behind the input layer's as well differs among projects. A block doubles the size by repeating
pixels. While a size is faded in, the image is `alpha` times its own and the rest that of the size before, enlarged.
Some projects end in tanh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.arrays import correlate, leaky_relu, normalised
from eqlr_tools.networks.stylegan2 import resolutions

if TYPE_CHECKING:
    from numpy.typing import NDArray

Parameters = Mapping[str, "NDArray"]


def generate(
    p: Parameters,
    z: NDArray,
    *,
    resolution: int | None = None,
    alpha: float = 1.0,
    tanh: bool = False,
    input_normalised: bool = True,
) -> NDArray:
    """Images of a size, the largest by default."""
    width = len(p["b4.input.bias"])
    x = (normalised(z) @ p["b4.input.weight"].T).reshape(len(z), width, 4, 4) + p["b4.input.bias"][:, None, None]
    x = leaky_relu(x, 1.0)
    x = _activated(_convolved(p, "b4.conv", normalised(x) if input_normalised else x))
    before, sizes = x, resolutions(p, "")
    for size in sizes[1 : sizes.index(resolution or sizes[-1]) + 1]:
        before = x.repeat(2, axis=2).repeat(2, axis=3)
        x = _activated(_convolved(p, f"b{size}.conv0", before))
        x = _activated(_convolved(p, f"b{size}.conv1", x))
    last = resolution or sizes[-1]
    image = _convolved(p, f"b{last}.torgb", x)
    if alpha != 1.0 and last > sizes[0]:
        image = alpha * image + (1 - alpha) * _convolved(p, f"b{last // 2}.torgb", before)
    return np.tanh(image) if tanh else image


def _activated(x: NDArray) -> NDArray:
    return normalised(leaky_relu(x, 1.0))


def _convolved(p: Parameters, layer: str, x: NDArray) -> NDArray:
    weight = p[f"{layer}.weight"]
    out: NDArray = correlate(x, weight, padding=weight.shape[2] // 2) + p[f"{layer}.bias"][:, None, None]
    return out
