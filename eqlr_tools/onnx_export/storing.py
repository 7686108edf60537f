"""Models on the disk: one file, or above 2 GB, which is all that a protocol-buffer message may hold, two.

The second file, `model.onnx.data`, has the large constants, each where a page begins, so that runtimes can map it. Both
are written beside the target in a folder of their own under their final names, checked there by path, and moved into
place together, the model last: where `model.onnx` stands, its data stands.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from eqlr_tools.checkpoints.atomic import check_target, new_set
from eqlr_tools.errors import VerificationError

if TYPE_CHECKING:
    from onnx import ModelProto

SINGLE_FILE_BYTES = (1 << 31) - (1 << 20)
"""From here on, constants go to a file of their own; a message may have 2 GB less one byte."""
_EXTERNAL_FROM_BYTES = 1 << 10
"""Smaller constants stay in the model: many are shapes, which runtimes want to know before they load data."""
_PAGE = 1 << 12
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """Where a model lies until it gets its name, and the bytes of it and of its data."""

    path: Path
    nbytes: int
    data_bytes: int


def data_path(target: Path) -> Path:
    """The file for large constants that belongs to a model."""
    return target.with_name(f"{target.name}.data")


def check_targets(targets: Mapping[str, Path], sources: tuple[Path, ...], force: bool) -> None:
    """Raise OutputError if a model, or the data that it may need, must not be written there."""
    for target in targets.values():
        check_target(target, sources, force)


@contextmanager
def stored(
    models: Mapping[str, ModelProto],
    targets: Mapping[str, Path],
    *,
    force: bool,
    single_file_bytes: int = SINGLE_FILE_BYTES,
) -> Iterator[dict[str, Stored]]:
    """Write the models where nobody sees them, yield where, and give them their names when the block ends well.

    Models that need a second file lose their large constants to it, so memory never holds them twice.
    """
    with ExitStack() as stack:
        found = {}
        for part, model in models.items():
            target = targets[part]
            large = model_bytes(model) > single_file_bytes
            if large:
                check_target(data_path(target), (), force)
            sums: dict[str, int] = {}
            replaced = ([target, data_path(target)] if large else [target]) if force else []
            folder = stack.enter_context(new_set(target, partial(_require_same, sums), replaced))
            path = folder / target.name
            data_bytes = _write_data(model, data_path(path), sums) if large else 0
            content = model.SerializeToString()
            with open(path, "xb") as file:
                file.write(content)
            sums[path.name] = zlib.crc32(content)
            found[part] = Stored(path, len(content), data_bytes)
        yield found


def model_bytes(model: ModelProto) -> int:
    """The bytes of a model's constants, which decide if it is one file."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def _write_data(model: ModelProto, path: Path, sums: dict[str, int]) -> int:
    """Move the large constants of a model to a file."""
    from onnx import TensorProto

    sums[path.name] = 0
    with open(path, "xb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) < _EXTERNAL_FROM_BYTES:
                continue
            _add(file, bytes(-file.tell() % _PAGE), path.name, sums)
            offset, data = file.tell(), tensor.raw_data
            _add(file, data, path.name, sums)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            del tensor.external_data[:]
            for key, value in (("location", path.name), ("offset", offset), ("length", len(data))):
                tensor.external_data.add(key=key, value=str(value))
        return file.tell()


def _add(file: BinaryIO, data: bytes, name: str, sums: dict[str, int]) -> None:
    file.write(data)
    sums[name] = zlib.crc32(data, sums[name])


def _require_same(sums: Mapping[str, int], model: Path) -> None:
    for name, expected in sums.items():
        found = 0
        with open(model.with_name(name), "rb") as file:
            while block := file.read(_BLOCK):
                found = zlib.crc32(block, found)
        if found != expected:
            raise VerificationError(f"{name}: what was read back is not what was written", hint="is the disk sound?")
