"""What a graph computes from constants alone, or from shapes that are known, becomes a constant.

What does nothing goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.onnx_export.fold import constant_of
from eqlr_tools.onnx_export.improving.editing import Editor

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import NodeProto

_NOT_REPEATABLE = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")
_MOVING = ("Identity", "Reshape", "Expand", "Flatten", "Slice")
_MAX_GROWTH_BYTES = 1 << 24
"""A constant that is computed from smaller ones may grow by so much: an Expand is not worth megabytes."""
_MAX_ROUNDS = 20


def fold_constants(editor: Editor) -> int:
    """Compute what can be computed now, until shapes tell no more. Returns how many nodes went."""
    before = len(editor.graph.node)
    for _ in range(_MAX_ROUNDS):
        if not _one_round(editor):
            break
        editor.finish()
    return before - len(editor.graph.node)


def _one_round(editor: Editor) -> bool:
    changed = False
    for node in list(editor.graph.node):
        if _does_nothing(editor, node):
            editor.replace(node.output[0], node.input[0])
            changed = True
            continue
        values = _computed(editor, node)
        if values is None:
            continue
        for name, value in zip(node.output, values, strict=False):
            if name and name not in editor.outputs and name in editor.users:
                editor.replace(name, editor.add_constant(f"{name}/constant", value))
                changed = True
    return changed


def _does_nothing(editor: Editor, node: NodeProto) -> bool:
    """A node that hands on the elements that it takes, in the same shape."""
    if node.op_type not in _MOVING or node.output[0] in editor.outputs or not editor.users.get(node.output[0]):
        return False
    before, after = editor.sizes(node.input[0]), editor.sizes(node.output[0])
    if node.op_type == "Slice":
        steps = editor.constant(node.input[4]) if len(node.input) > 4 else None
        if len(node.input) > 4 and (steps is None or (steps != 1).any()):
            return False
    return node.op_type == "Identity" or (before is not None and before == after)


def _computed(editor: Editor, node: NodeProto) -> list[NDArray[Any]] | None:
    from onnx.reference import ReferenceEvaluator

    if constant_of(node) is not None or node.domain not in ("", "ai.onnx") or node.op_type in _NOT_REPEATABLE:
        return None
    if node.op_type == "Shape" and not node.attribute:
        sizes = editor.sizes(node.input[0])
        return None if sizes is None else [np.array(sizes, np.int64)]
    inputs = {name: editor.constant(name) for name in node.input if name}
    known = {name: value for name, value in inputs.items() if value is not None}
    if len(known) < len(inputs) or not node.input or any(entry.HasField("g") for entry in node.attribute):
        return None
    try:
        found = ReferenceEvaluator(_alone(editor, node)).run(None, known)
    except Exception:  # noqa: BLE001 - an operator that the evaluator has not, or a graph that fails: left as it is
        return None
    values = [np.asarray(value) for value in found]
    grown = sum(value.nbytes for value in values) - sum(value.nbytes for value in known.values())
    return values if grown <= _MAX_GROWTH_BYTES else None


def _alone(editor: Editor, node: NodeProto) -> Any:
    """A model of this node only."""
    from onnx import helper

    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, editor.element_type(name), None)

    inputs = [info(name) for name in dict.fromkeys(node.input) if name]
    outputs = [info(name) for name in node.output if name]
    return helper.make_model(
        helper.make_graph([node], "node", inputs, outputs),
        opset_imports=editor.model.opset_import,
        functions=editor.model.functions,
    )
