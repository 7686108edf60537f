"""Scalars in front of a layer's input: `conv(x * c, w)` is `conv(x, c * w)`.

Many projects write their equalized layers so (aladdinpersson's and nashory's, say): the constant multiplies what goes
in, since there is less of it. A layer is linear in its input, zero padding included, and a bias is added behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, NodeProto, TensorProto

_DATA_AND_WEIGHT = {"Conv": [(0, 1)], "ConvTranspose": [(0, 1)], "Gemm": [(0, 1)], "MatMul": [(0, 1), (1, 0)]}
_MOVES = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
_MAX_MOVES = 16


@dataclass(frozen=True)
class InputScale:
    """A scalar that a layer's input was multiplied by, and the weight that has it now."""

    weight: str
    target: str
    operator: str
    factor: float
    folded: NDArray[Any]


def beneath_moves(producers: Mapping[str, NodeProto], consumer: NodeProto, position: int) -> tuple[NodeProto, int]:
    """The node, and which input of it, that a value comes from before its elements are moved."""
    for _ in range(_MAX_MOVES):
        node = producers.get(consumer.input[position])
        if node is None or node.op_type not in _MOVES or node.domain not in ("", "ai.onnx"):
            break
        consumer, position = node, 0
    return consumer, position


def input_scales(
    graph: GraphProto,
    constants: dict[str, TensorProto],
    producers: dict[str, NodeProto],
    wanted: Callable[[str], bool],
) -> Iterator[InputScale]:
    """Fold in place every scalar in front of a layer's input. `constants` and `producers` are those of the graph."""
    folder = _InputFolder(graph, constants, producers, wanted)
    for node in list(graph.node):
        for data_at, weight_at in _DATA_AND_WEIGHT.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ():
            if max(data_at, weight_at) < len(node.input):
                yield from folder.fold(node, data_at, weight_at)


@dataclass(frozen=True)
class _InputFolder:
    graph: GraphProto
    constants: dict[str, TensorProto]
    producers: dict[str, NodeProto]
    wanted: Callable[[str], bool]

    def fold(self, layer: NodeProto, data_at: int, weight_at: int) -> Iterator[InputScale]:
        holder, at = beneath_moves(self.producers, layer, weight_at)
        weight = holder.input[at]
        scales = self._scales(layer.input[data_at])
        if weight not in self.constants or layer.input[data_at] in self.constants or not scales:
            return
        values = self._values(weight)
        if values.dtype.kind not in "fV" or not self._fits(layer, scales, values.ndim) or not self.wanted(weight):
            return
        alone = self._is_alone(layer, weight_at, weight)
        if holder is not layer and not alone:
            return  # Others take the moved weight, too.
        factor = float(np.prod([number for _, number, _ in scales]))
        with np.errstate(all="ignore"):
            folded = (values.astype(np.float64) * factor).astype(values.dtype)
        target = self._store(weight, folded, in_place=alone)
        holder.input[at] = target
        layer.input[data_at] = scales[-1][2]
        self._remove_unused([node for node, _, _ in scales], weight)
        yield InputScale(weight, target, layer.op_type, factor, folded)

    def _scales(self, name: str) -> list[tuple[NodeProto, float, str]]:
        """The products with a scalar that made a value, last first: the node, the number, and what it multiplied."""
        found: list[tuple[NodeProto, float, str]] = []
        while (node := self.producers.get(name)) is not None and len(found) < _MAX_MOVES:
            if node.op_type not in ("Mul", "Div") or node.domain not in ("", "ai.onnx") or len(node.input) != 2:
                break
            sides = [1] if node.op_type == "Div" else [1, 0]
            side = next((side for side in sides if self._is_scalar(node.input[side])), None)
            if side is None or node.input[1 - side] in self.constants:
                break
            number = float(self._values(node.input[side]).astype(np.float64).reshape(()))
            if not np.isfinite(number) or number == 0.0:
                break
            found.append((node, 1.0 / number if node.op_type == "Div" else number, node.input[1 - side]))
            name = node.input[1 - side]
        return found

    def _is_scalar(self, name: str) -> bool:
        tensor = self.constants.get(name)
        return tensor is not None and all(size == 1 for size in tensor.dims) and self._values(name).dtype.kind in "fV"

    def _fits(self, layer: NodeProto, scales: list[tuple[NodeProto, float, str]], axes: int) -> bool:
        """False if a scalar has so many axes that it may have given the input one more."""
        most = 1 if layer.op_type == "MatMul" else axes
        names = [name for node, _, data in scales for name in node.input if name != data]
        return all(len(self.constants[name].dims) <= most for name in names if name in self.constants)

    def _is_alone(self, layer: NodeProto, weight_at: int, weight: str) -> bool:
        """True if the weight belongs to this graph, and nothing but this input of this layer takes it."""
        own = any(tensor.name == weight for tensor in self.graph.initializer)
        named = [layer.input[weight_at]]
        while named[-1] != weight:
            named.append(self.producers[named[-1]].input[0])
        outputs = {entry.name for entry in (*self.graph.output, *self.graph.input)}
        return own and all(_uses(self.graph, name) == 1 and name not in outputs for name in named)

    def _store(self, weight: str, folded: NDArray[Any], *, in_place: bool) -> str:
        from onnx import numpy_helper

        target = weight if in_place else self._free_name(weight)
        tensor = numpy_helper.from_array(folded, target)
        existing = next((each for each in self.graph.initializer if each.name == target), None)
        if existing is not None:
            existing.CopyFrom(tensor)
        else:
            self.graph.initializer.append(tensor)
        self.constants[target] = tensor
        return target

    def _free_name(self, weight: str) -> str:
        name = f"{weight}_scaled"
        while name in self.constants or name in self.producers or _uses(self.graph, name):
            name += "_"
        return name

    def _remove_unused(self, nodes: list[NodeProto], weight: str) -> None:
        """Take out products that nothing needs any more, last first, and then what was constant in them."""
        kept = {entry.name for entry in (*self.graph.output, *self.graph.input)}
        constants = [weight]
        for node in nodes:
            if node.output[0] in kept or _uses(self.graph, node.output[0]):
                break
            constants += [name for name in node.input if name in self.constants]
            self.graph.node.remove(node)
            del self.producers[node.output[0]]
        for name in dict.fromkeys(constants):
            if name in kept or _uses(self.graph, name):
                continue
            for tensor in [each for each in self.graph.initializer if each.name == name]:
                self.graph.initializer.remove(tensor)
            producer = self.producers.pop(name, None)
            if producer is not None:
                self.graph.node.remove(producer)

    def _values(self, name: str) -> NDArray[Any]:
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name])


def _uses(graph: GraphProto, name: str) -> int:
    """How often a name is used, in subgraphs too."""
    return sum(
        list(node.input).count(name)
        + sum(_uses(inner, name) for attribute in node.attribute for inner in (attribute.g, *attribute.graphs))
        for node in graph.node
    )
