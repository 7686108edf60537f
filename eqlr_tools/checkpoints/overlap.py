"""What reading all tensors of a file costs, against what the file holds.

Tensors may share bytes: tied weights, a network and the average that was saved by reference. But a small file can name
one storage ten thousand times, whole, in parts or with strides, and each name would be read, counted and compared.
"""

from __future__ import annotations

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.checkpoints.tensors import Tensor
from eqlr_tools.checkpoints.trees import walk
from eqlr_tools.errors import UnreadableError

_FREE_BYTES = 1 << 29
"""A second's work, whatever the size of the file: compressed or expanded tensors are larger than what holds them."""

_MAX_TIMES = 16
"""How often a file may be read over. Checkpoints that share all weights read them twice or three times."""


def refuse_overlap(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint. Raises UnreadableError if its tensors together are far more than its files hold."""
    tensors = (value for _, value in walk(checkpoint.tree, str(checkpoint.path)) if isinstance(value, Tensor))
    total = sum(_bytes_read(tensor) for tensor in tensors)
    if total > _FREE_BYTES and total > _MAX_TIMES * checkpoint.nbytes:
        raise UnreadableError(
            f"{checkpoint.path}: reading all its tensors takes {total:,} bytes, the file has {checkpoint.nbytes:,}",
            hint="no project writes such a file; it may be made to exhaust the reader",
        )
    return checkpoint


def _bytes_read(tensor: Tensor) -> int:
    """A view with strides is cut out of all that lies between its first and its last element."""
    if not tensor.numel:
        return 0
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    return max(tensor.numel, span) * tensor.dtype.itemsize
