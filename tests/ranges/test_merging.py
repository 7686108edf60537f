"""Counts of parts add up, whoever counted them: chunks, processes, the compiled loops."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import random
import signal
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.errors import EqlrError
from eqlr_tools.ranges import fast, pieces, workers
from eqlr_tools.ranges.channels import Channels, channels_of
from eqlr_tools.ranges.counters import count_tensor
from eqlr_tools.ranges.counting import Counts
from eqlr_tools.ranges.examining import Question
from eqlr_tools.ranges.pieces import Subject, examine_all
from tests.ranges import reference

SCALE = math.sqrt(2 / 27)


def weights(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Ordinary weights with every kind of unusual value among them."""
    rng = np.random.default_rng(seed)
    bits = BY_NAME[dtype].bits(rng.standard_normal(shape).astype(np.float64 if dtype == "F64" else np.float32))
    wild = rng.integers(0, 1 << 8 * bits.itemsize, shape, dtype=np.uint64).astype(bits.dtype)
    return np.where(rng.random(shape) < 0.01, wild, bits)


def same(a: Counts, b: Counts, *, sums: bool = True) -> bool:
    """Equal in every bit; in the sums only if they were rounded at the same places."""
    plain = (
        "dtype",
        "count",
        "nans",
        "infinities",
        "minimum",
        "maximum",
        "smallest",
        *(["power_sums"] if sums else []),
    )
    arrays = ("bins", "times", "watched", "channel_maxima")
    return all(getattr(a, name) == getattr(b, name) for name in plain) and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays
    )


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["F32", "F64", "F16", "BF16", "F8_E4M3", "I32"]),
    st.lists(st.integers(0, 24 * 30), min_size=0, max_size=5),
    st.randoms(use_true_random=False),
)
def test_parts_add_up_in_any_order_and_grouping(dtype: str, cuts: list[int], order: random.Random) -> None:
    tensor = reference.tensor_of(weights(dtype, (24, 30)), dtype)
    channels = Channels(24, 30)
    ends = [0, *sorted(cuts), tensor.numel]
    parts = [count_tensor(tensor, SCALE, channels, span) for span in itertools.pairwise(ends)]
    forward = reduce(add, parts)
    order.shuffle(parts)
    middle = len(parts) // 2
    grouped = reduce(add, parts[middle:]) + reduce(add, parts[:middle]) if middle else parts[0]
    assert same(forward, grouped)
    whole = count_tensor(tensor, SCALE, channels)
    assert same(forward, whole, sums=False)
    values = tensor.values().astype(np.float64)
    magnitudes = [Fraction(abs(x)) for x in values[np.isfinite(values)].tolist()]
    for power, (a, b) in enumerate(zip(forward.power_sums, whole.power_sums, strict=True), 1):
        assert abs(a - b) <= sum(x**power for x in magnitudes) / 10**12


def test_counts_of_different_constants_do_not_add_up() -> None:
    tensor = reference.tensor_of(weights("F32", (4, 4)), "F32")
    with pytest.raises(ValueError, match="one constant"):
        count_tensor(tensor, 1.0) + count_tensor(tensor, 0.3)


def test_several_processes_give_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 17)
    subjects = [
        Subject(reference.tensor_of(weights(dtype, shape, seed), dtype), Question(SCALE, channels_of(kind, shape)))
        for seed, (dtype, kind, shape) in enumerate(
            [
                ("F32", "linear", (600, 700)),
                ("BF16", "conv2d", (100, 300, 3, 3)),
                ("F64", "linear", (500, 300)),
                ("F32", "conv_transpose2d", (130, 200, 4, 4)),
                ("F32", "modulated_conv2d", (1, 30, 20, 3, 3)),
                ("F32", "tensor", ()),
                ("F32", "linear", (0, 3)),
            ]
        )
    ]
    done: list[int] = []
    alone = examine_all(subjects, done.append, jobs=1)
    assert sum(done) == sum(subject.tensor.nbytes for subject in subjects)
    assert examine_all(subjects, jobs=3) == alone


def test_channels_against_numpy() -> None:
    for kind, shape, axes in [
        ("linear", (70, 90), (1,)),
        ("conv2d", (30, 20, 3, 3), (1, 2, 3)),
        ("conv_transpose2d", (20, 30, 4, 4), (0, 2, 3)),
        ("conv_transpose1d", (7, 5, 1), (0, 2)),
        ("modulated_conv2d", (1, 30, 20, 3, 3), (0, 2, 3, 4)),
        ("conv3d", (1, 8, 3, 3, 3), (1, 2, 3, 4)),
    ]:
        bits = weights("F32", shape, 7)
        values = bits.view(np.float32)
        expected = np.abs(np.where(np.isfinite(values), values, 0)).max(axis=axes)
        tensor = reference.tensor_of(bits, "F32")
        ends = [0, 11, 12, 500, tensor.numel] if tensor.numel > 500 else [0, tensor.numel]
        counts = reduce(
            add,
            [count_tensor(tensor, 1.0, channels_of(kind, shape), s) for s in itertools.pairwise(ends)],
        )
        assert np.array_equal(counts.layout.values(counts.channel_maxima), expected), kind


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E5M2"])
@pytest.mark.parametrize("unusual", [False, True])
def test_compiled_loops_give_the_same_bits(dtype: str, unusual: bool) -> None:
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    loops = fast.load(fast.WORTHWHILE_FROM_BYTES, [BY_NAME[dtype]])
    assert loops is not None
    rng = np.random.default_rng(1)
    for kind, shape in [
        ("linear", (700, 401)),
        ("conv2d", (123, 45, 3, 3)),
        ("conv_transpose2d", (60, 70, 4, 4)),
        ("linear", (5000, 1)),
        ("linear", (3, 5)),
    ]:
        plain = BY_NAME[dtype].bits(rng.standard_normal(shape, np.float32))
        tensor = reference.tensor_of(weights(dtype, shape) if unusual else plain, dtype)
        channels = channels_of(kind, shape)
        for scale in (1.0, SCALE):
            slow = count_tensor(tensor, scale, channels)
            assert same(slow, count_tensor(tensor, scale, channels, loops=loops)), (kind, shape)


def test_small_work_does_not_load_the_compiler() -> None:
    assert fast.load(fast.WORTHWHILE_FROM_BYTES - 1, [BY_NAME["F32"]]) is None


def test_a_workers_error_arrives_and_no_worker_is_left() -> None:
    def work(task: int) -> int:
        if task == 3:
            raise LookupError("three")
        return task * task

    with pytest.raises(LookupError, match="three"):
        list(workers.spread_over(work, range(50), 2))
    assert sorted(workers.spread_over(work, [5, 6, 7], 2)) == [(0, 25), (1, 36), (2, 49)]
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_an_error_not_a_hang() -> None:
    def work(task: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return task

    with pytest.raises(EqlrError, match="worker process died"):
        list(workers.spread_over(work, range(4), 2))
