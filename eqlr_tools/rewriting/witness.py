"""What was read back as it was written need not be computed from the source again.

A rewrite takes the fingerprint of every byte that it writes, and of every byte that stands in the file afterwards.
Where the two agree, the file holds exactly what the executor's arithmetic gave. Whether that is what a layer applies is
still found out without the plan: recognition of the source and of the finished file says by which constants the two
tensors are multiplied, and they must be the constant of that arithmetic. The first block of every pair is compared as
it is read, so that a name that leads to the wrong place in the file is found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.outputs import Output, leaves
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import Path as TreePath
from eqlr_tools.rewriting.distances import Pair, applies_plainly
from eqlr_tools.rewriting.scale import Scale


class Witness:
    """Knows which output every tensor of a file was written from. Without `intact` it vouches for nothing."""

    def __init__(self, tree: Any, written: Checkpoint, *, intact: bool) -> None:
        found = ((tensor_at(written.tree, path), output) for path, output in leaves(tree) if intact)
        # The tensors are kept beside their ids, which are only unique while they live.
        self._outputs = {id(tensor): (tensor, output) for tensor, output in found if tensor is not None}

    def vouched(self, pair: Pair) -> Pair:
        """The pair, marked as one whose first block says enough if that is so."""
        _, output = self._outputs.get(id(pair.right.tensor), (None, None))
        return replace(pair, vouched=True) if output is not None and _tells(output, pair) else pair


def tensor_at(tree: Any, path: TreePath) -> Tensor | None:
    """The tensor at a place of a tree, if there is one."""
    for key in path:
        try:
            tree = tree[key]
        except (KeyError, IndexError, TypeError):
            return None
    return tree if isinstance(tree, Tensor) else None


def _tells(output: Output, pair: Pair) -> bool:
    left, right = pair.left, pair.right
    if output.tensor is not left.tensor or not (left.tensor.is_contiguous and right.tensor.is_contiguous):
        return False
    if output.dtype != right.tensor.dtype:
        return False
    if output.transform is None:
        return (left.scale, left.add) == (right.scale, right.add)
    if (right.scale, right.add) != (1.0, 0.0):
        return False
    return applies_plainly(left) and output.transform == Scale(multiply=left.scale)
