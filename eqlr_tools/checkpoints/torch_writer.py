"""Writing the zip format of `torch.save`, without torch, so that `torch.load(weights_only=True)` opens it.

The pickle is written by our own emitter, because Python's pickler insists on importing the classes that it names.
It uses the opcodes and names of torch's own files: protocol 2, `_rebuild_tensor_v2`, storages by persistent id.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.checkpoints.outputs import Output, leaves
from eqlr_tools.checkpoints.pickled_values import Global, LazyBytes, Record, StateDict
from eqlr_tools.checkpoints.provenance import PROVENANCE_MEMBER, is_torch_value, plain_record
from eqlr_tools.checkpoints.streaming import Piece, Progress
from eqlr_tools.checkpoints.tensors import Tensor, contiguous_strides
from eqlr_tools.checkpoints.zip_layout import ArchiveLayout

ROOT = "archive"


def write_torch_zip(file: BinaryIO, tree: Any, provenance: dict[str, Any], progress: Progress) -> list[Piece]:
    """Write a tree of plain data and `Output`s. Outputs that share a storage share it in the file."""
    storages = _Storages()
    for _, output in leaves(tree):
        storages.add(output)
    pickle = _Emitter(storages).emit(tree)
    archive = ArchiveLayout()
    archive.add(f"{ROOT}/data.pkl", pickle)
    archive.add(f"{ROOT}/byteorder", b"little")
    for key, stored in enumerate(storages.written):
        archive.add(f"{ROOT}/data/{key}", stored)
    archive.add(f"{ROOT}/version", b"3\n")
    archive.add(f"{ROOT}/{PROVENANCE_MEMBER}", json.dumps(provenance, sort_keys=True).encode())
    return archive.write(file.fileno(), progress)


@dataclass
class _Storages:
    """The storages of the file, numbered as they are met."""

    written: list[Output] = field(default_factory=list)
    _places: dict[int, tuple[int, Tensor]] = field(default_factory=dict)
    _shared: dict[tuple[int, str], list[Output]] = field(default_factory=dict)

    def add(self, output: Output) -> None:
        self._shared.setdefault((id(output.tensor.storage), output.dtype.name), []).append(output)

    def place(self, output: Output) -> tuple[int, Tensor]:
        """The number of the output's storage, and the view of it that the output is.

        Outputs that view one storage keep doing so if they are all treated alike; otherwise each gets its own.
        """
        if id(output) in self._places:
            return self._places[id(output)]
        group = self._shared[id(output.tensor.storage), output.dtype.name]
        alike = all(member.transform == output.transform for member in group)
        if alike and _whole(output.tensor) is not None:
            whole = Output(_whole(output.tensor) or output.tensor, output.transform)
            self._assign(group, whole, keep_view=True)
        else:
            self._assign([member for member in group if member.is_alias_of(output)], output, keep_view=False)
        return self._places[id(output)]

    def _assign(self, outputs: list[Output], stored: Output, keep_view: bool) -> None:
        number = len(self.written)
        self.written.append(stored)
        for output in outputs:
            tensor = output.tensor
            if not keep_view:
                strides = contiguous_strides(tensor.shape)
                storage = tensor.storage
                tensor = Tensor(storage, tensor.dtype, tensor.shape, strides, 0, tensor.parameter, tensor.requires_grad)
            self._places[id(output)] = (number, tensor)


def _whole(tensor: Tensor) -> Tensor | None:
    """The tensor's storage as one flat tensor, if the storage is a whole number of its elements."""
    count, rest = divmod(tensor.storage.nbytes, tensor.dtype.itemsize)
    return None if rest else Tensor(tensor.storage, tensor.dtype, (count,), (1,))


@dataclass
class _Emitter:
    storages: _Storages
    out: bytearray = field(default_factory=bytearray)
    memo: dict[Any, int] = field(default_factory=dict)
    _kept: list[Any] = field(default_factory=list)

    def emit(self, tree: Any) -> bytes:
        self.out += b"\x80\x02"
        self.value(tree)
        self.out += b"."
        return bytes(self.out)

    def value(self, value: Any) -> None:
        writer = next((write for kinds, write in _WRITERS if isinstance(value, kinds)), None)
        if writer is None:
            value = plain_record(value)
            writer = next(write for kinds, write in _WRITERS if isinstance(value, kinds))
        writer(self, value)

    def _remember(self, key: Any, kept: Any = None) -> None:
        self.memo[key] = len(self.memo)
        self._kept.append(kept)  # An id is only unique while the object lives.
        self.out += b"r" + struct.pack("<I", self.memo[key])

    def _recall(self, key: Any) -> bool:
        if key not in self.memo:
            return False
        self.out += b"j" + struct.pack("<I", self.memo[key])
        return True

    def name(self, module: str, name: str) -> None:
        if not self._recall(("global", module, name)):
            self.out += f"c{module}\n{name}\n".encode()
            self._remember(("global", module, name))

    def integer(self, value: int) -> None:
        if -(1 << 31) <= value < 1 << 31:
            self.out += b"J" + struct.pack("<i", value)
            return
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        self.out += (
            b"\x8a" + bytes([len(data)]) + data if len(data) < 256 else b"\x8b" + struct.pack("<I", len(data)) + data
        )

    def text(self, value: str) -> None:
        if not self._recall(("text", value)):
            data = value.encode("utf-8", "surrogatepass")
            self.out += b"X" + struct.pack("<I", len(data)) + data
            self._remember(("text", value))

    def bytes_(self, value: bytes) -> None:
        self.name("_codecs", "encode")
        self.text(value.decode("latin-1"))
        self.text("latin1")
        self.out += b"\x86R"

    def tuple_(self, value: tuple[Any, ...]) -> None:
        if self._recall(id(value)):
            return
        if len(value) > 3:
            self.out += b"("
        for child in value:
            self.value(child)
        self.out += (b")", b"\x85", b"\x86", b"\x87")[len(value)] if len(value) <= 3 else b"t"
        if value:
            self._remember(id(value), value)

    def list_(self, value: list[Any]) -> None:
        if self._recall(id(value)):
            return
        self.out += b"]"
        self._remember(id(value), value)
        self.out += b"("
        for child in value:
            self.value(child)
        self.out += b"e"

    def dict_(self, value: dict[Any, Any]) -> None:
        if self._recall(id(value)):
            return
        ordered = isinstance(value, StateDict)
        if ordered:
            self.name("collections", "OrderedDict")
            self.out += b")R"
        else:
            self.out += b"}"
        self._remember(id(value), value)
        self.out += b"("
        for key, child in value.items():
            self.value(key)
            self.value(child)
        self.out += b"u"
        if isinstance(value, StateDict) and value.attributes:
            self.dict_(value.attributes)
            self.out += b"b"

    def set_(self, value: set[Any] | frozenset[Any]) -> None:
        self.name("builtins", "set")
        self.list_(list(value))
        self.out += b"\x85R"

    def complex_(self, value: complex) -> None:
        self.name("builtins", "complex")
        self.tuple_((value.real, value.imag))
        self.out += b"R"

    def output(self, output: Output) -> None:
        """A tensor: `_rebuild_tensor_v2`, or `_v3` for the dtypes that have no storage class of their own."""
        number, view = self.storages.place(output)
        typed = output.dtype.storage is not None
        if view.parameter:
            self.name("torch._utils", "_rebuild_parameter")
        self.name("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
        self.out += b"("
        self._storage(number, output.dtype)
        self.integer(view.offset)
        self.tuple_(view.shape)
        self.tuple_(view.strides)
        self.value(view.requires_grad and not view.parameter)
        self._no_hooks()
        if not typed:
            self.name("torch", output.dtype.torch)
        self.out += b"tR"
        if view.parameter:
            self.value(view.requires_grad)
            self._no_hooks()
            self.out += b"\x87R"

    def _no_hooks(self) -> None:
        self.name("collections", "OrderedDict")
        self.out += b")R"

    def _storage(self, number: int, dtype: DType) -> None:
        stored = self.storages.written[number]
        self.out += b"("
        self.text("storage")
        if dtype.storage is not None:
            self.name("torch", dtype.storage)
        else:
            self.name("torch.storage", "UntypedStorage")
        self.text(str(number))
        self.text("cpu")
        self.integer(stored.nbytes // (dtype.itemsize if dtype.storage is not None else 1))
        self.out += b"tQ"

    def record(self, record: Record) -> None:
        """The few classes that `weights_only` knows keep their class, the others become plain data."""
        if is_torch_value(record):
            self.name(record.cls.module, record.cls.name)
            self.tuple_(record.arguments)
            self.out += b"R"
        else:
            self.value(plain_record(record))

    def global_(self, name: Global) -> None:
        if is_torch_value(name):
            self.name(name.module, name.name)
        else:
            self.text(str(name))

    def constant(self, value: bool | None) -> None:
        self.out += {None: b"N", True: b"\x88", False: b"\x89"}[value]

    def float_(self, value: float) -> None:
        self.out += b"G" + struct.pack(">d", value)


_WRITERS: list[tuple[Any, Callable[[_Emitter, Any], None]]] = [
    (Output, _Emitter.output),
    (bool | None, _Emitter.constant),
    (int, _Emitter.integer),
    (float, _Emitter.float_),
    (str, _Emitter.text),
    (bytes, _Emitter.bytes_),
    (LazyBytes, lambda emitter, value: emitter.bytes_(value.read())),
    (tuple, _Emitter.tuple_),
    (list, _Emitter.list_),
    (dict, _Emitter.dict_),
    (set | frozenset, _Emitter.set_),
    (complex, _Emitter.complex_),
    (Record, _Emitter.record),
    (Global, _Emitter.global_),
]
