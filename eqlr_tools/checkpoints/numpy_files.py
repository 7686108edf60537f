"""Reading `.npy` and `.npz` without pickle: numbers stay in the file, dicts of arrays go through our unpickler.

The header is parsed by numpy itself, which evaluates it as a literal. `numpy.save` of a dict pickles it behind such a
header; the restricted unpickler reads that like any other pickle.
"""

from __future__ import annotations

import tokenize
from typing import Any, BinaryIO, cast

import numpy as np

from eqlr_tools.checkpoints.arrays import byteorder_of, element_type, strides_of
from eqlr_tools.checkpoints.dtypes import BY_NAME, DType
from eqlr_tools.checkpoints.sources import SeekableSource, SliceSource, Source
from eqlr_tools.checkpoints.tensors import Storage, Tensor
from eqlr_tools.checkpoints.torch_files import ZipReader, read_bare_pickle
from eqlr_tools.checkpoints.trees import normalise
from eqlr_tools.errors import UnreadableError

NPY_HEAD = b"\x93NUMPY"
MAX_ARRAYS = 20_000

_NUMPY_RAISES = (ValueError, EOFError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)
"""What its parser of headers raises for one that is damaged."""


def looks_like_npz(archive: ZipReader) -> bool:
    """True for an archive of nothing but arrays."""
    return bool(archive.members) and all(name.endswith(".npy") for name in archive.members)


def read_npz(archive: ZipReader) -> dict[str, Any]:
    """Return the arrays by name, those of an uncompressed archive in place."""
    if len(archive.members) > MAX_ARRAYS:
        raise UnreadableError(
            f"{archive.source.name}: more than {MAX_ARRAYS:,} arrays", hint="no project saves so many"
        )
    return {name.removesuffix(".npy"): read_npy(archive.member(name), name) for name in archive.members}


def read_npy(source: Source, name: str = "") -> Any:
    """Return the array as a tensor, or the dict that was saved as one.

    Raises UnreadableError for other arrays of objects, and for text.
    """
    where = f"{source.name}: {name}" if name else source.name
    file = cast("BinaryIO", SeekableSource(source))
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if not all(type(length) is int and 0 <= length < 1 << 63 for length in shape):
            raise ValueError("a size that no array has")
    except _NUMPY_RAISES as error:
        raise UnreadableError(f"{where}: damaged numpy header ({error})", hint="get the file again") from error
    data = SliceSource(source, file.tell(), source.size - file.tell())
    if dtype.hasobject:
        return _saved_dict(data, shape, where)
    element = _element(dtype)
    if element is None:
        raise UnreadableError(
            f"{where}: an array of numpy dtype {dtype}, which holds no plain numbers",
            hint="save the weights alone, without text and structures",
        )
    tensor = Tensor(Storage(data, 0, data.size, byteorder_of(dtype)), element, shape, strides_of(shape, fortran))
    if tensor.nbytes != data.size:
        raise UnreadableError(
            f"{where}: an array of shape {list(shape)} with {data.size:,} bytes of data", hint="get the file again"
        )
    return tensor


def _element(dtype: np.dtype[Any]) -> DType | None:
    """numpy has no bfloat16: JAX's arrays of it are saved as two bytes of anything."""
    return BY_NAME["BF16"] if dtype == np.dtype("V2") else element_type(dtype)


def _saved_dict(data: Source, shape: tuple[int, ...], where: str) -> Any:
    refused = UnreadableError(
        f"{where}: an array of Python objects, which only a dict of arrays may be",
        hint="save the arrays with numpy.savez",
    )
    if shape != ():
        raise refused
    array = read_bare_pickle(data)
    items = array.state[4] if getattr(array, "state", None) and len(array.state) == 5 else None
    content = normalise(items[0], where) if isinstance(items, list) and len(items) == 1 else None
    if not isinstance(content, dict):
        raise refused
    return content
