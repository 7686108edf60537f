"""Complex numbers where a container has none of their size: pairs of real numbers, along one more axis.

safetensors knows `C64` alone; a file with any other complex type is opened by no other reader. A complex number is its
real part and behind it its imaginary one, so the pairs are the same bytes, and `torch.view_as_complex` reads them back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.checkpoints.outputs import Output
from eqlr_tools.checkpoints.tensors import Tensor

PAIRS_OF = {"C32": "F16", "C128": "F64"}
"""The types that are stored as pairs, and of what."""


def as_pairs(outputs: dict[str, Output]) -> dict[str, Output]:
    """The outputs as they are stored, complex numbers as pairs."""
    return {
        name: replace(o, tensor=_paired(o.tensor)) if o.dtype.name in PAIRS_OF else o for name, o in outputs.items()
    }


def paired_names(outputs: dict[str, Output]) -> dict[str, str]:
    """The names of what is stored as pairs, and its type."""
    return {name: output.dtype.name for name, output in outputs.items() if output.dtype.name in PAIRS_OF}


def restore_complex(tensors: dict[str, Tensor], provenance: dict[str, Any]) -> dict[str, Tensor]:
    """Make pairs the complex numbers that they were. What does not look like pairs stays as it is."""
    recorded = provenance.get("complex")
    restored = dict(tensors)
    for name, kind in recorded.items() if isinstance(recorded, dict) else ():
        tensor = tensors.get(name)
        if tensor and isinstance(kind, str) and PAIRS_OF.get(kind) == tensor.dtype.name and tensor.shape[-1:] == (2,):
            strides = tuple(stride // 2 for stride in tensor.strides[:-1])
            restored[name] = replace(
                tensor, dtype=BY_NAME[kind], shape=tensor.shape[:-1], strides=strides, offset=tensor.offset // 2
            )
    return restored


def _paired(tensor: Tensor) -> Tensor:
    strides = (*(2 * stride for stride in tensor.strides), 1)
    dtype = BY_NAME[PAIRS_OF[tensor.dtype.name]]
    return replace(tensor, dtype=dtype, shape=(*tensor.shape, 2), strides=strides, offset=2 * tensor.offset)
