"""Views whose elements lie far apart are read in parts, and come out as numpy sees them."""

from __future__ import annotations

import itertools
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from eqlr_tools.checkpoints import tensors
from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.checkpoints.sources import FileSource, MemorySource
from eqlr_tools.checkpoints.tensors import Storage, Tensor


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_permuted_and_expanded(order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_MAX_SPAN_BYTES", 256)
    data = np.arange(7 * 10 * 12, dtype=np.float32)
    storage = Storage(MemorySource("memory", data.tobytes()), 0, data.nbytes)
    for wanted in (data.reshape(7, 10, 12)[1:, ::3, ::2], np.broadcast_to(data[:10, None], (7, 10, 12))):
        view = wanted.transpose(order)
        strides = tuple(stride // 4 for stride in view.strides)
        offset = (view.__array_interface__["data"][0] - data.__array_interface__["data"][0]) // 4
        tensor = Tensor(storage, BY_NAME["F32"], view.shape, strides, offset)
        assert np.array_equal(tensor.values(), view)


def test_far_apart_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(5 << 30)
        os.pwrite(file.fileno(), np.float32(7).tobytes(), 4 << 30)
    tensor = Tensor(Storage(FileSource(path), 0, 5 << 30), BY_NAME["F32"], (3, 2), (1, 1 << 30))
    tracemalloc.start()
    values = tensor.values()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values.tolist() == [[0, 7], [0, 0], [0, 0]]
    assert peak < 1 << 20
