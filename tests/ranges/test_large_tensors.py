"""What is only true of tensors too large to be looked at whole: samples, interpolated quantiles, several blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.ranges.channels import Channels, channels_of
from eqlr_tools.ranges.examining import Question, examine
from tests.ranges import reference

SHAPE = (1500, 1000)


@pytest.fixture(scope="module")
def bits() -> np.ndarray:
    return np.random.default_rng(3).standard_normal(SHAPE, dtype=np.float32).view(np.uint32)


@pytest.mark.parametrize("scale", [1.0, 0.01 / math.sqrt(512)])
def test_counts_are_exact_and_the_rest_is_close(bits: np.ndarray, scale: float) -> None:
    statistics = examine(reference.tensor_of(bits, "F32"), Question(scale, Channels(*SHAPE)))[1]
    values = reference.effective(bits, "F32", scale)
    wide = values.astype(np.float64)
    exponents, counts = np.unique(np.frexp(wide[wide != 0])[1] - 1, return_counts=True)
    binades = dict(zip(statistics.histogram.exponents, statistics.histogram.counts, strict=True))
    assert {e: n for e, n in binades.items() if n} == dict(zip(exponents.tolist(), counts.tolist(), strict=True))
    for form in reference.CASTS:
        expected = reference.hazard(values, form)
        found = statistics.hazards[form]
        assert (found.overflow, found.flushed, found.subnormal) == tuple(expected.values())[:3]
        assert found.snr_db == pytest.approx(expected["snr_db"], abs=0.05)
    assert not statistics.snr_exact
    assert not statistics.quantiles_exact
    for share, value in statistics.quantiles.items():
        assert value == pytest.approx(np.quantile(wide, float(share)), rel=2e-3, abs=1e-3 * statistics.rms)
    assert statistics.rms == pytest.approx(np.sqrt(np.mean(wide**2)), rel=1e-6)
    centred = wide - wide.mean()
    assert statistics.kurtosis == pytest.approx(np.mean(centred**4) / np.mean(centred**2) ** 2, rel=1e-6)
    maxima = np.abs(wide).max(axis=1)
    assert statistics.channel_spread == pytest.approx(maxima.max() / maxima.min(), rel=1e-6)


def test_int8_noise_against_a_plain_quantiser(bits: np.ndarray) -> None:
    small = bits[:200]
    statistics = examine(reference.tensor_of(small, "F32"), Question(0.1, Channels(200, 1000)))[0]
    wide = small.view(np.float32).astype(np.float64)
    for name, largest in (
        ("int8_per_tensor", np.abs(wide).max()),
        ("int8_per_channel", np.abs(wide).max(axis=1, keepdims=True)),
    ):
        step = largest / 127
        error = wide - np.clip(np.rint(wide / step), -127, 127) * step
        expected = 10 * np.log10((wide**2).sum() / (error**2).sum())
        assert statistics.int8_snr_db[name] == pytest.approx(expected, abs=1e-4)


def test_exact_quantiles_are_those_of_a_sorted_tensor(bits: np.ndarray) -> None:
    statistics = examine(reference.tensor_of(bits, "F32"), Question(exact_quantiles=True))[0]
    assert statistics.quantiles_exact
    wide = bits.view(np.float32).astype(np.float64)
    for share, value in statistics.quantiles.items():
        assert value == pytest.approx(np.quantile(wide, float(share)), rel=1e-12)


def test_weights_that_a_format_holds_have_no_noise() -> None:
    values = np.array([[1.0, -0.5, 2.0**-14, 3.0], [0.25, 0.0, 1.5, -2.0]], dtype=np.float32)
    stored, effective = examine(reference.tensor_of(values.view(np.uint32), "F32"), Question(0.5, Channels(2, 4), 4, 4))
    assert [stored.hazards[form].snr_db for form in ("fp16", "bf16", "fp8_e5m2")] == [None] * 3
    assert stored.hazards["fp8_e4m3"].flushed == 1
    assert effective.hazards["fp16"].subnormal == 1
    assert stored.accumulation is not None
    assert (stored.accumulation.bound, stored.accumulation.exceeds_fp16) == (12.0, False)


def test_ties_at_the_limits_of_fp16() -> None:
    """65519.996 still rounds to 65504, 65520 to infinity; half the smallest subnormal rounds to zero."""
    below = np.nextafter(np.float32(65520), np.float32(0))
    tiny = np.float32(2.0**-25)
    values = np.array([below, 65520, -65520, tiny, np.nextafter(tiny, np.float32(1))], dtype=np.float32)
    found = examine(reference.tensor_of(values.view(np.uint32), "F32"))[0].hazards["fp16"]
    assert (found.overflow, found.flushed, found.subnormal) == (2, 1, 1)


@pytest.mark.parametrize("dtype", ["F32", "F64", "BF16"])
def test_channels_of_one_weight_lose_nothing_in_int8(dtype: str) -> None:
    values = np.random.default_rng(0).standard_normal((100, 1)) * np.logspace(-9, 3, 100)[:, None]
    bits = BY_NAME[dtype].bits(values if dtype == "F64" else values.astype(np.float32))
    question = Question(channels=channels_of("linear", bits.shape))
    assert examine(reference.tensor_of(bits, dtype), question)[0].int8_snr_db["int8_per_channel"] is None
