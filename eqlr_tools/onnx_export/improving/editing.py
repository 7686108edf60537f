"""An existing model's graph, opened for changes: who makes and uses each value, what is constant, what shape it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.onnx_export.fold import constant_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

Shape = tuple[int | None, ...]

_KNOWN_TO_INFERENCE = 1024
"""Constants up to so many elements may be shapes, and shape inference sees them; of larger ones it sees the shape."""


class Editor:
    """Reads and changes one model. New nodes are appended anywhere: `finish` sorts them and removes what is unused."""

    def __init__(self, model: ModelProto) -> None:
        self.model, self.graph = model, model.graph
        self._store_constant_nodes()
        self.refresh()

    def _store_constant_nodes(self) -> None:
        """A Constant node becomes an initialiser of the same name: some parsers take weights from nowhere else."""
        outputs = {entry.name for entry in self.graph.output}
        for node in [node for node in self.graph.node if node.op_type == "Constant" and node.output[0] not in outputs]:
            tensor = constant_of(node)
            if tensor is not None:
                self.graph.initializer.append(tensor)
                self.graph.initializer[-1].name = node.output[0]
                self.graph.node.remove(node)

    def refresh(self) -> None:
        """Look at the graph anew."""
        self.producers = {name: node for node in self.graph.node for name in node.output if name}
        self.users: dict[str, list[NodeProto]] = {}
        for node in self.graph.node:
            for name in set(node.input):
                self.users.setdefault(name, []).append(node)
        listed = {entry.name for entry in self.graph.input}
        self._tensors = {tensor.name: tensor for tensor in self.graph.initializer if tensor.name not in listed}
        for name, node in self.producers.items():
            tensor = constant_of(node)
            if tensor is not None:
                self._tensors[name] = tensor
        self.outputs = {entry.name for entry in self.graph.output}
        self._inferred = _inferred(self.model, self._tensors)
        self._names = {*self.producers, *self._tensors, *listed}

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a constant; None for anything that is computed."""
        from onnx import numpy_helper

        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def is_constant(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> Shape | None:
        """The sizes as far as they are known, None for a value whose rank is not known."""
        if name in self._tensors:
            return tuple(self._tensors[name].dims)
        return self._inferred.get(name, (0, None))[1]

    def element_type(self, name: str) -> int:
        """ONNX's number of the type of a value's elements; 0 if it is not known."""
        if name in self._tensors:
            return int(self._tensors[name].data_type)
        return self._inferred.get(name, (0, None))[0]

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """The shape where all of it is known."""
        shape = self.shape(name)
        if shape is None or any(size is None for size in shape):
            return None
        return tuple(size for size in shape if size is not None)

    def fresh(self, name: str) -> str:
        """A name that nothing has yet."""
        found, number = name, 1
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found)
        return found

    def add_constant(self, name: str, value: NDArray[Any], element_type: int | None = None) -> str:
        """Store a constant, in its own type or rounded to another."""
        from onnx import helper, numpy_helper

        if element_type is not None:
            value = value.astype(helper.tensor_dtype_to_np_dtype(element_type))
        tensor = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), self.fresh(name))
        self.graph.initializer.append(tensor)
        self._tensors[tensor.name] = self.graph.initializer[-1]
        return str(tensor.name)

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node with one output, and return the output's name, which is the node's."""
        from onnx import helper

        name = self.fresh(name)
        self.graph.node.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        node = self.graph.node[-1]
        self.producers[name] = node
        for used in set(inputs):
            self.users.setdefault(used, []).append(node)
        return name

    def reshape(self, value: str, shape: Sequence[int], name: str) -> str:
        return self.add("Reshape", [value, self.add_constant(f"{name}/shape", np.array(shape, np.int64))], name)

    def replace(self, old: str, new: str) -> None:
        """Let everything that used one value use another. An output of the model keeps its name."""
        for node in self.users.pop(old, []):
            for position, used in enumerate(node.input):
                if used == old:
                    node.input[position] = new
            self.users.setdefault(new, []).append(node)
        if old in self.outputs:
            producer = self.producers.pop(old)
            producer.output[list(producer.output).index(old)] = self.fresh(f"{old}/replaced")
            identity = type(producer)(op_type="Identity", input=[new], output=[old], name=self.fresh(f"{old}/named"))
            self.graph.node.append(identity)
            self.producers[old] = self.graph.node[-1]
            self.users.setdefault(new, []).append(self.graph.node[-1])

    def finish(self) -> None:
        """Remove what nothing uses, bring the nodes into an order in which each comes after what it needs."""
        self._remove_unused()
        del self.graph.value_info[:]
        nodes, done = list(self.graph.node), {"", *self._tensors, *(entry.name for entry in self.graph.input)}
        made = {name for node in nodes for name in node.output}
        ordered: list[NodeProto] = []
        while nodes:
            waiting = []
            for node in nodes:
                if all(name in done or name not in made for name in _needs(node)):
                    ordered.append(node)
                    done.update(node.output)
                else:
                    waiting.append(node)
            if len(waiting) == len(nodes):
                raise ValueError("the graph has a cycle")
            nodes = waiting
        copies = [_copied(node) for node in ordered]
        del self.graph.node[:]
        self.graph.node.extend(copies)
        self.refresh()

    def _remove_unused(self) -> None:
        needed, waiting = set(), list(self.outputs)
        producers = {name: node for node in self.graph.node for name in node.output}
        kept: set[int] = set()
        while waiting:
            name = waiting.pop()
            if name in needed:
                continue
            needed.add(name)
            node = producers.get(name)
            if node is not None and id(node) not in kept:
                kept.add(id(node))
                waiting += _needs(node)
        copies = [_copied(node) for node in self.graph.node if id(node) in kept]
        del self.graph.node[:]
        self.graph.node.extend(copies)
        for tensor in [tensor for tensor in self.graph.initializer if tensor.name not in needed]:
            self.graph.initializer.remove(tensor)


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    from onnx import helper

    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def _needs(node: NodeProto) -> list[str]:
    """What a node takes, its subgraphs included."""
    names = list(node.input)
    for entry in node.attribute:
        for inner in [entry.g, *entry.graphs]:
            names += [name for each in inner.node for name in _needs(each)]
            names += [output.name for output in inner.output]
    return names


def _copied(node: NodeProto) -> NodeProto:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def _inferred(model: ModelProto, tensors: dict[str, Any]) -> dict[str, tuple[int, Shape | None]]:
    """Types and shapes by ONNX's inference, on a copy without the data of large constants."""
    import onnx
    from onnx import helper

    skeleton = onnx.ModelProto(ir_version=model.ir_version)
    skeleton.opset_import.extend(model.opset_import)
    skeleton.functions.extend(model.functions)
    graph = skeleton.graph
    graph.name = "skeleton"
    graph.input.extend(model.graph.input)
    graph.output.extend(onnx.ValueInfoProto(name=entry.name, type=entry.type) for entry in model.graph.output)
    listed = {entry.name for entry in model.graph.input}
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) <= _KNOWN_TO_INFERENCE:
            graph.initializer.append(tensor)
        elif tensor.name not in listed:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    graph.node.extend(model.graph.node)
    graph = onnx.shape_inference.infer_shapes(skeleton, data_prop=True).graph
    found = {}
    for entry in [*graph.value_info, *graph.output, *graph.input]:
        kind = entry.type.tensor_type
        shape = tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim)
        found[entry.name] = (kind.elem_type, shape if kind.HasField("shape") else None)
    return found
