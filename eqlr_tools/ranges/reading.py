"""Numbers out of bit patterns, as everything here counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.ranges.counting import is_narrow, pattern_values, wide_bits
from eqlr_tools.ranges.layouts import F32, F64, Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray


def layout_of(dtype: DType) -> Layout:
    """What a type is computed with: float32 for floats of up to 32 bits, float64 for all else."""
    return F32 if is_narrow(dtype) or dtype.name == "F32" else F64


def numbers(dtype: DType, bits: NDArray[Any]) -> NDArray[Any]:
    """The numbers that patterns stand for, in the type of `layout_of`."""
    if is_narrow(dtype):
        narrow: NDArray[Any] = pattern_values(dtype.name)[bits]
        return narrow
    return wide_bits(dtype, bits).view(layout_of(dtype).float_type)
