"""Would a plan push a number out of the range of its type? What a dry run has to say before anything is written."""

from __future__ import annotations

import numpy as np

from eqlr_tools.checkpoints.outputs import Output, leaves
from eqlr_tools.errors import VerificationError
from eqlr_tools.rewriting.plan import Plan
from eqlr_tools.rewriting.scale import Scale

HINT = "the scaled numbers are too large for their type: --exclude the layer, or save the source as float32"


def refuse_overflow(plan: Plan) -> None:
    """Raise VerificationError, as a run would, if a finite number would leave the range of its 8- or 16-bit type.

    Only constants above 1 can do that; where there is none, nothing is read. Wider types are left to the run itself.
    """
    outputs = (output for _, output in leaves(plan.tree))
    too_large = [step.source for step, output in zip(plan.steps, outputs, strict=True) if _overflows(output)]
    if too_large:
        raise VerificationError(
            f"{plan.target}: would not be written, because {len(too_large)} of its tensors leave the range of their "
            f"type, first {too_large[0]}",
            hint=HINT,
        )


def _overflows(output: Output) -> bool:
    """Which of all bit patterns are lost is a table; it is asked for every element."""
    scale, dtype = output.transform, output.dtype
    if not isinstance(scale, Scale) or dtype.itemsize > 2 or (abs(scale.factor) <= 1 and scale.add == 0.0):
        return False
    patterns = np.arange(1 << 8 * dtype.itemsize, dtype=dtype.bits_dtype)
    after = dtype.values(scale(patterns.copy(), dtype))
    lost = np.isfinite(dtype.values(patterns)) & ~np.isfinite(after)
    return any(lost[block].any() for block in output.tensor.blocks())
