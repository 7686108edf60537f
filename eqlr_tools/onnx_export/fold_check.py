"""Is a folded model the same function? ONNX's checker, then ONNX Runtime on the source and on the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.errors import EqlrError, UsageError, VerificationError
from eqlr_tools.onnx_export.runtime import session

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = {"float16": 1e-2, "bfloat16": 3e-2, "float32": 1e-4, "float64": 1e-9}
"""Largest difference of an output, relative to its largest value, by the coarsest type that was folded. A fold moves a
weight by an ulp at most; the rest is the order in which the runtime adds."""

_FREE_SIZES = (1, 2, 4, 8, 16, 32, 64, 256)
"""What is tried for axes without a fixed size, until the source runs."""


@dataclass(frozen=True)
class Agreement:
    """How far the folded model's outputs are from the source's."""

    outputs: int
    max_relative: float
    inputs: dict[str, tuple[int, ...]]


def check_folded(source: Path, folded: Path, dtypes: set[str]) -> Agreement:
    """Raise VerificationError if the folded model is invalid or computes something else.

    Raises EqlrError if ONNX Runtime is missing, or runs the source on no input that could be made up.
    """
    import onnx

    try:
        onnx.checker.check_model(str(folded), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerificationError(f"ONNX's checker refuses the folded model: {str(error).splitlines()[0]}") from error
    before, after = session(source), _folded_session(folded)
    inputs, expected = _run_somehow(before, source)
    names = [output.name for output in before.get_outputs()]
    found = after.run(names, inputs)
    worst = max((_difference(a, b) for a, b in zip(found, expected, strict=True)), default=0.0)
    allowed = max(TOLERANCE.get(dtype, TOLERANCE["float16"]) for dtype in dtypes)
    if not worst <= allowed:
        raise VerificationError(
            f"the folded model differs from {source} by {worst:.2g} of its largest output, {allowed:g} is allowed; "
            "nothing was written"
        )
    return Agreement(len(names), worst, {name: tuple(value.shape) for name, value in inputs.items()})


def _folded_session(path: Path) -> Any:
    try:
        return session(path)
    except UsageError as error:
        raise VerificationError(f"the folded model does not load: {error.message}") from error


def _run_somehow(runner: Any, path: Path) -> tuple[dict[str, NDArray], list[NDArray]]:
    reason = ""
    for size in _FREE_SIZES:
        inputs = {entry.name: _made_up(entry, size) for entry in runner.get_inputs()}
        try:
            return inputs, runner.run(None, inputs)
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base of their own
            reason = str(error).strip().splitlines()[0]
    raise EqlrError(
        f"{path}: ONNX Runtime runs the model on no input that eqlr could make up ({reason})",
        hint="give the model's inputs fixed sizes, with onnxruntime.tools.make_dynamic_shape_fixed",
    )


def _made_up(entry: Any, size: int) -> NDArray:
    shape = [axis if isinstance(axis, int) and axis > 0 else size for axis in entry.shape]
    kind = entry.type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype({"float": "float32", "double": "float64"}.get(kind, kind))
    if dtype.kind == "f":
        return np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return np.ones(shape, dtype)


def _difference(found: Any, expected: Any) -> float:
    """The largest difference relative to the largest value; what is no float has to be equal."""
    a, b = np.asarray(found), np.asarray(expected)
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.dtype.kind != "f":
        return 0.0 if np.array_equal(a, b) else float("inf")
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    finite = np.isfinite(b)
    largest = float(np.abs(b[finite], dtype=np.float64).max(initial=0.0))
    distance = float(np.abs(a[finite].astype(np.float64) - b[finite]).max(initial=0.0))
    return distance / largest if largest else distance
