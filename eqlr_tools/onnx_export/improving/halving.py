"""Half precision for the convolutions and for what is pointwise between them; everything else stays in single.

Calling `.half()` on a whole graph is how images turn grey: squares of styles and sums of squares overflow without a
message. Half precision pays where the work is, in convolutions. So a node is converted if it is

* a convolution with a constant weight, of more channels than an image has, whose weight 16 bits can hold, or
* pointwise, or a depthwise filter, and works on what a converted node made (besides values of one pixel per channel),

unless a run of the model in single precision shows that what it takes or makes comes near the largest number of fp16.
Normalisations, styles, norms, dense layers and images are never of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.onnx_export.improving.editing import Editor, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

FP16_LARGEST = 65504.0
_MARGIN = 4.0
"""Other inputs than those that were tried may go so much further."""
_POINTWISE = frozenset(["Add", "Sub", "Mul", "LeakyRelu", "Relu", "PRelu", "Clip", "DepthToSpace", "Identity"])
_IMAGE_CHANNELS = 4


@dataclass(frozen=True)
class Halved:
    """How many nodes were converted, and the convolutions that were not, with the reason."""

    convolutions: int
    others: int
    kept: dict[str, str]


def candidates(editor: Editor) -> list[str]:
    """The values that half precision would have to hold, whose size a run has to tell."""
    names = []
    for node in editor.graph.node:
        if node.op_type in ("Conv", "ConvTranspose") or node.op_type in _POINTWISE:
            names += [name for name in (node.input[0], node.output[0]) if not editor.is_constant(name)]
    known = {entry.name for entry in editor.graph.input}
    return [name for name in dict.fromkeys(names) if name not in known and _is_single(editor, name)]


def to_half(editor: Editor, largest: Mapping[str, float], hazards: Mapping[str, str]) -> Halved:
    """Convert in place. `largest` are magnitudes seen in single precision, `hazards` weights to leave, and why."""
    halver = _Halver(editor, largest, hazards)
    for node in list(editor.graph.node):
        halver.consider(node)
    halver.convert()
    editor.finish()
    convolutions = sum(node.op_type in ("Conv", "ConvTranspose") for node in halver.chosen)
    return Halved(convolutions, len(halver.chosen) - convolutions, halver.kept)


class _Halver:
    def __init__(self, editor: Editor, largest: Mapping[str, float], hazards: Mapping[str, str]) -> None:
        self.editor, self.largest, self.hazards = editor, largest, hazards
        self.chosen: list[NodeProto] = []
        self.values: set[str] = set()
        self.kept: dict[str, str] = {}
        self._made: dict[tuple[str, int], str] = {}

    def consider(self, node: NodeProto) -> None:
        """Choose the node, or note why a convolution is not chosen."""
        if node.domain not in ("", "ai.onnx") or not _is_single(self.editor, node.output[0]):
            return
        if node.op_type in ("Conv", "ConvTranspose"):
            reason = self._reason_against(node)
            if reason:
                self.kept[node.name or node.output[0]] = reason
                return
        elif node.op_type not in _POINTWISE or not self._follows(node) or self._too_large(node):
            return
        self.chosen.append(node)
        self.values.add(node.output[0])

    def _reason_against(self, node: NodeProto) -> str | None:
        editor, weight = self.editor, node.input[1]
        shape = editor.shape(weight)
        if shape is None or not editor.is_constant(weight):
            return "its weight is computed"
        if attribute(node, "group", 1) > 1:
            if shape[1] != 1 or not self._follows(node):
                return "it filters what is in single precision" if shape[1] == 1 else "it is grouped"
        elif min(shape[0] or 0, (shape[1] or 0)) <= _IMAGE_CHANNELS:
            return "it makes or takes an image"
        if (sizes := editor.shape(node.output[0])) is not None and sizes[2:] == (1, 1):
            return "it makes one pixel: styles, or a norm"
        return self.hazards.get(weight) or self._too_large(node)

    def _too_large(self, node: NodeProto) -> str | None:
        values = [node.input[0], node.output[0]]
        worst = max((self.largest.get(name, 0.0) for name in values), default=0.0)
        if worst * _MARGIN <= FP16_LARGEST:
            return None
        return f"values of {worst:.3g} come near fp16's largest, {FP16_LARGEST:g}"

    def _follows(self, node: NodeProto) -> bool:
        """True if everything that it works on is there in half already, but for single pixels per channel."""
        computed = [name for name in node.input if name and not self.editor.is_constant(name)]
        wide = [name for name in computed if not self._is_small(name)]
        return bool(wide) and all(name in self.values for name in wide)

    def _is_small(self, name: str) -> bool:
        shape = self.editor.shape(name)
        return shape is not None and len(shape) == 4 and shape[2:] == (1, 1)

    def convert(self) -> None:
        """Constants anew in half, casts where types meet."""
        from onnx import TensorProto

        chosen = {id(node) for node in self.chosen}
        for node in list(self.editor.graph.node):
            half = id(node) in chosen
            for position, name in enumerate(node.input):
                if not name or (half and not _is_single(self.editor, name)):
                    continue
                if half and name not in self.values:
                    node.input[position] = self._as(name, TensorProto.FLOAT16)
                elif not half and name in self.values:
                    node.input[position] = self._as(name, TensorProto.FLOAT)
        for name in self.values & self.editor.outputs:
            producer = self.editor.producers[name]
            inner = self.editor.fresh(f"{name}/half")
            for node in self.editor.graph.node:
                for position, used in enumerate(node.input):
                    if used == name:
                        node.input[position] = inner
            producer.output[0] = inner
            self.editor.graph.node.append(
                type(producer)(op_type="Cast", input=[inner], output=[name], name=self.editor.fresh(f"{name}/single"))
            )
            self.editor.graph.node[-1].attribute.add(name="to", i=TensorProto.FLOAT, type=2)

    def _as(self, name: str, kind: int) -> str:
        if (name, kind) not in self._made:
            constant = self.editor.constant(name)
            if constant is not None:
                half: Any = constant.astype(np.float16)
                self._made[name, kind] = self.editor.add_constant(f"{name}/half", half)
            else:
                suffix = "half" if kind == 10 else "single"
                self._made[name, kind] = self.editor.add("Cast", [name], f"{name}/{suffix}", to=kind)
        return self._made[name, kind]


def _is_single(editor: Editor, name: str) -> bool:
    from onnx import TensorProto

    return editor.element_type(name) == TensorProto.FLOAT
