"""The effective weights of a layer as a tensor: products of the stored ones with the constant, where they are read.

    w = fl(c * v)      in float32 for anything up to float32, in float64 for float64

Figures of effective weights follow from counts of the stored ones as long as every product is a number of its own
size. Where one overflows or becomes zero, the products themselves are counted (`Scaled.fits`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eqlr_tools.checkpoints.computed import Computed
from eqlr_tools.checkpoints.dtypes import BY_NAME, DType
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.ranges.reading import layout_of, numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray


def products_of(tensor: Tensor, scale: float) -> Tensor:
    """The tensor times a constant, as a network computes it."""
    return _Products(tensor, scale).tensor()


@dataclass(frozen=True)
class _Products(Computed):
    scale: float

    @property
    def dtype(self) -> DType:
        return BY_NAME[layout_of(self.stored.dtype).name]

    def computed(self, bits: NDArray, first: int) -> NDArray:
        layout = layout_of(self.stored.dtype)
        return layout.scaled(numbers(self.stored.dtype, bits), self.scale).view(layout.bits_type)
