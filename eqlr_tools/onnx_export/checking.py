"""Does the graph compute what the network computes? ONNX Runtime against the float64 reference.

There are two trials: usual latents of several seeds, and extreme ones, whose few non-zero entries are large, with a
truncation far beyond 1, which drives styles to sizes that no training has seen: that is where half precision
overflows. Every sample has a seed of its own; they run as one batch, and the first once more alone.

Some networks amplify rounding errors: an untrained one that ends in tanh may flip a pixel from -1 to 1. Where a graph
misses the bar, the reference is computed in float32 as well, and what that reaches is all that can be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.errors import VerificationError
from eqlr_tools.onnx_export.network import OnnxNetwork, in_single_precision
from eqlr_tools.onnx_export.options import Options, Precision
from eqlr_tools.onnx_export.runtime import Provider, session

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

    from eqlr_tools.onnx_export.graph import Graph, Port

USUAL, EXTREME = "usual", "extreme"
_SAMPLES = {USUAL: 3, EXTREME: 2}
_GROUPED = 4
"""Samples for networks that look at groups of them: groups of one, two and four fit."""
_LARGE = 3 * 256 * 256
"""Numbers in an image from which on one sample less is compared."""
_PSI = {USUAL: 0.7, EXTREME: 30.0}
_EXTREME_LATENT = 30.0
_EXTREME_SHARE = 0.1
_ROUNDING_ALLOWANCE = 10.0
"""How many dB two computations in float32 may lie apart: they round in another order."""
EXTREME_ALLOWANCE = 20.0
"""How many dB extreme latents may cost: in their images large terms cancel, and the rounding of them stays."""
_ENOUGH_VALUES = 16
"""A sample of fewer values, a logit, may be small by chance: the ratio is then taken over all samples."""
_BYTES_SNR = 50.0
"""For images of bytes: a value that lies between two levels may become either, which costs some dB."""
_RANDOM = "RandomNormalLike"
REFERENCE = "the float64 reference"
_HINT = "--precision mixed or fp32 keeps more layers in single precision; --min-snr DB lowers the bar"


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
    attainable_db: float | None = None
    """What the reference itself reaches in float32, if it was asked."""


def least_snr(precision: Precision) -> float:
    """The signal-to-noise ratio in dB that a graph must reach: single precision reaches 115 to 130, half 62 to 68."""
    return 100.0 if precision is Precision.fp32 else 35.0 if precision is Precision.bf16 else 60.0


def check_model(path: Path) -> None:
    """ONNX's own checker with shape inference. Raises VerificationError."""
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerificationError(f"ONNX's checker refuses the model: {str(error).splitlines()[0]}") from error


def check_file(path: Path, opset: int) -> None:
    """The checker, and the opset that was asked for. Raises VerificationError."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found != {"": opset}:
        raise VerificationError(f"the model says opsets {found}, not {opset}")
    check_model(path)


@dataclass(frozen=True)
class Trial:
    """A part of a network, and the graph that shall compute it."""

    part: str
    graph: Graph
    network: OnnxNetwork
    options: Options


def compare(
    trial: Trial, path: Path, provider: Provider, least_db: float, say: Callable[[str], None] = lambda text: None
) -> list[Agreement]:
    """Run the trials on a file. Noise that the graph draws is read out, so that the reference can use it.

    Outputs below the bar that `least_db` sets are compared with the reference in float32, too.
    """
    runner, drawn = _runner(path, provider)
    names = [port.name for port in trial.graph.outputs]
    agreements = []
    for kind in (USUAL, EXTREME):
        samples = _GROUPED if trial.network.mixes_samples else _samples(trial.graph, kind)
        inputs = _inputs(trial.graph.inputs, kind, samples)
        pairs: dict[str, list[tuple[NDArray, NDArray]]] = {name: [] for name in names}
        expected: dict[str, NDArray] = {}
        for feed in (inputs, _first(inputs)) if samples > 1 else (inputs,):
            say(f"checking {trial.part}: {kind} latents, batch {_batch(feed)}, against float64")
            outputs = dict(zip([*names, *drawn], runner.run([*names, *drawn], feed), strict=True))
            if not expected or trial.network.mixes_samples or drawn:
                known = feed | {name: outputs[name] for name in drawn}
                wide = {name: value.astype(np.float64) for name, value in known.items()}
                expected = _computed(trial, trial.network, wide, say)
            for name in names:
                pairs[name].append((outputs[name], expected[name][: _batch(feed)]))
        found = [agreement(trial.part, name, kind, pairs[name]) for name in names]
        if any(each.snr_db < required_snr(each, least_db) for each in found) and not drawn:
            say(f"checking {trial.part}: what float32 can reach for {kind} latents")
            found = _with_attainable(found, trial, inputs, {name: pairs[name][0][1] for name in names}, say)
        agreements += found
    return agreements


def _computed(
    trial: Trial, network: OnnxNetwork, inputs: Mapping[str, NDArray], say: Callable[[str], None]
) -> dict[str, NDArray]:
    """The reference's outputs, a sample at a time where samples are apart: a large one takes gigabytes."""
    batch = _batch(inputs)
    if network.mixes_samples or batch == 1:
        return network.computed(trial.part, inputs, trial.options)
    single = []
    for place in range(batch):
        say(f"checking {trial.part}: computing sample {place + 1} of {batch}")
        own = {name: value[place : place + 1] if len(value.shape) else value for name, value in inputs.items()}
        single.append(network.computed(trial.part, own, trial.options))
    return {name: np.concatenate([outputs[name] for outputs in single]) for name in single[0]}


def _with_attainable(
    found: list[Agreement],
    trial: Trial,
    inputs: Mapping[str, NDArray],
    expected: Mapping[str, NDArray],
    say: Callable[[str], None],
) -> list[Agreement]:
    """Add what the reference reaches when it computes in float32; not for half precision, whose errors are its own."""
    single = in_single_precision(trial.network) if trial.options.precision is Precision.fp32 else None
    if single is None:
        return found
    outputs = _computed(trial, single, inputs, say)
    pairs = {name: [(outputs[name], wanted)] for name, wanted in expected.items()}
    reached = (agreement(each.part, each.output, each.latents, pairs[each.output]).snr_db for each in found)
    return [replace(each, attainable_db=snr) for each, snr in zip(found, reached, strict=True)]


def _samples(graph: Graph, kind: str) -> int:
    """One seed less for large images: the reference takes seconds for each."""
    sizes = [math.prod(port.sized(1)) for port in (*graph.inputs, *graph.outputs) if port.shape]
    return _SAMPLES[kind] - (max(sizes) >= _LARGE)


def required_snr(found: Agreement, least_db: float) -> float:
    """The bar for one output; `least_db` is the one for usual latents and numbers."""
    bar = least_db if found.levels is None else min(least_db, _BYTES_SNR)
    bar = bar - EXTREME_ALLOWANCE if found.latents == EXTREME else bar
    return bar if found.attainable_db is None else min(bar, found.attainable_db - _ROUNDING_ALLOWANCE)


def require(agreements: list[Agreement], least_db: float, reference: str = REFERENCE, hint: str = _HINT) -> None:
    """Raise VerificationError for the first output that is further from the reference than allowed."""
    for found in agreements:
        required = required_snr(found, least_db)
        if not found.snr_db >= required:
            raise VerificationError(
                f"{found.part}: {found.output} differs from {reference} for {found.latents} inputs: "
                f"SNR {found.snr_db:.1f} dB, "
                f"{required:g} dB are required (largest relative error {found.max_relative:.2g}); nothing was written",
                hint=hint,
            )


def _inputs(ports: list[Port], kind: str, samples: int) -> dict[str, NDArray]:
    """Every sample has a seed of its own."""
    return {
        port.name: _stacked(
            [_drawn(port, np.random.default_rng([seed, place, len(kind)]), kind) for seed in range(samples)]
        )
        for place, port in enumerate(ports)
    }


def _stacked(values: list[NDArray]) -> NDArray:
    return values[0] if values[0].ndim == 0 else np.concatenate(values)


def _drawn(port: Port, rng: np.random.Generator, kind: str) -> NDArray:
    """Normal values, of which extreme latents keep a few and enlarge them; a label is one of the classes."""
    if not port.shape:
        return np.array(_PSI[kind], dtype=port.dtype)
    shape = port.sized(1)
    if port.name == "label":
        return np.eye(shape[1], dtype=port.dtype)[rng.integers(shape[1], size=1)]
    values = rng.standard_normal(shape)
    if kind == EXTREME and port.name in ("z", "w", "w_plus"):
        values *= _EXTREME_LATENT * (rng.random(shape) < _EXTREME_SHARE)
    return values.astype(port.dtype)


def _first(inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {name: value[:1] if value.ndim else value for name, value in inputs.items()}


def _batch(inputs: Mapping[str, NDArray]) -> int:
    return max(len(value) for value in inputs.values() if value.ndim)


def agreement(part: str, name: str, kind: str, pairs: list[tuple[NDArray, NDArray]]) -> Agreement:
    """Figures of an output from pairs of what was found and what was expected."""
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


def _runner(path: Path, provider: Provider) -> tuple[InferenceSession, list[str]]:
    """A session, and the names of the noise that the model draws, which are outputs of it as well."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    drawn = [node.output[0] for node in model.graph.node if node.op_type == _RANDOM]
    if not drawn:
        return session(path, provider), []
    known = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
    model.graph.output.extend(known[name] for name in drawn)
    probe = path.with_name(f"{path.name}.probe")  # Beside it, where its data lies if that is a file of its own.
    try:
        probe.write_bytes(model.SerializeToString())
        return session(probe, provider), drawn
    finally:
        probe.unlink(missing_ok=True)
