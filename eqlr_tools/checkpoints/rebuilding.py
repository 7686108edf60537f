"""Plain values from the arguments with which pickles of torch and numpy would rebuild theirs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_STORAGE, BY_TORCH, DType
from eqlr_tools.checkpoints.pickled_values import Global, Record, TypedStorage, UnknownElementsError
from eqlr_tools.checkpoints.tensors import Tensor

_MAX_AXES = 64


def numpy_scalar(dtype: Any, data: Any = b"") -> Any:
    """`numpy.float64(0.125)` and the like: the number, or the text."""
    if isinstance(data, str):
        data = data.encode("latin-1")
    if not isinstance(data, bytes):
        raise TypeError("a number without its bytes")
    code = _dtype_code(dtype)
    if code[:1] == "U":
        return data.decode("utf-32-le").rstrip("\0")
    if code[:1] == "S":
        return data.rstrip(b"\0")
    element = numpy_dtype(dtype)
    if element is None:
        return Record(Global("numpy", "generic"), (code, data))
    number = np.frombuffer(data, dtype=element)[0].item()
    if not isinstance(number, int | float | complex | bool):
        raise TypeError("not a number")
    return number


def numpy_dtype(record: Any) -> np.dtype[Any] | None:
    """The numpy dtype of a pickled `numpy.dtype`, byte order from its state. None if it is not one of numbers."""
    code = _dtype_code(record)
    if re.fullmatch(r"bool|b1|[iu][1248]|f[248]|c8|c16", code) is None:
        return None
    order = record.state[1] if isinstance(record.state, tuple) and len(record.state) > 1 else "|"
    return np.dtype(code).newbyteorder(">" if order == ">" else "<")


def _dtype_code(record: Any) -> str:
    if not isinstance(record, Record) or str(record.cls) != "numpy.dtype" or not record.arguments:
        raise TypeError("not a dtype")
    code = record.arguments[0]
    if not isinstance(code, str):
        raise TypeError("not a dtype")
    return code


def tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
    *,
    dtype: DType | None = None,
) -> Tensor:
    if not isinstance(storage, TypedStorage):
        raise TypeError("a tensor without a storage")
    element = dtype or storage.dtype
    if element is None:
        raise TypeError("a tensor without a dtype")
    shape, strides = _integers(size), _integers(stride)
    if type(offset) is not int or not 0 <= offset < 1 << 63 or len(shape) != len(strides):
        raise TypeError("a tensor without a layout")
    if isinstance(metadata, dict) and (metadata.get("conj") or metadata.get("neg")):
        # Such a view of complex numbers stores other numbers than it stands for.
        raise UnknownElementsError("a conjugated or negated view is not read: save it after resolve_conj, resolve_neg")
    return Tensor(storage.storage, element, shape, strides, offset, requires_grad=requires_grad is True)


def typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    name = dtype.name if isinstance(dtype, Global) and dtype.module == "torch" else ""
    if name not in BY_TORCH:
        raise UnknownElementsError(f"tensors of dtype {dtype} are not known")
    return tensor(storage, offset, size, stride, requires_grad, dtype=BY_TORCH[name])


def parameter(data: Any, requires_grad: Any = True, *_: Any) -> Any:
    if not isinstance(data, Tensor):
        raise TypeError("a parameter without a tensor")
    return Tensor(
        data.storage,
        data.dtype,
        data.shape,
        data.strides,
        data.offset,
        parameter=True,
        requires_grad=requires_grad is True,
    )


def _integers(values: Any) -> tuple[int, ...]:
    if isinstance(values, Record) and str(values.cls) == "torch.Size":
        values = values.arguments[0]
    if not isinstance(values, tuple | list) or len(values) > _MAX_AXES:
        raise TypeError("sizes that are not integers")
    if not all(type(value) is int and 0 <= value < 1 << 63 for value in values):
        raise TypeError("sizes that are not integers")
    return tuple(values)


def storage_dtype(cls: Any) -> DType | None:
    """The element type of a torch storage class; None for an untyped one. Raises TypeError for other names."""
    if not isinstance(cls, Global) or cls.module not in ("torch", "torch.storage", "torch.cuda"):
        raise TypeError("not a storage class")
    if cls.name in ("UntypedStorage", "_UntypedStorage"):
        return None
    if cls.name not in BY_STORAGE:
        raise UnknownElementsError(f"storages of class {cls} are not known")
    return BY_STORAGE[cls.name]
