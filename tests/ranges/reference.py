"""The same figures by the shortest numpy that computes them: all in memory, in float64, with casts of ml_dtypes."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.checkpoints.sources import MemorySource
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides

CASTS = {
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
}


def tensor_of(bits: np.ndarray, dtype: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """A tensor over bit patterns in memory."""
    shape = bits.shape if shape is None else shape
    data = bits.tobytes()
    return Tensor(Storage(MemorySource("test", data), 0, len(data)), BY_NAME[dtype], shape, contiguous_strides(shape))


def effective(bits: np.ndarray, dtype: str, scale: float) -> np.ndarray:
    """The values that a network computes with: products in float32, or in float64 for float64."""
    values = BY_NAME[dtype].values(bits)
    wide = values.astype(np.float64) if dtype == "F64" or values.dtype.kind not in "f" else values.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return wide * wide.dtype.type(scale)


def figures(values: np.ndarray) -> dict[str, object]:
    """Exact counts and extremes of values, and their moments in float64 from values divided by the largest."""
    finite = values[np.isfinite(values)].astype(np.float64)
    magnitudes = np.abs(finite)
    nonzero = magnitudes[magnitudes > 0]
    exponents = np.frexp(nonzero)[1] - 1
    low, high = (int(exponents.min()), int(exponents.max())) if nonzero.size else (0, -1)
    result: dict[str, object] = {
        "zeros": int((finite == 0).sum()),
        "nans": int(np.isnan(values).sum()),
        "infinities": int(np.isinf(values).sum()),
        "exponents": list(range(low, high + 1)),
        "counts": [int((exponents == exponent).sum()) for exponent in range(low, high + 1)],
    }
    if not finite.size:
        return result | dict.fromkeys(("min", "max", "abs_max", "min_nonzero", "mean", "rms", "std"))
    total = sum(map(Fraction, finite.tolist()), Fraction(0))
    squares = sum((Fraction(x) ** 2 for x in finite.tolist()), Fraction(0))
    variance = squares / finite.size - (total / finite.size) ** 2
    return result | {
        "min": float(finite.min()),
        "max": float(finite.max()),
        "abs_max": float(magnitudes.max()),
        "min_nonzero": float(nonzero.min()) if nonzero.size else None,
        "mean": float(total / finite.size),
        "rms": root(squares / finite.size),
        "std": root(variance),
    }


def root(square: Fraction) -> float:
    """A square root by integers, of any size."""
    if square == 0:
        return 0.0
    shift = 2 * max(0, 200 - (square.numerator.bit_length() - square.denominator.bit_length()))
    return float(Fraction(math.isqrt(int(square * Fraction(2) ** shift)), 2 ** (shift // 2)))


def hazard(values: np.ndarray, form: str) -> dict[str, object]:
    """What a cast to a format does to finite values."""
    finite = values[np.isfinite(values)]
    with np.errstate(over="ignore", invalid="ignore"):
        stored = finite.astype(CASTS[form])
    back = stored.astype(np.float64)
    smallest_normal = float(ml_dtypes.finfo(CASTS[form]).smallest_normal)
    over = ~np.isfinite(back)
    wide = finite.astype(np.float64)
    unit = -np.frexp(np.abs(wide).max(initial=0.0))[1]
    error = np.sum(np.ldexp(wide[~over] - back[~over], unit) ** 2)
    signal = np.sum(np.ldexp(wide, unit) ** 2)
    return {
        "overflow": int(over.sum()),
        "flushed": int(((back == 0) & (finite != 0)).sum()),
        "subnormal": int(((back != 0) & (np.abs(back) < smallest_normal)).sum()),
        "snr_db": None if over.any() or error == 0 else float(10 * np.log10(signal / error)),
    }
