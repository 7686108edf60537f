"""Reading HDF5 weights (Keras, Flax ports) through h5py. Datasets in one piece are then read from the file directly.

Links that leave the file, external storage and virtual datasets are not followed: they may name any file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from eqlr_tools.checkpoints.arrays import byteorder_of, element_type
from eqlr_tools.checkpoints.hdf5_datasets import DatasetSource
from eqlr_tools.checkpoints.sources import SeekableSource, Source
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.errors import EqlrError, UnreadableError

HDF5_HEAD = b"\x89HDF\r\n\x1a\n"
KERAS_MEMBER = "model.weights.h5"
"""What holds the weights in a `.keras` archive."""

_MAX_OBJECTS = 20_000
_LARGEST_CHUNK_BYTES = 1 << 28
_HINT = "no project writes such a file; it may be made to exhaust the reader"
_MAX_UNWRITTEN_BYTES, _MAX_RATIO = 1 << 26, 64
"""A small dataset may be unwritten and read as its fill value; a large one has to take some space in the file."""


def read_hdf5(source: Source) -> dict[str, Tensor]:
    """Return the numeric datasets under their paths, in the file's order. Raises EqlrError without h5py."""
    try:
        import h5py
    except ImportError as error:
        raise EqlrError(
            f"{source.name}: reading HDF5 needs h5py", hint="pip install -c constraints.txt 'eqlr-tools[hdf5]'"
        ) from error
    tensors: dict[str, Tensor] = {}
    seekable = SeekableSource(source, _LARGEST_CHUNK_BYTES)
    try:
        # Datasets keep the file open; its cache has to hold the chunk that several slabs are taken from.
        file = h5py.File(seekable, "r", rdcc_nbytes=_LARGEST_CHUNK_BYTES, rdcc_w0=1.0)
        for name, dataset in _datasets(h5py, file, source.name):
            tensor = _tensor(source, name, dataset)
            if tensor is not None:
                tensors[name] = tensor
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UnreadableError(f"{source.name}: damaged HDF5 file ({error})", hint="get it again") from error
    return tensors


def _datasets(h5py: Any, file: Any, source: str) -> Iterator[tuple[str, Any]]:
    """Every dataset under its path, in the order of the file; what has several paths once, under the first."""
    seen: set[Any] = set()
    pending: list[tuple[str, Any, str]] = [("", file, "/")]
    while pending:
        path, parent, name = pending.pop()
        node = parent[name]
        place = h5py.h5o.get_info(node.id).addr
        if place in seen:
            continue
        seen.add(place)
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            yield path, node
        elif isinstance(node, h5py.Group):
            if len(seen) + len(pending) + len(node) > _MAX_OBJECTS:
                raise UnreadableError(f"{source}: more than {_MAX_OBJECTS:,} groups and datasets", hint=_HINT)
            names = [each for each in node if node.id.links.get_info(node._e(each)).type == h5py.h5l.TYPE_HARD]
            pending.extend((f"{path}/{each}".lstrip("/"), node, each) for each in reversed(names))


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
            hint=_HINT,
        )
    if place is not None and dataset.chunks is None and place + nbytes <= source.size:
        storage = Storage(source, place, nbytes, byteorder_of(dataset.dtype))
    else:
        if dataset.chunks and math.prod(dataset.chunks) * element.itemsize > _LARGEST_CHUNK_BYTES:
            raise UnreadableError(f"{source.name}: dataset {name!r} has chunks of more than 256 MiB", hint=_HINT)
        rows = DatasetSource(f"{source.name}: {name}", dataset, source.allowance)
        storage = Storage(rows, 0, rows.size, byteorder_of(dataset.dtype))
    return Tensor(storage, element, shape, contiguous_strides(shape))
