"""Freeing the batch of a graph that was exported with a fixed one.

What ties a graph to its batch, once no convolution has a group per sample, are numbers: those in the target shapes of
Reshape and Expand, and constants that were repeated for every sample. Numbers alone do not say whether a 4 is the batch
or the width of an image, so this is a proposal: `improve` keeps it if other batches give each sample the same result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eqlr_tools.onnx_export.graph import BATCH
from eqlr_tools.onnx_export.improving.editing import Editor

_BROADCASTING = ("Add", "Sub", "Mul", "Div")


def fixed_batch(editor: Editor) -> int | None:
    """The length that the first axes of all inputs share, if it is fixed; scalars have none."""
    lengths = set()
    for entry in editor.graph.input:
        axes = entry.type.tensor_type.shape.dim
        if axes and not editor.is_constant(entry.name):
            lengths.add(axes[0].dim_value if axes[0].HasField("dim_value") else None)
    return lengths.pop() if len(lengths) == 1 else None


def free_batch(editor: Editor, batch: int) -> None:
    """Let the first axis of inputs and outputs be of any length, and what follows from it."""
    for node in list(editor.graph.node):
        if node.op_type == "Reshape":
            _free_reshape(editor, node, batch)
        elif node.op_type in ("Expand", "Tile"):
            sizes, into = editor.constant(node.input[1]), editor.shape(node.input[0])
            if (
                node.op_type == "Expand"
                and sizes is not None
                and into
                and len(into) == len(sizes)
                and sizes[0] == batch
            ):
                _set(editor, node, 1, np.concatenate([[1], sizes[1:]]))
        elif node.op_type in _BROADCASTING:
            for position in range(2):
                _cut_repeated(editor, node, position, batch)
    for entry in [*editor.graph.input, *editor.graph.output]:
        axes = entry.type.tensor_type.shape.dim
        if axes and not editor.is_constant(entry.name):
            axes[0].dim_param = BATCH
    editor.finish()


def _free_reshape(editor: Editor, node: Any, batch: int) -> None:
    """A first axis that stays is a 0 in the target; one that follows the batch in another way is the -1, if it can."""
    target, before, after = editor.constant(node.input[1]), editor.shape(node.input[0]), editor.sizes(node.output[0])
    if target is None or not before or not after or editor.is_constant(node.input[0]):
        return
    keeps_zeros = any(entry.name == "allowzero" and entry.i for entry in node.attribute)
    if after[0] % batch or 0 in target[1:] or (keeps_zeros and 0 in target):
        return
    others = list(after[1:])
    first = 0 if before[0] == after[0] == batch else -1
    for entry in [entry for entry in node.attribute if entry.name == "allowzero"]:
        node.attribute.remove(entry)
    _set(editor, node, 1, np.array([first, *others], np.int64))


def _set(editor: Editor, node: Any, position: int, value: np.ndarray) -> None:
    node.input[position] = editor.add_constant(f"{node.name or node.output[0]}/free", value.astype(np.int64))


def _cut_repeated(editor: Editor, node: Any, position: int, batch: int) -> None:
    """A constant of equal rows, one per sample, is one row: the operator broadcasts it."""
    value, other = editor.constant(node.input[position]), editor.shape(node.input[1 - position])
    if batch == 1 or value is None or other is None or value.ndim != len(other) or value.shape[:1] != (batch,):
        return
    if np.array_equal(np.broadcast_to(value[:1], value.shape), value):
        node.input[position] = editor.add_constant(f"{node.input[position]}/one", value[:1])
