"""Does the graph compute what the network computes? ONNX Runtime against the float64 reference.

There are two trials: usual latents of several seeds, and extreme ones, whose few non-zero entries are large, with a
truncation far beyond 1, which drives styles to sizes that no training has seen: that is where half precision
overflows. Each is run as a whole batch and its first sample once more alone, so that batch sizes are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.errors import VerificationError
from eqlr_tools.onnx_export.network import OnnxNetwork
from eqlr_tools.onnx_export.options import Options, Precision
from eqlr_tools.onnx_export.runtime import Provider, session

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from eqlr_tools.onnx_export.graph import Graph, Port

USUAL, EXTREME = "usual", "extreme"
_SAMPLES = {USUAL: 3, EXTREME: 2}
_GROUPED = 4
"""Samples for networks that look at groups of them: groups of one, two and four fit."""
_PSI = {USUAL: 0.7, EXTREME: 30.0}
_EXTREME_LATENT = 30.0
_EXTREME_SHARE = 0.1
EXTREME_ALLOWANCE = 20.0
"""How many dB extreme latents may cost: in their images large terms cancel, and the rounding of them stays."""
_ENOUGH_VALUES = 16
"""A sample of fewer values, a logit, may be small by chance: the ratio is then taken over all samples."""
_BYTES_SNR = 50.0
"""For images of bytes: a value that lies between two levels may become either, which costs some dB."""
_RANDOM = "RandomNormalLike"


@dataclass(frozen=True)
class Agreement:
    """How far an output is from the reference: relative to the largest value of the sample, worst sample."""

    part: str
    output: str
    latents: str
    samples: int
    batches: tuple[int, ...]
    max_relative: float
    mean_relative: float
    snr_db: float
    levels: int | None = None


def least_snr(precision: Precision) -> float:
    """The signal-to-noise ratio in dB that a graph must reach: single precision reaches 115 to 130, half 62 to 68."""
    return 100.0 if precision is Precision.fp32 else 35.0 if precision is Precision.bf16 else 60.0


def check_file(model: ModelProto, opset: int) -> None:
    """ONNX's own checker with shape inference, and the opset that was asked for. Raises VerificationError."""
    import onnx

    found = {entry.domain: entry.version for entry in model.opset_import}
    if found != {"": opset}:
        raise VerificationError(f"the model says opsets {found}, not {opset}")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerificationError(f"ONNX's checker refuses the model: {str(error).splitlines()[0]}") from error


def compare(
    part: str, graph: Graph, model: ModelProto, network: OnnxNetwork, options: Options, provider: Provider
) -> list[Agreement]:
    """Run the trials. Raises VerificationError if an output is not finite."""
    drawn = [node.output[0] for node in model.graph.node if node.op_type == _RANDOM]
    runner = session(_with_outputs(model, drawn), provider)
    names = [port.name for port in graph.outputs]
    agreements = []
    for kind in (USUAL, EXTREME):
        inputs = _inputs(graph.inputs, kind, _GROUPED if network.mixes_samples else _SAMPLES[kind])
        pairs: dict[str, list[tuple[NDArray, NDArray]]] = {name: [] for name in names}
        expected: dict[str, NDArray] = {}
        for feed in (inputs, _first(inputs)):
            outputs = dict(zip([*names, *drawn], runner.run([*names, *drawn], feed), strict=True))
            if not expected or network.mixes_samples or drawn:
                wide = {name: value.astype(np.float64) for name, value in feed.items()}
                seen = {name: outputs[name].astype(np.float64) for name in drawn}
                expected = network.computed(part, {**wide, **seen}, options)
            for name in names:
                pairs[name].append((outputs[name], expected[name][: _batch(feed)]))
        agreements += [_agreement(part, name, kind, pairs[name]) for name in names]
    return agreements


def required_snr(found: Agreement, least_db: float) -> float:
    """The bar for one output; `least_db` is the one for usual latents and numbers."""
    bar = least_db if found.levels is None else min(least_db, _BYTES_SNR)
    return bar - EXTREME_ALLOWANCE if found.latents == EXTREME else bar


def require(agreements: list[Agreement], least_db: float) -> None:
    """Raise VerificationError for the first output that is further from the reference than allowed."""
    for found in agreements:
        required = required_snr(found, least_db)
        if not found.snr_db >= required:
            raise VerificationError(
                f"{found.part}: {found.output} differs from the float64 reference for {found.latents} inputs: "
                f"SNR {found.snr_db:.1f} dB, "
                f"{required:g} dB are required (largest relative error {found.max_relative:.2g}); nothing was written",
                hint="--precision mixed or fp32 keeps more layers in single precision; --min-snr DB lowers the bar",
            )


def _inputs(ports: list[Port], kind: str, samples: int) -> dict[str, NDArray]:
    rng = np.random.default_rng(len(kind))
    return {port.name: _drawn(port, rng, kind, samples) for port in ports}


def _drawn(port: Port, rng: np.random.Generator, kind: str, samples: int) -> NDArray:
    """Normal values, of which extreme latents keep a few and enlarge them; a label is one of the classes."""
    if not port.shape:
        return np.array(_PSI[kind], dtype=port.dtype)
    shape = port.sized(samples)
    if port.name == "label":
        return np.eye(shape[1], dtype=port.dtype)[rng.integers(shape[1], size=shape[0])]
    values = rng.standard_normal(shape)
    if kind == EXTREME and port.name in ("z", "w", "w_plus"):
        values *= _EXTREME_LATENT * (rng.random(shape) < _EXTREME_SHARE)
    return values.astype(port.dtype)


def _first(inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {name: value[:1] if value.ndim else value for name, value in inputs.items()}


def _batch(inputs: Mapping[str, NDArray]) -> int:
    return max(len(value) for value in inputs.values() if value.ndim)


def _agreement(part: str, name: str, kind: str, pairs: list[tuple[NDArray, NDArray]]) -> Agreement:
    ratios: list[float] = []
    worst, total, count, levels = 0.0, 0.0, 0, None
    for found, expected in pairs:
        if found.dtype == np.uint8:
            levels = max(levels or 0, int(np.abs(found.astype(np.int64) - expected.astype(np.int64)).max()))
        for one, wanted in zip(found.astype(np.float64), expected.astype(np.float64), strict=True):
            error = np.abs(one - wanted) / max(float(np.abs(wanted).max()), 1e-30)
            worst, total, count = max(worst, float(error.max())), total + float(error.mean()), count + 1
            if one.size >= _ENOUGH_VALUES:
                ratios.append(snr_db(one, wanted))
    if not ratios:
        ratios = [snr_db(*(np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True)))]
    batches = tuple(sorted({len(found) for found, _ in pairs}))
    return Agreement(part, name, kind, count, batches, worst, total / count, min(ratios), levels)


def snr_db(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """10 log10 of signal over noise; minus infinity if something is no number, infinity if all is equal."""
    noise = float(np.square(found - expected).sum())
    if not math.isfinite(noise):
        return -math.inf
    signal = float(np.square(expected).sum())
    return math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-300) / noise)


def _with_outputs(model: ModelProto, names: list[str]) -> bytes:
    """The model, serialized, with further values as outputs: the noise that it draws."""
    if not names:
        return bytes(model.SerializeToString())
    import onnx

    known = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(known[name] for name in names)
    return bytes(copy.SerializeToString())
