"""Reading the tensors of ONNX models: initialisers and `Constant` nodes, in subgraphs too, without onnx.

Field numbers are those of `onnx.proto` (ONNX, Apache-2.0). Tensor data stays where it is: in `raw_data`, in packed
floats, or in an external file beside the model. A tensor is a layer's weight if a Conv, Gemm or MatMul consumes it,
directly or through nodes that only hand it on or scale it; that is noted as the attributes of its name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_TORCH, DType
from eqlr_tools.checkpoints.modules import ModuleTree
from eqlr_tools.checkpoints.protobuf import BYTES, Field, Message
from eqlr_tools.checkpoints.remote import is_remote, open_source
from eqlr_tools.checkpoints.sources import MemorySource, SliceSource, Source, is_file
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.errors import DamagedError, UnreadableError

_MODEL_GRAPH, _MODEL_IR_VERSION, _MODEL_OPSET, _MODEL_METADATA = 7, 1, 8, 14
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 1, 5, 6
_DIMS, _DATA_TYPE, _FLOATS, _INT32S, _INT64S, _NAME, _RAW, _DOUBLES, _UINT64S, _EXTERNAL, _LOCATION = (
    1, 2, 4, 5, 7, 8, 9, 10, 11, 13, 14,
)  # fmt: skip

_DATA_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8_e4m3fn",
    18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 24: "float8_e8m0fnu",
}  # fmt: skip
_MAX_DEPTH = 40
_MAX_AXES = 64
_MAX_TYPED_BYTES = 1 << 26
_MAX_TENSORS = 50_000
_HANDED_ON = frozenset({"Identity", "Cast", "Transpose", "Reshape", "Mul", "Squeeze", "Unsqueeze", "DequantizeLinear"})
LAYER_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "LSTM", "GRU", "RNN"})


def looks_like_onnx(source: Source) -> bool:
    """True if the file begins as a ModelProto and has a graph with nodes, tensors or a name in it."""
    if source.size < 8 or source.read(0, 1) != b"\x08":
        return False
    try:
        tags = {}
        for place in Message(source, 0, source.size).fields():
            tags[place.tag] = place.wire
            if place.tag > 64 or len(tags) > 25:
                return False
        return tags.get(_MODEL_IR_VERSION) == 0 and tags.get(_MODEL_GRAPH) == BYTES and tags.get(_MODEL_OPSET) == BYTES
    except UnreadableError:
        return False


@dataclass(frozen=True)
class OnnxModel:
    """The tensors by name, with what consumes them; the model's metadata; the files that hold data beside it."""

    tensors: ModuleTree
    metadata: dict[str, str]
    files: tuple[Path, ...]


def read_onnx(source: Source, path: Path) -> OnnxModel:
    """Open a model lazily. Raises UnreadableError if it is damaged or its data lies outside its directory."""
    reader = _Reader(path)
    metadata: dict[str, str] = {}
    model = Message(source, 0, source.size)
    for place in model.fields():
        if place.tag == _MODEL_GRAPH and place.wire == BYTES:
            reader.graph(model.nested(place), 0)
        elif place.tag == _MODEL_METADATA and place.wire == BYTES:
            key, value = _pair(model.nested(place))
            metadata[key] = value
    tree = ModuleTree("onnx")
    tree.update(reader.tensors)
    weights = reader.weights()
    for name in tree:
        if name in weights:
            operator, position = weights[name]
            tree.module_attributes[name] = {"op_type": operator, "input": position}
    return OnnxModel(tree, metadata, tuple(path.parent / name for name in reader.files))


def _is_weight(operator: str, position: int) -> bool:
    if operator not in LAYER_OPERATORS:
        return False
    return position == 1 or operator == "MatMul" or (position == 2 and operator in ("LSTM", "GRU", "RNN"))


def _pair(entry: Message) -> tuple[str, str]:
    """A StringStringEntryProto."""
    texts = {place.tag: entry.text_of(place) for place in entry.fields() if place.wire == BYTES and place.tag in (1, 2)}
    return texts.get(1, ""), texts.get(2, "")


@dataclass
class _Reader:
    path: Path
    tensors: dict[str, Tensor] = field(default_factory=dict)
    consumers: dict[str, list[tuple[str, int, list[str]]]] = field(default_factory=dict)
    files: dict[str, Source] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    typed_bytes: int = 0

    def graph(self, graph: Message, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise DamagedError(f"{self.path}: graphs are nested more than {_MAX_DEPTH} deep")
        for place in graph.fields():
            if place.wire != BYTES:
                continue
            if place.tag == _GRAPH_NODE:
                self._node(graph.nested(place), depth)
            elif place.tag == _GRAPH_INITIALIZER:
                self._tensor(graph.nested(place), "")
            elif place.tag == _GRAPH_SPARSE:
                raise UnreadableError(
                    f"{self.path}: the model has sparse initialisers, which eqlr does not read",
                    hint="make them dense with onnx first",
                )

    def weights(self) -> dict[str, tuple[str, int]]:
        """For every name that is a layer's weight the operator, and at which input; found from the layers backwards."""
        found: dict[str, tuple[str, int]] = {}
        origins: dict[str, list[str]] = {}
        for name, uses in self.consumers.items():
            for operator, position, outputs in uses:
                if _is_weight(operator, position):
                    found.setdefault(name, (operator, position))
                elif operator in _HANDED_ON and (position == 0 or (operator == "Mul" and position == 1)):
                    for output in outputs[:1]:
                        origins.setdefault(output, []).append(name)
        pending = deque(found)
        while pending:
            name = pending.popleft()
            for origin in origins.pop(name, ()):
                if origin not in found:
                    found[origin] = found[name]
                    pending.append(origin)
        return found

    def _node(self, node: Message, depth: int) -> None:
        inputs: list[str] = []
        outputs: list[str] = []
        operator = ""
        values: list[Message] = []
        for place in node.fields():
            if place.wire != BYTES:
                continue
            if place.tag in (_NODE_INPUT, _NODE_OUTPUT):
                (inputs if place.tag == _NODE_INPUT else outputs).append(node.text_of(place))
            elif place.tag == _NODE_OP:
                operator = node.text_of(place)
            elif place.tag == _NODE_ATTRIBUTE:
                values += self._attribute(node.nested(place), depth)
        for position, name in enumerate(inputs):
            self.consumers.setdefault(name, []).append((operator, position, outputs))
        for tensor in values if operator == "Constant" else []:
            self._tensor(tensor, outputs[0] if outputs else "")

    def _attribute(self, attribute: Message, depth: int) -> Iterator[Message]:
        """The tensor of a `value` attribute; subgraphs are read on the way."""
        name = ""
        tensor = None
        for place in attribute.fields():
            if place.wire != BYTES:
                continue
            if place.tag == _ATTRIBUTE_NAME:
                name = attribute.text_of(place)
            elif place.tag == _ATTRIBUTE_TENSOR:
                tensor = attribute.nested(place)
            elif place.tag == _ATTRIBUTE_GRAPH:
                self.graph(attribute.nested(place), depth + 1)
        if tensor is not None and name == "value":
            yield tensor

    def _tensor(self, message: Message, name: str) -> None:
        parts: dict[int, list[Field]] = {}
        for place in message.fields():
            parts.setdefault(place.tag, []).append(place)
        places = parts.get(_DIMS, [])[:_MAX_AXES]
        dims = [size for place in places for size in message.numbers_of(place, 10 * _MAX_AXES)]
        if _NAME in parts and not name:
            name = message.text_of(parts[_NAME][-1])
        code = parts[_DATA_TYPE][-1].number if _DATA_TYPE in parts else 0
        if code not in _DATA_TYPES:
            return  # Text, and 4-bit integers two to a byte: nothing that has a range.
        dtype = BY_TORCH[_DATA_TYPES[code]]
        shape = tuple(int(size.astype(np.int64)) for size in dims)
        if min(shape, default=0) < 0 or len(shape) >= _MAX_AXES:
            raise self._damaged(name, "has a negative size, or too many")
        storage = self._storage(message, parts, dtype, name)
        tensor = Tensor(storage, dtype, shape, contiguous_strides(shape))
        if tensor.nbytes != storage.nbytes:
            raise self._damaged(name, f"of shape {list(shape)} has {storage.nbytes:,} bytes of data")
        self.tensors[self._free_name(name)] = tensor
        if len(self.tensors) > _MAX_TENSORS:
            raise UnreadableError(f"{self.path}: more than {_MAX_TENSORS:,} tensors", hint="no model has so many")

    def _free_name(self, name: str) -> str:
        """Names are unique in a graph and where it sees them; branches that do not may repeat one."""
        while name in self.tensors:
            self.repeated[name] = self.repeated.get(name, 1) + 1
            name = f"{name}#{self.repeated[name]}"
        return name

    def _storage(self, message: Message, parts: dict[int, list[Field]], dtype: DType, name: str) -> Storage:
        if _LOCATION in parts and parts[_LOCATION][-1].number == 1:
            entries = dict(_pair(message.nested(place)) for place in parts.get(_EXTERNAL, []) if place.wire == BYTES)
            return self._external(entries, name)
        if _RAW in parts:
            return _in_place(message.slice_of(parts[_RAW][-1]))
        lists = {_FLOATS: ("float32", "complex64"), _DOUBLES: ("float64", "complex128")}
        for tag, kinds in lists.items():
            if tag in parts and dtype.torch in kinds:
                return self._floats(message, parts[tag])
        places = [place for tag in (_INT32S, _INT64S, _UINT64S) for place in parts.get(tag, [])]
        self.typed_bytes += sum(place.span[1] for place in places)
        if self.typed_bytes > _MAX_TYPED_BYTES:
            raise UnreadableError(
                f"{self.path}: more than {_MAX_TYPED_BYTES >> 20} MiB of integers that are not raw data",
                hint="load it with onnx and save it again",
            )
        numbers = [message.numbers_of(place, _MAX_TYPED_BYTES) for place in places]
        whole = np.concatenate(numbers) if numbers else np.zeros(0, np.uint64)
        data = whole.astype(f"<u{min(dtype.itemsize, 8)}").tobytes()  # Its lowest bits: what is negative wraps.
        return _in_place(MemorySource(str(self.path), data, message.source.allowance))

    def _floats(self, message: Message, places: list[Field]) -> Storage:
        """Packed floats lie in the file as an array does; the older form has a tag before each."""
        if len(places) == 1 and places[0].wire == BYTES:
            return _in_place(message.slice_of(places[0]))
        data = b"".join(message.bytes_of(place, _MAX_TYPED_BYTES) for place in places)
        return _in_place(MemorySource(str(self.path), data, message.source.allowance))

    def _external(self, entries: dict[str, str], name: str) -> Storage:
        """A run of bytes in a file beside the model. Its name, and its link target, must not lead elsewhere."""
        location = entries.get("location", "")
        file = self.path.parent / location
        if not location or Path(location).is_absolute() or ".." in Path(location).parts or "\\" in location:
            raise self._damaged(name, f"lies in {location!r}, which leads out of the model's directory")
        if location not in self.files:
            if not is_remote(self.path):
                self._check_beside(file, location, name)
            self.files[location] = open_source(file)
        source = self.files[location]
        numbers = [entries.get("offset", "0"), entries.get("length", "0")]
        if not all(number.isascii() and number.isdigit() and len(number) < 20 for number in numbers):
            raise self._damaged(name, "has an offset that is no number")
        offset = int(numbers[0])
        length = int(numbers[1]) if "length" in entries else source.size - offset
        return _in_place(SliceSource(source, offset, length))

    def _check_beside(self, file: Path, location: str, name: str) -> None:
        if not is_file(file):
            raise UnreadableError(
                f"{self.path}: the file {location!r} with the data of {name!r} is missing",
                hint="put it beside the model",
            )
        # A download cache links model and data to one folder of blobs; any other link target is not the model's.
        directories = (self.path.parent.resolve(), self.path.resolve().parent)
        if not any(file.resolve().is_relative_to(directory) for directory in directories):
            raise self._damaged(name, f"lies in {location!r}, a link that leads out of the model's directory")

    def _damaged(self, name: str, why: str) -> UnreadableError:
        return UnreadableError(f"{self.path}: tensor {name!r} {why}", hint="the model is damaged or was altered")


def _in_place(source: Any) -> Storage:
    return Storage(source, 0, source.size)
