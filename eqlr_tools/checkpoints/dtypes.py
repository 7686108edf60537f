"""Element types: one table for every container's spelling, and their conversion to float32 and back.

The bits of a tensor travel through the program as unsigned integers; they become numbers only where arithmetic
is done. float16, bfloat16 and the 8-bit floats have at most 65 536 patterns, so whatever is done to them
element by element is a table of that size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["float", "int", "bool", "complex"]


@dataclass(frozen=True)
class DType:
    """One element type. `name` is the safetensors spelling, `torch` the one of `torch.<dtype>`."""

    name: str
    torch: str
    itemsize: int
    kind: Kind
    numpy: str | None
    storage: str | None = None

    @property
    def is_float(self) -> bool:
        """True for the real floating types: those that a scale can multiply."""
        return self.kind == "float"

    @property
    def bits_dtype(self) -> np.dtype:
        """The unsigned integer type as wide as one element (bytes for the complex ones)."""
        return np.dtype(f"<u{self.itemsize}") if self.itemsize <= 8 else np.dtype("V16")

    def values(self, bits: NDArray[Any]) -> NDArray[Any]:
        """View or decode bit patterns as numbers: float64 stays, other floats become float32, integers stay."""
        if self.numpy is not None:
            native = bits.view(np.dtype(self.numpy))
            return native.astype(np.float32) if self.numpy == "<f2" else native
        if self.name == "BF16":
            return (bits.astype(np.uint32) << 16).view(np.float32)
        decoded: NDArray[Any] = _small_float_values(self.name)[bits]
        return decoded

    def bits(self, values: NDArray[Any]) -> NDArray[Any]:
        """Round numbers once, to nearest even, to this type and return the bit patterns."""
        target = np.dtype(self.numpy) if self.numpy is not None else _ml_dtype(self.name)
        # Overflow to infinity and NaN are results here, which the caller counts; not conditions to warn about.
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            rounded: NDArray[Any] = values.astype(target)
            return rounded.view(self.bits_dtype)


_TABLE = [
    DType("F64", "float64", 8, "float", "<f8", "DoubleStorage"),
    DType("F32", "float32", 4, "float", "<f4", "FloatStorage"),
    DType("F16", "float16", 2, "float", "<f2", "HalfStorage"),
    DType("BF16", "bfloat16", 2, "float", None, "BFloat16Storage"),
    DType("F8_E4M3", "float8_e4m3fn", 1, "float", None),
    DType("F8_E5M2", "float8_e5m2", 1, "float", None),
    DType("F8_E4M3FNUZ", "float8_e4m3fnuz", 1, "float", None),
    DType("F8_E5M2FNUZ", "float8_e5m2fnuz", 1, "float", None),
    DType("F8_E8M0", "float8_e8m0fnu", 1, "float", None),
    DType("I64", "int64", 8, "int", "<i8", "LongStorage"),
    DType("I32", "int32", 4, "int", "<i4", "IntStorage"),
    DType("I16", "int16", 2, "int", "<i2", "ShortStorage"),
    DType("I8", "int8", 1, "int", "<i1", "CharStorage"),
    DType("U8", "uint8", 1, "int", "<u1", "ByteStorage"),
    DType("U16", "uint16", 2, "int", "<u2"),
    DType("U32", "uint32", 4, "int", "<u4"),
    DType("U64", "uint64", 8, "int", "<u8"),
    DType("BOOL", "bool", 1, "bool", "|b1", "BoolStorage"),
    DType("C32", "complex32", 4, "complex", None),
    DType("C64", "complex64", 8, "complex", "<c8", "ComplexFloatStorage"),
    DType("C128", "complex128", 16, "complex", "<c16", "ComplexDoubleStorage"),
]

BY_NAME = {dtype.name: dtype for dtype in _TABLE}
BY_TORCH = {dtype.torch: dtype for dtype in _TABLE}
BY_STORAGE = {dtype.storage: dtype for dtype in _TABLE if dtype.storage}
BY_NUMPY = {np.dtype(dtype.numpy): dtype for dtype in _TABLE if dtype.numpy}

_ML_DTYPES = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}


def _ml_dtype(name: str) -> np.dtype:
    import ml_dtypes

    dtype: np.dtype = np.dtype(getattr(ml_dtypes, _ML_DTYPES[name]))
    return dtype


@cache
def _small_float_values(name: str) -> NDArray[np.float32]:
    return np.arange(256, dtype=np.uint8).view(_ml_dtype(name)).astype(np.float32)
