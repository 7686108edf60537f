"""Pickled numpy arrays as tensors. Their data stays in the file where it is long enough to matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NUMPY, DType
from eqlr_tools.checkpoints.pickled_values import LazyBytes, Record
from eqlr_tools.checkpoints.rebuilding import numpy_dtype
from eqlr_tools.checkpoints.sources import MemorySource
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.errors import DamagedError

_MAX_AXES = 64


def is_array(record: Record) -> bool:
    """True for what pickling a numpy array leaves: `_reconstruct` with a state, or `_frombuffer` (protocol 5)."""
    return str(record.cls).endswith(("core.multiarray._reconstruct", "core.numeric._frombuffer"))


def array_tensor(record: Record, source: str) -> Tensor | Record:
    """A pickled numpy array. Arrays of objects and of text stay the record that they are."""
    shape, dtype_record, order, data = _parts(record, source)
    if isinstance(data, list):
        return record
    dtype = numpy_dtype(dtype_record)
    element = element_type(dtype) if dtype is not None else None
    if dtype is None or element is None or not isinstance(shape, tuple) or not all(type(size) is int for size in shape):
        return record
    if len(shape) > _MAX_AXES:
        raise DamagedError(f"{source}: a numpy array of {len(shape)} axes, more than numpy has")
    if isinstance(data, str):
        data = data.encode("latin-1")
    if isinstance(data, LazyBytes):
        storage = Storage(data.source, data.offset, data.size, byteorder_of(dtype))
    elif isinstance(data, bytes):
        storage = Storage(MemorySource(source, data), 0, len(data), byteorder_of(dtype))
    else:
        raise DamagedError(f"{source}: a numpy array without its data")
    tensor = Tensor(storage, element, shape, strides_of(shape, order == "F"))
    return _permuted(tensor, order) if isinstance(order, tuple) else tensor


def _parts(record: Record, source: str) -> tuple[Any, Any, Any, Any]:
    """(shape, dtype, order, data): the state is (version, shape, dtype, is_fortran, data), the arguments of
    `_frombuffer` are (data, dtype, shape, order) and, where the order is "K", the axes (since numpy 2.3).

    The order is "C", "F" or the axes: which of the shape each axis of the array is.
    """
    state, arguments = record.state, record.arguments
    if record.cls.name == "_frombuffer" and len(arguments) in (4, 5):
        return arguments[2], arguments[1], arguments[4] if arguments[3] == "K" else arguments[3], arguments[0]
    if isinstance(state, tuple) and len(state) == 5:
        return state[1], state[2], "F" if state[3] else "C", state[4]
    raise DamagedError(f"{source}: a numpy array without its data")


def _permuted(tensor: Tensor, axes: tuple[Any, ...]) -> Tensor:
    """The array whose axis `i` is axis `axes[i]` of the tensor. Raises ValueError if they are no permutation."""
    if any(type(axis) is not int for axis in axes) or sorted(axes) != list(range(len(tensor.shape))):
        raise ValueError("axes that are no permutation")
    return replace(
        tensor,
        shape=tuple(tensor.shape[axis] for axis in axes),
        strides=tuple(tensor.strides[axis] for axis in axes),
    )


def element_type(dtype: np.dtype[Any]) -> DType | None:
    """Our element type for a numpy one, None if there is none."""
    return BY_NUMPY.get(dtype.newbyteorder("<") if dtype.itemsize > 1 else dtype)


def strides_of(shape: tuple[int, ...], fortran: bool) -> tuple[int, ...]:
    """Strides in elements of a numpy array in C or Fortran order."""
    return contiguous_strides(shape[::-1])[::-1] if fortran else contiguous_strides(shape)


def byteorder_of(dtype: np.dtype[Any]) -> str:
    """The byte order in which numpy has written numbers of this type."""
    return "big" if dtype.str.startswith(">") else "little"
