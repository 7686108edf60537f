"""The discriminator of labml's StyleGAN2: canonical names, and what is computed from them. Every tensor is effective.

    b{resolution}.fromrgb.weight, .bias               (C, 3, 1, 1), (C,)
    b{R}.conv0.weight, .bias                          (C, C, 3, 3), (C,)
    b{R}.conv1.weight, .bias                          (C', C, 3, 3), (C',)
    b{R}.skip.weight, .bias                           (C', C, 1, 1), (C',)
    b{R}.conv1.smooth, b{R}.skip.smooth               (3, 3)                   [1, 2, 1] by [1, 2, 1] / 16 if absent
    b4.conv.weight, .bias                             (C + 1, C + 1, 3, 3), (C + 1,)
    b4.out.weight, .bias                              (1, 4 (C + 1)), (1,)

What differs from NVIDIA's: 1/2 is taken from the image; no sqrt(2) in the activation, which is missing behind skip and
b4.conv; both branches of a block are smoothed and halved by interpolation, the main one behind its convolutions, and
the skip has a bias; b4.conv pads nothing; there is one deviation, of all groups of four samples together, from unbiased
variances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.networks.arrays import correlate, halved, leaky_relu
from eqlr_tools.networks.doubling import SMOOTH, smoothed
from eqlr_tools.networks.stylegan2 import Parameters, resolutions

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUP = 4
SHIFT = 0.5
"""Taken from the image first."""
DEVIATION_EPS = 1e-8


def discriminate(p: Parameters, image: NDArray) -> NDArray:
    """Logits of images, whose number should be a multiple of four."""
    sizes = resolutions(p, "")
    x = leaky_relu(_convolved(p, f"b{sizes[-1]}.fromrgb", image - SHIFT), 1.0)
    for size in reversed(sizes[1:]):
        block = f"b{size}"
        beside = _convolved(p, f"{block}.skip", _half(p, f"{block}.skip", x))
        x = leaky_relu(_convolved(p, f"{block}.conv0", x, padding=1), 1.0)
        x = leaky_relu(_convolved(p, f"{block}.conv1", x, padding=1), 1.0)
        x = (_half(p, f"{block}.conv1", x) + beside) * np.sqrt(0.5)
    deviation = np.sqrt(x.reshape(GROUP, -1).var(axis=0, ddof=1) + DEVIATION_EPS).mean()
    x = np.concatenate([x, np.full_like(x[:, :1], deviation)], axis=1)
    x = _convolved(p, "b4.conv", x)
    logits: NDArray = x.reshape(len(x), -1) @ p["b4.out.weight"].T + p["b4.out.bias"]
    return logits


def _convolved(p: Parameters, layer: str, x: NDArray, *, padding: int = 0) -> NDArray:
    out: NDArray = correlate(x, p[f"{layer}.weight"], padding=padding) + p[f"{layer}.bias"][:, None, None]
    return out


def _half(p: Parameters, layer: str, x: NDArray) -> NDArray:
    return halved(smoothed(x, p.get(f"{layer}.smooth", SMOOTH), "edge"))
