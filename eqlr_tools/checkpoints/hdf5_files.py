"""Reading HDF5 weights (Keras, Flax ports) through h5py. Datasets in one piece are then read from the file directly.

Links that leave the file, external storage and virtual datasets are not followed: they may name any file.
"""

from __future__ import annotations

import math
from typing import Any

from eqlr_tools.checkpoints.allowance import Allowance
from eqlr_tools.checkpoints.arrays import byteorder_of, element_type
from eqlr_tools.checkpoints.sources import SeekableSource, Source
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.errors import EqlrError, UnreadableError

HDF5_HEAD = b"\x89HDF\r\n\x1a\n"
KERAS_MEMBER = "model.weights.h5"
"""What holds the weights in a `.keras` archive."""

_MAX_DATASETS = 200_000
_MAX_UNWRITTEN_BYTES, _MAX_RATIO = 1 << 26, 64
"""A small dataset may be unwritten and read as its fill value; a large one has to take some space in the file."""


class DatasetSource:
    """The elements of a chunked or compressed dataset, decoded row by row as they are asked for."""

    def __init__(self, name: str, dataset: Any, allowance: Allowance) -> None:
        self.name = name
        self.allowance = allowance
        self._dataset = dataset
        self._itemsize = dataset.dtype.itemsize
        self._row_bytes = math.prod(dataset.shape[1:]) * self._itemsize
        self.size = int(dataset.size) * self._itemsize

    def readinto(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.read(offset, len(buffer))

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > self.size:
            raise UnreadableError(f"{self.name}: {self.size:,} bytes are there, more are expected")
        if length == 0:
            return b""
        first, last = offset // self._row_bytes, (offset + length - 1) // self._row_bytes
        try:
            rows = self._dataset[first : last + 1] if self._dataset.shape else self._dataset[()]
        except (OSError, RuntimeError) as error:
            raise UnreadableError(f"{self.name}: dataset {self._dataset.name} is damaged ({error})") from error
        start = offset - first * self._row_bytes
        data: bytes = rows.tobytes()[start : start + length]
        return data


def read_hdf5(source: Source) -> dict[str, Tensor]:
    """Return the numeric datasets under their paths, in the file's order. Raises EqlrError without h5py."""
    try:
        import h5py
    except ImportError as error:
        raise EqlrError(
            f"{source.name}: reading HDF5 needs h5py", hint="pip install -c constraints.txt 'eqlr-tools[hdf5]'"
        ) from error
    tensors: dict[str, Tensor] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            if len(tensors) >= _MAX_DATASETS:
                raise UnreadableError(f"{source.name}: more than {_MAX_DATASETS:,} datasets")
            tensor = _tensor(source, name, node)
            if tensor is not None:
                tensors[name] = tensor

    try:
        h5py.File(SeekableSource(source), "r").visititems(visit)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UnreadableError(f"{source.name}: damaged HDF5 file ({error})", hint="get it again") from error
    return tensors


def _tensor(source: Source, name: str, dataset: Any) -> Tensor | None:
    """The dataset as a tensor; None for text and structures, which are no weights."""
    if dataset.is_virtual or dataset.external:
        raise UnreadableError(
            f"{source.name}: dataset {name!r} lies in another file, where eqlr does not follow",
            hint="copy the data into one file with h5repack",
        )
    element = element_type(dataset.dtype) if dataset.dtype.kind in "biufc" else None
    if element is None:
        return None
    shape = tuple(int(size) for size in dataset.shape)
    place = dataset.id.get_offset()
    nbytes = math.prod(shape) * element.itemsize
    stored = dataset.id.get_storage_size()
    if nbytes > max(_MAX_UNWRITTEN_BYTES, _MAX_RATIO * stored):
        raise UnreadableError(
            f"{source.name}: dataset {name!r} of shape {list(shape)} unfolds from {stored:,} bytes",
            hint="no project writes such a file; it may be made to exhaust the reader",
        )
    if place is not None and dataset.chunks is None and place + nbytes <= source.size:
        storage = Storage(source, place, nbytes, byteorder_of(dataset.dtype))
    else:
        rows = DatasetSource(f"{source.name}: {name}", dataset, source.allowance)
        storage = Storage(rows, 0, rows.size, byteorder_of(dataset.dtype))
    return Tensor(storage, element, shape, contiguous_strides(shape))
