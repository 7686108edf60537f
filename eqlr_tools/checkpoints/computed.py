"""Tensors that are in no file: computed from another one where they are read, and as lazy as any other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from eqlr_tools.checkpoints.allowance import Allowance
from eqlr_tools.checkpoints.dtypes import DType
from eqlr_tools.checkpoints.sources import MemorySource, survives_fork
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Computed(ABC):
    """The bytes of such a tensor, little-endian. Tensors read whole elements, and only those can be asked for."""

    stored: Tensor

    @property
    def dtype(self) -> DType:
        """The type of the computed tensor."""
        return self.stored.dtype

    @abstractmethod
    def computed(self, bits: NDArray, first: int) -> NDArray:
        """The patterns for a run of stored ones that begins at flat index `first`."""

    def tensor(self) -> Tensor:
        """The computed tensor, in the shape of the stored one."""
        storage = Storage(self, 0, self.size)
        strides = contiguous_strides(self.stored.shape)
        return replace(self.stored, storage=storage, dtype=self.dtype, strides=strides, offset=0)

    @property
    def name(self) -> str:
        return self.stored.storage.source.name

    @property
    def size(self) -> int:
        return self.stored.numel * self.dtype.itemsize

    @property
    def allowance(self) -> Allowance:
        return self.stored.storage.source.allowance

    @property
    def survives_fork(self) -> bool:
        return survives_fork(self.stored.storage.source)

    def readinto(self, offset: int, buffer: memoryview) -> None:
        itemsize = self.dtype.itemsize
        first, count = offset // itemsize, len(buffer) // itemsize
        done = 0
        for block in self.whole.blocks(span=(first, first + count)):
            bits = self.computed(block, first + done)
            buffer[done * itemsize : (done + bits.size) * itemsize] = bits.tobytes()
            done += bits.size

    def read(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        self.readinto(offset, memoryview(buffer))
        return bytes(buffer)

    @cached_property
    def whole(self) -> Tensor:
        """The stored tensor; a view that is not contiguous would be gathered for every block, and is so once."""
        tensor = self.stored
        if tensor.is_contiguous:
            return tensor
        data = tensor.bits().tobytes()
        storage = Storage(MemorySource(self.name, data, self.allowance), 0, len(data))
        return replace(tensor, storage=storage, strides=contiguous_strides(tensor.shape), offset=0)
