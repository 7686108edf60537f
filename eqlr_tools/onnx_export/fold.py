"""Folding constant run-time scales into the weights of an ONNX model.

An exporter that sees `conv(x, weight * c)` writes `Mul(weight, c)` in front of the Conv: at best a constant that every
session folds again, at worst a computed weight that runtimes refuse (apple/coremltools#853). Where a weight or bias of
a Conv, ConvTranspose, Gemm or MatMul is an expression of constants alone - an initialiser through Mul, Div, Identity
and Cast, the scale a scalar or one number per channel - the expression's value becomes the initialiser:

    w = round(v * c), the product in float64, rounded once to the type that the expression has.

Projects that multiply what goes into the layer, `conv(x * c)`, compute the same: a scalar in front of a layer's other
input goes into its weight, too (`fold_inputs.py`). Nodes that only move elements (Transpose, Reshape) stay between the
weight and its layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.errors import UnreadableError, UsageError
from eqlr_tools.onnx_export.fold_inputs import beneath_moves, input_scales

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_WEIGHT_INPUTS = {"Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1)}
_ARITHMETIC = {"Mul": np.multiply, "Div": np.divide}
_HANDED_ON = ("Identity", "Cast")
_LISTED_INPUTS_UNTIL = 4
"""Before IR version 4, initialisers had to be listed as inputs; since then, a listed one may be replaced."""
_MAX_STEPS = 64


@dataclass(frozen=True)
class Fold:
    """One expression that became an initialiser. `factor` is None for a scale per channel."""

    weight: str
    target: str
    operator: str
    factor: float | None
    dtype: str
    shape: tuple[int, ...]


@dataclass
class Expression:
    """What a value is made of: the nodes in order, the constants, and the value."""

    value: NDArray[Any]
    dtype: np.dtype[Any]
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    scaled: bool = False


def load_model(path: Path) -> ModelProto:
    """Load a model with its external data. Raises UsageError for anything that eqlr does not read as ONNX."""
    import onnx

    from eqlr_tools.checkpoints.opening import open_checkpoint

    checkpoint = open_checkpoint(path)  # Refuses damaged files, and data outside the model's directory.
    if checkpoint.container != "onnx":
        raise UsageError(
            f"{path}: a {checkpoint.container} file; only an ONNX model is baked into one",
            hint="eqlr export writes an ONNX graph from a checkpoint",
        )
    try:
        return onnx.load(str(path))
    except Exception as error:
        raise UnreadableError(f"{path}: onnx does not load it ({error})") from error


def fold_model(model: ModelProto, wanted: Callable[[str], bool]) -> list[Fold]:
    """Fold in place every scale in front of a wanted weight, in subgraphs too."""
    listed = model.ir_version < _LISTED_INPUTS_UNTIL
    folds = list(_Folder(model.graph, {}, wanted, listed).run())
    # A branch leaves what it folded to the graph around it, where its other branch may have used it, too.
    uses, taken = _uses(model.graph), {fold.weight for fold in folds}
    taken -= {entry.name for entry in (*model.graph.input, *model.graph.output)}
    for tensor in [each for each in model.graph.initializer if each.name in taken and each.name not in uses]:
        model.graph.initializer.remove(tensor)
    return folds


def constant_of(node: NodeProto) -> TensorProto | None:
    """The tensor of a `Constant` node; None for other nodes and for text."""
    from onnx import numpy_helper

    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor: TensorProto = attribute.t
            return tensor
        if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
            single = attribute.f if attribute.name == "value_float" else attribute.i
            many = attribute.floats if attribute.name == "value_floats" else attribute.ints
            dtype = np.float32 if "float" in attribute.name else np.int64
            return numpy_helper.from_array(np.array(list(many) if attribute.name.endswith("s") else single, dtype))
    return None


@dataclass
class _Folder:
    """Works on one graph; `outer` holds the constants of the graphs around it."""

    graph: GraphProto
    outer: dict[str, TensorProto]
    wanted: Callable[[str], bool]
    inputs_are_listed: bool

    def run(self) -> Iterator[Fold]:
        self.producers = {name: node for node in self.graph.node for name in node.output if name}
        self.constants = {**self.outer, **self._own_constants()}
        for node in list(self.graph.node):
            for position in _WEIGHT_INPUTS.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ():
                if position < len(node.input):
                    yield from self._fold(node, position)
        for scaled in input_scales(self.graph, self.constants, self.producers, self.wanted):
            folded = scaled.folded
            yield Fold(scaled.weight, scaled.target, scaled.operator, scaled.factor, str(folded.dtype), folded.shape)
        for node in self.graph.node:
            for attribute in node.attribute:
                for inner in [attribute.g, *attribute.graphs] if attribute.ByteSize() else []:
                    if inner.node:
                        yield from _Folder(inner, self.constants, self.wanted, self.inputs_are_listed).run()

    def _own_constants(self) -> dict[str, TensorProto]:
        inputs = set() if self.inputs_are_listed else {entry.name for entry in self.graph.input}
        found = {tensor.name: tensor for tensor in self.graph.initializer if tensor.name not in inputs}
        for name, node in self.producers.items():
            tensor = constant_of(node)
            if tensor is not None:
                found[name] = tensor
        return found

    def _fold(self, consumer: NodeProto, position: int) -> Iterator[Fold]:
        holder, at = beneath_moves(self.producers, consumer, position)
        name = holder.input[at]
        expression = self._expression(name, _MAX_STEPS)
        if expression is None or not expression.scaled or any(name == entry.name for entry in self.graph.output):
            return
        weight = max(expression.constants, key=lambda constant: _size(self.constants[constant]))
        original = self._values(weight)
        if original.shape != expression.value.shape or not self.wanted(weight):
            return
        with np.errstate(all="ignore"):
            folded = expression.value.astype(expression.dtype)
        target = self._replace(name, weight, folded, expression)
        kept = original != 0
        ratio = (expression.value[kept] / original[kept].astype(np.float64)) if kept.any() else np.ones(1)
        uniform = bool(np.allclose(ratio, ratio.flat[0], rtol=1e-9, atol=0))
        factor = float(np.median(ratio)) if uniform else None
        yield Fold(weight, target, consumer.op_type, factor, str(expression.dtype), tuple(folded.shape))

    def _expression(self, name: str, steps: int) -> Expression | None:
        """The value of a name if it is made of constants alone, in float64; None if it is not, or is computed."""
        if name in self.constants:
            values = self._values(name)
            if values.dtype.kind not in "fV" or values.size == 0:
                return None
            return Expression(values.astype(np.float64), values.dtype, constants=[name])
        node = self.producers.get(name)
        if node is None or steps == 0 or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type in _HANDED_ON and len(node.input) == 1:
            inner = self._expression(node.input[0], steps - 1)
            return inner and self._handed_on(node, inner)
        if node.op_type in _ARITHMETIC and len(node.input) == 2:
            left, right = (self._expression(each, steps // 2) for each in node.input)
            return self._product(node, left, right) if left and right else None
        return None

    def _handed_on(self, node: NodeProto, inner: Expression) -> Expression | None:
        dtype = inner.dtype
        if node.op_type == "Cast":
            from onnx import helper

            dtype = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
            if dtype.kind not in "fV":
                return None
        value = inner.value
        if dtype.itemsize < inner.dtype.itemsize:
            with np.errstate(all="ignore"):
                value = value.astype(dtype).astype(np.float64)
        return Expression(value, dtype, [*inner.nodes, node], inner.constants, inner.scaled)

    def _product(self, node: NodeProto, left: Expression, right: Expression) -> Expression | None:
        """One side is the weight, the other a scalar or one number per channel: at most one axis longer than 1."""
        small = min(left, right, key=lambda side: side.value.size)
        if sum(size > 1 for size in small.value.shape) > 1 or (node.op_type == "Div" and small is left is not right):
            return None
        try:
            with np.errstate(all="ignore"):
                value = _ARITHMETIC[node.op_type](left.value, right.value)
        except ValueError:
            return None
        constants = [*left.constants, *right.constants]
        return Expression(value, left.dtype, [*left.nodes, *right.nodes, node], constants, True)

    def _values(self, name: str) -> NDArray[Any]:
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name])

    def _replace(self, name: str, weight: str, folded: NDArray[Any], expression: Expression) -> str:
        """Put the folded value under the weight's name if nothing else uses that, else under the expression's."""
        from onnx import numpy_helper

        uses = _uses(self.graph)
        own = {tensor.name for tensor in self.graph.initializer}
        inside = {id(node) for node in expression.nodes}
        others = [user for user in uses.get(weight, []) if id(user) not in inside]
        chained = [n for node in expression.nodes[:-1] for n in node.output if _used_outside(uses, n, inside)]
        target = weight if weight in own and not others and not chained else name
        for user in uses.get(name, []):
            for position, used in enumerate(user.input):
                if used == name:
                    user.input[position] = target
        self._remove_unused(expression)
        tensor = numpy_helper.from_array(folded, target)
        existing = next((entry for entry in self.graph.initializer if entry.name == target), None)
        if existing is not None:
            existing.CopyFrom(tensor)
        else:
            self.graph.initializer.append(tensor)
        self.constants[target] = tensor
        self.producers.pop(target, None)
        return target

    def _remove_unused(self, expression: Expression) -> None:
        """Take out the expression's nodes, last first, and its constants, where nothing uses them any more."""
        outputs = {entry.name for entry in self.graph.output}
        self.graph.node.remove(expression.nodes[-1])
        for node in reversed(expression.nodes[:-1]):
            uses = _uses(self.graph)
            if not any(name in uses or name in outputs for name in node.output):
                self.graph.node.remove(node)
        uses = _uses(self.graph)
        listed = {entry.name for entry in self.graph.input}
        for name in set(expression.constants):
            if name in uses or name in outputs or name in listed:
                continue
            for tensor in [entry for entry in self.graph.initializer if entry.name == name]:
                self.graph.initializer.remove(tensor)
            producer = self.producers.get(name)
            if producer is not None and producer.op_type == "Constant":
                self.graph.node.remove(producer)
                del self.producers[name]


def _uses(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """The nodes that use each name, those of subgraphs too."""
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                for name, users in _uses(inner).items():
                    found.setdefault(name, []).extend(users)
    return found


def _used_outside(uses: dict[str, list[NodeProto]], name: str, inside: set[int]) -> bool:
    return any(id(user) not in inside for user in uses.get(name, []))


def _size(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))
