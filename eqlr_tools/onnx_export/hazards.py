"""Which layers half precision would spoil, by the same counts as `eqlr audit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.checkpoints.sources import MemorySource
from eqlr_tools.checkpoints.tensors import Storage, Tensor, contiguous_strides
from eqlr_tools.onnx_export.checking import least_snr
from eqlr_tools.onnx_export.options import Precision
from eqlr_tools.ranges.examining import examine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eqlr_tools.ranges.hazards import Hazard

_FLUSHED_SHARE = 1e-3
"""What an audit begins to mention."""
_SUBNORMAL_SHARE = 0.05
"""Of the widest layers' He-scaled weights, half a percent lies there and nothing is lost."""


def hazardous(weights: Mapping[str, NDArray], precision: Precision = Precision.mixed) -> dict[str, str]:
    """The layers whose effective weights 16 bits do not hold, and what would happen to them."""
    form = "bf16" if precision is Precision.bf16 else "fp16"
    reasons = {layer: _reason(values, form, least_snr(precision)) for layer, values in weights.items()}
    return {layer: reason for layer, reason in reasons.items() if reason}


def _reason(values: NDArray, form: str, least_db: float) -> str | None:
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, dtype=np.float32)
    storage = Storage(MemorySource("weights", single.tobytes()), 0, single.nbytes)
    tensor = Tensor(storage, BY_NAME["F32"], single.shape, contiguous_strides(single.shape))
    _, effective = examine(tensor)
    if effective.nonfinite:
        return f"{effective.nonfinite:,} of its weights are no finite numbers"
    return _worst(effective.hazards[form], form, least_db)


def _worst(hazard: Hazard, form: str, least_db: float) -> str | None:
    if hazard.overflow:
        return f"{hazard.overflow_share:.2%} of its weights ({hazard.overflow:,}) overflow in {form}"
    if hazard.flushed_share > _FLUSHED_SHARE:
        return f"{hazard.flushed_share:.2%} of its weights become zero in {form}"
    if hazard.subnormal_share > _SUBNORMAL_SHARE:
        return f"{hazard.subnormal_share:.2%} of its weights are subnormal in {form}"
    if hazard.snr_db is not None and hazard.snr_db < least_db:
        return f"its weights keep {hazard.snr_db:.0f} dB in {form}"
    return None
