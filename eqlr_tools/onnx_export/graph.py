"""An ONNX graph under construction: nodes by name, constants rounded once from float64.

A node's name is also the name of its only output, so a graph viewer shows `synthesis.b8.conv0/modulate` on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools import __version__

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

BATCH = "batch"
"""The name of the axis whose length is free."""

_REDUCTIONS_TAKE_AXES_AS_INPUT = 18


@dataclass(frozen=True)
class Port:
    """An input or output. The first axis of every shape that has one is the batch."""

    name: str
    shape: tuple[int | str, ...]
    dtype: np.dtype[Any]

    def sized(self, samples: int) -> tuple[int, ...]:
        """The shape for so many samples."""
        return (samples, *(int(size) for size in self.shape[1:]))


class Graph:
    """`float_type` is the type in which `constant` stores numbers unless told otherwise."""

    def __init__(self, name: str, opset: int) -> None:
        self.name = name
        self.opset = opset
        self.float_type: np.dtype[Any] = np.dtype(np.float32)
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self._names: set[str] = set()

    @contextmanager
    def computing_in(self, dtype: DTypeLike) -> Iterator[None]:
        """Within the block, constants are of this type."""
        before, self.float_type = self.float_type, np.dtype(dtype)
        try:
            yield
        finally:
            self.float_type = before

    def input(self, name: str, shape: Sequence[int | str], dtype: DTypeLike = np.float32) -> str:
        """Declare an input of the graph."""
        self.inputs.append(Port(name, tuple(shape), np.dtype(dtype)))
        self._names.add(name)
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str], dtype: DTypeLike = np.float32) -> None:
        """Declare an output of the graph under a name of its own."""
        self.node("Identity", [value], name)
        self.outputs.append(Port(name, tuple(shape), np.dtype(dtype)))

    def constant(self, name: str, value: NDArray | float | Sequence[int], dtype: DTypeLike | None = None) -> str:
        """A constant, stored once under its name. Numbers are rounded to `float_type`, indices stay integers."""
        from onnx import TensorProto, helper

        if name in self._constants:
            return name
        array = np.asarray(value)
        wanted = np.dtype(dtype) if dtype is not None else self.float_type if array.dtype.kind == "f" else array.dtype
        array = np.ascontiguousarray(array.astype(wanted)).reshape(array.shape)
        element = helper.np_dtype_to_tensor_dtype(wanted)
        self._constants[name] = TensorProto(name=name, data_type=element, dims=array.shape, raw_data=array.tobytes())
        self._names.add(name)
        return name

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node with one output, and return the output's name, which is the node's."""
        from onnx import helper

        if name in self._names:
            raise ValueError(f"the graph has two values called {name}")
        self._names.add(name)
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def reduce(self, operator: str, value: str, axes: Sequence[int], name: str) -> str:
        """ReduceMean and its like over axes that stay with length 1; the axes became an input in opset 18."""
        if self.opset >= _REDUCTIONS_TAKE_AXES_AS_INPUT:
            axes_name = self.constant("axes." + ".".join(map(str, axes)), np.array(axes, dtype=np.int64))
            return self.node(operator, [value, axes_name], name, keepdims=1)
        return self.node(operator, [value], name, axes=list(axes), keepdims=1)

    def reshape(self, value: str, shape: Sequence[int], name: str) -> str:
        """Reshape; a 0 keeps the length of that axis, which is how the batch stays free."""
        shape_name = self.constant("shape." + ".".join(map(str, shape)), np.array(shape, dtype=np.int64))
        return self.node("Reshape", [value, shape_name], name)

    def cast(self, value: str, dtype: DTypeLike, name: str) -> str:
        """Convert to another type."""
        from onnx import helper

        return self.node("Cast", [value], name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def model(self, metadata: dict[str, str]) -> ModelProto:
        """The finished model."""
        from onnx import helper

        graph = helper.make_graph(
            self._nodes,
            self.name,
            [_value_info(port) for port in self.inputs],
            [_value_info(port) for port in self.outputs],
            initializer=list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="eqlr-tools",
            producer_version=__version__,
        )
        helper.set_model_props(model, metadata)
        return model


def _value_info(port: Port) -> ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(port.name, helper.np_dtype_to_tensor_dtype(port.dtype), port.shape)
