"""Arrangements: axes permuted, reversed, merged and split, lazily and back again."""

from __future__ import annotations

import numpy as np
import pytest

from eqlr_tools.checkpoints.arranging import arranged, arrangement, identity
from eqlr_tools.checkpoints.outputs import constant_tensor
from eqlr_tools.errors import UnreadableError

CASES = [
    ("h w i o -> o i h w", "", (3, 3, 4, 5), (5, 4, 3, 3)),
    ("1 o i h w -> o i h w", "h w", (1, 5, 4, 3, 3), (5, 4, 3, 3)),
    ("1 c 1 1 -> c", "", (1, 6, 1, 1), (6,)),
    ("1 -> ", "", (1,), ()),
    ("z c h w -> (c h=4 w=4) z", "", (7, 5, 4, 4), (80, 7)),
    ("i o -> o i", "", (3, 2), (2, 3)),
]


@pytest.mark.parametrize(("text", "reverse", "stored", "canonical"), CASES)
def test_there_and_back(text: str, reverse: str, stored: tuple[int, ...], canonical: tuple[int, ...]) -> None:
    values = np.arange(np.prod(stored), dtype=np.float32).reshape(stored)
    tensor = constant_tensor(values, "F32")
    there = arranged(tensor, arrangement(text, reverse))
    assert there.shape == canonical
    back = arranged(there, arrangement(text, reverse).inverse)
    assert back.shape == stored
    np.testing.assert_array_equal(back.values(), values)


def test_orientation() -> None:
    values = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
    turned = arranged(constant_tensor(values, "F32"), arrangement("h w i o -> o i h w", "h w"))
    np.testing.assert_array_equal(turned.values(), values[::-1, ::-1].transpose(3, 2, 0, 1))


def test_blocks_of_a_lazy_tensor_are_the_whole_of_it() -> None:
    values = np.random.default_rng(0).standard_normal((40, 30), dtype=np.float32)
    turned = arranged(constant_tensor(values, "F32"), arrangement("i o -> o i"))
    read = np.concatenate([block.copy() for block in turned.blocks(256)])
    np.testing.assert_array_equal(read.view(np.float32).reshape(30, 40), values.T)


def test_two_arrangements_become_one() -> None:
    there, back = arrangement("1 o i h w -> o i h w", "h w"), arrangement("a b c d -> a b c d", "c d").inverse
    both = there.then(back)
    assert both is not None
    assert both.keeps_order
    assert there.then(identity(4)) is not None
    assert arrangement("z c h w -> (c h=4 w=4) z").then(identity(2)) is None


def test_a_wrong_rank_is_an_error() -> None:
    with pytest.raises(UnreadableError, match="5 axes"):
        arranged(constant_tensor(np.zeros((2, 3), dtype=np.float32), "F32"), arrangement("1 o i h w -> o i h w"))
