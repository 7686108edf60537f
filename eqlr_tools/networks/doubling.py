"""How the rewrites of StyleGAN2 double and halve images, beside the FIR filter of the original.

bilinear            interpolation, pixel centres aligned, edges repeated
smooth-replicate    the same, then a 3x3 kernel, the border pixels repeated around the image
smooth-reflect      the same with the image mirrored around its border
fir                 a zero behind every pixel, then StyleGAN2's filter with padding (2, 1)
fir-late            the same with padding (3, 0): everything lies a pixel further down and right
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from eqlr_tools.networks.arrays import filtered, insert_zeros, interpolated
from eqlr_tools.scaling import SQRT2

if TYPE_CHECKING:
    from numpy.typing import NDArray

Resampling = Literal["fir", "fir-late", "bilinear", "smooth-replicate", "smooth-reflect"]
FIR_PADDING = {"fir": (2, 1), "fir-late": (3, 0)}
BORDERS: dict[str, Literal["edge", "reflect"]] = {"smooth-replicate": "edge", "smooth-reflect": "reflect"}
"""How numpy and ONNX call the borders."""
SMOOTH = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16.0
"""The 3x3 kernel, unless the file has one: where it is a parameter, training code may have moved it."""


@dataclass(frozen=True)
class Form:
    """What rewrites of StyleGAN2 compute differently although no tensor says so. The defaults are NVIDIA's.

    `gain` follows every activation. `features` and `image` say how the two double their size; features that are not
    filtered by FIR are doubled before an ordinary convolution. `per_block`: all layers of a size share one w of a w+,
    to-RGB included, which otherwise shares with the next size. `colour_activated`: leaky ReLU behind to-RGB too.
    """

    gain: float = SQRT2
    features: Resampling = "fir"
    image: Resampling = "fir"
    per_block: bool = False
    colour_activated: bool = False

    def places(self, number: int) -> tuple[int, int, int]:
        """Which w of a w+ the layers conv0, conv1 and torgb of the size with this number get."""
        return (number, number, number) if self.per_block else (2 * number - 1, 2 * number, 2 * number + 1)

    def styled_places(self, sizes: int) -> int:
        """How many w a w+ has."""
        return sizes if self.per_block else 2 * sizes


ORIGINAL = Form()


def doubled(x: NDArray, how: Resampling, fir: NDArray, smooth: NDArray = SMOOTH) -> NDArray:
    """Twice the size."""
    if how in FIR_PADDING:
        return filtered(insert_zeros(x), fir, FIR_PADDING[how], gain=4.0)
    x = interpolated(x)
    return smoothed(x, smooth, BORDERS[how]) if how in BORDERS else x


def smoothed(x: NDArray, kernel: NDArray, border: Literal["edge", "reflect"]) -> NDArray:
    """Every channel correlated with a 3x3 kernel; the size stays."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode=border)
    return filtered(padded, kernel[::-1, ::-1], (0, 0))
