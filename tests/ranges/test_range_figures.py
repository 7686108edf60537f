"""Every figure against a float64 reference, over dtypes, shapes, denormals, NaN payloads and huge values."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.ranges.examining import Question, examine
from tests.ranges import reference

FLOATS = ["F32", "F64", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"]
OTHERS = ["I64", "I32", "I16", "I8", "U8", "U16", "U32", "BOOL", "C64", "C128"]
SCALES = [1.0, math.sqrt(2 / 27), 0.01 / math.sqrt(512), 2.0**-5, math.sqrt(2), 3.0, 1e-30, 1e30]


@st.composite
def patterns(draw: st.DrawFn, dtype: str) -> np.ndarray:
    """Any bit patterns, or ordinary weights, or both: all NaN payloads and subnormals are among them."""
    bits_dtype = BY_NAME[dtype].bits_dtype
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
    wild = draw(hnp.arrays(bits_dtype, shape))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    sizes = rng.standard_normal(shape) * 2.0 ** draw(st.integers(-40, 20))
    tame = np.asarray(BY_NAME[dtype].bits(np.asarray(sizes, np.float64 if dtype == "F64" else np.float32)))
    return np.where(rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 1.0])), wild, tame).astype(bits_dtype)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(FLOATS), st.sampled_from(SCALES))
def test_every_figure_agrees_with_the_reference(data: st.DataObject, dtype: str, scale: float) -> None:
    bits = data.draw(patterns(dtype))
    stored, applied = examine(reference.tensor_of(bits, dtype), Question(scale))
    for statistics, factor in ((stored, 1.0), (applied, scale)):
        values = reference.effective(bits, dtype, factor)
        expected = reference.figures(values)
        _assert_counts(statistics, expected)
        _assert_moments(statistics, expected, values)
        _assert_quantiles(statistics, values)
        for form in reference.CASTS:
            if dtype == "F64" and factor != 1.0:
                continue  # ml_dtypes rounds float64 by way of float32, twice
            _assert_hazard(statistics.hazards[form], reference.hazard(values, form))


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(OTHERS), st.sampled_from(SCALES))
def test_integers_booleans_and_complex_magnitudes_agree_with_float64(
    data: st.DataObject, dtype: str, scale: float
) -> None:
    kind = BY_NAME[dtype]
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6))
    raw = data.draw(
        hnp.arrays(np.uint8, (*shape, kind.itemsize), elements=st.integers(0, 1 if dtype == "BOOL" else 255))
    )
    bits = raw.view(kind.bits_dtype)[..., 0]
    stored, applied = examine(reference.tensor_of(bits, dtype), Question(scale))
    for statistics, factor in ((stored, 1.0), (applied, scale)):
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.abs(kind.values(bits)) if kind.kind == "complex" else kind.values(bits)
            values = values.astype(np.float64) * factor
        expected = reference.figures(values)
        _assert_counts(statistics, expected)
        _assert_moments(statistics, expected, values)
        _assert_quantiles(statistics, values)


@pytest.mark.parametrize(("dtype", "scale"), [("F32", 3.0), ("F32", 1e-9), ("BF16", 1e-44), ("F64", 1e300)])
def test_products_that_overflow_or_vanish_are_counted_themselves(dtype: str, scale: float) -> None:
    """What is left of the effective weights has its own extremes, moments and hazards, and no warning is printed."""
    exponents = np.arange(-1000, 1000) if dtype == "F64" else np.arange(-126, 127)
    values = np.ldexp(1.7, exponents) * np.where(exponents % 2, 1.0, -1.0)
    bits = BY_NAME[dtype].bits(values if dtype == "F64" else values.astype(np.float32))
    with np.errstate(all="raise", under="ignore"):
        applied = examine(reference.tensor_of(bits, dtype), Question(scale))[1]
    products = reference.effective(bits, dtype, scale)
    expected = reference.figures(products)
    assert applied.zeros + applied.infinities > 0
    for name in ("zeros", "infinities", "min", "max", "abs_max", "min_nonzero"):
        assert getattr(applied, name) == expected[name], name
    assert applied.rms == pytest.approx(expected["rms"], rel=1e-12)
    assert applied.hazards["fp16"].overflow == reference.hazard(products, "fp16")["overflow"]


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "I64"])
def test_the_kurtosis_of_values_close_together_and_far_from_zero(dtype: str) -> None:
    """Raw power sums leave no digit of it."""
    noise = np.random.default_rng(3).standard_normal(3000)
    values = {"F16": noise * 3 + 2000, "I64": noise * 30 + 10**9}.get(dtype, noise * 1e-3 + 7)
    values = np.round(values) if dtype == "I64" else values
    bits = BY_NAME[dtype].bits(values)
    exact = [Fraction(float(value)) for value in np.asarray(BY_NAME[dtype].values(bits), dtype=np.float64)]
    mean = sum(exact) / len(exact)
    variance, fourth = (sum((value - mean) ** power for value in exact) / len(exact) for power in (2, 4))
    stored, applied = examine(reference.tensor_of(bits, dtype), Question(0.37))
    for statistics, scale in ((stored, 1.0), (applied, 0.37)):
        assert statistics.kurtosis == pytest.approx(float(fourth / variance**2), rel=1e-9)
        assert statistics.std == pytest.approx(math.sqrt(variance) * scale, rel=1e-7)


def _assert_counts(statistics, expected) -> None:
    for name in ("zeros", "nans", "infinities", "min", "max", "abs_max", "min_nonzero"):
        assert getattr(statistics, name) == expected[name], name
    assert statistics.histogram.exponents == expected["exponents"]
    assert statistics.histogram.counts == expected["counts"]


def _assert_moments(statistics, expected, values) -> None:
    if expected["rms"] is None:
        assert statistics.rms is None
        return
    # The float32 products of a network are rounded; the moments are of the exact ones.
    relative = 1e-12 if values.dtype == np.float64 else 1e-6
    size = expected["rms"]
    if size < 1e-30 and values.dtype == np.float32:
        return
    # Among denormals a step is not relative: a few of the smallest are allowed.
    least = 8 * 5e-324
    assert statistics.rms == pytest.approx(expected["rms"], rel=relative, abs=least)
    assert statistics.mean == pytest.approx(expected["mean"], rel=relative, abs=max(relative * size, least))
    assert statistics.std == pytest.approx(expected["std"], rel=relative, abs=max(relative**0.5 * size, least))


def _assert_quantiles(statistics, values) -> None:
    finite = values[np.isfinite(values)].astype(np.float64)
    assert statistics.quantiles_exact
    with np.errstate(over="ignore", invalid="ignore"):
        for share, value in statistics.quantiles.items():
            expected = np.quantile(finite, float(share)) if finite.size else None
            if expected is not None and np.isfinite(expected):
                one_step = 5e-324
                assert value == pytest.approx(expected, rel=1e-6, abs=max(1e-12 * np.abs(finite).max(), one_step))


def _assert_hazard(hazard, expected) -> None:
    assert (hazard.overflow, hazard.flushed, hazard.subnormal) == tuple(
        expected[name] for name in ("overflow", "flushed", "subnormal")
    )
    if expected["snr_db"] is None:
        assert hazard.snr_db is None
    else:
        assert hazard.snr_db == pytest.approx(expected["snr_db"], abs=1e-6)
