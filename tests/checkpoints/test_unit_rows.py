"""A tensor with unit rows is read like any other: in any blocks, of any type, from any view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eqlr_tools.checkpoints.outputs import constant_tensor
from eqlr_tools.checkpoints.tensors import BLOCK_BYTES
from eqlr_tools.checkpoints.unit_rows import with_unit_rows

EPSILON, FACTOR = 1e-4, 0.25


def expected(values: np.ndarray) -> np.ndarray:
    rows = values.astype(np.float64).reshape(len(values), -1)
    norms = np.array([np.linalg.norm(row) for row in rows])[:, None]
    return (FACTOR * rows / (EPSILON + norms / np.sqrt(rows.shape[1]))).reshape(values.shape)


@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 3, 3), (1, 6), (3, BLOCK_BYTES // 4 + 5), (4000, 40)])
@pytest.mark.parametrize("block_bytes", [64, BLOCK_BYTES])
def test_blocks_of_any_size_hold_the_rows(shape: tuple[int, ...], block_bytes: int) -> None:
    if block_bytes == 64 and np.prod(shape) > 10_000:
        block_bytes = 1 << 16
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 3
    values[0] = 0
    tensor = with_unit_rows(constant_tensor(values, "F32"), EPSILON, FACTOR)
    flat = np.concatenate([block.copy() for block in tensor.blocks(block_bytes)]).view(np.float32)
    np.testing.assert_array_equal(flat.reshape(shape), expected(values).astype(np.float32))
    middle = np.concatenate([block.copy() for block in tensor.blocks(block_bytes, (3, 6))]).view(np.float32)
    np.testing.assert_array_equal(middle, flat[3:6])


@pytest.mark.parametrize(("dtype", "numpy"), [("F16", np.float16), ("F64", np.float64)])
def test_it_is_rounded_once_to_its_type(dtype: str, numpy: type) -> None:
    values = np.random.default_rng(1).standard_normal((6, 50)).astype(numpy)
    tensor = with_unit_rows(constant_tensor(values, dtype), EPSILON, FACTOR)
    got = tensor.bits().view(numpy)
    np.testing.assert_allclose(got, expected(values).astype(numpy), rtol=1e-15 if numpy is np.float64 else 0)


def test_a_view_of_a_big_endian_storage_is_read_in_its_order() -> None:
    values = np.random.default_rng(2).standard_normal((4, 6)).astype(np.float32)
    plain = constant_tensor(values.byteswap(), "F32")
    storage = replace(plain.storage, byteorder="big")
    turned = replace(plain, storage=storage, shape=(6, 4), strides=(1, 6))
    got = with_unit_rows(turned, EPSILON, FACTOR).bits().view(np.float32)
    np.testing.assert_array_equal(got, expected(values.T).astype(np.float32))
