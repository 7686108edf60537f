"""Is an improved model the same function? ONNX Runtime on both, with several seeds, batches and extreme latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.errors import EqlrError, UsageError, VerificationError
from eqlr_tools.onnx_export.checking import EXTREME, USUAL, Agreement, agreement, require
from eqlr_tools.onnx_export.runtime import Provider, session

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

    Inputs = dict[str, NDArray]

_FREE_SIZES = (1, 2, 4, 8, 16, 32, 64, 256)
"""What is tried for axes without a fixed size, until the source runs."""
_SEEDS = 2
_EXTREME_LATENT, _EXTREME_SHARE = 30.0, 0.1
_PSI = 0.7


@dataclass(frozen=True)
class Trial:
    """Inputs of one kind, one set per seed, and what the source makes of each."""

    kind: str
    inputs: tuple[Inputs, ...]
    outputs: tuple[list[NDArray], ...]


def trials(source: Path, provider: Provider) -> list[Trial]:
    """Run the source. Extreme latents are left out where it gives no finite numbers itself."""
    runner = session(source, provider)
    size, found = 0, []
    for kind in (USUAL, EXTREME):
        inputs = []
        for seed in range(_SEEDS):
            rng = np.random.default_rng([seed, len(kind)])
            size = size or _size_that_runs(runner, source)
            inputs.append({entry.name: _drawn(entry, size, kind, rng) for entry in runner.get_inputs()})
        outputs = tuple(runner.run(None, each) for each in inputs)
        finite = all(np.isfinite(value).all() for values in outputs for value in values if value.dtype.kind == "f")
        if finite:
            found.append(Trial(kind, tuple(inputs), outputs))
        elif kind == USUAL:
            raise EqlrError(f"{source}: the model itself gives NaN or infinity for normal inputs")
    return found


def judge(
    model: Path, found: Sequence[Trial], provider: Provider, batch: int | None, least_db: float
) -> list[Agreement]:
    """Compare. `batch` is the source's fixed one where the model's is free: it is then run with others, too.

    Raises VerificationError if an output is too far from the source's.
    """
    try:
        runner = session(model, provider)
    except UsageError as error:
        raise VerificationError(f"the improved model does not load: {error.message}") from error
    names = [output.name for output in runner.get_outputs()]
    agreements = []
    for trial in found:
        pairs: dict[str, list[tuple[NDArray, NDArray]]] = {name: [] for name in names}
        feeds = list(zip(trial.inputs, trial.outputs, strict=True))
        if batch is not None:
            feeds += _other_batches(trial)
        for inputs, expected in feeds:
            outputs = _run(runner, inputs)
            for name, value, wanted in zip(names, outputs, expected, strict=True):
                if value.shape != wanted.shape or value.dtype != wanted.dtype:
                    raise VerificationError(
                        f"{name} is {value.dtype}{list(value.shape)}, not {wanted.dtype}{list(wanted.shape)} as before"
                    )
                pairs[name].append((value, wanted))
        agreements += [agreement("model", name, trial.kind, pairs[name]) for name in names]
    require(agreements, least_db, "the model as it was", "--min-snr DB lowers the bar")
    return agreements


def largest_values(model: Path, names: Sequence[str], found: Sequence[Trial], provider: Provider) -> dict[str, float]:
    """The largest magnitudes of values of a model, whose outputs they must be."""
    runner = session(model, provider)
    largest = dict.fromkeys(names, 0.0)
    for trial in found:
        for inputs in trial.inputs:
            for name, value in zip(names, runner.run(list(names), inputs), strict=True):
                magnitude = float(np.abs(value).max(initial=0.0))
                largest[name] = max(largest[name], magnitude if math.isfinite(magnitude) else math.inf)
    return largest


def _other_batches(trial: Trial) -> list[tuple[Inputs, list[NDArray]]]:
    """The samples of all seeds together, and the last of them alone."""

    def joined(parts: Sequence[NDArray]) -> NDArray:
        return parts[0] if parts[0].ndim == 0 else np.concatenate(parts)

    def last(value: NDArray) -> NDArray:
        return value if value.ndim == 0 else value[-1:]

    together = {name: joined([inputs[name] for inputs in trial.inputs]) for name in trial.inputs[0]}
    expected = [joined(values) for values in zip(*trial.outputs, strict=True)]
    return [(together, expected), ({k: last(v) for k, v in together.items()}, [last(value) for value in expected])]


def _run(runner: InferenceSession, inputs: Inputs) -> list[NDArray]:
    try:
        return list(runner.run(None, inputs))
    except Exception as error:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in inputs.items())
        reason = str(error).strip().splitlines()[0]
        raise VerificationError(f"the improved model does not run on {shapes}: {reason}") from error


def _size_that_runs(runner: InferenceSession, path: Path) -> int:
    reason = ""
    for size in _FREE_SIZES:
        rng = np.random.default_rng(0)
        try:
            runner.run(None, {entry.name: _drawn(entry, size, USUAL, rng) for entry in runner.get_inputs()})
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base of their own
            reason = str(error).strip().splitlines()[0]
        else:
            return size
    raise EqlrError(
        f"{path}: ONNX Runtime runs the model on no input that eqlr could make up ({reason})",
        hint="give the model's inputs fixed sizes, with onnxruntime.tools.make_dynamic_shape_fixed",
    )


def _drawn(entry: Any, size: int, kind: str, rng: np.random.Generator) -> NDArray:
    """Normal numbers; extreme latents, which are vectors, have few that are not zero, and those are large."""
    shape = [axis if isinstance(axis, int) and axis > 0 else size for axis in entry.shape]
    name = entry.type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype({"float": "float32", "double": "float64"}.get(name, name))
    if dtype.kind != "f":
        return np.ones(shape, dtype)
    if not shape:
        return np.array(_PSI, dtype)
    values = rng.standard_normal(shape)
    if kind == EXTREME and len(shape) in (2, 3):
        kept = rng.random(shape) < _EXTREME_SHARE
        kept[..., 0] = True  # A latent of zeros alone is none: normalised, it is 0 / 0.
        values *= _EXTREME_LATENT * kept
    return values.astype(dtype)
