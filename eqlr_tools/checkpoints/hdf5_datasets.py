"""The elements of chunked or compressed HDF5 datasets, decoded slab by slab as they are asked for."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

from eqlr_tools.checkpoints.allowance import Allowance
from eqlr_tools.errors import DamagedError

SLAB_BYTES = 1 << 24
_KEPT_SLABS = 3
"""Two threads read pieces that lie side by side, and a piece may begin in one slab and end in the next."""


class DatasetSource:
    """A dataset as the bytes of its elements in row-major order.

    A slab is a run of rows of one axis, at one place of the axes before it; it ends where chunks do, if it can.
    """

    def __init__(self, name: str, dataset: Any, allowance: Allowance) -> None:
        self.name = name
        self.allowance = allowance
        self.size = int(dataset.size) * dataset.dtype.itemsize
        self._dataset = dataset
        self._axis, self._rows, self._row_bytes = _slabs(dataset)
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def readinto(self, offset: int, buffer: memoryview) -> None:
        if offset < 0 or offset + len(buffer) > self.size:
            raise DamagedError(f"{self.name}: {self.size:,} bytes are there, more are expected")
        done = 0
        while done < len(buffer):
            slab, start = self._slab_at(offset + done)
            part = slab[start : start + len(buffer) - done]
            buffer[done : done + len(part)] = part
            done += len(part)

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.readinto(offset, memoryview(data))
        return bytes(data)

    def _slab_at(self, position: int) -> tuple[memoryview, int]:
        """The slab with a byte of the dataset, and where in it the byte is."""
        shape = self._dataset.shape
        length = shape[self._axis] if shape else 1
        row, inside = divmod(position, self._row_bytes)
        place, row_of_axis = divmod(row, length)
        first = row_of_axis - row_of_axis % self._rows
        number = place * length + first
        slab = self._kept.get(number)
        if slab is None:
            slab = self._decoded(place, first, min(first + self._rows, length))
            self._kept[number] = slab
            while len(self._kept) > _KEPT_SLABS:
                self._kept.popitem(last=False)
        return memoryview(slab), (row_of_axis - first) * self._row_bytes + inside

    def _decoded(self, place: int, first: int, last: int) -> bytes:
        shape = self._dataset.shape
        where: list[int] = []
        for size in reversed(shape[: self._axis]):
            place, index = divmod(place, size)
            where.insert(0, index)
        try:
            rows = self._dataset[(*where, slice(first, last))] if shape else self._dataset[()]
        except (OSError, RuntimeError, ValueError) as error:
            raise DamagedError(f"{self.name}: dataset {self._dataset.name} is damaged ({error})") from error
        data: bytes = rows.tobytes()
        return data


def _slabs(dataset: Any) -> tuple[int, int, int]:
    """The axis along which a dataset is cut, how many of its rows are a slab, and the bytes of a row."""
    shape, itemsize = dataset.shape, dataset.dtype.itemsize
    if not shape:
        return 0, 1, itemsize
    sizes = [math.prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape))]
    axis = next((axis for axis, size in enumerate(sizes) if size <= SLAB_BYTES), len(shape) - 1)
    rows = max(SLAB_BYTES // max(sizes[axis], 1), 1)
    chunk = dataset.chunks[axis] if dataset.chunks else 1
    return axis, rows - rows % chunk if chunk <= rows else rows, sizes[axis]
